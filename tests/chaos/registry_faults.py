"""Faults of Redis as all nodes see them, and deaths of roots, which take the registry from some."""

import asyncio

from tests.bench.cluster.beacon import Beacon
from tests.chaos.scenario import Bounds, scenario
from tests.chaos.world import BACKOFF, DIRECT, ROOTS, THROUGH, World
from tests.support.cluster_process import NodeProcess

OUTAGE_OF_60_SECONDS = 7.5
"""In leases: 60 s at the default of 8."""


def links_dialled(world: World) -> float:
    """By the nodes that are no roots."""
    return sum(world[name].counter("moq_cluster_link_dials_total") for name in (THROUGH, DIRECT))


def snapshots(node: NodeProcess) -> float:
    """Feeds that it read whole."""
    samples = node.metric("moq_cluster_resyncs_total")
    return sum(value for labels, value in samples.items() if ("kind", "snapshot") in labels)


async def newcomers(world: World) -> float:
    """Viewers who come now, at every node, for a broadcast that it knows; the longest wait."""
    longest = 0.0
    for node in world.living:
        longest = max(longest, await world.audience.look_in(node.port))
    return longest


async def without_redis(world: World) -> Bounds:
    """Nobody has a Redis for 60 s; then it is there again, with what its settings let it keep."""
    away = world.lease * OUTAGE_OF_60_SECONDS
    await asyncio.to_thread(world.redis.kill)
    await asyncio.sleep(away / 2)
    waited = await newcomers(world)
    await asyncio.sleep(away / 2)
    await asyncio.to_thread(world.redis.start)
    await asyncio.sleep(world.lease)
    return world.bounds(away, more={"newcomer waited": (waited, 2.0)})


@scenario("a root is killed and started again", numbers="1", ci=True)
async def root_killed(world: World) -> Bounds:
    root = ROOTS[0]
    beacon = Beacon()
    async with beacon.shining():
        # Every other node has its link to the one that will publish meanwhile.
        world.crowds[DIRECT].announce("before/it", beacon)
        for node in world.living:
            await world.audience.look_in(node.port, "before/it")
        dialled = links_dialled(world)
        await world.kill(root)
        world.crowds[DIRECT].announce("while/away", beacon)
        for node in world.living:
            await world.audience.look_in(node.port, "while/away")
        await world.start(root)
        await world.until(
            lambda: {"before/it", "while/away"} <= world[root].table().keys(),
            "the root knows what came meanwhile",
        )
        dialled = links_dialled(world) - dialled
        for path in ("before/it", "while/away"):
            world.crowds[DIRECT].withdraw(path)
    await world.members()
    await asyncio.sleep(world.renew)
    return world.bounds(more={"links dialled by other nodes": (dialled, 0)})


@scenario("every root is gone for 60 s", numbers="2")
async def all_roots_gone(world: World) -> Bounds:
    away = world.lease * OUTAGE_OF_60_SECONDS
    for root in ROOTS:
        await world.kill(root)
    world.give_up(THROUGH)
    await asyncio.sleep(away / 2)
    waited = max(await newcomers(world), await world.audience.look_in(world[THROUGH].port))
    await asyncio.sleep(away / 2)
    for root in ROOTS:
        await world.start(root)
    await world.take_back(THROUGH)
    await world.members()
    # The node behind them was rightly taken for dead by the one that still reaches Redis.
    return world.bounds(away, reaped=3, more={"newcomer waited": (waited, 2.0)})


@scenario("Redis is killed and comes back with what it had", numbers="3", ci=True, aof=True)
async def redis_killed(world: World) -> Bounds:
    before = {node: snapshots(node) for node in world.living}
    await asyncio.to_thread(world.redis.kill)
    await asyncio.sleep(1.0)
    await asyncio.to_thread(world.redis.start)
    await asyncio.sleep(world.lease)
    most = max(snapshots(node) - before[node] for node in world.living)
    return world.bounds(1.0, more={"feeds that a node read whole": (most, 17)})


@scenario("Redis is killed and comes back empty", numbers="4, 21")
async def redis_lost_all(world: World) -> Bounds:
    await asyncio.to_thread(world.redis.kill)
    await asyncio.sleep(1.0)
    await asyncio.to_thread(world.redis.start)
    await asyncio.sleep(world.lease)
    return world.bounds(1.0)


@scenario("Redis is gone for 60 s", numbers="5", aof=True)
async def redis_gone(world: World) -> Bounds:
    return await without_redis(world)


@scenario("Redis is gone for 60 s and comes back empty", numbers="4, 5")
async def redis_gone_and_empty(world: World) -> Bounds:
    return await without_redis(world)


@scenario("FLUSHALL", numbers="6", ci=True)
async def flushed(world: World) -> Bounds:
    await asyncio.to_thread(world.redis.execute, "FLUSHALL")
    await asyncio.sleep(world.lease)
    return world.bounds(world.renew)


@scenario("FLUSHALL just before a node dies, which never comes back in time", numbers="7")
async def flushed_during_a_death(world: World) -> Bounds:
    victim = DIRECT
    await world.kill(victim)
    await asyncio.to_thread(world.redis.execute, "FLUSHALL")
    await asyncio.sleep(2 * world.lease + BACKOFF)
    await world.start(victim)
    await world.members()
    # Who is not in the registry any more cannot be reaped; its routes are kept for their owner.
    return world.bounds(world.renew, dead_ghost=2 * world.lease, reaped=1)


@scenario(
    "Redis is frozen for a quarter, for three quarters and for two and a half leases",
    numbers="8, 30",
    ci=True,
)
async def redis_frozen(world: World) -> Bounds:
    longest = 2.5 * world.lease
    for seconds in (world.lease / 4, 0.75 * world.lease, longest):
        await asyncio.to_thread(world.redis.freeze)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(world.redis.thaw)
        await asyncio.sleep(world.lease)
    return world.bounds(longest)


@scenario("Redis has no memory left, and then it has", numbers="29")
async def redis_full(world: World) -> Bounds:
    execute = world.redis.execute
    await asyncio.to_thread(execute, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    await asyncio.to_thread(execute, "CONFIG", "SET", "maxmemory", "1mb")
    away = 0.5 * world.lease
    await asyncio.sleep(away)
    waited = await newcomers(world)
    await asyncio.to_thread(execute, "CONFIG", "SET", "maxmemory", "0")
    await asyncio.sleep(world.lease)
    return world.bounds(away, more={"newcomer waited": (waited, 2.0)})


@scenario("Redis has no memory left for longer than a lease", numbers="29")
async def redis_full_for_long(world: World) -> Bounds:
    execute = world.redis.execute
    await asyncio.to_thread(execute, "CONFIG", "SET", "maxmemory", "1mb")
    away = 1.5 * world.lease
    await asyncio.sleep(away)
    await asyncio.to_thread(execute, "CONFIG", "SET", "maxmemory", "0")
    await asyncio.sleep(world.lease)
    return world.bounds(away)


@scenario("Redis forgets the scripts", numbers="31")
async def scripts_forgotten(world: World) -> Bounds:
    for _ in range(5):
        await asyncio.to_thread(world.redis.execute, "SCRIPT", "FLUSH")
        await asyncio.sleep(world.renew / 2)
    return world.bounds()
