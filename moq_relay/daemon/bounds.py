"""The bounds of the floors below, from the settings."""

from moq_relay.daemon.settings import Settings
from moq_relay.relay.retention import CacheLimits
from moq_relay.sessions.context import Limits


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
        announces_per_session=own.announces_per_session,
        handshake_seconds=own.handshake_seconds,
        viewer_backlog=own.viewer_backlog,
    )
