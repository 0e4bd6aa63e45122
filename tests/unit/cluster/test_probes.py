"""Probes: one session in each region that nothing else measures, for as long as it is of use."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from moq_relay.cluster import probes
from moq_relay.cluster.probes import Probes
from moq_relay.cluster.records import Member
from moq_relay.cluster.table import MemberView
from moq_relay.transports.quic.dialer import DialFailed
from tests.support.own_client import until


class World:
    """Members, and the sessions that are open to them."""

    def __init__(self):
        self.members = {}
        self.covered = []
        self.open = {}
        self.dialled = []
        self.unreachable = set()
        self.probes = Probes(self.dial, "own", lambda: self.members, lambda: self.covered)

    def join(self, node, region, state="up"):
        member = Member(node=node, generation=1, instance="i", region=region)
        self.members[node] = MemberView(member, state, 8.0)

    @asynccontextmanager
    async def dial(self, node, ending):
        self.dialled.append(node)
        if node in self.unreachable:
            raise DialFailed("nobody is there")
        assert node not in self.open
        self.open[node] = ending
        try:
            yield object()
        finally:
            del self.open[node]

    def lose(self, node):
        self.open[node]()


@pytest.fixture
async def world(monkeypatch):
    monkeypatch.setattr(probes, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(probes, "LONGEST_SECONDS", 0.02)
    world = World()
    world.join("own", "here")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(world.probes.run())
        yield world
        running.cancel()
    assert world.open == {}, "none outlives its owner"


async def settle():
    """A few looks."""
    await asyncio.sleep(0.06)


async def test_every_other_region_has_one(world):
    for node, region in (("a", "eu"), ("b", "eu"), ("c", "us"), ("d", "here")):
        world.join(node, region)

    await until(lambda: len(world.open) == 3)
    await settle()

    assert len(world.open) == 3
    assert {"c", "d"} < set(world.open)
    assert len(world.dialled) == 3


async def test_a_cluster_of_one_node_has_none(world):
    await settle()

    assert world.dialled == []


async def test_it_ends_when_its_region_is_gone(world):
    world.join("a", "eu")
    await until(lambda: world.open)

    del world.members["a"]

    await until(lambda: not world.open)
    await settle()
    assert world.dialled == ["a"]

    world.join("a", "eu")
    await until(lambda: world.open)
    await settle()
    assert world.dialled == ["a", "a"], "and begins once when it is back"


async def test_it_goes_to_another_node_when_its_own_is_gone_or_drains(world):
    for node in ("a", "b", "c"):
        world.join(node, "eu")
    await until(lambda: world.open)
    (first,) = world.open

    world.join(first, "eu", "draining")
    await until(lambda: world.open and first not in world.open)
    (second,) = world.open
    del world.members[second]
    await until(lambda: world.open and second not in world.open)

    (third,) = world.open
    assert {first, second, third} == {"a", "b", "c"}


async def test_a_node_that_drains_is_probed_by_nobody(world):
    world.join("a", "eu", "draining")
    world.join("b", "us", "expired")
    world.join("c", "asia", "stale")

    await until(lambda: world.open)
    await settle()

    assert set(world.open) == {"c"}


async def test_a_lost_one_is_dialled_again_elsewhere(world):
    world.join("a", "eu")
    world.join("b", "eu")
    await until(lambda: world.open)
    (first,) = world.open

    world.lose(first)
    await until(lambda: world.open and first not in world.open)

    world.lose(next(iter(world.open)))
    await until(lambda: first in world.open)


async def test_one_that_cannot_be_reached_is_passed_over(world):
    world.join("a", "eu")
    world.join("b", "eu")
    world.unreachable = {"a", "b"}
    await until(lambda: {"a", "b"} <= set(world.dialled))

    world.unreachable = {"a"}

    await until(lambda: set(world.open) == {"b"})


async def test_a_region_that_another_session_measures_needs_none(world):
    world.join("root", "us")
    world.join("a", "eu")
    world.covered = ["root"]
    await until(lambda: world.open)
    await settle()
    assert world.dialled == ["a"]

    world.covered = []
    await until(lambda: set(world.open) == {"a", "root"})

    world.covered = ["a", "nobody"]
    await until(lambda: set(world.open) == {"root"})


async def test_nodes_choose_differently_in_the_same_region():
    nodes = [f"https://{number}.example/" for number in range(10)]
    firsts = {min(nodes, key=Probes(None, own, dict)._rank) for own in nodes}

    assert len(firsts) > 3


async def test_a_cancellation_that_was_meant_for_somebody_else_ends_nothing(world):
    world.join("a", "eu")
    dial, faults = world.probes._dial, [asyncio.CancelledError()]

    def astray(node, ending):
        if faults:
            raise faults.pop()
        return dial(node, ending)

    world.probes._dial = astray

    await until(lambda: world.open)


async def test_a_fault_of_ours_is_logged_and_tried_again(world, caplog):
    world.join("a", "eu")
    dial, faults = world.probes._dial, [ZeroDivisionError()]

    def broken(node, ending):
        if faults:
            raise faults.pop()
        return dial(node, ending)

    world.probes._dial = broken

    await until(lambda: world.open)
    assert "probe broken region=eu node=a" in caplog.text
