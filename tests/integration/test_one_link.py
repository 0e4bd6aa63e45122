"""A crowd at one node costs the publisher's node one link, and one subscription for each track."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from moq_relay.cluster.dialling import Dialler
from moq_relay.relay.access import Access
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin
from moq_relay.relay.route import Route
from moq_relay.sessions.context import Context, Limits, Use
from moq_relay.sessions.host import Host
from moq_relay.transports.quic.dialer import Trust
from moq_relay.wire.lite.messages import Role
from tests.bench.cluster.stage import publishing
from tests.support.cluster_process import LOOK_SECONDS, ClusterProcess, NodeProcess, eventually
from tests.support.own_client import make_origin, publish, until
from tests.support.station import EVERYTHING, Listening, Station

pytestmark = pytest.mark.timeout(120)

BROADCASTS, SESSIONS, EACH = 200, 20, 50
"""Each session takes fifty tracks, so that each track is taken by five sessions."""
FRAMES, SIZE = 3, 400
IDLE_SECONDS = 30.0
"""How long a link that nothing is taken over stays open."""

WAY = {
    "links up": ("moq_cluster_links", {("state", "up")}),
    "links dialled": ("moq_cluster_link_dials_total", set()),
    "taken over links": ("moq_cluster_link_subscriptions", set()),
    "upstream": ("moq_relay_upstream_subscriptions", set()),
    "groups in": ("moq_relay_groups_total", {("direction", "in")}),
    "viewers": ("moq_relay_viewers", set()),
    "groups out": ("moq_relay_groups_total", {("direction", "out")}),
}
"""What tells how tracks come here: a metric, and labels that its samples must have."""
THE_CROWDS = dict(zip(WAY, (1, 1, 200, 200, 200, 1000, 1000), strict=True))
THE_PUBLISHERS = dict(zip(WAY, (0, 0, 0, 200, 200, 200, 200), strict=True))
HELD = (
    "moq_cluster_links",
    "moq_cluster_link_subscriptions",
    "moq_cluster_broadcasts",
    "moq_relay_broadcasts",
    "moq_relay_tracks",
    "moq_relay_cache_groups",
    "moq_relay_upstream_subscriptions",
    "moq_relay_viewers",
)
"""Metrics of what costs memory while it is there."""


@pytest.fixture
async def cluster(tmp_path):
    """A root with its own registry, and two nodes whose way to it is the root."""
    cluster = ClusterProcess(tmp_path, ["root", "east", "west"])
    cluster.add("root", rest="[redis]\ntimeout = 0.5\n")
    cluster.add_through("east", "root")
    cluster.add_through("west", "root")
    for node in cluster.nodes.values():
        node.environment["MOQ_CACHE_DURATION"] = "2"
    try:
        await cluster.start()
        yield cluster
        await asyncio.to_thread(cluster.stop)
    except BaseException:
        print(cluster.log())
        raise
    finally:
        cluster.kill()


def facts(node: NodeProcess) -> dict[str, float]:
    """What the node says of links, and of what it takes and gives."""
    return {
        what: sum(count for facts, count in node.metric(name).items() if labels <= facts)
        for what, (name, labels) in WAY.items()
    }


def held(node: NodeProcess) -> dict[str, float]:
    """What the node has of everything that should go with who needed it."""
    return {name: node.counter(name) for name in HELD}


def taken(node: NodeProcess) -> float:
    """How much the node takes and gives now."""
    said = facts(node)
    return said["taken over links"] + said["upstream"] + said["viewers"]


def make_stations() -> dict[str, Station]:
    """A broadcast each, with one group whose number, and so its bytes, no other has."""
    made = {}
    for number in range(BROADCASTS):
        made[f"room/{number}"] = station = Station(frames=FRAMES, size=SIZE)
        station.sequence = 10 * number - 1
        for _ in range(FRAMES):
            station.write()
    return made


def announce(origin: Origin, stations: dict[str, Station]) -> None:
    for path, station in stations.items():
        publish(origin, path, station)


class Crowd:
    """Sessions at one node that come all at once, and ask whether or not it is announced there."""

    def __init__(self, node: NodeProcess, stations: dict[str, Station]) -> None:
        self.viewers: list[tuple[Listening, Station]] = []
        self._node = node
        self._wanted = list(stations.items())
        self._leave = asyncio.Event()

    @asynccontextmanager
    async def come(self) -> AsyncIterator[None]:
        """They leave when this is left."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(SESSIONS):
                tasks.create_task(self._watch(number * EACH))
            try:
                yield
            finally:
                self._leave.set()

    async def _watch(self, first: int) -> None:
        context = Context(make_origin(linger=0.0), Limits(), lambda _target: Access(), Counters())
        async with Host(context) as host:
            dial = Dialler(host, context, Trust(verify=False))
            async with dial(self._node.url, "/", Use(role=Role.SUBSCRIBER, quiet=True)) as session:
                for number in range(first, first + EACH):
                    path, station = self._wanted[number % len(self._wanted)]
                    context.origin.announce(path, Route(session.subscriber))
                    viewer = Listening(frames=FRAMES, size=SIZE)
                    context.origin.subscribe(path, "video", viewer, EVERYTHING)
                    self.viewers.append((viewer, station))
                await self._leave.wait()

    async def served(self) -> None:
        """Wait until each has a group, and see that it is whole and the right one."""
        await until(lambda: len(self.viewers) == SESSIONS * EACH)
        await until(lambda: all(viewer.whole or viewer.faults for viewer, _ in self.viewers))
        for viewer, station in self.viewers:
            assert viewer.faults == []
            assert viewer.whole == {station.sequence}


async def test_a_thousand_viewers_cost_one_link_and_leave_nothing_behind(cluster):
    nodes = east, west, root = [cluster[name] for name in ("east", "west", "root")]
    before = [held(node) for node in nodes]
    stations = make_stations()
    crowd = Crowd(west, stations)

    async with publishing(east.port) as origin:
        announce(origin, stations)
        await eventually(lambda: len(west.table()) == BROADCASTS, "west knows them all")
        async with crowd.come():
            await crowd.served()
            assert facts(west) == THE_CROWDS
            assert facts(east) == THE_PUBLISHERS
            assert all(len(station.feeds) == 1 for station in stations.values())
            assert not any(facts(root).values())
        for node in (west, east):
            await eventually(lambda n=node: not taken(n), f"{node} takes nothing any more")
        assert facts(west)["links up"] == 1, "it is kept for who comes next"

    begun = time.monotonic()
    while time.monotonic() - begun < IDLE_SECONDS + 5 and [held(n) for n in nodes] != before:
        await asyncio.sleep(LOOK_SECONDS)
    assert [held(node) for node in nodes] == before
    # Those by which nodes joined, and such as measure the ways between them.
    assert all(node.counter("moq_relay_sessions") < 10 for node in nodes)
    assert facts(west)["links dialled"] == 1


@pytest.mark.alone  # who asks for an unknown path waits for 5 s and no longer
async def test_a_thousand_viewers_who_come_before_their_publisher_cost_one_link_too(cluster):
    east, west = cluster["east"], cluster["west"]
    stations = make_stations()
    crowd = Crowd(west, stations)

    async with publishing(east.port) as origin, crowd.come():
        await eventually(
            lambda: west.counter("moq_relay_streams") > SESSIONS * EACH, "all of them wait"
        )
        assert west.table() == {}
        announce(origin, stations)
        await crowd.served()

        assert facts(west) == THE_CROWDS
        assert facts(east) == THE_PUBLISHERS
