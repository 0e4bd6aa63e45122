"""Faults of the ways between the nodes, and from one node to the registry, while all live."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

from tests.bench.cluster.beacon import Beacon
from tests.chaos.audience import Audience
from tests.chaos.oracle import SAMPLE_SECONDS
from tests.chaos.registry_faults import snapshots
from tests.chaos.scenario import SLACK_SECONDS, Bounds, scenario
from tests.chaos.world import BACKOFF, DIRECT, NODES, ROOTS, THROUGH, World, isolated
from tests.support.cluster_process import NodeProcess

STRAIGHT = (*ROOTS, DIRECT)
"""Nodes that speak with Redis themselves."""
LOSS = 0.05
FEED = b":feed"
"""The end of a channel's name by which events come, and not the probes of a node's own way."""
KILLS = 30
KILL_SECONDS = 0.3
RECONNECTED_SECONDS = 5.0
FAILOVER_SECONDS = 3.0
RESUMED_SECONDS = 1.5
"""From the end of a cut until media comes again: a ping, and what waited."""
ROUND_TRIP_SECONDS = 0.2
"""The longest of those that `slow_down` makes."""


def roads_lost(*nodes: NodeProcess) -> float:
    """How often their ways to the registry went down."""
    return sum(node.counter("moq_cluster_road_losses_total") for node in nodes)


@asynccontextmanager
async def watched(world: World, path: str, node: str, *viewers: str) -> AsyncIterator[Audience]:
    """One more broadcast with media at ``node``, and who watches it elsewhere."""
    beacon, audience = Beacon(), Audience(path)
    async with beacon.shining():
        world.crowds[node].announce(path, beacon)
        try:
            for name in viewers:
                await audience.join(name, world[name].port)
            audience.forget_figures()
            yield audience
            await audience.caught_up(beacon)
        finally:
            await audience.end()
            world.crowds[node].withdraw(path)


@scenario(
    "one in twenty of the messages to every node that listens is lost",
    numbers="10",
    wired=True,
    ci=True,
)
async def messages_lost(world: World) -> Bounds:
    before = {node: snapshots(node) for node in world.living}
    roads = roads_lost(*world.living)
    wires = [world.wires[name] for name in STRAIGHT]
    # Probes are spared: without its probe a road would be laid anew, which heals all.
    for wire in wires:
        wire.loses = lambda channel: channel.endswith(FEED) and world.chance.random() < LOSS
    await asyncio.sleep(1.5 * world.lease)
    lost = sum(wire.lost for wire in wires)
    assert lost, "no message was lost"
    # Of the last before a silence nothing tells but the question for the end of the feed.
    world.churn.goes_on = False
    for wire in wires:
        wire.loses = lambda channel: channel.endswith(FEED)
    await asyncio.sleep(2 * world.renew + SLACK_SECONDS)
    world.crowds[THROUGH].announce("last/before silence")
    waited = await world.until(
        lambda: all("last/before silence" in node.table() for node in world.living),
        "all know of an announcement whose message was lost",
    )
    world.mend()
    world.churn.goes_on = True
    world.crowds[THROUGH].withdraw("last/before silence")
    whole = max(snapshots(node) - before[node] for node in world.living)
    probed = 2 * world.renew + SLACK_SECONDS
    return world.bounds(
        lag=probed,
        ghost=probed,
        more={
            "tail": (waited, probed),
            "feeds read whole": (whole, 0),
            "roads lost": (roads_lost(*world.living) - roads, 0),
        },
    )


@scenario("every subscription is killed thirty times, each 300 ms", numbers="9", wired=True)
async def subscriptions_killed(world: World) -> Bounds:
    before = {node: snapshots(node) for node in world.living}
    for _ in range(KILLS):
        await asyncio.to_thread(world.redis.execute, "CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(KILL_SECONDS)
    whole = max(snapshots(node) - before[node] for node in world.living)
    # No poll is waited for: at most two of the pauses between attempts follow on each other.
    late = 2 * BACKOFF + SLACK_SECONDS
    return world.bounds(lag=late, ghost=late, more={"feeds read whole": (whole, 0)})


async def out_of_touch(world: World, name: str, cut: Callable[[], None]) -> Bounds:
    """One node cannot reach the registry for longer than a lease, and its peers can reach it."""
    node, others = world[name], [other for other in NODES if other != name]
    away = 2 * world.lease
    path = f"live/{name}"
    async with watched(world, path, name, *others) as audience:
        loop = asyncio.get_running_loop()
        began = loop.time()
        world.give_up(name)
        cut()
        await world.until(lambda: isolated(node), f"{name} says that it is isolated")
        await world.until(
            lambda: all(node.url not in world[other].members() for other in others),
            f"{name} is no member any more",
        )
        waited = await world.audience.look_in(node.port)
        for other in others:
            waited = max(waited, await world.audience.look_in(world[other].port, path))
        await asyncio.sleep(max(0.0, began + away - loop.time()))
        stale = node.counter("moq_cluster_staleness_seconds")
        back = await world.take_back(name)
        await asyncio.sleep(world.lease / 2)
    return world.bounds(
        reaped=1,
        more={
            "staleness short of the cut": (away - stale, SLACK_SECONDS),
            "nobody taken for dead": (1 - world.reaped(), 0),
            "newcomer waited": (waited, 2.0),
            "in touch again": (back, RECONNECTED_SECONDS),
            "groups of its media missed": (audience.missed, 0),
            "its viewers rejoined": (audience.rejoined, 0),
        },
    )


@scenario(
    "one node cannot reach Redis for two leases; its peers can reach it",
    numbers="23",
    wired=True,
    ci=True,
)
async def one_without_redis(world: World) -> Bounds:
    return await out_of_touch(world, DIRECT, world.wires[DIRECT].cut)


@scenario(
    "one node cannot reach its roots for two leases; all can reach it", numbers="23", wired=True
)
async def one_without_roots(world: World) -> Bounds:
    return await out_of_touch(world, THROUGH, lambda: world.cut_dials(THROUGH, *ROOTS))


@scenario("one node sends to Redis and gets nothing back", numbers="25", wired=True)
async def redis_unheard(world: World) -> Bounds:
    node = world[DIRECT]
    world.wires[DIRECT].cut("back")
    noticed = await world.until(lambda: isolated(node), "the node notices")
    world.mend()
    back = await world.until(lambda: not isolated(node), "it is in touch again")
    probed = 2 * world.renew + SLACK_SECONDS
    return world.bounds(
        noticed, more={"noticed": (noticed, probed), "in touch again": (back, RECONNECTED_SECONDS)}
    )


@scenario("one node sends to its roots and gets nothing back", numbers="25", wired=True)
async def roots_unheard(world: World) -> Bounds:
    node = world[THROUGH]
    world.cut_dials(THROUGH, *ROOTS, directions=["back"])
    noticed = await world.until(lambda: isolated(node), "the node notices")
    # The one that it used stays mute.
    world.fronts[ROOTS[1]].mend()
    back = await world.until(lambda: not isolated(node), "it is in touch again")
    world.mend()
    return world.bounds(
        noticed + back,
        more={
            "noticed": (noticed, world.lease * 3 / 8 + SLACK_SECONDS),
            "in touch again": (back, RECONNECTED_SECONDS),
        },
    )


@scenario("one node's subscription lives and brings nothing", numbers="25", wired=True)
async def subscription_mute(world: World) -> Bounds:
    node = world[DIRECT]
    before = roads_lost(node)
    world.wires[DIRECT].loses = lambda _channel: True
    noticed = await world.until(lambda: roads_lost(node) > before, "the node notices")
    world.mend()
    back = await world.until(lambda: not isolated(node), "it is in touch again")
    probed = 2 * world.renew + SLACK_SECONDS
    return world.bounds(
        noticed, more={"noticed": (noticed, probed), "in touch again": (back, RECONNECTED_SECONDS)}
    )


async def out_of_reach(world: World, seconds: float) -> Bounds:
    """No other node reaches one that has a broadcast, nor is reached by it; another has it too."""
    path, beacon, audience = "live/twice", Beacon(), Audience("live/twice")
    newest, elder, elsewhere = DIRECT, ROOTS[1], (ROOTS[0], THROUGH)
    turns = [Turns(world[name], path) for name in elsewhere]
    async with beacon.shining(), following(*turns):
        for owner in (elder, newest):
            world.crowds[owner].announce(path, beacon)
            await world.until(
                lambda url=world[owner].url: all(url in turn.known for turn in turns),
                f"all know that {owner} has it",
            )
        for name in elsewhere:
            await audience.join(name, world[name].port)
        await world.until(
            lambda: all(turn.taken[-1:] == [world[newest].url] for turn in turns),
            "all are served by the newest",
        )
        audience.forget_figures()
        before = [len(turn.taken) for turn in turns]
        world.cut_off(newest)
        await asyncio.sleep(seconds)
        world.mend()
        returned = await world.until(
            lambda: all(turn.taken[-1] == world[newest].url for turn in turns),
            "all are served by the newest again",
        )
        await asyncio.sleep(1.0)
        await audience.caught_up(beacon)
        most = max(len(turn.taken) - count for turn, count in zip(turns, before, strict=True))
        await audience.end()
        for owner in (elder, newest):
            world.crowds[owner].withdraw(path)
    return world.bounds(
        gap=seconds + RESUMED_SECONDS,
        more={
            "gap where another has it": (audience.longest_gap, FAILOVER_SECONDS),
            "turns to another route": (most, 2),
            "groups missed there": (audience.missed, 0),
            "rejoined there": (audience.rejoined, 0),
            "served by the newest again": (returned, RECONNECTED_SECONDS),
        },
    )


@scenario("one node reaches Redis and no other node for 3 s", numbers="24", wired=True, ci=True)
async def one_without_peers(world: World) -> Bounds:
    return await out_of_reach(world, 3.0)


@scenario("one node reaches Redis and no other node for 10 s", numbers="24", wired=True)
async def one_without_peers_for_long(world: World) -> Bounds:
    return await out_of_reach(world, 10.0)


@scenario("Redis and the roots are 150 ± 50 ms away", numbers="26", wired=True)
async def far_away(world: World) -> Bounds:
    before = roads_lost(*world.living)
    slow_down(world)
    await asyncio.sleep(3 * world.lease)
    lost = roads_lost(*world.living) - before
    world.mend()
    # A change waits for the write under way, and that perhaps for an audit; of the node behind the
    # roots both ways count.
    late = 3 * (2 * ROUND_TRIP_SECONDS) + SLACK_SECONDS
    return world.bounds(lag=late, ghost=late, more={"roads lost": (lost, 0)})


@scenario(
    "Redis and the roots are 150 ± 50 ms away, and ways to it are lost", numbers="26", wired=True
)
async def lost_when_far_away(world: World) -> Bounds:
    slow_down(world)
    # The root that a node comes through has to be back first: six round trips of 0.2 s and 0.4 s
    # until that one renews, which is more than a lease of 2 s leaves.
    for name in STRAIGHT if world.lease > 2 else STRAIGHT[1:]:
        world.wires[name].drop()
    await asyncio.sleep(world.renew)
    back = await world.until(
        lambda: not any(isolated(node) for node in world.living), "all are in touch again"
    )
    await asyncio.sleep(world.lease)
    world.mend()
    late = 4 * ROUND_TRIP_SECONDS
    return world.bounds(back + late, more={"in touch again": (back, RECONNECTED_SECONDS)})


def slow_down(world: World) -> None:
    """Half of the round trip each way."""
    for way in (*world.wires.values(), *(world.fronts[root] for root in ROOTS)):
        way.delay, way.jitter = 0.075, 0.025


class Turns:
    """By which nodes a path can be had at another, and by which it was."""

    def __init__(self, node: NodeProcess, path: str) -> None:
        self.known: set[str] = set()
        """Who has it, as that node last said."""
        self.taken: list[str] = []
        """Whom it turned to, in order."""
        self._node = node
        self._path = quote(path)

    async def follow(self) -> None:
        """Look until cancelled."""
        while True:
            routes = (await asyncio.to_thread(self._node.facts, f"/routes/{self._path}"))["routes"]
            self.known = {route["node"] for route in routes}
            used = [route["node"] for route in routes if route["in_use"]]
            if used and used != self.taken[-1:]:
                self.taken += used
            await asyncio.sleep(SAMPLE_SECONDS)


@asynccontextmanager
async def following(*turns: Turns) -> AsyncIterator[None]:
    """Follow all of them until the end of the block."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(turn.follow()) for turn in turns]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
