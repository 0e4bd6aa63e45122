"""Rights that come later than their session: what waits for them, and how a refusal looks."""

import asyncio

import pytest

from moq_relay.relay.access import Access
from moq_relay.relay.route import Route
from moq_relay.wire.lite.messages import Role
from moq_relay.wire.lite.versions import LITE_03, LITE_04, LITE_05, LITE_06, VERSIONS
from tests.contract.test_session_opening import Gate, by_name
from tests.support.node import Viewer, node, until

WAYS = [(version, True) for version in VERSIONS]
WAYS += [(version, False) for version in VERSIONS if version not in {LITE_03, LITE_04}]
"""By the URL, or by the path of a setup, which two versions lack."""
by_either = pytest.mark.parametrize(("version", "by_url"), WAYS)


class SlowGate(Gate):
    """The same, once it is opened."""

    def __init__(self, *closed):
        super().__init__(*closed)
        self.open = asyncio.Event()

    def __call__(self, target):
        async def later():
            await self.open.wait()
            return super(SlowGate, self).__call__(target)

        return later


@by_either
async def test_requests_wait_for_rights_that_come_later(version, by_url):
    gate, way = SlowGate(), {"target": "/a"} if by_url else {"target": None}
    async with node(access=gate) as relay:
        relay.origin.announce("a/b", Route(Nothing()))
        peer = relay.connect(version, **way)
        peer.setup(hop=0, **({} if by_url else {"path": "/a"}))
        asked = Viewer(peer).subscribe("other", "t").stream
        await until(lambda: relay.host.sessions)
        await turns()
        assert (gate.asked, asked.over) == ([], False)

        gate.open.set()

        assert await asked.was_reset() == 0x36
        assert gate.asked == ["/a"]
        assert relay.session(peer).publisher.access.root == "a"


@by_either
async def test_who_is_refused_later_is_told_as_one_refused_at_once(version, by_url):
    gate = SlowGate("/a")
    gate.open.set()
    async with node(access=gate) as relay:
        peer = relay.connect(version, target="/a" if by_url else None)
        peer.setup(hop=0, **({} if by_url else {"path": "/a"}))

        assert await peer.was_closed() == 2
        assert peer.close == (2, "closed")
        assert relay.counters.sessions_refused["unauthorized"] == 1


@by_name([LITE_05, LITE_06])
async def test_a_role_that_was_said_before_the_rights_were_known_still_counts(version):
    gate = SlowGate()
    async with node(access=gate) as relay:
        peer = relay.connect(version, target="/a")
        peer.setup(hop=0, role=Role.SUBSCRIBER)
        await turns()

        gate.open.set()
        await peer.round_trip()

        assert relay.session(peer).publisher.access == Access(root="a", publish=())


@by_name(VERSIONS)
async def test_a_session_that_ends_before_its_rights_are_known_leaves_nothing(version):
    async with node(access=SlowGate()) as relay:
        peer = relay.connect(version, target="/a")
        peer.setup(hop=0)
        await turns()

        peer.transport.close(0, "")

        await until(lambda: not relay.host.sessions)


async def turns():
    for _ in range(20):
        await asyncio.sleep(0)


class Nothing:
    """A source that is never asked."""
