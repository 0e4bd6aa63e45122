"""Faults of Redis, and of the way to it."""

import asyncio

from moq_relay.cluster.keys import shard_of
from moq_relay.cluster.records import encode
from ops.prometheus.alerts import MEMORY_SHARE, STALE_SECONDS
from tests.alarms.fault import fault
from tests.alarms.world import ROOM, World
from tests.chaos import hand

LOOKED_SECONDS = 1.0
"""Until every relay that reaches Redis has looked at it again."""
AUDIT_SECONDS = 35.0
"""In which every shard is audited once, and what a write takes."""
LOST_SECONDS = 2.0
"""Until a command that is not answered costs the way."""
CLOCK_SECONDS = 8.0
"""Until no renewal is remembered that was quicker."""
FAR = 0.030
STILL_FREE = 1.1


async def config(world: World, *words: str) -> None:
    await asyncio.to_thread(world.redis.execute, "CONFIG", "SET", *words)


@fault("Redis is killed", "MoqRegistryLost", relays=LOST_SECONDS)
async def redis_killed(world: World) -> None:
    world.begins()
    world.redis.kill()


@fault("Redis stands still (SIGSTOP)", "MoqRegistryLost", relays=LOST_SECONDS)
async def redis_frozen(world: World) -> None:
    world.begins()
    world.redis.freeze()


@fault(
    "one relay cannot reach Redis; the others can",
    "MoqRegistryStale",
    regions=("asia",),
    relays=STALE_SECONDS,
)
async def one_without_redis(world: World) -> None:
    world.begins()
    world.wires["asia"].cut()


@fault(
    "somebody sets Redis' maxmemory-policy to allkeys-lru",
    "MoqRedisFault",
    relays=LOOKED_SECONDS,
    labels={"check": "maxmemory_policy"},
)
async def redis_may_evict(world: World) -> None:
    world.begins()
    await config(world, "maxmemory-policy", "allkeys-lru")


@fault(
    "somebody switches Redis' append-only file off",
    "MoqRedisFault",
    relays=LOOKED_SECONDS,
    labels={"check": "persistence"},
)
async def redis_keeps_nothing(world: World) -> None:
    world.begins()
    await config(world, "appendonly", "no")


@fault("Redis is given little more memory than it uses", "MoqRedisMemory", relays=LOOKED_SECONDS)
async def redis_nearly_full(world: World) -> None:
    used = world["us"].counter("moq_cluster_redis_memory_bytes")
    assert 1 / STILL_FREE > MEMORY_SHARE
    world.begins()
    await config(world, "maxmemory", str(round(used * STILL_FREE)))


@fault(
    "somebody deletes a claim in Redis behind the relays' backs",
    "MoqAuditRepaired",
    relays=AUDIT_SECONDS,
    labels={"kind": "missing"},
)
async def claim_deleted(world: World) -> None:
    table = hand.shard_keys(shard_of(ROOM, len(hand.SHARDS)))[1]
    world.begins()
    await asyncio.to_thread(world.redis.execute, "HDEL", table, ROOM)


@fault(
    "somebody puts a claim into Redis in a relay's name that it never made",
    "MoqAuditRepaired",
    relays=AUDIT_SECONDS,
    labels={"kind": "ghost"},
)
async def ghost_claimed(world: World) -> None:
    path, node = "room/ghost", world["asia"]
    shard = shard_of(path, len(hand.SHARDS))
    generation = hand.generations(world.redis)[encode(node.url)]
    line = f"{encode(node.url)} {generation} 17 -"
    world.begins()
    await asyncio.to_thread(world.redis.execute, "HSET", hand.shard_keys(shard)[1], path, line)
    await asyncio.to_thread(hand.emit, world.redis, shard, f"+ {path} {line}")


@fault(
    f"{1000 * FAR:.0f} ms more each way between one relay and Redis",
    "MoqClockUnsure",
    regions=("asia",),
    relays=CLOCK_SECONDS,
)
async def redis_far(world: World) -> None:
    world.begins()
    world.wires["asia"].delay = FAR
