"""Clocks that are turned while what reads them runs: a node's own, and that of Redis."""

import asyncio
import time
import urllib.request
from email.utils import parsedate_to_datetime

from tests.bench.cluster.beacon import Beacon
from tests.chaos.scenario import Bounds, scenario
from tests.chaos.world import DIRECT, ROOTS, SETTLE_SECONDS, World
from tests.support.cluster_process import NodeProcess
from tests.support.redis_server import RedisServer
from tests.support.turned_clock import TurnedClock

HOUR = 3600
STEPS = (HOUR, -HOUR)
"""Seconds off, one after the other: an hour on, and two back."""
TURNED_SECONDS = 60.0
"""A clock may differ by so much from what it was turned to: dates in HTTP have no fractions."""


def ahead(node: NodeProcess) -> float:
    """Seconds by which a node's clock is ahead, as its HTTP says."""
    url = f"http://127.0.0.1:{node.internal_port}/health"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()


def redis_ahead(server: RedisServer) -> float:
    """The same of Redis."""
    return int(server.execute("TIME")[0]) - time.time()


async def calm(world: World) -> None:
    """All are there again and agree, and have for a lease: judge from now on."""
    world.churn.goes_on = False
    await world.members()
    await world.agree(SETTLE_SECONDS)
    world.churn.goes_on = True
    await asyncio.sleep(world.lease)
    world.forget_figures()


def changes(world: World) -> dict[str, float]:
    """What a turned clock must not cause, counted over all nodes."""
    names = ("registrations", "fenced", "road_losses", "epoch_changes", "refused_writes")
    return {
        name: sum(node.counter(f"moq_cluster_{name}_total") for node in world.living)
        for name in names
    }


def more(before: dict[str, float], world: World) -> dict[str, tuple[float, float]]:
    """What happened since, as figures."""
    return {
        f"more {name.replace('_', ' ')}": (count - before[name], 0)
        for name, count in changes(world).items()
    }


@scenario(
    "the clocks of a root and of another node are turned by an hour and more",
    numbers="27",
    mixes=False,
)
async def node_clocks_turned(world: World) -> Bounds:
    clock = TurnedClock(world.directory)
    nodes = [world[name] for name in (ROOTS[1], DIRECT)]
    for node in nodes:
        node.environment = clock.environment
        await world.stop(node.name)
        await world.start(node.name)
    await calm(world)
    before = changes(world)
    for seconds in STEPS:
        clock.turn(seconds)
        await asyncio.sleep(world.lease)
        for node in nodes:
            off = await asyncio.to_thread(ahead, node)
            assert abs(off - seconds) < TURNED_SECONDS, f"the clock of {node} is {off:+.0f} s off"
    return world.bounds(more=more(before, world))


async def redis_by(world: World, clock: TurnedClock) -> RedisServer:
    """Redis, started anew by that clock with what it had."""
    server = world.redis
    assert isinstance(server, RedisServer), "the clock of a container cannot be turned"
    server.kill()
    server.environment = clock.environment
    await asyncio.to_thread(server.start)
    await calm(world)
    return server


@scenario("the clock of Redis is turned by an hour and more", numbers="28", aof=True, mixes=False)
async def redis_clock_turned(world: World) -> Bounds:
    clock = TurnedClock(world.directory)
    server = await redis_by(world, clock)
    before = changes(world)
    elder, newer = world.crowds[ROOTS[0]], world.crowds[DIRECT]
    wrong, beacon = 0, Beacon()
    for number, seconds in enumerate(STEPS):
        path = f"turned/{number}"
        elder.announce(path, beacon)
        await world.until(
            lambda path=path: all(path in node.table() for node in world.living),
            "all know the elder",
        )
        clock.turn(seconds)
        newer.announce(path, beacon)
        await asyncio.sleep(1.25 * world.lease)
        off = redis_ahead(server)
        assert abs(off - seconds) < TURNED_SECONDS, f"the clock of Redis is {off:+.0f} s off"
        for node in world.living:
            (origin,) = (await asyncio.to_thread(node.facts, f"/origins?prefix={path}"))["origins"]
            wrong += next(claim["node"] for claim in origin["claims"]) != newer.node.url
    return world.bounds(
        tolerance=None, more={"elder publishers first": (wrong, 0), **more(before, world)}
    )


@scenario(
    "the clock of Redis goes back by an hour just after a node died",
    numbers="28",
    aof=True,
    mixes=False,
)
async def redis_clock_back_at_a_death(world: World) -> Bounds:
    clock = TurnedClock(world.directory)
    await redis_by(world, clock)
    await world.kill(DIRECT)
    clock.turn(-HOUR)
    await asyncio.sleep(world.lease + 2.0)
    await world.start(DIRECT)
    await world.members()
    # The wait before anybody is reaped begins with the turn.
    return world.bounds(tolerance=None, reaped=1, dead_ghost=world.lease + 1.0)
