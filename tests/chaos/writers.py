"""Hundreds of members that all have lost everything at once, and claim it again."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle, islice
from urllib.parse import urlencode

from moq_relay.cluster.redis import RedisRoad
from moq_relay.errors import ClusterError
from tests.bench.cluster.light import Light
from tests.chaos.hand import SHARDS, road, shard_keys
from tests.chaos.oracle import Pair, pairs
from tests.chaos.scenario import Bounds, scenario
from tests.chaos.world import BACKOFF, NODES, World
from tests.support.cluster_process import NodeProcess

MEMBERS = 300
"""At the default lease; a quarter of them at a quarter of it, for they all live in this process."""
CLAIMS = 333
"""Of each."""
ROADS = 16
"""That all share."""
BACK_SECONDS = 15.0
GAP_SECONDS = 3.0
"""What a node has to do when all claims come at once may not keep its viewers waiting for long."""
PATIENCE = 100.0
LOOK_SECONDS = 0.25


class Returning(Light):
    """A member that registers and claims anew when the registry has lost it, as a node does."""

    def __init__(self, name: str, way: RedisRoad) -> None:
        super().__init__(name, way, {})
        self._lost = asyncio.Event()

    async def begin(self, lease: float) -> None:
        """Read every feed's epoch, register, and claim all it has."""
        await self._register_anew(lease)
        await self.claim(self.paths.copy())

    async def hold(self, every: float, lease: float, offset: float) -> None:
        """Renew, and register anew where that fails."""
        await asyncio.sleep(offset)
        while True:
            begun = time.monotonic()
            try:
                await self.renew_once(lease)
            except (AssertionError, ClusterError):
                try:
                    await self._register_anew(lease)
                    self._lost.set()
                except (AssertionError, ClusterError):
                    await asyncio.sleep(BACKOFF)
                    continue
            await asyncio.sleep(max(0.0, begun + every - time.monotonic()))

    async def write(self) -> None:
        """Claim all it has, whenever it has registered anew."""
        while True:
            await self._lost.wait()
            self._lost.clear()
            try:
                await self.claim(self.paths.copy())
            except (AssertionError, ClusterError):
                self._lost.set()
                await asyncio.sleep(BACKOFF)

    async def _register_anew(self, lease: float) -> None:
        for shard in (None, *SHARDS):
            self._epochs[shard] = (await self._road.call("attach", shard, ["0"]))[1]
        await self.register(lease)
        self._numbers = dict.fromkeys(SHARDS, 0)

    async def leave(self) -> None:
        """Unregister, and take the claims along."""
        mine = [self._word, self._generation]
        await self._road.call("unregister", None, [*mine, self._member.instance])
        for shard in SHARDS:
            await self._road.call("drop", shard, mine)


@asynccontextmanager
async def herd(world: World) -> AsyncIterator[set[Pair]]:
    """Members that are there with all they have; what that is."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        ways = [await stack.enter_async_context(road(world.redis)) for _ in range(ROADS)]
        count = round(MEMBERS * min(1.0, world.lease / 8))
        members = [
            Returning(f"https://herd{number}/", way)
            for number, way in enumerate(islice(cycle(ways), count))
        ]
        staying: list[list[asyncio.Task[None]]] = []
        for number, member in enumerate(members):
            member.paths = {f"herd/{number}/{n}" for n in range(CLAIMS)}
            await member.begin(world.lease)
            offset = world.chance.uniform(0, world.renew)
            work = (member.hold(world.renew, world.lease, offset), member.write())
            staying.append([tasks.create_task(one) for one in work])
        yield {(path, member.name) for member in members for path in member.paths}
        for member, work in zip(members, staying, strict=True):
            for task in work:
                task.cancel()
            await member.leave()


async def known(nodes: list[NodeProcess], count: int) -> float:
    """Wait until every node knows so many broadcasts, all with proof; how long that took."""
    begun = time.monotonic()
    wanted = {"moq_cluster_broadcasts": count, "moq_cluster_stale_routes": 0}
    for node in nodes:
        while {name: await asyncio.to_thread(node.counter, name) for name in wanted} != wanted:
            assert time.monotonic() - begun < PATIENCE, f"{node} does not know {count} broadcasts"
            # It answers out of the time that it has for what is waited for.
            await asyncio.sleep(LOOK_SECONDS)
    return time.monotonic() - begun


def whole(node: NodeProcess) -> set[Pair]:
    """What it knows of the herd."""
    found: set[Pair] = set()
    after: str | None = ""
    while after is not None:
        query = urlencode({"prefix": "herd", "limit": 10000, "after": after})
        facts = node.facts(f"/origins?{query}")
        found |= pairs(facts)
        after = facts["next"]
    return found


@scenario(
    "FLUSHALL when there are 300 members, each with 333 broadcasts", numbers="37", mixes=False
)
async def herd_flushed(world: World) -> Bounds:
    nodes = [world[name] for name in NODES]
    world.churn.goes_on = False
    await world.members()
    for sampler in world.samplers.values():
        sampler.looks = False  # it asks for more than there should be, and takes its time
    own = len({path for path, _ in world.journal.truth()})
    async with herd(world) as truth:
        count = own + len(truth)
        await known(nodes, count)
        await asyncio.sleep(world.lease)
        await asyncio.to_thread(world.redis.execute, "FLUSHALL")
        wrote = await world.until(lambda: written(world) == count, "all is written", PATIENCE)
        back = wrote + await known(nodes, count)
        wrong = sum([len(await asyncio.to_thread(whole, node) ^ truth) for node in nodes])
    await known(nodes, own)
    for sampler in world.samplers.values():
        sampler.returns(anew=False)
    return world.bounds(
        world.renew,
        gap=GAP_SECONDS,
        more={
            "all claimed again after": (wrote, BACK_SECONDS),
            "all back at every node after": (back, BACK_SECONDS),
            "claims that are wrong then": (wrong, 0),
        },
    )


def written(world: World) -> int:
    """Paths that Redis has."""
    return sum(world.redis.execute("HLEN", shard_keys(shard)[1]) for shard in SHARDS)
