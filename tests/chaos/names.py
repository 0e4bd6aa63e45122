"""Two of one name, records that nobody understands, and paths that are hard to write down."""

import asyncio
from itertools import count

from moq_relay.cluster.keys import shard_of
from moq_relay.cluster.redis import RedisRoad
from tests.bench.cluster.beacon import Beacon
from tests.chaos.hand import KEYS, NODES, SHARDS, emit, generations, road, shard_keys
from tests.chaos.scenario import SLACK_SECONDS, Bounds, scenario
from tests.chaos.store import Store
from tests.chaos.world import DIRECT, FRESH, SETTLE_SECONDS, THROUGH, World, isolated
from tests.support.cluster_process import NodeProcess
from tests.support.relay_process import free_ports

AUDIT_SECONDS = 34.0
"""In which a node looks at all it has in the registry: 30 s, its 16 turns each a little late."""


@scenario("a second process takes a node's name, and is killed", noisy=True)
async def name_taken(world: World) -> Bounds:
    node = world[DIRECT]
    port, internal = free_ports(2)
    twin = NodeProcess(world.directory / "twin", "twin", node.toml, (port, internal))
    world.give_up(DIRECT)
    await asyncio.to_thread(twin.start)
    try:
        await world.until(lambda: isolated(node), f"{node} has lost its name")
        # Longer than a lease: who was fenced does not take its name back from a living process.
        await asyncio.sleep(1.5 * world.lease)
        assert isolated(node), f"{node} has its name back"
        for other in world.living:
            assert other.members()[node.url] == "up", f"{other} does not take the twin for {node}"
    finally:
        twin.kill()
    # Its last renewal may be as young as its death; who waits asks again when that lease is over.
    await asyncio.sleep(world.lease - world.renew)
    took = await world.take_back(DIRECT)
    # The twin is rightly taken for dead, if the one that waits for its lease is not faster.
    return world.bounds(
        reaped=1,
        more={"its name back after the lease by": (took, world.renew + SLACK_SECONDS)},
    )


async def say_late(store: Store, node: str, shard: int, other: RedisRoad) -> int:
    """Say what a node had said before, in one shard; how often that was heard."""
    meta, *_, own = shard_keys(shard, node)
    epoch, fence = store.execute("HMGET", meta, "e", f"f:{node}")
    generation, number = map(int, fence.split(" "))
    gone = [word for path in store.execute("HKEYS", own)[:1] for word in ("-", path)]
    come = ["+", f"never/said {shard}".replace(" ", "%20"), "1", "0", "", "-"]
    answers = [
        await other.call("write", shard, [node, epoch, str(its), str(at), *gone, *come, "E"])
        for its, at in ((generation, number), (generation, 1), (generation - 1, number + 1000))
    ]
    answers.append(await other.call("drop", shard, [node, str(generation - 1)]))
    return sum(answer[0] not in {"OLD", "NEWER"} for answer in answers)


async def say_again(store: Store, node: str, shard: int, other: RedisRoad) -> None:
    """Say all that a node has in a shard in its place, before it says its next word itself."""
    meta, table, _, own = shard_keys(shard, node)
    epoch, fence = store.execute("HMGET", meta, "e", f"f:{node}")
    generation, number = map(int, fence.split(" "))
    claims: list[str] = []
    for path, text in store.execute("HGETALL", own).items():
        since, token = text.split(" ")
        records = [line.split(" ") for line in store.execute("HGET", table, path).split("\n")]
        claims += ["+", path, token, "0", since]
        claims += [hops for owner, _, _, hops in records if owner == node]
    answer = await other.call(
        "write", shard, [node, epoch, str(generation), str(number + 1), *claims]
    )
    assert answer[0] == "OK", answer


@scenario("what a node said comes again by another road, late and at once", numbers="18")
async def two_roads(world: World) -> Bounds:
    node = world[THROUGH]
    refused = node.counter("moq_cluster_refused_writes_total")
    async with road(world.redis) as other:
        heard = 0
        for shard in SHARDS:
            heard += await say_late(world.redis, node.url, shard, other)
        old = str(generations(world.redis)[node.url] - 1)
        for words in (["unregister", old, "0"], ["renew", old, "0", "9000", "up", "0"]):
            script, *args = words
            answer = await other.call(script, None, [node.url, *args])
            heard += answer[0] not in {"OLD", "FENCED"}
        await world.rest(THROUGH)
        for shard in SHARDS:
            await say_again(world.redis, node.url, shard, other)
        world.crowds[THROUGH].rests = False
        await world.until(
            lambda: node.counter("moq_cluster_refused_writes_total") > refused,
            "the node hears that another road was faster",
        )
    return world.bounds(more={"late words that were heard": (heard, 0)})


@scenario("records and events are written by hand that nobody understands", numbers="41")
async def table_poisoned(world: World) -> Bounds:
    execute, node = world.redis.execute, world[DIRECT]
    before = {one: unknown(one) for one in world.living}
    registered = node.counter("moq_cluster_registrations_total")
    for shard in (None, *SHARDS):
        for lines in ("Z what 1", "+ x", "M x 1", "X", "D a b\nE", "+ x y z since -", "\x00%"):
            emit(world.redis, shard, lines)
        execute("PUBLISH", KEYS.channel(shard), "no event")
        execute("PUBLISH", KEYS.channel(shard), b"\xff\xfe")
    await world.until(
        lambda: all(unknown(one) - before[one] >= 9 * len(SHARDS) for one in world.living),
        "every node counts what it does not understand",
    )
    # Of a member, which then has to say anew that it is one; and of one that is none.
    execute("HSET", NODES, node.url, "x by a hand")
    execute("HSET", NODES, "https://nobody/", b"\xff by a hand")
    await world.until(
        lambda: node.counter("moq_cluster_registrations_total") > registered, "it registers anew"
    )
    crowd, paths = world.crowds[DIRECT], [name_in(shard) for shard in SHARDS]
    for path in paths:
        crowd.announce(path, Beacon())
    await world.until(lambda: set(paths) <= node.table().keys(), "it has one in every shard")
    records = [execute("HGET", shard_keys(shard)[1], path) for shard, path in enumerate(paths)]
    for shard, path in enumerate(paths):
        table = shard_keys(shard)[1]
        execute("HSET", table, path, "by a hand" if shard % 2 else f"{records[shard]}\nby a hand")
        execute("HSET", table, "nobody/has it", b"\xff\x00 by a hand")
    fresh = world[FRESH]
    await asyncio.to_thread(fresh.start)
    await world.until(
        lambda: unknown(fresh) > len(SHARDS), "a newcomer counts what was not put right yet"
    )
    await asyncio.to_thread(fresh.stop)
    healed = await world.until(
        lambda: (
            records
            == [execute("HGET", shard_keys(shard)[1], path) for shard, path in enumerate(paths)]
        ),
        "their owner has put them right",
        AUDIT_SECONDS + world.renew,
    )
    for shard, path in enumerate(paths):
        execute("HDEL", shard_keys(shard)[1], "nobody/has it")
        crowd.withdraw(path)
    execute("HDEL", NODES, "https://nobody/")
    return world.bounds(more={"put right by its owner after": (healed, AUDIT_SECONDS)})


def name_in(shard: int) -> str:
    """A path in that shard."""
    return next(
        path for number in count() if shard_of(path := f"spoilt/{number}", len(SHARDS)) == shard
    )


def unknown(node: NodeProcess) -> float:
    """What it read and did not understand."""
    return node.counter("moq_cluster_unknown_total")


ODD = (
    *(
        "x" * 4096,
        "/".join(["y" * 127] * 32),
        "%",
        "%0A",
        "%%2525",
        "a%20b",
        "\n",
        "a\nb\n",
        "\r\n",
    ),
    *(
        " ",
        " before and after ",
        "a  b",
        "\t",
        "\0",
        "a\0b",
        "\x1b[31m",
        "\x7f",
        "\u0085",
        "\u2028",
    ),
    *(
        "é",
        "e\u0301",
        "ünï/cödé",
        "日本/東京",
        "😀",
        "👩\u200d👩\u200d👧/🏳️",
        "\uffff",
        "\U0010ffff",
        "\ufeff",
    ),
    *("+", "-", "E", "+ a b 1 2 -", "{o3}", "{", "*?[a]", '"', "\\", "'; --", "a..b", "-1"),
)
"""Paths that a text, a key or a path could mistake for something of its own."""


@scenario("paths that are hard to write down come, go, and survive their node", numbers="42")
async def odd_paths(world: World) -> Bounds:
    chance, beacon = world.chance, Beacon()
    media = "odd/😀 %0A\n\0 " + "z" * 4000
    before = {node: repairs(node) for node in world.living}
    for path in ODD:
        for crowd in chance.sample(list(world.crowds.values()), 2):
            if path not in crowd.paths:
                crowd.announce(path)
    await world.agree(SETTLE_SECONDS)
    async with beacon.shining():
        world.crowds[THROUGH].announce(media, beacon)
        waited = max([await world.audience.look_in(node.port, media) for node in world.living])
        world.crowds[THROUGH].withdraw(media)
    repaired = sum(repairs(node) - before[node] for node in world.living)
    # All that it had is left behind in the registry, and then it has it again.
    await world.kill(DIRECT)
    await world.start(DIRECT)
    await world.members()
    return world.bounds(
        more={"a newcomer waited": (waited, 2.0), "claims that an audit repaired": (repaired, 0)}
    )


def repairs(node: NodeProcess) -> float:
    """Claims that a routine audit of its own found to be wrong."""
    return node.counter("moq_cluster_audit_repairs_total")
