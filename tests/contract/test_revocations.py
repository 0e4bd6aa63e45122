"""What was taken back once stays so on every node, whatever the registry loses."""

from dataclasses import replace

import pytest

from moq_relay.cluster.revocations import FOREVER, MOST, Revocation
from moq_relay.cluster.scripts import OPERATIONS
from moq_relay.errors import LimitReached
from tests.contract.roads import MAKERS, QUICK, Cluster, cluster_on, until

A, B, C = "https://a.example/", "https://b.example/", "https://c.example/"
BOB, EVE = "b0b" + "0" * 29, "e5e" + "0" * 29


@pytest.fixture(params=MAKERS)
async def cluster(request, tmp_path):
    async with cluster_on(MAKERS[request.param], tmp_path) as cluster:
        yield cluster


def knows(node, digest=BOB, issued=None):
    return node.registry.revocations.covers(digest, None, issued)


def told(node):
    return node.registry.revocations.pending == 0


async def test_who_is_revoked_on_one_node_is_revoked_on_all_within_a_second(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)

    a.registry.revocations.add(Revocation("jti", BOB))

    assert knows(a)
    await until(lambda: knows(b) and told(a), seconds=1)
    assert not knows(b, EVE)


async def test_who_joins_later_knows_as_well(cluster: Cluster):
    a = await cluster.join(A)
    for number in range(2 * OPERATIONS + 1):
        a.registry.revocations.add(Revocation("sub", f"{number:032x}", before=1000))
    await until(lambda: told(a))

    b = await cluster.join(B)

    await until(lambda: len(b.registry.revocations) == 2 * OPERATIONS + 1, seconds=2)
    revocations = b.registry.revocations
    assert revocations.known
    assert revocations.covers(None, f"{7:032x}", 1000)
    assert not revocations.covers(None, f"{7:032x}", 1000.5)


async def test_of_two_entries_of_one_name_the_wider_holds_on_every_node(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.road.cut()
    b.road.cut()
    a.registry.revocations.add(Revocation("sub", BOB, before=2000, until=FOREVER - 5))
    b.registry.revocations.add(Revocation("sub", BOB, before=1000, until=FOREVER - 1))

    a.road.mend()
    b.road.mend()

    await until(lambda: told(a) and told(b))
    for node in (a, b, await cluster.join(C)):
        await until(lambda node=node: len(node.registry.revocations) == 1, seconds=2)
        assert node.registry.revocations._entries == {f"sub:{BOB}": (2000, FOREVER - 1)}


async def test_a_registry_that_lost_everything_is_told_again(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.revocations.add(Revocation("jti", BOB))
    await until(lambda: knows(b) and told(a))
    await cluster.stop(a)

    losses = b.registry.status.epoch_changes
    cluster.world.flush()
    await until(lambda: b.registry.status.epoch_changes > losses)

    c = await cluster.join(C)
    await until(lambda: knows(c), seconds=2)


async def test_what_was_taken_out_by_a_hand_is_put_back(cluster: Cluster):
    node = await cluster.join(A, settings=replace(QUICK, audit=1.0))
    node.registry.revocations.add(Revocation("jti", BOB))
    await until(lambda: told(node))

    cluster.world.forget_revoked()

    await until(lambda: node.registry.revocations.reasserted == 1)
    other = await cluster.join(B)
    await until(lambda: knows(other), seconds=2)


async def test_a_node_that_was_away_brings_what_it_was_told_meanwhile(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.road.cut()
    a.registry.revocations.add(Revocation("jti", BOB))
    b.registry.revocations.add(Revocation("jti", EVE))
    assert knows(a)
    await until(lambda: told(b))
    assert not told(a)

    a.road.mend()

    await until(lambda: knows(b) and knows(a, EVE) and told(a), seconds=3)


@pytest.mark.parametrize("lose", ["lose_request", "lose_answer"])
async def test_a_call_that_is_lost_is_made_again(cluster: Cluster, lose):
    a, b = await cluster.join(A), await cluster.join(B)
    getattr(a.road, lose).extend(["revoke", "revoked"])

    a.registry.revocations.add(Revocation("jti", BOB))

    await until(lambda: knows(b) and told(a), seconds=4)


async def test_a_message_that_is_lost_is_made_up_for(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    b.road.hear = lambda _message: []

    a.registry.revocations.add(Revocation("jti", BOB))

    await until(lambda: knows(b), seconds=3 * QUICK.renew)


async def test_what_ended_is_forgotten_everywhere_and_not_brought_back(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    await until(lambda: a.registry.redis_now())
    soon = int(a.registry.redis_now()) + 2
    a.registry.revocations.add(Revocation("jti", BOB, until=soon))
    a.registry.revocations.add(Revocation("jti", EVE))
    await until(lambda: knows(b) and knows(b, EVE))

    await until(lambda: len(a.registry.revocations) == len(b.registry.revocations) == 1, seconds=4)
    c = await cluster.join(C)

    await until(lambda: knows(c, EVE), seconds=2)
    assert not any(knows(node) for node in (a, b, c))


@pytest.mark.parametrize("maker", ["memory", "redis"])
async def test_garbage_among_them_is_counted_and_passed_over(tmp_path, maker):
    async with cluster_on(MAKERS[maker], tmp_path) as cluster:
        a, hand = await cluster.join(A), await cluster.raw(B)

        # Over a straight road anything can be written; through a root it is refused.
        for name in ("jti:x", f"exp:{BOB}", f"jti:{BOB.upper()}"):
            await hand.call("revoke", None, [name, "1", "99999999999"])
        await hand.call("revoke", None, [f"jti:{EVE}", "99999999999", "99999999999"])

        await until(lambda: knows(a, EVE))
        assert a.registry.status.malformed == 3
        b = await cluster.join(B)
        await until(lambda: knows(b, EVE))
        assert b.registry.status.malformed == 3
        assert len(b.registry.revocations) == 1


async def test_there_is_an_end_to_how_many_are_kept(tmp_path):
    async with cluster_on(MAKERS["memory"], tmp_path) as cluster:
        a = await cluster.join(A)
        for number in range(MOST):
            a.registry.revocations.add(Revocation("jti", f"{number:032x}"))
        await until(lambda: told(a), seconds=20)

        with pytest.raises(LimitReached, match="65536 revocations are kept"):
            a.registry.revocations.add(Revocation("jti", BOB))

        b = await cluster.join(B)
        await until(lambda: len(b.registry.revocations) == MOST)
