"""Every road that the registry's contract is run on, and a wrapper that makes any of them fail."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import redis

from moq_relay.cluster.channel import Channel
from moq_relay.cluster.endpoint import parse_endpoint
from moq_relay.cluster.keys import Keys, Shard
from moq_relay.cluster.memory import MemoryRoad, MemoryStore
from moq_relay.cluster.redis import RedisRoad
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.road import Connected, Lost, Message, Road, RoadEvent
from moq_relay.cluster.rootroad import RootRoad
from moq_relay.cluster.status import RegistrySettings
from moq_relay.cluster.timing import TimedRoad
from moq_relay.errors import RegistryUnavailable
from tests.support import redis_server
from tests.support.street import street

WALL_CLOCK = 1_790_000_000.0
"""The memory's clock is monotonic, yet dates claims like Redis' own."""

ROOT = "https://root.example/"

QUICK = RegistrySettings(renew=0.5, command_timeout=0.5, lease=2.0)
"""The shortest times that the cluster's tests use."""


@dataclass
class World:
    """One registry, any number of roads to it, and a hand that changes it behind their backs."""

    road: Callable[[str], Road]
    """A node's, by its name."""
    flush: Callable[[], None]
    """Lose everything."""
    edit: Callable[[Shard, str, str | None], None]
    """Set, or delete, a field of a feed's table."""
    read: Callable[[Shard, str], str | None]
    """The same field."""
    publish: Callable[[Shard, str], None]
    """An event that no script emitted."""
    forget_revoked: Callable[[], object]
    """Lose all revocations, and nothing else."""


@asynccontextmanager
async def memory_world(_directory: Path) -> AsyncIterator[World]:
    store = MemoryStore(clock=lambda: time.monotonic() + WALL_CLOCK)

    def table(shard: Shard) -> dict[str, str]:
        return store._feeds[shard].table

    def edit(shard: Shard, field: str, value: str | None) -> None:
        if value is None:
            table(shard).pop(field, None)
        else:
            table(shard)[field] = value

    def publish(shard: Shard, text: str) -> None:
        for listener in tuple(store.listeners):
            listener(Message(shard, text))

    yield World(
        lambda _name: MemoryRoad(store),
        store.clear,
        edit,
        lambda shard, field: table(shard).get(field),
        publish,
        lambda: store._feeds[None].revoked.clear(),
    )


@asynccontextmanager
async def redis_world(directory: Path, *, binary: Callable[[], str] | None) -> AsyncIterator[World]:
    keys = Keys(f"test-{secrets.token_hex(4)}")
    with server(directory, binary) as url, redis.Redis.from_url(url, protocol=2) as client:

        def table(shard: Shard) -> str:
            return keys.of(shard, "")[1]

        def edit(shard: Shard, field: str, value: str | None) -> None:
            if value is None:
                client.hdel(table(shard), field)
            else:
                client.hset(table(shard), field, value)

        def read(shard: Shard, field: str) -> str | None:
            value = client.hget(table(shard), field)
            return None if value is None else value.decode()

        yield World(
            lambda _name: RedisRoad(
                parse_endpoint(url), prefix=keys.prefix, timeout=0.5, probe_seconds=0.5
            ),
            lambda: client.flushall(),
            edit,
            read,
            lambda shard, text: client.publish(keys.channel(shard), text),
            lambda: client.delete(keys.of(None, "")[-1]),
        )


@contextmanager
def server(directory: Path, binary: Callable[[], str] | None) -> Iterator[str]:
    """A URL; a container's where no binary is asked for and an engine answers."""
    if binary is None:
        with redis_server.some_redis(directory) as url:
            yield url
    else:
        with redis_server.running(binary(), directory) as process:
            yield process.url


@asynccontextmanager
async def root_world(directory: Path) -> AsyncIterator[World]:
    """What memory holds, for nodes that come to it through a root, over sessions."""
    async with memory_world(directory) as world, street() as town, asyncio.TaskGroup() as tasks:
        root = await town.root(ROOT, lambda: world.road(ROOT), timeout=0.5, running=False)
        running = tasks.create_task(Registry(root.junction, node=ROOT, settings=QUICK).run())

        def road(name: str) -> Road:
            @asynccontextmanager
            async def connect(url: str) -> AsyncIterator[Channel]:
                house = await town.build(name)
                async with town.joiner(house).road(url) as channel:
                    yield channel

            return RootRoad([ROOT], connect, timeout=0.5)

        yield replace(world, road=road)
        running.cancel()


MAKERS: dict[str, Callable[[Path], Any]] = {
    "memory": memory_world,
    "redis": partial(redis_world, binary=None),
    "valkey": partial(redis_world, binary=redis_server.valkey_binary),
    "root": root_world,
}


class FaultyRoad:
    """Any road, cut, deaf or forgetful when a test says so."""

    def __init__(self, inner: Road) -> None:
        self.inner = inner
        self.straight = inner.straight
        self.hear: Callable[[Message], list[Message]] = lambda message: [message]
        """What arrives instead of a message."""
        self.lose_request: list[str] = []
        """Scripts whose next call is never made."""
        self.lose_answer: list[str] = []
        """Scripts whose next call is made and not answered."""
        self.lost: list[tuple[str, Shard, list[str]]] = []
        """The calls that were not made."""
        self.calls: list[tuple[str, Shard, list[str]]] = []
        self.is_cut = False
        self._deliver: Callable[[RoadEvent], None] | None = None
        self._connected: Connected | None = None

    async def run(self, deliver: Callable[[RoadEvent], None]) -> None:
        self._deliver = deliver
        await self.inner.run(self._heard)

    def _heard(self, event: RoadEvent) -> None:
        assert self._deliver is not None
        if isinstance(event, Connected):
            self._connected = event
        if self.is_cut:
            return
        if isinstance(event, Message):
            for message in self.hear(event):
                self._deliver(message)
        else:
            self._deliver(event)

    def cut(self) -> None:
        """Nothing passes any more, and this end knows."""
        self.is_cut = True
        assert self._deliver is not None
        self._deliver(Lost("cut by a test"))

    def mend(self) -> None:
        """Everything passes again."""
        self.is_cut = False
        assert self._deliver is not None
        assert self._connected is not None
        self._deliver(self._connected)

    async def call(self, script: str, shard: Shard, args: Sequence[str]) -> list[Any]:
        self.calls.append((script, shard, list(args)))
        if self.is_cut:
            raise RegistryUnavailable("cut by a test")
        if script in self.lose_request:
            self.lose_request.remove(script)
            self.lost.append((script, shard, list(args)))
            raise RegistryUnavailable("the request was lost")
        answer = await self.inner.call(script, shard, args)
        if script in self.lose_answer:
            self.lose_answer.remove(script)
            raise RegistryUnavailable("the answer was lost")
        return answer

    def called(self, script: str) -> int:
        """How often."""
        return sum(name == script for name, _, _ in self.calls)


class Node:
    """A registry that runs, its road, and what its listener heard."""

    def __init__(self, world: World, name: str, **options: Any) -> None:
        self.road = FaultyRoad(world.road(name))
        options.setdefault("settings", QUICK)
        self.timed = TimedRoad(self.road)
        self.registry = Registry(self.timed, node=name, **options)
        self.heard: list[tuple[str, str]] = []
        self.registry.watch(self)

    def claims_changed(self, path: str) -> None:
        self.heard.append(("claims", path))

    def members_changed(self, node: str) -> None:
        self.heard.append(("members", node))

    def has(self, path: str, node: str) -> str | None:
        """The state in which it sees a claim; None when it sees none."""
        views = self.registry.claims(path)
        return next((view.state for view in views if view.claim.node == node), None)

    def generation(self, node: str) -> int:
        """By which it knows a member; 0 when it does not."""
        view = self.registry.members.get(node)
        return 0 if view is None else view.member.generation


class Cluster:
    """The nodes of one test."""

    def __init__(self, world: World, tasks: asyncio.TaskGroup) -> None:
        self.world = world
        self._tasks = tasks
        self._running: dict[Node, asyncio.Task[None]] = {}
        self._raw: list[asyncio.Task[None]] = []

    def start(self, name: str, **options: Any) -> Node:
        """A node that is on its way."""
        node = Node(self.world, name, **options)
        self._running[node] = self._tasks.create_task(node.registry.run())
        return node

    async def join(self, name: str, **options: Any) -> Node:
        """A node that is a member."""
        node = self.start(name, **options)
        await until(lambda: node.registry.status.isolated is None)
        await until(lambda: node.road.called("write") >= 16)  # it has re-announced all, nothing
        return node

    async def stop(self, node: Node) -> None:
        """End it cleanly."""
        task = self._running.pop(node)
        task.cancel()
        await asyncio.wait([task])

    async def crash(self, node: Node) -> None:
        """End it as kill -9 does."""
        node.road.cut()
        await self.stop(node)

    async def end(self) -> None:
        for node in list(self._running):
            await self.crash(node)
        for task in self._raw:
            task.cancel()

    async def raw(self, name: str) -> Road:
        """Another road of a node's, up."""
        road, up = self.world.road(name), asyncio.Event()

        def deliver(event: RoadEvent) -> None:
            if isinstance(event, Connected):
                up.set()

        self._raw.append(self._tasks.create_task(road.run(deliver)))
        async with asyncio.timeout(5):
            await up.wait()
        return road


async def until(condition: Callable[[], object], seconds: float = 8.0, every: float = 0.01) -> None:
    """Come back when it holds; fail when it does not within ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(every)
    except TimeoutError:
        raise AssertionError("it did not come to hold") from None


@asynccontextmanager
async def cluster_on(make: Callable[[Path], Any], directory: Path) -> AsyncIterator[Cluster]:
    """A registry without nodes; whatever a test starts is ended after it."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(make(directory))
        async with asyncio.TaskGroup() as tasks:
            cluster = Cluster(world, tasks)
            try:
                yield cluster
            finally:
                await cluster.end()
