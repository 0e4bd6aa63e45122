"""Whole nodes of a cluster in one process: registry, origin, sessions, and links over loopback."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from moq_relay.cluster.advertiser import Advertiser
from moq_relay.cluster.dialling import Dialler, links
from moq_relay.cluster.discovery import Discovery
from moq_relay.cluster.failovers import Failovers
from moq_relay.cluster.memory import MemoryRoad, MemoryStore
from moq_relay.cluster.peerlink import LinkTimes
from moq_relay.cluster.peers import Links
from moq_relay.cluster.regions import Regions
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.status import RegistrySettings
from moq_relay.relay.access import Access
from moq_relay.relay.counters import Counters
from moq_relay.relay.feed import Demand
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.relay.track import Track
from moq_relay.sessions.context import Context, Limits
from moq_relay.sessions.host import Host
from moq_relay.transports import tls
from moq_relay.transports.quic.dialer import Trust
from moq_relay.transports.quic.endpoint import Limits as QuicLimits
from moq_relay.transports.quic.listener import Listener, listen
from moq_relay.wire.lite.versions import VERSIONS
from tests.contract.roads import FaultyRoad
from tests.support.own_client import until
from tests.support.station import EVERYTHING, Listening, Station

WALL_CLOCK = 1_790_000_000.0
QUICK = RegistrySettings(renew=0.5, command_timeout=0.5, lease=2.0)
TIMES = LinkTimes(ping=0.1, suspect=0.3, idle=30.0, backoff=0.2, lost=0.1, settle=0.02)
FRAMES, SIZE = 3, 100
"""Of the stations' groups."""


def clock() -> float:
    """Redis', which is nobody's monotonic clock."""
    return time.monotonic() + WALL_CLOCK


class ClusterNode:
    """One node; everything of it is at hand."""

    def __init__(
        self, cluster: "InProcess", name: str, host: Host, listener: Listener, origin: Origin
    ) -> None:
        self.name = name
        self.origin = origin
        self.host = host
        self.listener = listener
        self.port = listener.port
        self.cluster = cluster
        self.registry: Registry
        self.discovery: Discovery
        self.failovers: Failovers
        self.advertiser: Advertiser
        self.links: Links
        self.road: FaultyRoad
        self.counters: Counters
        self.asked: list[str] = []
        """Targets of the sessions that came in."""

    def mute(self) -> None:
        """Nothing gets through to this node's listener, or from it."""
        io = self.listener._endpoint._io
        self._heard = io._received, io._send_batch
        io._received = lambda _datagrams: None
        io._send_batch = lambda _batch, _address: True

    def unmute(self) -> None:
        """Everything gets through again."""
        io = self.listener._endpoint._io
        io._received, io._send_batch = self._heard

    def link(self, other: "ClusterNode") -> Any:
        """The link to another node, if there is one."""
        return self.links.known(other.name)

    def nodes_of(self, path: str) -> list[str]:
        """Who claims ``path``, as this node sees it, newest first."""
        return [view.claim.node for view in self.registry.claims(path)]

    def publish(self, path: str, *hops: int, station: Station | None = None) -> Station:
        """A publisher that is connected here."""
        station = station or Station(frames=FRAMES, size=SIZE)
        assert self.origin.publish(path, station, hops or (next(self.cluster.hops),))
        return station

    def lose(self, path: str, station: Station, *, clean: bool = False) -> None:
        """The publisher's session ends."""
        self.origin.withdraw(path, station, clean=clean)
        station.feeds.clear()

    def watch(self, path: str, demand: Demand = EVERYTHING) -> "Watching":
        """A viewer that is connected here."""
        viewer = Watching()
        viewer.track = self.origin.subscribe(path, "video", viewer, demand)
        return viewer


class Watching(Listening):
    """A viewer of a station's track."""

    def __init__(self) -> None:
        super().__init__(frames=FRAMES, size=SIZE)
        self.track: Track

    def leave(self) -> None:
        self.track.leave(self)


class InProcess:
    """The nodes of one test, over one registry in memory."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.store = MemoryStore(clock=clock)
        self.hops = itertools.count(5000)
        self._tasks = tasks
        self._names = itertools.count(1)
        self._stops: dict[ClusterNode, Callable[[], Any]] = {}

    async def join(
        self,
        *,
        region: str = "",
        times: LinkTimes = TIMES,
        linger: float = 5.0,
        port: int = 0,
    ) -> ClusterNode:
        """A node that runs and is a member."""
        started: asyncio.Future[ClusterNode] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        task = self._tasks.create_task(self._run(started, stop, region, times, linger, port))
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            task.result()
        node = started.result()

        async def end() -> None:
            stop.set()
            await asyncio.wait([task])

        self._stops[node] = end
        await until(lambda: node.registry.status.isolated is None)
        return node

    async def stop(self, node: ClusterNode) -> None:
        """End it cleanly."""
        await self._stops.pop(node)()

    async def kill(self, node: ClusterNode) -> None:
        """End it as kill -9 does: it says nothing to anybody any more."""
        node.road.cut()
        node.mute()
        await self.stop(node)

    async def end(self) -> None:
        for node in list(self._stops):
            await self.stop(node)

    async def _run(
        self,
        started: "asyncio.Future[ClusterNode]",
        stop: asyncio.Event,
        region: str,
        times: LinkTimes,
        linger: float,
        port: int,
    ) -> None:
        loop = asyncio.get_running_loop()
        counters, hop = Counters(), 1000 + next(self._names)
        late: dict[str, Any] = {}

        def accept(arrival: Any, transport: Any) -> Any:
            return late["accept"](arrival, transport)

        listener = await listen(
            "127.0.0.1",
            port,
            credentials=tls.Credentials(tls.generate(["localhost"])),
            accept=accept,
            protocols=[version.alpn for version in VERSIONS],
        )
        name = f"https://127.0.0.1:{listener.port}/"
        road = FaultyRoad(MemoryRoad(self.store))
        registry = Registry(
            road,
            node=name,
            region=region,
            hop=hop,
            settings=QUICK,
            vouched_for=lambda other: late["links"].vouches_for(other),
        )
        origin = Origin(
            hop,
            Cache(CacheLimits(), counters),
            loop.time,
            loop.call_later,
            linger=linger,
            stamp=registry.redis_now,
        )
        asked: list[str] = []

        def authorise(target: str) -> Access:
            asked.append(target)
            is_link = "link=" in target
            return Access(local_only=is_link, cluster=is_link)

        regions = Regions(region, registry.table.member)
        registry.watch(regions)
        failovers = Failovers(origin, regions)
        discovery = Discovery(origin, registry, region=region, failovers=failovers)
        context = Context(origin, Limits(), authorise, counters, resolve=discovery.resolve)
        async with Host(context) as host:
            late["accept"] = host.acceptor(VERSIONS)
            dial = Dialler(
                host, context, Trust(verify=False), limits=QuicLimits(handshake_seconds=2.0)
            )
            late["links"] = Links(links(dial, name, None), discovery, times)
            node = ClusterNode(self, name, host, listener, origin)
            node.registry, node.discovery, node.links = registry, discovery, late["links"]
            node.road, node.counters, node.asked = road, counters, asked
            node.failovers = failovers
            node.advertiser = Advertiser(origin, registry)
            node.advertiser.start()
            discovery.start(node.links)
            async with asyncio.TaskGroup() as tasks:
                chores = [
                    tasks.create_task(registry.run()),
                    tasks.create_task(node.links.run()),
                    tasks.create_task(_sweep(origin)),
                ]
                started.set_result(node)
                await stop.wait()
                for chore in chores:
                    chore.cancel()
            node.advertiser.stop()
            discovery.stop()
            listener.close()


async def _sweep(origin: Origin) -> None:
    while True:
        await asyncio.sleep(0.5)
        origin.sweep(origin.clock())


@asynccontextmanager
async def in_process() -> AsyncIterator[InProcess]:
    """A cluster without nodes; whatever a test starts is ended after it."""
    failure: BaseException | None = None
    async with asyncio.TaskGroup() as tasks:
        cluster = InProcess(tasks)
        try:
            yield cluster
        except BaseException as error:
            failure = error
        await cluster.end()
    if failure is not None:
        raise failure
