"""Readers who lost the same source, one after the other, get what each of them lacks."""

import pytest

from moq_relay.errors import Old
from moq_relay.relay.feed import Demand
from moq_relay.relay.supply import REACHES
from tests.unit.relay.fakes import (
    LATEST,
    World,
)


def named(number: int, max_age: float = 10.0) -> Demand:
    return Demand(max_age=max_age, reach=True, floor=number)


def test_who_comes_to_a_young_feed_and_lacks_earlier_groups_gets_them():
    world = World()
    source = world.publish(7)
    first = world.view(named(8))
    source.send(8)
    second = world.view(named(6))

    assert source.feed.demand.start == 6
    assert second.first is None
    source.feed.started(6)
    assert second.first == 6
    source.send(6, 7, 8, 9)

    assert second.whole == [6, 7, 8, 9]
    assert first.order == [8, 9]
    assert len(source.owed) == 1


def test_who_comes_before_a_feed_has_shown_its_edge_gets_earlier_groups_too():
    world = World()
    source = world.publish(7)
    first = world.view(named(8))
    second = world.view(named(6))

    source.send(6, 7, 8)

    assert second.whole == [6, 7, 8]
    assert first.whole == [8]
    assert len(source.owed) == 1


def test_a_source_that_says_nothing_keeps_who_lacks_groups_waiting_until_it_sends_one():
    world = World()
    source = world.publish(7)
    world.view(named(8))
    source.send(8)
    second = world.view(named(6))

    source.send(7, 8)

    assert second.first == 7
    assert second.whole == [7, 8]


def test_a_source_that_says_nothing_and_sends_nothing_keeps_nobody_waiting_for_long():
    world = World()
    source = world.publish(7)
    world.view(named(8))
    source.send(8)
    second = world.view(named(6))

    world.pass_(1)

    assert second.first == 8
    assert second.whole == [8]


def test_a_source_that_answers_at_once_keeps_nobody_waiting():
    world = World()
    source = world.publish(7)
    world.view(named(8))
    source.send(8)
    source.on_subscribe = lambda feed: feed.started(6)

    second = world.view(named(6))

    assert second.first == 6


@pytest.mark.parametrize(
    ("demand", "why"),
    [
        (named(8), "it was asked for"),
        (named(9), "it is to come"),
        (named(6, max_age=1.0), "it would be too old"),
        (Demand(max_age=10.0, reach=True), "none was named"),
        (LATEST, "no past is wanted"),
    ],
)
def test_who_lacks_nothing_that_could_be_had_causes_no_second_subscription(demand, why):
    world = World()
    source = world.publish(7)
    world.view(named(8))
    source.send(8)
    world.clock.pass_(1)

    viewer = world.view(demand)

    assert len(source.subscriptions) == 1, why
    assert viewer.first is not None


def test_a_feed_that_was_asked_for_the_latest_is_asked_for_what_lies_before_it():
    world = World()
    source = world.publish(7)
    world.view(LATEST)
    source.send(8)

    viewer = world.view(named(6))
    source.send(6, 7, 8)

    assert viewer.whole == [6, 7, 8]


def test_what_a_feed_began_with_by_its_own_word_is_not_asked_for_again():
    world = World()
    source = world.publish(7)
    world.view(LATEST)
    source.feed.started(5)
    source.send(8)

    viewer = world.view(named(6))
    source.send(6, 7)

    assert len(source.subscriptions) == 1
    assert viewer.whole == [6, 7, 8]


def test_a_feed_is_asked_to_begin_earlier_a_few_times_at_most():
    world = World()
    source = world.publish(7)
    world.view(named(100))
    source.send(100)

    for number in range(99, 60, -1):
        world.view(named(number))

    assert len(source.subscriptions) == 1 + REACHES
    assert len(source.owed) == 1


def test_a_viewer_that_names_a_group_far_ahead_starves_nobody():
    world = World()
    source = world.publish(7)
    world.view(named(10**9))
    assert source.feed.demand.floor == 10**9

    viewer = world.view(LATEST)
    assert source.feed.demand.floor == 0
    source.send(5, 6)

    assert viewer.whole == [5, 6]
    assert len(source.owed) == 1


def test_a_viewer_that_names_a_group_after_the_latest_keeps_nothing_from_others():
    world = World()
    source = world.publish(7)
    world.view(named(10**9))
    source.send(5)  # whatever it was asked for
    world.view(named(10**8))
    viewer = world.view(LATEST)

    source.send(6)

    assert len(source.subscriptions) == 1
    assert viewer.whole == [5, 6]


def test_a_viewer_that_lacks_what_has_left_makes_nobody_be_told_of_it_again():
    world = World()
    source = world.publish(7)
    world.view(named(8))
    source.send(8)
    source.feed.broke_off(source.begin(9), Old())
    source.send(10)

    world.view(named(7))

    assert len(source.subscriptions) == 1


def test_late_groups_of_a_feed_that_began_earlier_are_not_numbers_that_began_anew():
    world = World()
    source = world.publish(7)
    first = world.view(named(8))
    source.send(8)
    world.view(named(6))

    source.send(5)

    assert not first.over


def test_who_waits_and_leaves_is_told_nothing_and_makes_nobody_begin_too_soon():
    world = World()
    source = world.publish(7)
    first = world.view(named(8))
    source.send(8)
    second = world.view(named(6))
    world.leave(second)
    world.leave(first)
    third = world.view(named(8))

    world.pass_(1)
    assert third.first is None
    source.send(8)

    assert third.first == 8
