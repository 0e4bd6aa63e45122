"""A group that was cut off on its way is completed by another source, or breaks off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moq_relay.errors import Cancelled, Old, RequestError, SessionClosed
from moq_relay.relay.feed import TrackInfo
from moq_relay.relay.group import Frame, Group
from moq_relay.relay.retention import CacheLimits
from tests.unit.relay.fakes import (
    FRAMES,
    LOST,
    FakeSource,
    Viewer,
    World,
    followed,
    tell,
    was_reset,
)


def cut_off(*indices: int) -> tuple[World, FakeSource, FakeSource, Viewer, Group]:
    """A viewer of groups 1 to 5 that has a part of 6, and a way that can take over."""
    world = World()
    other = FakeSource()
    world.announce(other, 7, 8)
    source, viewer = followed(world, 7)
    group = tell(source.begin(6), *indices)
    assert isinstance(group, Group)
    return world, source, other, viewer, group


def frames_of(viewer: Viewer, sequence: int) -> list[Frame]:
    return viewer.groups[sequence].frames


def test_a_group_that_was_cut_off_is_completed_from_the_next_source_without_a_reset():
    world, source, other, viewer, group = cut_off(0, 1)

    world.lose(source, LOST)
    assert other.feed.resume == other.feed.demand.start == other.feed.demand.floor == 6
    again = tell(other.begin(6), 0, 1, 2)
    assert frames_of(viewer, 6) == FRAMES[:3]
    tell(again, 3)
    other.end(again)
    other.send(7)

    assert frames_of(viewer, 6) == FRAMES
    assert viewer.order == [1, 2, 3, 4, 5, 6, 7]
    assert viewer.whole == [1, 2, 3, 4, 5, 6, 7]
    assert group.finished


def test_while_the_old_source_is_only_doubted_whoever_is_first_completes_the_group():
    world = World()
    source, viewer = followed(world, 7)
    group = tell(source.begin(6), 0, 1)
    other = FakeSource()
    world.announce(other, 7, 8)

    again = tell(other.begin(6), 0)
    tell(group, 2, 3)
    source.end(group)

    assert frames_of(viewer, 6) == FRAMES
    assert viewer.whole[-1] == 6
    assert not again.open
    assert source.owed == set()


@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_two_sources_that_tell_a_group_at_once_never_double_or_mix_its_frames(turns):
    world, source, other, viewer, group = cut_off()
    world.announce(source, 7, since=0.0)  # the worse way now, and still there
    told = {False: 0, True: 0}
    writers = {False: group, True: other.begin(6)}

    for late in turns:
        writer, at = writers[late], told[late]
        assert writer is not None
        if at < len(FRAMES):
            writer.append(FRAMES[at])
        elif at == len(FRAMES):
            writer.finish()
        told[late] += 1
        assert frames_of(viewer, 6) == FRAMES[: max(told.values())]

    assert viewer.groups[6].finished is (max(told.values()) > len(FRAMES))
    assert viewer.errors == {}


def test_a_source_that_has_caught_up_takes_the_group_over_for_good():
    world = World()
    source, viewer = followed(world, 7)
    group = tell(source.begin(6), 0)
    other = FakeSource()
    world.announce(other, 7, 8)
    again = tell(other.begin(6), 0)
    assert source.owed != set()

    tell(again, 1)
    assert source.owed == set()
    tell(group, 1)  # was on its way
    tell(again, 2)

    assert frames_of(viewer, 6) == FRAMES[:3]
    assert viewer.errors == {}


def test_a_group_that_is_told_differently_after_its_source_is_lost_is_reset_and_never_mixed():
    world, source, other, viewer, _ = cut_off(0, 1)
    world.lose(source, LOST)

    again = other.begin(6)
    assert again is not None
    again.append(FRAMES[0])
    again.append(FRAMES[3])

    assert not again.open
    assert viewer.errors == {6: "Internal"}
    assert frames_of(viewer, 6) == FRAMES[:2]


def test_a_group_that_is_told_shorter_after_its_source_is_lost_is_reset():
    world, source, other, viewer, _ = cut_off(0, 1)
    world.lose(source, LOST)

    other.end(tell(other.begin(6), 0))

    assert viewer.errors == {6: "Internal"}


def test_a_group_that_is_told_differently_is_completed_by_its_first_source_if_that_is_there():
    world = World()
    source, viewer = followed(world, 7)
    group = tell(source.begin(6), 0, 1)
    other = FakeSource()
    world.announce(other, 7, 8)

    tell(other.begin(6), 3)
    tell(group, 2, 3)
    source.end(group)

    assert frames_of(viewer, 6) == FRAMES
    assert viewer.whole[-1] == 6


@pytest.mark.parametrize("told", [[0], [0, 1]])
def test_two_sources_that_disagree_on_what_only_one_had_told_reset_the_group(told):
    world, source, other, viewer, group = cut_off(0)
    world.announce(source, 7, since=0.0)
    # Without another frame of its own the old source would no longer be waited for.
    tell(other.begin(6), *told, 2 if len(told) == 1 else 3)

    tell(group, *told[1:], 1 if len(told) == 1 else 2)

    assert viewer.errors == {6: "Internal"}


def test_the_first_source_may_not_end_a_group_before_what_another_has_told_of_it():
    world, source, other, viewer, group = cut_off(0)
    world.announce(source, 7, since=0.0)
    tell(other.begin(6), 0, 1)

    group.finish()

    assert viewer.errors == {6: "Internal"}


def test_a_source_that_begins_above_a_group_that_was_cut_off_lets_it_be_reset_at_once():
    world, source, other, viewer, _ = cut_off(0)
    world.lose(source, LOST)
    assert viewer.errors == {}

    other.feed.started(7)
    other.send(7)

    assert viewer.errors == {6: "Internal"}
    assert viewer.whole[-1] == 7


def test_a_group_whose_middle_the_next_source_lacks_is_reset():
    world, source, other, viewer, _ = cut_off(0)
    world.lose(source, LOST)

    assert other.feed.open_group(6, first=2) is None

    assert viewer.errors == {6: "Internal"}


def test_a_source_may_begin_anywhere_in_what_is_here_of_a_group():
    world, source, other, viewer, _ = cut_off(0, 1)
    world.lose(source, LOST)

    other.end(tell(other.feed.open_group(6, first=1), 1, 2, 3))

    assert frames_of(viewer, 6) == FRAMES


def test_a_group_that_began_in_its_middle_is_continued_there():
    world = World()
    other = FakeSource()
    world.announce(other, 7, 8)
    source, viewer = followed(world, 7)
    tell(source.feed.open_group(6, first=1), 1)
    world.lose(source, LOST)

    other.end(tell(other.begin(6), 0, 1, 2))

    assert frames_of(viewer, 6) == FRAMES[1:3]
    assert viewer.groups[6].group.first == 1


def test_who_tells_a_group_again_sees_what_it_has_told_itself():
    world, source, other, _, _ = cut_off(0, 1, 2)
    world.lose(source, LOST)
    again = other.begin(6)
    assert again is not None
    assert again.sequence == 6

    assert list(again.frames) == []
    tell(again, 0, 1)

    assert list(again.frames) == FRAMES[:2]


def test_a_group_may_pass_through_three_sources():
    world, source, other, viewer, _ = cut_off(0)
    world.lose(source, LOST)
    tell(other.begin(6), 0, 1)
    third = FakeSource()
    world.announce(third, 7, 9)
    world.lose(other, LOST)

    third.end(tell(third.begin(6), 0, 1, 2, 3))
    third.send(7)

    assert frames_of(viewer, 6) == FRAMES
    assert viewer.order == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("error", "left"), [(Old(), {6: "Old"}), (Cancelled(), {6: "Cancelled"}), (SessionClosed(), {})]
)
def test_only_a_source_that_lost_the_publisher_leaves_a_group_to_others(error, left):
    world = World()
    source, viewer = followed(world, 7)
    group = tell(source.begin(6), 0)

    source.feed.broke_off(group, error)

    assert viewer.errors == left


def test_a_group_that_its_source_resets_while_another_tells_it_goes_on():
    world = World()
    source, viewer = followed(world, 7)
    group, feed = tell(source.begin(6), 0), source.feed
    other = FakeSource()
    world.announce(other, 7, 8)
    again = tell(other.begin(6), 0)

    feed.broke_off(group, Old())
    tell(again, 1, 2, 3)
    other.end(again)

    assert frames_of(viewer, 6) == FRAMES


def test_what_the_last_that_tells_a_group_resets_is_reset():
    world, source, other, viewer, _ = cut_off(0)
    world.lose(source, LOST)

    other.feed.broke_off(tell(other.begin(6), 0), Old())

    assert viewer.errors == {6: "Old"}


def test_a_group_that_outgrows_its_limits_on_the_second_way_is_reset():
    world = World(CacheLimits(group_frames=2))
    other = FakeSource()
    world.announce(other, 7, 8)
    source, viewer = followed(world, 7)
    tell(source.begin(6), 0, 1)
    world.lose(source, LOST)

    with pytest.raises(RequestError):
        tell(other.begin(6), 0, 1, 2)

    assert viewer.errors == {6: "GroupTooLarge"}


# Without another source.


def test_a_group_of_a_lost_publisher_waits_for_it_to_come_back():
    world = World()
    source, viewer = followed(world, 7)
    tell(source.begin(6), 0)
    world.lose(source, LOST)
    world.pass_(3)

    back = world.publish(7)
    back.end(tell(back.begin(6), 0, 1, 2, 3))

    assert frames_of(viewer, 6) == FRAMES
    assert viewer.errors == {}


def test_a_group_of_a_publisher_that_does_not_come_back_is_reset_with_its_broadcast():
    world = World()
    source, viewer = followed(world, 7)
    tell(source.begin(6), 0)
    world.lose(source, LOST)

    world.pass_(6)

    assert viewer.errors == {6: "Internal"}
    assert was_reset(viewer)
    assert world.cache.size == 0


@pytest.mark.parametrize("how", ["leave", "end", "another content"])
def test_nothing_that_was_cut_off_outlives_its_readers_its_track_or_its_content(how):
    world, source, other, viewer, group = cut_off(0)
    world.lose(source, LOST)
    assert group.open

    match how:
        case "leave":
            world.leave(viewer)
        case "end":
            other.stop(None, 7)
        case _:
            world.publish(8).send(3)

    assert not group.open
    assert viewer.errors == {6: "Internal"}


def test_a_group_that_nobody_brings_goes_when_it_is_too_old():
    world, source, other, viewer, _ = cut_off(0)
    world.lose(source, LOST)
    other.send(7)

    world.pass_(31)

    assert viewer.errors == {6: "Evicted"}


def test_a_group_that_left_the_cache_before_the_next_source_told_it_is_not_told_a_second_time():
    world = World()
    source, viewer = followed(world, 7, info=TrackInfo(max_age=5.0))
    tell(source.begin(6), 0)
    source.send(7)
    other = FakeSource(TrackInfo(max_age=5.0))
    world.announce(other, 7, 8)
    world.lose(source, LOST)
    assert other.feed.resume == 6

    world.pass_(7)
    other.send(6, 7, 8)

    assert viewer.errors == {6: "Evicted"}
    assert viewer.order == [1, 2, 3, 4, 5, 6, 7, 8]


def test_an_old_source_is_not_held_for_a_group_that_another_has_completed():
    world = World()
    source, viewer = followed(world, 7)
    tell(source.begin(6), 0)
    other = FakeSource()
    world.announce(other, 7, 8)
    other.end(tell(other.begin(6), 0))
    assert viewer.whole[-1] == 6

    world.pass_(1)

    assert source.owed == set()
