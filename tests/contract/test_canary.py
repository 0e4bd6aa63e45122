"""Canaries and times over every road: measured where they are sent, and nothing to all others."""

import pytest

from moq_relay.cluster.canary import Canary
from moq_relay.errors import RegistryError
from tests.contract.roads import MAKERS, Cluster, Node, cluster_on, until

A, B = "https://a.example/", "https://b.example/"
ROOM = "room/alice"
STRAIGHT = [name for name in MAKERS if name != "root"]


@pytest.fixture
async def cluster(request, tmp_path):
    async with cluster_on(MAKERS[request.param], tmp_path) as cluster:
        yield cluster


def facts(node: Node):
    """All that its users see of the registry."""
    registry, status = node.registry, node.registry.status
    paths = sorted(registry.paths())
    return (
        paths,
        [registry.claims(path) for path in paths],
        registry.version,
        registry.table.size(),
        [registry.table.holdings(name) for name in (A, B)],
        {name: view.member for name, view in registry.members.items()},
        (status.gaps, status.snapshots, status.unknown_lines, status.unknown_fields),
        (status.malformed, status.refused, status.repaired_ghost, status.repaired_missing),
        list(node.heard),
    )


@pytest.mark.parametrize("cluster", STRAIGHT, indirect=True)
async def test_a_canary_comes_back_by_every_shard_and_nobody_sees_anything(cluster: Cluster):
    a, b = await cluster.join(A), await cluster.join(B)
    a.registry.claim(ROOM, 0.0)
    await until(lambda: a.has(ROOM, A) and b.has(ROOM, A))
    canary = Canary(a.timed, lambda: len(a.registry.table.shards))
    seen = facts(a), facts(b)
    before = [feed.sequence for feed in b.registry.table.shards]

    for number in range(2 * len(before)):
        await canary.turn()
        await until(lambda n=number: canary.seconds.count == n + 1)
    after = [sequence + 2 for sequence in before]
    await until(lambda: [feed.sequence for feed in b.registry.table.shards] == after)

    assert (facts(a), facts(b)) == seen
    assert 0 < canary.seconds.total < 5
    c = await cluster.join("https://c.example/")
    assert sorted(c.registry.paths()) == [ROOM]


@pytest.mark.parametrize("cluster", STRAIGHT, indirect=True)
async def test_a_canary_whose_message_is_lost_is_seen_when_the_copy_is_next_proven(cluster):
    a = await cluster.join(A)
    canary = Canary(a.timed, lambda: len(a.registry.table.shards))
    a.road.hear = lambda _message: []

    await canary.turn()

    await until(lambda: canary.seconds.count == 1)
    assert a.registry.status.gaps == 0


@pytest.mark.parametrize("cluster", ["root"], indirect=True)
async def test_a_root_sends_no_canary_for_a_node(cluster: Cluster):
    a = await cluster.join(A)

    with pytest.raises(RegistryError, match="cannot have that script run"):
        await a.timed.call("canary", 0, ["word"])


@pytest.mark.parametrize("cluster", MAKERS, indirect=True)
async def test_a_node_times_what_it_asks_by_whatever_road(cluster: Cluster):
    a = await cluster.join(A)
    await a.registry.lookup(ROOM)
    await until(lambda: a.timed.calls["renew"].count)

    counted = {kind: histogram.count for kind, histogram in a.timed.calls.items()}
    assert all(counted.values()), counted
    assert all(0 <= histogram.total < 10 for histogram in a.timed.calls.values())
