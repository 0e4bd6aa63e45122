"""What viewers would miss while one source takes over from another is asked for."""

from moq_relay.errors import Old
from moq_relay.relay.feed import Demand
from moq_relay.relay.group import Frame
from moq_relay.relay.shelf import LATE_SECONDS
from tests.unit.relay.fakes import (
    BACK,
    FRAMES,
    LATEST,
    LOST,
    FakeSource,
    Viewer,
    World,
    followed,
    tell,
    was_reset,
)


def frames_of(viewer: Viewer, sequence: int) -> list[Frame]:
    return viewer.groups[sequence].frames


# Groups that never came.


def test_a_takeover_asks_for_the_groups_after_the_latest_so_that_none_is_missed():
    world = World()
    other = FakeSource()
    world.announce(other, 7, 8)
    source, viewer = followed(world, 7)
    world.clock.pass_(2)

    world.lose(source, LOST)
    assert other.feed.resume == 6
    other.send(*range(6, 56))

    assert viewer.order == list(range(1, 56))
    assert viewer.whole == list(range(1, 56))


def test_a_group_that_newer_ones_overtook_a_moment_ago_is_asked_for():
    world = World()
    other = FakeSource()
    world.announce(other, 7, 8)
    source, viewer = followed(world, 7)
    source.send(7, 8)
    world.clock.pass_(20)

    world.lose(source, LOST)
    assert other.feed.resume == 6
    other.send(6, 7, 8, 9)

    assert viewer.order == [1, 2, 3, 4, 5, 7, 8, 6, 9]
    assert viewer.whole == list(range(1, 10))


def test_a_group_that_newer_ones_overtook_long_ago_does_not_exist():
    world = World()
    other = FakeSource()
    world.announce(other, 7, 8)
    source, _ = followed(world, 7)
    source.send(7)
    world.clock.pass_(LATE_SECONDS + 0.1)
    source.send(8)

    world.lose(source, LOST)

    assert other.feed.resume == 9


def test_what_is_older_than_any_reader_wants_is_not_asked_for():
    world = World()
    source = world.publish(7)
    viewer = world.view(Demand(max_age=2.0, reach=True))
    source.send(5)
    tell(source.begin(6), 0)
    source.send(7)
    world.clock.pass_(2.1)
    other = FakeSource()
    world.announce(other, 7, 8, since=0.0)

    world.lose(source, LOST)

    assert other.feed.resume == 8
    assert viewer.errors == {6: "Internal"}


def test_the_latest_group_is_asked_for_again_whatever_age_readers_want():
    world = World()
    source = world.publish(7)
    world.view(LATEST)
    tell(source.begin(6), 0)
    other = FakeSource()

    world.announce(other, 7, 8)

    assert other.feed.resume == 6


def test_no_reader_is_told_a_second_time_of_a_group_that_was_reset():
    world = World()
    other = FakeSource()
    world.announce(other, 7, 8)
    source, viewer = followed(world, 7)
    tell(source.begin(6), 0)
    source.feed.broke_off(tell(source.begin(7), 0), Old())

    world.lose(source, LOST)
    assert other.feed.resume == 8
    other.send(6, 7, 8)

    assert viewer.errors == {6: "Internal", 7: "Old"}
    assert viewer.whole == [1, 2, 3, 4, 5, 8]


def test_what_a_viewer_had_before_it_left_says_nothing_of_what_the_next_one_has():
    world = World()
    source, viewer = followed(world, 7)
    tell(source.begin(6), 0)
    world.leave(viewer)
    again = world.view(BACK)
    tell(source.begin(6), 0)
    other = FakeSource()

    world.announce(other, 7, 8)
    assert other.feed.resume == 6
    other.end(tell(other.begin(6), 0, 1))

    assert again.whole[-1] == 6


# Another publisher.


def test_what_lies_before_the_first_group_of_a_publisher_that_fits_is_asked_for_too():
    world = World()
    old, viewer = followed(world, 7)
    new = world.publish(8)
    assert new.feed.demand == Demand()

    new.send(9)
    assert viewer.whole == [1, 2, 3, 4, 5, 9]
    assert new.feed.demand == Demand(max_age=10.0, reach=True, start=6, floor=6)
    new.send(6, 7, 8, 9, 10)

    assert viewer.whole == list(range(1, 11))
    assert old.owed == set()
    assert len(new.owed) == 1


def test_the_first_group_of_a_publisher_that_fits_comes_to_its_end_while_the_gap_is_filled():
    world = World()
    _, viewer = followed(world, 7)
    new = world.publish(8)
    probe = new.feed
    group = tell(new.begin(9), 0)
    (asked,) = set(new.sending) - {probe}

    again = asked.open_group(9)
    new.send(6, 7, 8, feed=asked)
    tell(group, 1)
    assert probe in new.owed
    new.end(group, probe)

    assert again is not None
    assert not again.open
    assert viewer.whole == list(range(1, 10))
    assert viewer.order == [1, 2, 3, 4, 5, 9, 6, 7, 8]
    assert probe not in new.owed


def test_what_was_cut_off_is_completed_by_a_publisher_that_fits_if_it_tells_the_same():
    world = World()
    old, viewer = followed(world, 7)
    tell(old.begin(6), 0)
    new = world.publish(8)
    world.lose(old, LOST)

    new.send(7)
    new.end(tell(new.begin(6), 0, 1))

    assert frames_of(viewer, 6) == FRAMES[:2]
    assert viewer.whole == [1, 2, 3, 4, 5, 6, 7]


def test_what_was_cut_off_does_not_make_a_publisher_fit():
    world = World()
    old, viewer = followed(world, 7)
    tell(old.begin(6), 0)
    new = world.publish(8)
    world.lose(old, LOST)

    new.send(6)

    assert was_reset(viewer)
    assert viewer.errors == {6: "Internal"}


def test_a_publisher_that_fits_without_a_gap_is_asked_once():
    world = World()
    followed(world, 7)
    new = world.publish(8)

    new.send(6)

    assert len(new.subscriptions) == 1


def test_no_gap_is_filled_for_readers_that_want_no_past():
    world = World()
    old = world.publish(7)
    viewer = world.view(LATEST)
    old.send(5)
    new = world.publish(8)

    new.send(9)

    assert len(new.subscriptions) == 1
    assert viewer.whole == [5, 9]
