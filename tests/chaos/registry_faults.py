"""Faults of Redis, and of the way to it."""

import asyncio

from tests.chaos.scenario import Bounds, scenario
from tests.chaos.world import World


@scenario("FLUSHALL", numbers="6", ci=True)
async def flushed(world: World) -> Bounds:
    await asyncio.to_thread(world.redis.execute, "FLUSHALL")
    await asyncio.sleep(world.lease)
    return world.bounds(world.renew)


@scenario("Redis is killed and comes back with what it had", numbers="3", ci=True, aof=True)
async def redis_killed(world: World) -> Bounds:
    world.redis.kill()
    await asyncio.sleep(1.0)
    await asyncio.to_thread(world.redis.start)
    await asyncio.sleep(world.lease)
    return world.bounds(1.0)
