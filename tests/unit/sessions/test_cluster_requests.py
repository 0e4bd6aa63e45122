"""What sessions do that only matters in a cluster: unknown paths, and the links of other nodes."""

import asyncio

import pytest

from moq_relay.relay.access import Access
from moq_relay.relay.route import Route
from moq_relay.wire.lite.versions import VERSIONS
from tests.support.node import node, until
from tests.support.station import Station

NEWEST = VERSIONS[0]
UNROUTABLE, SESSION_CLOSED = 0x36, 3


class Cluster:
    """Somebody to ask for paths, whose answer comes when a test says so."""

    def __init__(self):
        self.asked = []
        self.answer = asyncio.Event()

    async def resolve(self, path):
        self.asked.append(path)
        await self.answer.wait()


async def refused(peer, stream, code):
    await peer.until(lambda: stream.over)
    assert stream.reset_code == code


ASKS = {
    "subscribe": lambda viewer: viewer.subscribe("room", "video").stream,
    "track": lambda viewer: viewer.track("room", "video"),
    "fetch": lambda viewer: viewer.fetch("room", "video", 3),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_the_cluster_is_asked_before_an_unknown_path_is_refused(ask):
    cluster = Cluster()
    async with node(resolve=cluster.resolve) as it:
        viewer = await it.viewer(NEWEST)
        stream = ask(viewer)
        await until(lambda: cluster.asked == ["room"])
        assert not stream.over

        cluster.answer.set()

        await refused(viewer.peer, stream, UNROUTABLE)


async def test_a_path_that_comes_meanwhile_is_served():
    cluster = Cluster()
    async with node(resolve=cluster.resolve) as it:
        viewer = await it.viewer(NEWEST)
        watched = viewer.subscribe("room", "video")
        await until(lambda: cluster.asked)
        station = Station(frames=1, size=10)
        it.origin.publish("room", station, (7,))

        cluster.answer.set()
        await until(lambda: station.feeds)
        station.write()

        await watched.heard(0)


async def test_a_known_path_is_not_asked_for():
    cluster = Cluster()
    async with node(resolve=cluster.resolve) as it:
        station = Station(frames=1, size=10)
        it.origin.publish("room", station, (7,))
        viewer = await it.viewer(NEWEST)

        watched = viewer.subscribe("room/alice", "video")
        await until(lambda: station.feeds)
        station.write()

        await watched.heard(0)
        assert cluster.asked == []


async def test_a_relay_by_itself_refuses_an_unknown_path_at_once():
    async with node() as it:
        viewer = await it.viewer(NEWEST)

        await refused(viewer.peer, viewer.subscribe("room", "video").stream, UNROUTABLE)


def link(_target):
    return Access(local_only=True, cluster=True)


async def test_the_link_of_another_node_does_not_ask_the_cluster():
    cluster = Cluster()
    async with node(access=link, resolve=cluster.resolve) as it:
        viewer = await it.viewer(NEWEST)

        await refused(viewer.peer, viewer.subscribe("room", "video").stream, UNROUTABLE)

        assert cluster.asked == []


async def test_the_link_of_another_node_gets_what_is_published_here_only():
    async with node(access=link) as it:
        here, elsewhere = Station(frames=1, size=10), Station(frames=1, size=10)
        it.origin.announce("hall", Route(elsewhere, (8, 2), 9.0, local=False))
        it.origin.announce("room", Route(elsewhere, (8, 2), 1e12, local=False))
        it.origin.publish("room", here, (7,))
        viewer = await it.viewer(NEWEST)
        watching = await viewer.watch()
        watched = viewer.subscribe("room", "video")
        await until(lambda: here.feeds)
        here.write()

        await watched.heard(0)
        assert [(await watching.next()).suffix] == ["room"]
        assert watching.rest() == []
        assert elsewhere.feeds == {}
        await refused(viewer.peer, viewer.subscribe("hall", "video").stream, UNROUTABLE)


async def test_the_link_of_another_node_hears_of_a_lost_publisher_that_viewers_here_wait_for():
    async with node(access=link, linger=0.05) as it:
        station = Station(frames=1, size=10)
        it.origin.publish("room", station, (7,))
        viewer = await it.viewer(NEWEST)
        watched = viewer.subscribe("room", "video")
        await until(lambda: station.feeds)

        it.origin.withdraw("room", station, clean=False)

        await refused(viewer.peer, watched.stream, SESSION_CLOSED)
        again = viewer.subscribe("room", "video")
        await refused(viewer.peer, again.stream, SESSION_CLOSED)


async def test_the_link_of_another_node_may_have_more_under_way():
    async with node(access=link, link_backlog=123) as it:
        viewer = await it.viewer(NEWEST)

        assert it.session(viewer.peer).scheduler.limit == 123
