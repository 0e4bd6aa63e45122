"""Regions: where nodes are, what they are counted as, and what is dropped when nobody is there."""

import pytest

from moq_relay.cluster.records import Member
from moq_relay.cluster.regions import KEPT_SECONDS, MOST, OTHER, ByRegion, Regions


class World:
    """Members that come and go, at a time that a test sets."""

    def __init__(self):
        self.now = 1000.0
        self.members = {}
        self.regions = Regions("own", self.members.get, lambda: self.now)
        self.numbers = ByRegion(self.regions, list)

    def join(self, node, region):
        self.members[node] = Member(node=node, generation=1, instance="i", region=region)
        self.regions.members_changed(node)

    def leave(self, node):
        del self.members[node]
        self.regions.members_changed(node)

    def told(self):
        return [label for label, _ in self.numbers.items()]


@pytest.fixture
def world():
    return World()


def test_a_region_has_numbers_as_soon_as_a_member_is_there(world):
    assert world.told() == ["own"]

    world.join("a", "eu")

    assert world.told() == ["eu", "own"]
    assert world.regions.of("a") == "eu"
    assert world.regions.of("b") is None


def test_a_region_that_is_gone_keeps_its_numbers_for_five_minutes(world):
    world.join("a", "eu")
    world.numbers.at("eu").append(1)
    world.now += 10_000
    world.regions.turn()
    world.leave("a")

    world.now += KEPT_SECONDS - 1
    world.regions.turn()
    assert dict(world.numbers.items())["eu"] == [1]
    assert world.regions.of("a") == "eu", "of who is gone it is still known where it was"

    world.now += 1
    world.regions.turn()
    assert world.told() == ["own"]
    assert world.regions.of("a") is None
    world.join("a", "eu")
    assert dict(world.numbers.items())["eu"] == [], "it begins anew"


def test_a_region_is_not_gone_while_another_member_is_there(world):
    world.join("a", "eu")
    world.join("b", "eu")
    world.leave("a")

    world.now += KEPT_SECONDS
    world.regions.turn()

    assert world.told() == ["eu", "own"]


def test_a_member_that_moves_is_counted_where_it_is_now(world):
    world.join("a", "eu")
    world.join("a", "us")
    world.now += KEPT_SECONDS
    world.regions.turn()

    assert world.regions.of("a") == "us"
    assert world.told() == ["own", "us"]


def test_its_own_region_stays_though_nobody_else_is_there(world):
    world.numbers.at("own").append(1)
    world.now += 10 * KEPT_SECONDS
    world.regions.turn()

    assert world.numbers.items() == [("own", [1])]


def test_regions_beyond_the_most_are_counted_together_until_there_is_room(world):
    for number in range(MOST + 2):
        world.join(f"n{number}", f"r{number:02}")
    for region in ("r30", "r31", "r32"):
        world.numbers.at(region).append(region)

    told = dict(world.numbers.items())
    assert len(told) == MOST + 1
    assert told["r30"] == ["r30"]
    assert told[OTHER] == ["r31", "r32"]

    world.leave("n0")
    world.now += KEPT_SECONDS
    world.regions.turn()
    assert "r31" in world.told()
    assert "r00" not in world.told()
