"""The numbered rules of the registry (docs/adr/0008), each by a test that fails without it."""

import asyncio
import time
from dataclasses import replace

import pytest

from moq_relay.cluster.keys import shard_of
from tests.contract.roads import MAKERS, QUICK, Cluster, cluster_on, until

A, B, C = "https://a.example/", "https://b.example/", "https://c.example/"
ROOM = "room/alice"
SHARD = shard_of(ROOM, 16)
LEASE = QUICK.lease


@pytest.fixture(params=MAKERS)
async def cluster(request, tmp_path):
    async with cluster_on(MAKERS[request.param], tmp_path) as cluster:
        yield cluster


# --- 2: only who holds exactly this registration renews -------------------------------------------


async def test_a_registration_that_the_registry_lost_is_made_anew(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))
    generation = a.registry.status.generation
    assert generation is not None
    record = cluster.world.read(None, A)
    assert record is not None

    # As a replica that was promoted before the registration reached it.
    cluster.world.edit(None, A, record.replace(str(generation), str(generation - 5), 1))

    await until(lambda: b.generation(A) > generation)
    await until(lambda: b.has(ROOM, A) == "live")
    assert b.registry.claims(ROOM)[0].claim.generation > generation


@pytest.mark.parametrize("garbage", ["garbage", "written by a hand"])
async def test_garbage_in_place_of_a_registration_owns_no_name(cluster: Cluster, garbage, caplog):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))
    generation = b.generation(A)

    cluster.world.edit(None, A, garbage)

    await until(lambda: b.generation(A) > generation)
    await until(lambda: b.has(ROOM, A) == "live")
    assert "name taken" not in caplog.text


@pytest.mark.parametrize("fault", ["lose_request", "lose_answer"])
async def test_a_lost_register_leaves_no_node_that_thinks_it_is_one(cluster: Cluster, fault):
    b = await cluster.join(B)
    a = cluster.start(A)
    getattr(a.road, fault).append("register")
    a.registry.claim(ROOM, 0.0)

    await until(lambda: b.has(ROOM, A) == "live")

    record = cluster.world.read(None, A)
    assert record is not None
    assert int(record.split(" ")[0]) == a.registry.status.generation == b.generation(A)
    assert b.registry.claims(ROOM)[0].claim.generation == b.generation(A)


async def test_everything_is_registered_and_claimed_again_after_all_was_lost(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 3.0)
    await until(lambda: b.has(ROOM, A))
    since, generation = a.registry.own_since(ROOM), b.generation(A)
    vanished = []
    watch = asyncio.get_running_loop().create_future()

    class Sees:
        def claims_changed(self, path: str) -> None:
            if path == ROOM and b.has(ROOM, A) is None:
                vanished.append(time.monotonic())
            if b.has(ROOM, A) == "live" and b.generation(A) > generation and not watch.done():
                watch.set_result(None)

        def members_changed(self, node: str) -> None:
            pass

    b.registry.watch(Sees())
    cluster.world.flush()

    async with asyncio.timeout(5):
        await watch
    assert vanished == []
    assert a.registry.own_since(ROOM) == since == b.registry.claims(ROOM)[0].claim.since
    assert cluster.world.read(SHARD, ROOM) is not None


# --- 3: every write carries generation and number -------------------------------------------------


async def test_an_old_road_that_writes_late_wins_nothing(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.road.lose_request.append("write")
    a.registry.claim(ROOM, 0.0)
    await until(lambda: a.road.lost)
    await until(lambda: b.has(ROOM, A) == "live")
    a.registry.release(ROOM)
    await until(lambda: not b.has(ROOM, A))
    (late,) = a.road.lost

    answer = await a.road.inner.call(*late)

    assert answer[0] == "OLD"
    assert cluster.world.read(SHARD, ROOM) is None


async def test_a_write_of_an_old_generation_is_refused(cluster: Cluster):
    a = await cluster.join(A)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: a.has(ROOM, A))
    generation = a.registry.status.generation
    assert generation is not None
    epoch = a.registry._table.shards[SHARD].epoch
    assert epoch is not None
    road = await cluster.raw(A)

    old = await road.call("write", SHARD, [A, epoch, str(generation - 1), "999", "-", ROOM])
    again = await road.call("write", SHARD, [A, epoch, str(generation), "1", "-", ROOM])

    assert old[0] == again[0] == "OLD"
    assert a.has(ROOM, A) == "live"
    assert cluster.world.read(SHARD, ROOM) is not None


async def test_a_claim_tried_again_after_its_answer_was_lost_is_one_claim(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.road.lose_answer.append("write")

    a.registry.claim(ROOM, 1.0)

    await until(lambda: b.has(ROOM, A))
    first = b.registry.claims(ROOM)[0].claim.since
    await until(lambda: a.registry.own_since(ROOM) is not None)
    assert a.registry.own_since(ROOM) == first == b.registry.claims(ROOM)[0].claim.since
    assert cluster.world.read(SHARD, ROOM).count("\n") == 0


# --- 4: the dead are reaped, the living never -----------------------------------------------------


async def test_a_lease_that_ends_takes_the_node_and_its_claims(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    await asyncio.sleep(LEASE)  # calm: nobody is reaped before a lease of it
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))

    await cluster.crash(a)
    died = time.monotonic()

    await until(lambda: A not in b.registry.members)
    # A busy machine may lose the road for a moment, and then a lease of calm begins anew.
    assert LEASE / 2 < time.monotonic() - died < 2 * LEASE + 1.0
    assert b.registry.claims(ROOM) == []
    await until(lambda: cluster.world.read(SHARD, ROOM) is None, seconds=1)


async def test_a_node_that_was_away_for_longer_than_its_lease_comes_back_with_all(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))
    since = a.registry.own_since(ROOM)
    await asyncio.sleep(LEASE)
    a.road.cut()
    await until(lambda: A not in b.registry.members)

    a.road.mend()

    await until(lambda: b.has(ROOM, A) == "live")
    assert b.registry.claims(ROOM)[0].claim.since == since


# --- 5: a claim counts only with its member -------------------------------------------------------


async def test_claims_from_before_a_registration_do_not_count(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))
    a.road.cut()

    await cluster.join(A)

    await until(lambda: not b.has(ROOM, A), seconds=1)
    c = await cluster.join(C)
    assert c.registry.claims(ROOM) == []
    assert ROOM not in list(c.registry.paths())


async def test_a_claim_of_nobody_does_not_count(cluster: Cluster):
    a = await cluster.join(A)
    cluster.world.edit(SHARD, ROOM, f"{C} 1790000000000 1790000000000000 -")

    b = await cluster.join(B)

    assert b.registry.claims(ROOM) == []
    assert list(b.registry.paths()) == []
    assert a.registry.claims(ROOM) == []


# --- 6: the newest publisher, by Redis' clock -----------------------------------------------------


async def test_a_new_publisher_is_newer_than_all_others_even_if_the_clock_went_back(
    cluster: Cluster,
):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))
    ahead = round((b.registry.redis_now() + 3600) * 1e6)
    cluster.world.edit(SHARD, ROOM, f"{A} {a.registry.status.generation} {ahead} -")

    b.registry.claim(ROOM, 0.0)
    b.registry.claim("room/bob", 0.0)
    await until(lambda: b.registry.own_since(ROOM))

    assert round(b.registry.own_since(ROOM) * 1e6) == pytest.approx(ahead + 1, abs=1)


async def test_an_old_publisher_is_dated_by_its_age_alone(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.5)
    await until(lambda: b.has(ROOM, A))

    b.registry.claim(ROOM, 60.0)
    await until(lambda: a.has(ROOM, B))

    assert [view.claim.node for view in a.registry.claims(ROOM)] == [A, B]
    assert [view.claim.node for view in b.registry.claims(ROOM)] == [A, B]


async def test_two_publishers_of_a_path_on_one_node_are_one_claim_of_the_newest(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 30.0)
    await until(lambda: b.has(ROOM, A))
    first = b.registry.claims(ROOM)[0].claim.since

    a.registry.claim(ROOM, 0.0)

    await until(lambda: b.registry.claims(ROOM)[0].claim.since > first + 20)
    assert len(b.registry.claims(ROOM)) == 1
    assert a.registry.own_since(ROOM) == b.registry.claims(ROOM)[0].claim.since


async def test_a_publisher_that_is_claimed_again_keeps_its_date_and_another_does_not(
    cluster: Cluster,
):
    road = await cluster.raw(A)
    _, epoch, *_ = await road.call("attach", SHARD, ["0"])

    async def claim(number: int, token: str) -> str:
        operation = ["+", ROOM, token, "0", "", "-"]
        return (await road.call("write", SHARD, [A, epoch, "7", str(number), *operation]))[3][0]

    first, again = await claim(1, "x"), await claim(2, "x")
    other = await claim(3, "y")

    assert first == again
    assert int(other) > int(first)


# --- 7: what a loss of data took stays until its owner has spoken ---------------------------------


async def test_what_the_registry_lost_stays_stale_and_goes_after_lease_and_backoff(
    cluster: Cluster,
):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))
    await cluster.crash(a)

    cluster.world.flush()
    await until(lambda: b.registry.status.stale_routes == 1)
    lost = time.monotonic()

    assert b.has(ROOM, A) == "stale"
    assert b.registry.members[A].state == "stale"
    await until(lambda: not b.has(ROOM, A))
    assert time.monotonic() - lost >= LEASE + 0.5
    await until(lambda: A not in b.registry.members)


async def test_what_is_stale_stays_while_a_link_to_its_owner_is_up(cluster: Cluster):
    links = {A}
    a, b = await cluster.join(A), await cluster.join(B, vouched_for=links.__contains__)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: b.has(ROOM, A))
    await cluster.crash(a)
    cluster.world.flush()
    await until(lambda: b.has(ROOM, A) == "stale")

    await asyncio.sleep(LEASE + 1.5)
    assert b.has(ROOM, A) == "stale"

    links.clear()
    await until(lambda: not b.has(ROOM, A), seconds=1)


async def test_who_has_re_announced_all_ends_what_it_did_not(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    a.registry.claim("room/bob", 0.0)
    await until(lambda: b.has(ROOM, A) and b.has("room/bob", A))
    a.road.cut()
    cluster.world.flush()
    await until(lambda: b.has(ROOM, A) == "stale")

    a.registry.release(ROOM)
    a.road.mend()

    await until(lambda: b.has("room/bob", A) == "live")
    await until(lambda: not b.has(ROOM, A), seconds=1)


# --- 8: the audit compares what is really there ---------------------------------------------------


async def test_a_record_that_went_missing_is_found_and_put_back(cluster: Cluster):
    a = await cluster.join(A, settings=replace(QUICK, audit=0.8))
    a.registry.claim(ROOM, 0.0)
    await until(lambda: a.registry.own_since(ROOM))
    record = cluster.world.read(SHARD, ROOM)

    cluster.world.edit(SHARD, ROOM, None)

    await until(lambda: cluster.world.read(SHARD, ROOM) == record)
    assert a.registry.status.repaired_missing == 1


async def test_garbage_in_the_table_is_ignored_counted_and_overwritten(cluster: Cluster):
    a = await cluster.join(A, settings=replace(QUICK, audit=0.8))
    a.registry.claim(ROOM, 0.0)
    await until(lambda: a.registry.own_since(ROOM))
    record = cluster.world.read(SHARD, ROOM)

    cluster.world.edit(SHARD, ROOM, "what a mess")
    b = await cluster.join(B)

    await until(lambda: b.has(ROOM, A))
    assert cluster.world.read(SHARD, ROOM) == record


async def test_a_claim_in_our_name_that_we_never_made_is_removed(cluster: Cluster):
    a = await cluster.join(A, settings=replace(QUICK, audit=0.8))
    feed = a.registry._table.shards[SHARD]
    line = f"{A} {a.registry.status.generation} 17 -"
    cluster.world.edit(SHARD, ROOM, line)
    cluster.world.publish(SHARD, f"{feed.epoch} {feed.sequence + 1} + {ROOM} {line}")

    await until(lambda: cluster.world.read(SHARD, ROOM) is None)

    assert a.registry.status.repaired_ghost >= 1


async def test_a_write_that_failed_is_repaired_at_the_next_successful_call(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.road.lose_request += ["write", "audit"]

    a.registry.claim(ROOM, 0.0)

    await until(lambda: b.has(ROOM, A), seconds=2)
    assert a.registry.status.isolated is None


# --- 9: local truth first, many changes in one call -----------------------------------------------


async def test_many_changes_at_once_are_few_calls_of_at_most_64(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    before = a.road.called("write")

    for number in range(2000):
        a.registry.claim(f"room/{number}", 0.0)
    await until(lambda: len(list(b.registry.paths())) == 2000)

    calls = [args for name, _, args in a.road.calls if name == "write"][before:]
    assert len(calls) < 2000 / 64 + 16 + 5
    assert max((len(args) - 4) / 6 for args in calls) <= 64


async def test_an_outage_queues_nothing_and_ends_with_the_truth(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.road.cut()

    for number in range(500):
        a.registry.claim(f"room/{number}", 0.0)
        a.registry.release(f"room/{number}")
    a.registry.claim(ROOM, 0.0)
    await asyncio.sleep(0.05)
    assert not any(shard.dirty for shard in a.registry._writer._shards)
    before = a.road.called("write")
    a.road.mend()

    await until(lambda: list(b.registry.paths()) == [ROOM])
    assert a.road.called("write") - before <= 17
