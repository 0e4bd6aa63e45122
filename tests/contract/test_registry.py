"""The registry over every road: what a node may rely on, whatever gets lost on the way."""

import asyncio

import pytest

from moq_relay.cluster.keys import shard_of
from moq_relay.cluster.records import Offer
from moq_relay.cluster.road import Message
from moq_relay.errors import RegistryUnavailable
from tests.contract.roads import MAKERS, QUICK, Cluster, cluster_on, until

A, B = "https://a.example/", "https://b.example/"
ROOM = "room/alice"
SHARD = shard_of(ROOM, 16)
LEASE = QUICK.lease


@pytest.fixture(params=MAKERS)
async def cluster(request, tmp_path):
    async with cluster_on(MAKERS[request.param], tmp_path) as cluster:
        yield cluster


# --- what it is for -------------------------------------------------------------------------------


async def test_what_one_node_has_the_others_see(cluster: Cluster):
    a, b = await cluster.join(A, region="eu", hop=7), await cluster.join(B)

    a.registry.claim(ROOM, 2.0, (5, 6))
    await until(lambda: b.has(ROOM, A) == "live")

    (view,) = b.registry.claims(ROOM)
    assert view.claim.hops == (5, 6)
    assert view.claim.since == pytest.approx(b.registry.redis_now() - 2.0, abs=1.0)
    # The others may hear of a write before its answer has come.
    await until(lambda: a.registry.own_since(ROOM) is not None)
    assert view.claim.since == a.registry.own_since(ROOM)
    assert b.registry.members[A].member.region == "eu"
    assert b.registry.members[A].member.hop == 7
    assert ("claims", ROOM) in b.heard
    assert ("members", A) in b.heard


async def test_what_a_node_releases_is_gone_everywhere(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))

    a.registry.release(ROOM)

    await until(lambda: not b.has(ROOM, A))
    assert list(b.registry.paths()) == []
    assert cluster.world.read(SHARD, ROOM) is None


async def test_a_late_reader_has_what_was_there_before_it_came(cluster: Cluster):
    a = await cluster.join(A)
    for number in range(50):
        a.registry.claim(f"room/{number}", 0.0)
    await until(lambda: len(list(a.registry.paths())) == 50)

    b = await cluster.join(B)

    assert sorted(b.registry.paths()) == sorted(a.registry.paths())


@pytest.mark.parametrize("path", ["", "a b", "a%20b", "new\nline", "nul\0", "ü/漢字", "x" * 4096])
async def test_a_path_arrives_exactly_as_it_was(cluster: Cluster, path):
    a, b = await cluster.join(A), await cluster.join(B)

    a.registry.claim(path, 0.0)

    await until(lambda: b.has(path, A))
    assert list(b.registry.paths()) == [path]
    a.registry.release(path)
    await until(lambda: not list(b.registry.paths()))


async def test_a_node_that_stops_is_gone_at_once(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))
    version = b.registry.version

    await cluster.stop(a)

    await until(lambda: A not in b.registry.members, seconds=1)
    assert b.registry.claims(ROOM) == []
    assert b.registry.version > version
    await until(lambda: cluster.world.read(SHARD, ROOM) is None, seconds=1)


async def test_a_node_that_drains_says_so_and_keeps_its_generation(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))
    generation = b.generation(A)

    a.registry.set_state("draining")

    await until(lambda: b.registry.members[A].state == "draining")
    assert b.has(ROOM, A) == "draining"
    assert b.generation(A) == generation


async def test_what_a_node_offers_to_clients_is_known_with_its_next_renewal(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    generation = b.generation(A)
    offer = Offer(addresses=("192.0.2.1", "2001:db8::1"), coordinates=(50.11, -8.5), load=30)

    a.registry.offer(offer)

    await until(lambda: b.registry.members[A].member.offer == offer)
    assert b.generation(A) == generation
    assert b.registry.members[A].state == "up"


async def test_the_rest_of_a_lease_is_known(cluster: Cluster):
    await cluster.join(A)
    b = await cluster.join(B)

    await until(lambda: 0 < b.registry.members[A].lease_remaining_seconds <= LEASE)


# --- 1: a feed heals whatever happens to its messages ---------------------------------------------


async def test_lost_messages_are_found_by_the_next_or_by_silence(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    b.road.hear = lambda _message: []
    a.registry.claim(ROOM, 0.0)
    await until(lambda: a.has(ROOM, A))

    await until(lambda: b.has(ROOM, A), seconds=3 * QUICK.renew)


async def test_a_gap_is_read_from_the_log_and_not_whole(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    paths = [path for path in map("room/{}".format, range(99)) if shard_of(path, 16) == SHARD]
    dropped: list[Message] = []
    snapshots = b.registry.status.snapshots

    def lose_first(message: Message) -> list[Message]:
        if message.shard == SHARD and not dropped:
            dropped.append(message)
            return []
        return [message]

    b.road.hear = lose_first
    for path in paths[:3]:
        a.registry.claim(path, 0.0)
        await until(lambda path=path: a.has(path, A))

    await until(lambda: all(b.has(path, A) for path in paths[:3]), seconds=QUICK.renew)
    assert b.registry.status.gaps == 1
    assert b.registry.status.snapshots == snapshots


async def test_doubled_and_reordered_messages_change_nothing(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    held: list[Message] = []

    def shuffle(message: Message) -> list[Message]:
        held.append(message)
        if len(held) < 3:
            return []
        out = [held[2], held[0], held[0], held[1], held[2]]
        held.clear()
        return out

    b.road.hear = shuffle
    for turn in range(30):
        a.registry.claim(ROOM, 0.0)
        await until(lambda: a.has(ROOM, A))
        a.registry.release(ROOM)
        a.registry.claim(f"room/{turn}", 0.0)
        await until(lambda: not a.has(ROOM, A))

    await until(lambda: sorted(b.registry.paths()) == sorted(a.registry.paths()))
    assert b.has(ROOM, A) is None


async def test_a_message_of_nobody_knows_what_is_counted_and_ignored(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))
    feed = b.registry._table.shards[SHARD]
    record = f"{A} {b.generation(A)} 17 1,2 of-a-later-version"

    other = next(path for path in map("room/{}".format, range(99)) if shard_of(path, 16) == SHARD)
    lines = f"? what is this\n+ {other} {record}\n+ broken"
    cluster.world.publish(SHARD, f"{feed.epoch} {feed.sequence + 1} {lines}")

    await until(lambda: b.has(other, A))
    status = b.registry.status
    assert (status.unknown_lines, status.unknown_fields, status.malformed) == (1, 1, 1)


# --- names are owned (rule 10) -------------------------------------------------------------------


async def test_of_two_processes_with_one_name_the_first_is_isolated_until_the_other_is_gone(
    cluster: Cluster, caplog
):
    first, b = await cluster.join(A), await cluster.join(B)
    first.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))

    second = await cluster.join(A)
    second.registry.claim("room/bob", 0.0)
    await until(lambda: first.registry.status.isolated)
    await until(lambda: "another live process" in (first.registry.status.isolated or ""))

    await until(lambda: b.has("room/bob", A) == "live")
    assert b.has(ROOM, A) is None
    assert [record.levelname for record in caplog.records if "name taken" in record.message] == [
        "ERROR"
    ]
    assert second.registry.status.isolated is None

    await cluster.crash(second)
    await until(lambda: b.has(ROOM, A) == "live", seconds=3 * LEASE)
    assert first.registry.status.isolated is None
    assert b.has("room/bob", A) is None


async def test_a_late_drop_of_an_old_registration_leaves_the_new_one_alone(cluster: Cluster):
    road = await cluster.raw(A)
    _, epoch, *_ = await road.call("attach", SHARD, ["0"])
    claim = [A, epoch, "8", "1", "+", ROOM, "token", "0", "", "-"]
    assert (await road.call("write", SHARD, claim))[0] == "OK"

    assert await road.call("drop", SHARD, [A, "7"]) == ["NEWER"]
    assert cluster.world.read(SHARD, ROOM) is not None

    assert await road.call("drop", SHARD, [A, "8"]) == ["OK", 1]
    assert cluster.world.read(SHARD, ROOM) is None
    assert (await road.call("write", SHARD, [A, epoch, "8", "9", "-", ROOM]))[0] == "OLD"


# --- what is asked at the registry itself ---------------------------------------------------------


async def test_all_who_look_for_a_path_ask_once(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    b.road.hear = lambda _message: []
    await until(lambda: a.has(ROOM, A))

    answers = await asyncio.gather(*(b.registry.lookup(ROOM) for _ in range(20)))

    assert b.road.called("lookup") == 1
    assert [[view.claim.node for view in views] for views in answers] == [[A]] * 20
    assert b.has(ROOM, A) == "live"


async def test_a_lookup_without_the_registry_says_so(cluster: Cluster):
    b = await cluster.join(B)
    b.road.cut()

    with pytest.raises(RegistryUnavailable):
        await b.registry.lookup(ROOM)

    assert (b.registry.status.isolated or "").startswith("the registry is unreachable")


async def test_what_was_known_stays_known_without_the_registry(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))

    b.road.cut()
    await asyncio.sleep(LEASE + 1.5)

    assert b.has(ROOM, A) == "live"
    assert b.registry.status.staleness_seconds > LEASE
