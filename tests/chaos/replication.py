"""Redis with replicas: promotions that lose writes, split brains, and Sentinel."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from moq_relay.cluster.keys import Keys
from tests.chaos.oracle import Judged
from tests.chaos.registry_faults import snapshots
from tests.chaos.scenario import SLACK_SECONDS, Bounds, scenario
from tests.chaos.world import BACKOFF, DIRECT, NODES, ROOTS, THROUGH, World
from tests.support.sentinel import SERVICE

STRAIGHT = (*ROOTS, DIRECT)
"""Nodes that reach Redis themselves."""
LATE = (ROOTS[1], DIRECT)
"""The half that is led to another server later, or not at all for a while."""
LOST_SECONDS = 1.0
"""Of writes that a replica never got before it was promoted."""
FEEDS = 17
"""The membership and the shards."""
BURST_SECONDS = 0.01
"""Between two changes of a burst; closer ones would be written together."""


def listeners(server: Any) -> int:
    """Nodes that hear a server's events. Sentinels and replicas do not listen to all feeds."""
    clients = server.execute("CLIENT", "LIST", "TYPE", "PUBSUB").splitlines()
    fields = [dict(word.split("=", 1) for word in line.split()) for line in clients]
    return sum(int(one["sub"]) > FEEDS for one in fields)


async def reached(world: World, server: Any) -> float:
    """Wait until every node that has a way to Redis itself is at that server; how long it took."""
    return await world.until(
        lambda: listeners(server) == len(STRAIGHT), "every node is at the new primary"
    )


def reach_seconds(world: World) -> float:
    """The most that this may take: a lost server is found by a probe that is not answered."""
    return 2 * world.renew + BACKOFF + SLACK_SECONDS


def sequences(server: Any) -> list[int]:
    """How far each feed of claims has counted at a server."""
    keys = [Keys().of(shard, "")[0] for shard in range(FEEDS - 1)]
    return [int(server.execute("HGET", key, "s") or 0) for key in keys]


def change(world: World, names: Iterable[str], number: int) -> None:
    """One of a burst of changes: a broadcast more or less at one of these nodes."""
    crowd = world.crowds[world.chance.choice(list(names))]
    path = f"burst/{number % 50}"
    if path in crowd.paths:
        crowd.withdraw(path)
    else:
        crowd.announce(path)


async def fall_behind(world: World) -> Any:
    """A replica that was promoted by itself, while everybody wrote to the primary for a second."""
    primary, replica = world.servers
    await asyncio.to_thread(replica.follow, primary)
    # The first replica gives the primary's history a new name; all have read it by then.
    await asyncio.sleep(world.renew + BACKOFF)
    await asyncio.to_thread(replica.promote)
    until = time.monotonic() + LOST_SECONDS
    number = 0
    while time.monotonic() < until:
        change(world, NODES, number)
        number += 1
        await asyncio.sleep(5 * BURST_SECONDS)
    return replica


@scenario(
    "a replica is promoted that lacks the last second of writes",
    numbers="19",
    ci=True,
    servers=2,
)
async def writes_lost(world: World) -> Bounds:
    replica = await fall_behind(world)
    world.lead_all(replica)
    await asyncio.to_thread(world.redis.kill)
    took = await reached(world, replica)
    await asyncio.sleep(world.lease)
    # What ended in the lost second is there again, until its owner is back.
    return world.bounds(LOST_SECONDS, more={"all at the new primary": (took, reach_seconds(world))})


@scenario(
    "the same, and half of the nodes come to it once it has counted past what they know",
    numbers="19",
    servers=2,
)
async def writes_lost_half_late(world: World) -> Bounds:
    replica = await fall_behind(world)
    for name in LATE:
        (world.directory / f"{name}.sock").unlink()
    early = [name for name in STRAIGHT if name not in LATE]
    for name in early:
        world.lead(name, replica)
    known = await asyncio.to_thread(sequences, world.redis)
    broke = time.monotonic()
    await asyncio.to_thread(world.redis.kill)
    await world.until(lambda: listeners(replica) == len(early), "some are at the new primary")
    number = 0
    while number < 2 * FEEDS or not all(
        new > old
        for new, old in zip(await asyncio.to_thread(sequences, replica), known, strict=True)
    ):
        for _ in range(10):
            change(world, (*early, THROUGH), number)
            number += 1
            await asyncio.sleep(BURST_SECONDS)
    away = time.monotonic() - broke
    world.lead_all(replica)
    took = await reached(world, replica)
    await asyncio.sleep(world.lease)
    return world.bounds(
        LOST_SECONDS + away, more={"all at the new primary": (took, reach_seconds(world))}
    )


async def split(world: World, seconds: float) -> float:
    """Half of the nodes write to a replica that was promoted, and the others to the old primary.

    Then the old one follows the new one. How long it took from there until all were at one again.
    """
    primary, replica = world.servers
    await asyncio.to_thread(replica.follow, primary)
    await asyncio.sleep(world.renew + BACKOFF)
    await asyncio.to_thread(replica.promote)
    for name in LATE:
        world.lead(name, replica)
        world.wires[name].drop()
    await asyncio.sleep(seconds)
    assert listeners(primary), "there was no split"
    assert listeners(replica), "there was no split"
    world.lead_all(replica)
    begun = time.monotonic()
    await asyncio.to_thread(primary.follow, replica)
    await reached(world, replica)
    return time.monotonic() - begun


@scenario("a split brain for a quarter of a lease", numbers="20", servers=2, wired=True)
async def split_brain(world: World) -> Bounds:
    seconds = world.lease / 4
    took = await split(world, seconds)
    await asyncio.sleep(world.lease)
    return world.bounds(seconds, more={"all at one primary": (took, reach_seconds(world))})


@scenario("a split brain for two and a half leases", numbers="20", servers=2, wired=True)
async def split_brain_for_long(world: World) -> Bounds:
    took = await split(world, 2.5 * world.lease)
    # Each side took the other for dead, and rightly: it had not renewed there. From here on nobody
    # is, and nothing that is known from now on vanishes. Media is judged from the beginning: what
    # flowed between the sides flows on.
    reaped = world.reaped()
    assert reaped, "nobody was taken for dead in the split"
    world.judged = Judged()
    for sampler in world.samplers.values():
        sampler.judged = world.judged
        sampler.returns(anew=True)
    await asyncio.sleep(world.lease)
    return world.bounds(
        reaped=int(reaped),
        gap=1.0,
        more={
            "reaped in the split": (reaped, 2 * len(NODES)),
            "all at one primary": (took, reach_seconds(world)),
        },
    )


@scenario("an empty replica is promoted", numbers="21", servers=2)
async def empty_promoted(world: World) -> Bounds:
    primary, replica = world.servers
    # Its first copy of everything is waited for, and never comes.
    await asyncio.to_thread(primary.execute, "CONFIG", "SET", "repl-diskless-sync-delay", "60")
    await asyncio.to_thread(replica.execute, "REPLICAOF", "127.0.0.1", primary.port)
    await world.until(
        lambda: "wait_bgsave" in primary.replication(), "the primary knows of the replica"
    )
    await asyncio.sleep(world.renew + BACKOFF)
    assert replica.execute("DBSIZE") == 0, "the replica is not empty"
    world.lead_all(replica)
    primary.kill()
    await asyncio.to_thread(replica.promote)
    took = await reached(world, replica)
    await asyncio.sleep(world.lease)
    return world.bounds(more={"all at the new primary": (took, reach_seconds(world))})


@scenario("a healthy primary gets its first replica", numbers="19", ci=True, servers=2)
async def first_replica(world: World) -> Bounds:
    primary, replica = world.servers
    changes = {node: node.counter("moq_cluster_epoch_changes_total") for node in world.living}
    whole = {node: snapshots(node) for node in world.living}
    await asyncio.to_thread(replica.follow, primary)
    took = await world.until(
        lambda: all(
            node.counter("moq_cluster_epoch_changes_total") >= changes[node] + FEEDS
            for node in world.living
        ),
        "every node has seen that the history has another name",
    )
    await asyncio.sleep(world.lease)
    most = max(snapshots(node) - whole[node] for node in world.living)
    return world.bounds(
        world.renew,
        more={
            "seen by all": (took, reach_seconds(world)),
            "feeds that a node read whole": (most, FEEDS),
        },
    )


@scenario(
    "Sentinel replaces the primary ten times in a row: killed, frozen, or healthy",
    numbers="22",
    servers=3,
    sentinels=True,
)
async def sentinel_failovers(world: World) -> Bounds:
    rounds = 10 if world.lease >= 8 else 3
    ways = ["killed", "frozen", "healthy"] * rounds
    outage = took = 0.0
    for number, way in enumerate(ways[:rounds]):
        if number == rounds // 2:
            # The nodes ask this one first. The other two are still the most of them.
            world.sentinels.pop(0).kill()
        begun = time.monotonic()
        new = await fail_over(world, way)
        outage = max(outage, time.monotonic() - begun)
        took = max(took, await reached(world, new))
        await returned(world, new)
        await asyncio.sleep(world.renew)
    await asyncio.sleep(world.lease)
    return world.bounds(
        outage,
        more={
            "Sentinel took": (outage, 10.0),
            "all at the new primary": (took, reach_seconds(world)),
        },
    )


def primary_of(world: World) -> Any:
    """The server that a Sentinel names."""
    port = world.sentinels[0].primary()
    return next(server for server in world.servers if server.port == port)


async def fail_over(world: World, way: str) -> Any:
    """Take the primary away, and wait for the next one; the old one comes back as it was."""
    old = await asyncio.to_thread(primary_of, world)
    if way == "killed":
        old.kill()
    elif way == "frozen":
        old.freeze()
    else:
        await asyncio.to_thread(world.sentinels[0].execute, "SENTINEL", "FAILOVER", SERVICE)
    await world.until(
        lambda: (new := primary_of(world)) is not old and new.execute("ROLE")[0] == "master",
        "the Sentinels have named another primary",
    )
    new = await asyncio.to_thread(primary_of, world)
    if way == "killed":
        await asyncio.to_thread(old.start)
    elif way == "frozen":
        old.thaw()
    return new


async def returned(world: World, primary: Any) -> None:
    """Wait until all servers follow the primary, and the Sentinels could replace it again."""
    others = len(world.servers) - 1
    await world.until(
        lambda: (
            primary.replication().count("'state': 'online'") == others
            and all(one.ready(others, 2) for one in world.sentinels)
        ),
        "every other server follows the new primary",
    )
