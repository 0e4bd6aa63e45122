"""What a session, its address and its tenant are refused: with which code, and how counted."""

import asyncio
import logging
from dataclasses import replace

import pytest

from moq_relay.relay.access import Access, Holder
from moq_relay.sessions.gate import GateLimits
from moq_relay.sessions.tenants import TenantLimits
from moq_relay.sessions.transport import Refused
from moq_relay.wire.lite.versions import LITE_05, VERSIONS
from tests.support.node import node, until


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request):
    return request.param


def by_first_segment(target):
    path, _, query = target.partition("?")
    root = path.strip("/")
    return Access(root=root, cluster=query == "node", holder=Holder(tenant=root.partition("/")[0]))


def limit(relay, **limits):
    """Let the tenants of ``relay`` have no more than that."""
    relay.context.tenants.limits = replace(TenantLimits(), **limits)


async def test_who_comes_from_an_address_with_all_its_sessions_is_refused_until_one_left(
    version, caplog
):
    caplog.set_level(logging.INFO, "moq_relay.sessions.gate")
    async with node() as relay:
        relay.context.gate.limits = GateLimits(sessions_per_address=2)
        first = relay.connect(version)
        relay.connect(version)

        for _ in range(3):
            with pytest.raises(Refused) as refusal:
                relay.connect(version)
            assert (refusal.value.status, refusal.value.code) == (503, 7)
        assert relay.counters.sessions_refused == {"address": 3}
        assert [r.getMessage() for r in caplog.records] == [
            "session refused peer=test reason=too many sessions of one address unsaid=0"
        ]

        first.transport.close(0, "")
        await until(lambda: len(relay.host.sessions) == 1)
        relay.connect(version)


@pytest.mark.parametrize("target", ["/acme/x", None])
async def test_a_tenant_has_only_so_many_sessions_wherever_its_path_is_said(target):
    async with node(access=by_first_segment) as relay:
        limit(relay, sessions=1)
        first = relay.connect(LITE_05, target="/acme/y")
        relay.connect(LITE_05, target="/other")

        if target is None:
            peer = relay.connect(LITE_05, target=None)
            peer.setup(path="/acme/x")
            assert await peer.was_closed() == 7
        else:
            with pytest.raises(Refused) as refusal:
                relay.connect(LITE_05, target=target)
            assert (refusal.value.status, refusal.value.code) == (503, 7)
        assert relay.counters.sessions_refused == {"tenant": 1}
        relay.connect(LITE_05, target="/acme?node")

        first.transport.close(0, "")
        await until(lambda: len(relay.host.sessions) == 2)
        relay.connect(LITE_05, target="/acme/x")


async def test_who_is_here_stays_and_nodes_come_while_others_are_shed():
    async with node(access=by_first_segment) as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(LITE_05)
        relay.context.gate.saturated = "loop"

        with pytest.raises(Refused, match="saturated: loop") as refusal:
            relay.connect(LITE_05, target="/")
        assert (refusal.value.status, refusal.value.code) == (503, 7)
        peer = relay.connect(LITE_05, target=None)
        peer.setup(path="/")
        assert await peer.was_closed() == 7
        assert relay.counters.sessions_refused == {"saturation": 2}
        await relay.viewer(LITE_05, target="/?node")

        viewer.subscribe("a", "t")
        await publisher.accept(0)

        relay.context.gate.saturated = None
        await relay.viewer(LITE_05)


async def test_a_session_holds_only_so_many_subscriptions(version):
    async with node(subscriptions_per_session=2) as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(version)
        held = [viewer.subscribe("a", f"t{number}") for number in range(2)]
        for number in range(2):
            await publisher.accept(number)

        extra = viewer.subscribe("a", "t2")
        assert await extra.stream.was_reset() == 9
        assert relay.counters.requests_refused == {"subscriptions": 1}
        assert not any(one.stream.over for one in held)

        held[0].stream.reset(1)
        await until(lambda: relay.counters.viewers == 1)
        viewer.subscribe("a", "t3")
        await publisher.accept(2)


async def test_a_publisher_is_asked_for_only_so_many_tracks_by_all_together():
    async with node(tracks_per_session=2) as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewers = [await relay.viewer(LITE_05) for _ in range(3)]
        for number, viewer in enumerate(viewers[:2]):
            viewer.subscribe("a", f"t{number}")
            await publisher.accept(number)

        extra = viewers[2].subscribe("a", "t2")
        assert await extra.stream.was_reset() == 9
        assert relay.counters.requests_refused == {"tracks": 1}
        viewers[2].subscribe("a", "t1")
        await until(lambda: relay.counters.viewers == 3)


async def test_a_publisher_that_comes_and_goes_too_fast_is_ended(version):
    now = 1000.0
    async with node(clock=lambda: now, announces_per_session=3, announces_per_second=2) as relay:
        publisher = await relay.publisher(version)
        other = await relay.publisher(LITE_05, "other")
        for _ in range(3):
            publisher.announce("b")
            publisher.end("b")
        publisher.announce("b")

        assert await publisher.peer.was_closed() == 7
        assert relay.counters.announces_refused == {"rate": 1}
        assert relay.counters.sessions_refused == {}
        await other.peer.round_trip()
        assert "other" in relay.origin.paths()


async def test_a_publisher_that_keeps_to_the_rate_is_not(version):
    now = 1000.0
    async with node(clock=lambda: now, announces_per_session=1, announces_per_second=2) as relay:
        publisher = await relay.publisher(version)
        for _ in range(20):
            publisher.announce("b")
            publisher.end("b")
            await publisher.peer.round_trip()
            now += 1

        assert relay.counters.announces_refused == {}
        assert publisher.peer.close is None


async def test_a_tenant_announces_only_so_much_from_all_its_sessions():
    async with node(access=by_first_segment) as relay:
        limit(relay, announces=3)
        one = await relay.publisher(LITE_05, "a", "b", target="/acme")
        two = await relay.publisher(LITE_05, "c", "d", target="/acme")
        await relay.publisher(LITE_05, "e", target="/other")

        assert relay.origin.paths() == ["acme/a", "acme/b", "acme/c", "other/e"]
        assert relay.counters.announces_refused == {"tenant": 1}

        one.peer.transport.close(0, "")
        await until(lambda: "acme/a" not in relay.origin.paths())
        for suffix in "fgh":
            two.announce(suffix)
        await two.peer.round_trip()
        assert relay.origin.paths() == ["acme/c", "acme/f", "acme/g", "other/e"]


async def test_nothing_is_begun_for_a_tenant_that_sends_too_much_and_what_runs_goes_on():
    async with node(access=by_first_segment) as relay:
        limit(relay, egress=100)
        publisher = await relay.publisher(LITE_05, "a", target="/acme")
        viewer = await relay.viewer(LITE_05, target="/acme")
        going = viewer.subscribe("a", "t0")
        await publisher.accept(0)
        tenants, sessions = relay.context.tenants, relay.host.sessions
        tenants.turn(sessions, 0.0)
        relay.session(viewer.peer).tally.bytes_out += 1000
        tenants.turn(sessions, 1.0)

        for refused in (viewer.subscribe("a", "t1"), viewer.subscribe("a", "t0")):
            assert await refused.stream.was_reset() == 9
        assert relay.counters.requests_refused == {"tenant": 2}
        assert not going.stream.over

        for second in range(2, 20):
            tenants.turn(sessions, float(second))
        viewer.subscribe("a", "t2")
        await publisher.accept(1)
        await asyncio.sleep(0)
