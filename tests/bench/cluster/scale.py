"""The registry with hundreds of members: how fast, how much, and how long until a death is known.

Some members are whole registries, whose tables are compared; the others renew, claim and count.
They all live in this process, so that what it says of latency includes its own load. A relay
process beside them is what a node's memory and time to load are measured on.
"""

import asyncio
import random
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from moq_relay.cluster.endpoint import parse_endpoint
from moq_relay.cluster.keys import Keys
from moq_relay.cluster.redis import RedisRoad
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.status import RegistrySettings
from moq_relay.daemon.load.machine import resident_mb
from tests.bench.cluster.figures import Figure, spread
from tests.bench.cluster.light import Ear, Light, counting
from tests.bench.cluster.stage import LEASE_SECONDS, insist, redis_settings, say, soon
from tests.support.cluster_process import ClusterProcess, NodeProcess, eventually
from tests.support.redis_server import RedisServer, redis_binary, running

PART = "scale"
SETTINGS = RegistrySettings()
RATES = (100, 250, 500, 1000)
"""Changes a second, each for some seconds, until one is not propagated in time."""
RATE_SECONDS = 5.0
ENOUGH_SECONDS = 0.05
"""A 99th percentile above it is where it stops."""
AT_ONCE = 4
"""Members that claim all they have at the same time; with more, the tables in this process can't
keep up and their roads are given up."""
WRITERS = 16
"""Roads that the light members share."""


class Holder:
    """A member with a whole table; writes down when it was told of what changes."""

    def __init__(self, number: int, server: RedisServer) -> None:
        road = RedisRoad(parse_endpoint(server.url))
        self.name = f"https://holder{number}/"
        self.registry = Registry(road, node=self.name, settings=SETTINGS)
        self.registry.watch(self)
        self.heard: dict[str, float] = {}

    def claims_changed(self, path: str) -> None:
        self.heard[path] = time.monotonic()

    def members_changed(self, node: str) -> None: ...

    def pairs(self) -> set[tuple[str, str]]:
        """Every path with every node that has it."""
        registry = self.registry
        return {(p, view.claim.node) for p in registry.paths() for view in registry.claims(p)}


class Crowd:
    """All members in this process."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.holders: list[Holder] = []
        self.light: list[Light] = []
        self.ears: list[Ear] = []
        self._roads: list[RedisRoad] = []

    async def join(self, stack: AsyncExitStack, members: int, tables: int) -> None:
        """Start them, and wait until every holder knows all."""
        tasks = await stack.enter_async_context(_Tasks(asyncio.TaskGroup()))
        self.holders = [Holder(number, self.server) for number in range(tables)]
        for holder in self.holders:
            tasks.create_task(holder.registry.run())
        first = self.holders[0].registry
        await soon(lambda: first.status.isolated is None, "the first is a member")
        table = first.table
        await soon(lambda: all(feed.epoch for feed in table.feeds()), "its feeds are read")
        epochs = {feed.shard: feed.epoch or "" for feed in table.feeds()}
        up = []
        for _ in range(WRITERS):
            road, ready = RedisRoad(parse_endpoint(self.server.url)), asyncio.Event()
            tasks.create_task(road.run(lambda _event, ready=ready: ready.set()))
            self._roads.append(road)
            up.append(ready)
        await asyncio.gather(*(ready.wait() for ready in up))
        for number in range(members - tables - 1):
            one = Light(f"https://light{number}/", self._roads[number % WRITERS], epochs)
            await one.register(LEASE_SECONDS)
            self.light.append(one)
            offset = random.uniform(0, SETTINGS.renew)
            tasks.create_task(one.renew(SETTINGS.renew, LEASE_SECONDS, offset))
        for holder in self.holders:
            await soon(lambda h=holder: len(h.registry.members) == members, "all are known")
        self.ears = await counting(self.server.socket, Keys(), len(self.light))
        for transport, _ in self.ears:
            stack.callback(transport.close)

    def truth(self) -> set[tuple[str, str]]:
        """What every table should hold."""
        return {(path, one.name) for one in self.light if one.alive for path in one.paths}

    async def agree(self, what: str) -> float:
        """Wait until all tables are the truth; how long that took."""
        begun, truth = time.monotonic(), self.truth()
        for holder in self.holders:
            await soon(lambda h=holder: h.registry.table.size() == len(truth), what, 60)
        took = time.monotonic() - begun
        for holder in self.holders:
            insist(holder.pairs() == truth, f"{what}: {holder.name} is wrong")
        return took

    async def churn(self, rate: int, seconds: float) -> tuple[float, list[float]]:
        """Change so many a second; what was reached, and how long each took to every holder."""
        for holder in self.holders:
            holder.heard.clear()
        moments: dict[str, float] = {}
        done, begun = 0, time.monotonic()
        old = [(one, path) for one in self.light for path in list(one.paths)[:50]]
        random.shuffle(old)

        async def change(number: int) -> None:
            if number % 2 and old:
                one, path = old.pop()
                moments[path] = time.monotonic()
                await one.release([path])
            else:
                path = f"churn{rate}/{number}"
                moments[path] = time.monotonic()
                await random.choice(self.light).claim([path])

        async with asyncio.TaskGroup() as tasks:
            while (now := time.monotonic()) < begun + seconds:
                while done < (now - begun) * rate:
                    tasks.create_task(change(done))
                    done += 1
                await asyncio.sleep(0.005)
        lasted = time.monotonic() - begun
        await self.agree("tables after churn")
        late = [h.heard[path] - at for h in self.holders for path, at in moments.items()]
        return done / lasted, late


class _Tasks:
    """A task group whose tasks are cancelled at its end."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "_Tasks":
        await self._group.__aenter__()
        return self

    def create_task(self, work) -> None:  # type: ignore[no-untyped-def]
        self._tasks.append(self._group.create_task(work))

    async def __aexit__(self, *reason: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(None, None, None)


async def measure(members: int, tables: int, broadcasts: int) -> list[Figure]:
    """Load, churn, and a death."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        directory = Path(folder)
        with running(redis_binary(), directory / "redis") as server:
            made = ClusterProcess(directory, ["relay"], times="")
            relay = made.add("relay", rest=redis_settings(server))
            try:
                await made.start()
                async with AsyncExitStack() as stack:
                    crowd = Crowd(server)
                    say(f"{PART}: {members} members")
                    await crowd.join(stack, members, tables)
                    return await _figures(crowd, relay, broadcasts)
            finally:
                made.kill()


async def _figures(crowd: Crowd, relay: NodeProcess, broadcasts: int) -> list[Figure]:
    server, light = crowd.server, crowd.light
    redis_before, relay_before = _redis_bytes(server), resident_mb(relay.pid)
    say(f"{PART}: {broadcasts} broadcasts")
    begun = time.monotonic()
    await _load(light, broadcasts)
    written = time.monotonic() - begun
    await crowd.agree("tables after the load")
    loaded = time.monotonic() - begun
    await eventually(lambda: _known(relay) == broadcasts, "the relay knows all", 60)
    redis_each = (_redis_bytes(server) - redis_before) / broadcasts
    relay_each = (resident_mb(relay.pid) - relay_before) * (1 << 20) / broadcasts
    figures = [
        Figure(PART, "members", len(light) + len(crowd.holders) + 1, ""),
        Figure(PART, "members whose tables are compared", len(crowd.holders), ""),
        Figure(PART, "broadcasts", broadcasts, ""),
        Figure(PART, "written, in batches", broadcasts / written, "/s"),
        Figure(PART, "time to write and see all in every table", loaded, "s"),
        Figure(PART, "Redis, per broadcast", redis_each, "B", None, broadcasts),
        Figure(PART, "a relay's memory, per broadcast", relay_each, "B", None, broadcasts),
    ]
    for rate in RATES:
        reached, late = await crowd.churn(rate, RATE_SECONDS)
        say(f"{PART}: {rate}/s wanted, {reached:.0f}/s reached")
        figures.append(Figure(PART, f"changes at {rate}/s wanted", reached, "/s"))
        goals = (10.0, 50.0) if rate == 500 else (None, None)
        figures += spread(PART, f"propagation at {rate}/s", late, *goals)
        if figures[-1].value > 1000 * ENOUGH_SECONDS:
            figures.append(Figure(PART, "stops at", rate, "/s"))
            break
    await soon(lambda: len({ear.received for _, ear in crowd.ears}) == 1, "all heard as much")
    say(f"{PART}: a relay is started anew")
    total = len(crowd.truth())
    relay.kill()
    begun = time.monotonic()
    starting = asyncio.create_task(asyncio.to_thread(relay.start))
    await eventually(lambda: _known(relay) == total, "it has loaded all", 60)
    figures.append(
        Figure(PART, f"exec to {total} loaded by a relay", time.monotonic() - begun, "s")
    )
    await starting
    return figures + await _death(crowd)


async def _load(light: list[Light], broadcasts: int) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        mine = [f"load/{n}" for n in range(number, broadcasts, len(light))]
        async with turn:
            await light[number].claim(mine)

    async with asyncio.TaskGroup() as tasks:
        for number in range(len(light)):
            tasks.create_task(one(number))


async def _death(crowd: Crowd) -> list[Figure]:
    """A member renews no more: when all it had is gone from every table, and nobody else's."""
    victim = crowd.light[0]
    had = len(victim.paths)
    victim.alive = False
    begun = time.monotonic()
    size = len(crowd.truth())
    for holder in crowd.holders:
        await soon(lambda h=holder: h.registry.table.size() == size, "a death is known")
    took = time.monotonic() - begun
    await crowd.agree("tables after a death")
    living = {one.name for one in crowd.light if one.alive}
    for holder in crowd.holders:
        insist(living <= holder.registry.members.keys(), f"{holder.name} lost a living member")
        insist(victim.name not in holder.registry.members, f"{holder.name} knows the dead")
    return [
        Figure(PART, f"death of a node with {had}: gone everywhere", took, "s", LEASE_SECONDS + 1)
    ]


def _redis_bytes(server: RedisServer) -> int:
    words = server.execute("INFO", "memory")
    return int(words["used_memory"] if isinstance(words, dict) else _field(words, "used_memory"))


def _field(text: str, name: str) -> str:
    return next(line.partition(":")[2] for line in text.splitlines() if line.startswith(f"{name}:"))


def _known(relay: NodeProcess) -> float:
    return relay.counter("moq_cluster_broadcasts")
