"""The limits of the settings, and the second by which what is used is looked at."""

import pytest

from moq_relay.daemon.config import bounds
from moq_relay.daemon.config.limit_settings import LimitsSection
from moq_relay.daemon.config.settings import Settings
from moq_relay.daemon.guard import Guard
from moq_relay.relay.counters import Counters
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.sessions.context import Limits
from moq_relay.transports.quic.proof import REFUSED


class Used:
    """What a relay has left, as a test says."""

    worst = None
    asked = None

    def shortest(self, share):
        self.asked = share
        return self.worst


def settings(**limits):
    return Settings(limits=LimitsSection(**limits))


def turned(guard, used):
    guard.turn(used, (), Cache(CacheLimits(), Counters()))


def test_the_defaults_bound_an_address_and_no_tenant_and_trust_this_machine():
    own = settings()
    gate, tenants = bounds.gate_limits(own), bounds.tenant_limits(own)

    assert (gate.sessions_per_address, gate.handshakes) == (5000, 100)
    assert [str(network) for network in gate.trusted] == ["127.0.0.0/8", "::1/128"]
    assert {tenants.sessions, tenants.announces, tenants.egress, tenants.cache} == {None}
    assert bounds.limits(own) == Limits()


def test_every_limit_of_the_settings_reaches_the_sessions():
    own = settings(
        sessions_per_address=3,
        handshakes=4,
        trusted_networks=["10.0.0.0/8", "2001:db8::1"],
        subscriptions_per_session=5,
        tracks_per_session=6,
        announces_per_second=7,
        http_requests_per_address=12,
        tenant={"sessions": 8, "announces": 9, "egress": "10 KB", "cache": "11 KiB"},
    )
    gate, tenants, one = bounds.gate_limits(own), bounds.tenant_limits(own), bounds.limits(own)

    assert (gate.sessions_per_address, gate.handshakes, gate.requests) == (3, 4, 12)
    assert [str(network) for network in gate.trusted] == ["10.0.0.0/8", "2001:db8::1/128"]
    assert (tenants.sessions, tenants.announces) == (8, 9)
    assert (tenants.egress, tenants.cache) == (10_000, 11_264)
    assert one.subscriptions_per_session == 5
    assert (one.tracks_per_session, one.announces_per_second) == (6, 7)


@pytest.mark.parametrize(
    ("files", "web", "internal"), [(None, 700, 256), (65_536, 700, 256), (96, 48, 12), (4, 2, 1)]
)
def test_connections_by_http_leave_the_process_descriptors(monkeypatch, files, web, internal):
    monkeypatch.setattr("moq_relay.daemon.guard.descriptor_limit", lambda: files)
    guard = Guard(settings(http_connections=700), Counters())

    assert {name: one.most for name, one in guard.connections.items()} == {
        "web.http": web,
        "internal": internal,
    }


def test_strangers_are_paced_at_the_public_http_and_leave_room_for_operators_at_the_other():
    guard = Guard(settings(http_connections_per_address=7), Counters())
    web, internal = (guard.connections[name] for name in ("web.http", "internal"))

    assert (web.per_address, web.reserved, web.paced, web.linger) == (7, 0, True, 0)
    assert (internal.per_address, internal.reserved, internal.paced) == (64, 64, False)


def test_newcomers_are_shed_while_something_is_used_to_that_share_and_no_longer():
    guard, used = Guard(settings(shed=0.8), Counters()), Used()

    turned(guard, used)
    assert (guard.gate.saturated, used.asked) == (None, 0.8)

    used.worst = "memory"
    turned(guard, used)
    assert guard.gate.saturated == "memory"

    used.worst = None
    turned(guard, used)
    assert guard.gate.saturated is None


def test_a_handshake_that_failed_is_counted_by_what_it_failed_for():
    counters = Counters()
    guard = Guard(settings(), counters)

    for reason in ("Idle timeout", "No common ALPN protocols", f"{REFUSED}: expired", "odd"):
        guard.handshake_failed(reason)

    assert counters.handshake_failures == {
        "timeout": 1,
        "protocol": 1,
        "certificate": 1,
        "other": 1,
    }
