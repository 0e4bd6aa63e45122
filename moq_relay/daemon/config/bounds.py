"""The bounds of the floors below, from the settings."""

import ipaddress

from moq_relay.daemon.config.settings import Settings
from moq_relay.relay.retention import CacheLimits
from moq_relay.sessions.context import Limits
from moq_relay.sessions.gate import GateLimits
from moq_relay.sessions.tenants import TenantLimits


def cache_limits(settings: Settings) -> CacheLimits:
    """What the cache may hold."""
    return CacheLimits(
        capacity=settings.cache.capacity,
        duration=settings.cache.duration,
        group_bytes=settings.limits.group_bytes,
    )


def limits(settings: Settings) -> Limits:
    """What one peer may cost."""
    own = settings.limits
    return Limits(
        frame_bytes=own.frame_bytes,
        message_bytes=own.message_bytes,
        sessions=own.sessions,
        requests_per_session=own.requests_per_session,
        subscriptions_per_session=own.subscriptions_per_session,
        tracks_per_session=own.tracks_per_session,
        announces_per_session=own.announces_per_session,
        announces_per_second=own.announces_per_second,
        handshake_seconds=own.handshake_seconds,
        viewer_backlog=own.viewer_backlog,
    )


def gate_limits(settings: Settings) -> GateLimits:
    """What one address may ask for."""
    own = settings.limits
    return GateLimits(
        sessions_per_address=own.sessions_per_address,
        handshakes=own.handshakes,
        requests=own.http_requests_per_address,
        loop_share=own.handshakes_share,
        trusted=tuple(ipaddress.ip_network(network) for network in own.trusted_networks),
    )


def tenant_limits(settings: Settings) -> TenantLimits:
    """What one tenant may use."""
    own = settings.limits.tenant
    return TenantLimits(own.sessions, own.announces, own.egress, own.cache)
