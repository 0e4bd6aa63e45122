"""What this node claims, and when its publishers appeared."""

import pytest

from moq_relay.cluster.advertiser import Advertiser
from moq_relay.relay.route import Route
from tests.support.own_client import until
from tests.unit.cluster.fakes import NOW, FakeRegistry
from tests.unit.relay.fakes import LOST, FakeSource, World

B = "https://b.example/"


class Setting:
    """A node's model, a registry, and the advertiser between them."""

    def __init__(self) -> None:
        self.world = World()
        self.registry = FakeRegistry()
        self.world.origin.stamp = self.registry.redis_now
        self.advertiser = Advertiser(self.world.origin, self.registry, clock=self.clock)

    def clock(self) -> float:
        """The registry's, which is not the origin's."""
        return self.world.clock.now + 5000

    @property
    def origin(self):
        return self.world.origin

    def publish(self, *hops: int, path: str = "room") -> FakeSource:
        source = FakeSource()
        self.origin.publish(path, source, hops)
        return source

    def said(self) -> list[tuple]:
        said, self.registry.said = self.registry.said, []
        return said

    def pass_(self, seconds: float) -> None:
        self.world.clock.pass_(seconds)
        self.registry.now += seconds


@pytest.fixture
def it():
    it = Setting()
    it.advertiser.start()
    return it


def test_what_a_publisher_of_this_node_has_is_claimed_and_released_with_it(it):
    source = it.publish(7, 8)
    assert it.said() == [("claim", "room", 0.0, (7, 8))]

    it.origin.withdraw("room", source, clean=True)

    assert it.said() == [("release", "room")]


def test_a_hidden_path_is_claimed_too():
    it = Setting()
    it.advertiser.start()

    it.publish(7, path="room/.preview")

    assert it.said() == [("claim", "room/.preview", 0.0, (7,))]


def test_what_is_there_already_is_claimed_with_its_age():
    it = Setting()
    it.publish(7)
    it.pass_(12)

    it.advertiser.start()

    assert it.said() == [("claim", "room", 12.0, (7,))]


def test_what_comes_from_other_nodes_is_not_echoed(it):
    it.origin.announce("room", Route(FakeSource(), (7, 2), NOW, local=False))

    assert it.said() == []


def test_a_claim_stays_when_another_node_has_something_newer(it):
    it.publish(7)
    it.said()

    it.origin.announce("room", Route(FakeSource(), (8, 2), NOW + 9, local=False))

    assert it.said() == []


def test_the_same_publisher_another_way_keeps_its_age(it):
    source = it.publish(7)
    it.said()
    it.pass_(3)

    it.origin.publish("room", source, (7, 9))
    it.origin.publish("room", source, (7, 9))

    assert it.said() == [("claim", "room", 3.0, (7, 9))]


def test_two_publishers_are_one_claim_with_the_newest_ones_age(it):
    first = it.publish(7)
    it.pass_(10)
    it.said()

    second = it.publish(8)
    assert it.said() == [("claim", "room", 0.0, (8,))]

    it.pass_(1)
    it.origin.withdraw("room", first, clean=True)
    assert it.said() == []
    it.publish(9)
    it.said()
    it.pass_(1)
    it.origin.withdraw("room", second, clean=True)
    assert it.said() == []


def test_the_older_publisher_is_claimed_again_when_the_newer_is_gone(it):
    it.publish(7)
    it.pass_(10)
    newer = it.publish(8)
    it.said()

    it.origin.withdraw("room", newer, clean=True)

    assert it.said() == [("claim", "room", 10.0, (7,))]


def test_a_lost_publisher_is_claimed_while_it_may_come_back_and_anew_when_it_does(it):
    source = it.publish(7)
    it.said()

    it.world.lose(source, LOST)
    it.pass_(2)
    assert it.said() == []
    back = it.publish(7)
    assert it.said() == [("claim", "room", 0.0, (7,))]

    it.world.lose(back, LOST)
    it.pass_(6)
    assert it.said() == [("release", "room")]


def test_nothing_is_claimed_once_it_was_stopped(it):
    it.advertiser.stop()

    it.publish(7)
    it.registry.put("room", B, NOW)

    assert it.said() == []


# Dates.


def since(it, source) -> float:
    routes = it.origin.broadcasts["room"].routes
    return next(route.since for route in routes if route.source is source)


def test_what_the_registry_gave_a_claim_is_its_publishers_date(it):
    source = it.publish(7)
    assert since(it, source) == NOW

    it.registry.since["room"] = NOW + 0.125
    it.registry.put("room", it.registry.node, NOW + 0.125)

    assert since(it, source) == NOW + 0.125


async def test_a_claim_that_is_seen_before_its_answer_is_dated_by_the_answer(it):
    source = it.publish(7)

    it.registry.put("room", it.registry.node, NOW + 0.125)
    assert since(it, source) == NOW
    it.registry.since["room"] = NOW + 0.125

    await until(lambda: since(it, source) == NOW + 0.125)


async def test_nothing_is_looked_for_once_it_was_stopped(it):
    it.publish(7)
    it.registry.put("room", it.registry.node, NOW + 0.125)

    it.advertiser.stop()

    assert not it.advertiser._asking


def test_a_publisher_from_before_the_clock_was_known_is_dated_when_it_is():
    it = Setting()
    it.registry.now = 0.0
    it.advertiser.start()
    older, newer = it.publish(7), it.publish(8)
    it.world.clock.now += 30

    it.registry.now = NOW
    it.registry.put("room", B, NOW - 100)

    assert since(it, older) == pytest.approx(NOW - 30)
    assert since(it, newer) == pytest.approx(NOW - 30)
    assert it.origin.broadcasts["room"].active.source is newer


def test_only_the_claimed_publisher_has_the_claims_date(it):
    older = it.publish(7)
    it.pass_(10)
    newer = it.publish(8)

    it.registry.since["room"] = NOW + 10.5
    it.registry.put("room", it.registry.node, NOW + 10.5)

    assert since(it, older) == NOW
    assert since(it, newer) == NOW + 10.5


def test_claims_of_others_for_what_is_not_published_here_change_nothing(it):
    it.registry.put("hall", B, NOW)

    assert it.origin.broadcasts == {}


# --- a publisher in doubt -------------------------------------------------------------------------


def doubt(it, source, *, live=False):
    it.origin.publish("room", source, (7,), live=live)


def test_a_publisher_in_doubt_keeps_its_claim_while_nobody_else_has_the_path(it):
    source = it.publish(7)
    it.said()

    doubt(it, source)
    it.registry.put("room", B, NOW - 5, state="stale")

    assert it.said() == []


def test_a_publisher_in_doubt_yields_to_who_else_has_the_path_until_it_is_heard_again(it):
    source = it.publish(7)
    it.pass_(3)
    it.registry.put("room", B, NOW - 50)
    it.said()

    doubt(it, source)
    assert it.said() == [("release", "room")]
    doubt(it, source)
    it.pass_(4)
    assert it.said() == []
    doubt(it, source, live=True)

    assert it.said() == [("claim", "room", 7.0, (7,))]


def test_a_publisher_already_in_doubt_yields_when_somebody_else_comes(it):
    source = it.publish(7)
    doubt(it, source)
    it.said()

    it.registry.put("room", B, NOW + 1)

    assert it.said() == [("release", "room")]


def test_two_that_yielded_to_each_other_claim_anew_and_go_back_and_forth_no_more(it):
    source = it.publish(7)
    it.registry.put("room", B, NOW - 5)
    doubt(it, source)
    it.said()

    it.registry.drop("room", B)
    assert it.said() == [("claim", "room", 0.0, (7,))]
    it.registry.put("room", B, NOW - 5)
    it.registry.drop("room", B)
    it.registry.put("room", B, NOW - 5)
    assert it.said() == []

    # Once it was heard again, the next doubt is another one.
    doubt(it, source, live=True)
    doubt(it, source)
    assert it.said() == [("release", "room")]


def test_what_the_others_end_later_is_not_claimed_before_the_publisher_is_heard_again(it):
    source = it.publish(7)
    it.registry.put("room", B, NOW - 5)
    doubt(it, source)
    it.said()
    it.pass_(3)

    it.registry.drop("room", B)
    doubt(it, source)
    assert it.said() == []
    doubt(it, source, live=True)

    assert it.said() == [("claim", "room", 3.0, (7,))]


def test_what_was_yielded_is_not_claimed_again_because_the_publisher_is_lost(it):
    source = it.publish(7)
    it.registry.put("room", B, NOW - 5)
    doubt(it, source)
    it.said()

    it.world.lose(source, LOST)
    it.registry.put("room", B, NOW - 4)
    assert it.said() == []
    it.pass_(60)

    assert it.said() == []


def test_of_two_publishers_here_the_one_that_answers_is_claimed(it):
    it.publish(8)
    it.pass_(10)
    newest = it.publish(7)
    it.registry.put("room", B, NOW - 50)
    it.said()

    doubt(it, newest)

    assert it.said() == [("claim", "room", 10.0, (8,))]
