"""Nodes that die, freeze and come back, and publishers that go from one to another."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from moq_relay.cluster.advertiser import CROSSED_SECONDS
from tests.bench.cluster.beacon import Beacon, Viewer
from tests.bench.cluster.stage import viewing
from tests.bench.peers import ROOT
from tests.chaos.hand import SHARDS, generations, leftovers, road, shard_keys
from tests.chaos.registry_faults import snapshots
from tests.chaos.scenario import SLACK_SECONDS, Bounds, scenario
from tests.chaos.world import DIRECT, NODES, PULSE, ROOTS, THROUGH, World

FAILOVER_SECONDS = 3.0
MOVE_SECONDS = 0.5
LATE_SECONDS = 5.0
"""How long a publisher that moved leaves its old session half-open."""
GIVEN_UP_SECONDS = 8.0
"""After six seconds without a word a publisher yields to who else has its path; a node looks each
second, and has a second more until all have heard of it."""


def serves(world: World, name: str, path: str = PULSE) -> bool:
    """Whether every node takes the broadcast from that one."""
    return all(
        {route["node"] for route in node.facts(f"/routes/{path}")["routes"] if route["in_use"]}
        == {world[name].url}
        for node in world.living
    )


async def forgotten(world: World) -> None:
    """Wait until Redis has nothing of registrations that are over."""
    await world.until(lambda: not leftovers(world.redis), "Redis has no claim of the dead")


@scenario("a node is killed, and another has the broadcast with media too", numbers="14", ci=True)
async def node_killed(world: World) -> Bounds:
    victim = DIRECT
    world.crowds[victim].announce(PULSE, world.beacon)
    await world.until(lambda: serves(world, victim), f"{victim} serves all")
    await world.kill(victim)
    await asyncio.sleep(world.lease + 1.0 + SLACK_SECONDS)
    await forgotten(world)
    await world.start(victim)
    await world.members()
    world.crowds[victim].withdraw(PULSE)
    await world.until(lambda: serves(world, THROUGH), f"{THROUGH} serves all")
    return world.bounds(reaped=1, gap=FAILOVER_SECONDS)


@scenario("a root and a node are killed together", numbers="17")
async def root_and_node_killed(world: World) -> Bounds:
    victims = (world.chance.choice(ROOTS), DIRECT)
    for victim in victims:
        await world.kill(victim)
    await asyncio.sleep(world.lease + 1.0 + SLACK_SECONDS)
    await forgotten(world)
    for victim in victims:
        await world.start(victim)
    await world.members()
    return world.bounds(reaped=2)


@scenario("a node is killed and started again at once", numbers="16", ci=True)
async def node_restarted(world: World) -> Bounds:
    url = world[DIRECT].url
    old = generations(world.redis)[url]
    await world.kill(DIRECT)
    await world.start(DIRECT)
    await world.members()
    assert generations(world.redis)[url] > old, "its registration is not a new one"
    await forgotten(world)
    async with road(world.redis) as late:
        answers = [await late.call("drop", shard, [url, str(old)]) for shard in SHARDS]
    done = sum(answer[0] != "NEWER" for answer in answers)
    return world.bounds(more={"late drops that were heard": (done, 0)})


async def freeze_out(world: World, victim: str, seconds: float) -> Bounds:
    """Freeze a node for longer than its lease: it is taken for dead, and then it returns."""
    url = world[victim].url
    old = generations(world.redis)[url]
    await world.freeze(victim)
    # It has renewed its lease a renewal ago at most.
    surely = world.lease - world.renew - SLACK_SECONDS
    await asyncio.sleep(surely)
    world.journal.lost(url)
    await asyncio.sleep(seconds - surely)
    for node in world.living:
        assert url not in node.members(), f"{node} still takes {victim} for a member"
    world.journal.returned(url)
    await world.thaw(victim)
    await world.members()
    assert generations(world.redis)[url] > old, "its registration is not a new one"
    await forgotten(world)
    return world.bounds(reaped=1, dead_ghost=world.lease + 1.0 - surely)


@scenario("a node is frozen for longer than its lease, and goes on", numbers="15", ci=True)
async def node_frozen_out(world: World) -> Bounds:
    return await freeze_out(world, DIRECT, 1.5 * world.lease)


@scenario("one of two roots is frozen for longer than its lease, and goes on", numbers="18")
async def root_frozen_out(world: World) -> Bounds:
    # Itself is rightly taken for dead, and nobody else.
    return await freeze_out(world, world.chance.choice(ROOTS), 1.25 * world.lease)


@scenario("a node is frozen for half a lease", numbers="12")
async def node_frozen(world: World) -> Bounds:
    victim = world.chance.choice(NODES)
    await world.freeze(victim)
    await asyncio.sleep(world.lease / 2)
    await world.thaw(victim)
    await asyncio.sleep(world.renew)
    return world.bounds()


@scenario(
    "a node is frozen for half a lease and loses Redis, whose log goes back, or not, to that time",
    numbers="12, 13",
    wired=True,
)
async def node_frozen_and_log_cut(world: World) -> Bounds:
    node = world[DIRECT]
    before = snapshots(node)
    await freeze_and_part(world, DIRECT)
    await world.thaw(DIRECT)
    await asyncio.sleep(world.renew)
    read_whole = snapshots(node) - before
    await freeze_and_part(world, DIRECT)
    for shard in SHARDS:
        world.redis.execute("XTRIM", shard_keys(shard)[2], "MAXLEN", "0")
    await world.thaw(DIRECT)
    await world.until(lambda: snapshots(node) > before + read_whole, "it reads feeds whole")
    return world.bounds(more={"feeds read whole though the log had it": (read_whole, 0)})


async def freeze_and_part(world: World, name: str) -> None:
    """A node is frozen, and its connections with Redis end meanwhile."""
    await world.freeze(name)
    world.wires[name].drop()
    await asyncio.sleep(world.lease / 2)


@asynccontextmanager
async def published(port: int, path: str) -> AsyncIterator[Process]:
    """A publisher of edition 1 in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.cluster.publisher"),
        *("--port", str(port), "--path", path),
        stdout=PIPE,
        stderr=DEVNULL,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def watched(world: World, path: str) -> AsyncIterator[list[Viewer]]:
    """A viewer at every node."""
    async with AsyncExitStack() as stack:
        viewers = [
            Viewer(await stack.enter_async_context(viewing(node.port)), path)
            for node in world.living
        ]
        yield viewers
        for viewer in viewers:
            viewer.leave()


async def seen(world: World, viewers: list[Viewer], edition: int) -> float:
    """Wait until all have that edition; when the last had it."""
    await world.until(
        lambda: all(edition in viewer.editions for viewer in viewers), f"all see edition {edition}"
    )
    return max(viewer.editions[edition] for viewer in viewers)


@scenario("a publisher moves to another node, its old session half-open for 5 s", numbers="32")
async def publisher_moved(world: World) -> Bounds:
    path = "moved/room"
    old, new = world.chance.sample(NODES, 2)
    world.journal.announced(path, world[old].url)
    async with (
        published(world[old].port, path) as process,
        watched(world, path) as viewers,
        Beacon(2).shining() as beacon,
    ):
        await seen(world, viewers, 1)
        process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        world.crowds[new].announce(path, beacon)
        moved = await seen(world, viewers, 2)
        await asyncio.sleep(LATE_SECONDS)
        joins = sum(viewer.joins for viewer in viewers)
        process.terminate()
        process.send_signal(signal.SIGCONT)
        world.journal.withdrew(path, world[old].url)
        await process.wait()
        await world.until(
            lambda: all(node.table()[path] == {world[new].url} for node in world.living),
            "only the new claim is left",
        )
        await asyncio.sleep(SLACK_SECONDS)
        gap = max(viewer.longest_gap(moved, time.monotonic()) for viewer in viewers)
        joins = sum(viewer.joins for viewer in viewers) - joins
        world.crowds[new].withdraw(path)
    return world.bounds(
        more={
            "publisher back for all after": (moved - begun, MOVE_SECONDS),
            "gap at the old one's end": (gap, MOVE_SECONDS),
            "viewers that joined again then": (joins, 0),
        }
    )


@scenario("of two publishers of one path on two nodes the newest is killed", numbers="32")
async def newest_publisher_killed(world: World) -> Bounds:
    path = "twice/room"
    first, second = world.chance.sample(NODES, 2)
    async with Beacon(2).shining() as beacon, watched(world, path) as viewers:
        world.crowds[first].announce(path, beacon)
        await seen(world, viewers, 2)
        world.journal.announced(path, world[second].url)
        async with published(world[second].port, path) as process:
            await seen(world, viewers, 1)
            process.kill()
            killed = time.monotonic()
            world.journal.withdrew(path, world[second].url)
            await world.until(
                lambda: all(viewer.moments[-1] > killed + 1.0 for viewer in viewers),
                "all see the older one",
                GIVEN_UP_SECONDS,
            )
        gap = max(viewer.longest_gap(killed, time.monotonic()) for viewer in viewers)
        await world.until(
            lambda: all(node.table()[path] == {world[first].url} for node in world.living),
            "only the older claim is left",
        )
        # Ended in the same moment it would be taken for a node that yields, too.
        await asyncio.sleep(CROSSED_SECONDS)
        world.crowds[first].withdraw(path)
    usual = world.bounds(more={"the older one seen after": (gap, GIVEN_UP_SECONDS + MOVE_SECONDS)})
    usual.ghost += GIVEN_UP_SECONDS
    return usual
