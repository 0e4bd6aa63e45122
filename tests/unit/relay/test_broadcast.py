"""Routes of a broadcast, and what becomes of its viewers when another is better."""

import asyncio

import pytest

from moq_relay.errors import Cancelled, NotFound, Unroutable
from moq_relay.relay.route import Asker
from tests.unit.relay.fakes import BACK, LIVE, LOST, FakeSource, Viewer, World, followed, was_reset

# Which one is in use.


def test_the_newest_publisher_is_in_use_and_older_ones_are_alternates():
    world = World()
    old = world.publish()
    new = world.publish()
    world.announce(FakeSource(), since=1.0)

    viewer = world.view()
    new.send(1)

    assert viewer.whole == [1]
    assert old.subscriptions == []
    assert len(world.origin.find("room").routes) == 3


def test_of_two_publishers_of_one_moment_the_later_is_the_newer():
    world = World()
    world.announce(FakeSource(), since=50.0)
    later = FakeSource()
    world.announce(later, since=50.0)

    assert world.origin.find("room").routes[0].source is later


def test_a_source_that_announces_again_has_one_route():
    world = World()
    source = world.publish(7)
    world.announce(source, 7, 8)

    assert [route.hops for route in world.origin.find("room").routes] == [(7, 8)]


def test_the_same_publisher_that_announces_again_keeps_its_subscription():
    world = World()
    source, viewer = followed(world, 7)

    world.announce(source, 7, 8)
    source.send(6)

    assert viewer.whole == [1, 2, 3, 4, 5, 6]
    assert len(source.subscriptions) == 1


# The same publisher another way.


def test_the_same_first_hop_goes_on_at_the_next_group():
    world = World()
    source, viewer = followed(world, 7)
    other = FakeSource()
    world.announce(other, 7, 8)
    assert other.feed.resume == 6
    assert other.feed.demand.start == 6
    assert other.feed.demand.floor == 6

    other.send(4, 5, 6, 7)

    assert viewer.order == [1, 2, 3, 4, 5, 6, 7]
    assert not viewer.over
    assert source.owed == set()


def test_the_group_under_way_is_finished_by_the_way_it_came():
    world = World()
    source, viewer = followed(world, 7)
    group = source.begin(6)
    old = source.feed
    assert group is not None
    other = FakeSource()

    world.announce(other, 7, 8)
    assert old.demand.end == 6
    assert source.begin(7) is None
    other.send(7)
    source.end(group)

    assert viewer.whole == [1, 2, 3, 4, 5, 6, 7]
    assert source.owed == set()


def test_a_late_group_still_comes_by_the_old_way_while_that_is_open():
    world = World()
    source, viewer = followed(world, 7)
    group = source.begin(8)
    assert group is not None
    old = source.feed
    other = FakeSource()
    world.announce(other, 7, 8)

    source.send(7, 6, 9, feed=old)
    other.send(9)
    source.end(group, old)

    assert viewer.whole == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_group_that_the_old_way_never_ends_does_not_hold_its_subscription_for_ever():
    world = World()
    source, viewer = followed(world, 7)
    source.begin(6)
    other = FakeSource()
    world.announce(other, 7, 8)
    other.send(7)

    world.pass_(31)

    assert viewer.errors == {6: "Evicted"}
    assert source.owed == set()


def test_the_old_way_goes_with_the_last_viewer_too():
    world = World()
    source, viewer = followed(world, 7)
    source.begin(6)
    other = FakeSource()
    world.announce(other, 7, 8)

    world.leave(viewer)

    assert source.owed == set()
    assert other.owed == set()


def test_a_way_that_is_lost_in_the_middle_of_a_group_costs_no_group():
    world = World()
    other = FakeSource()
    world.announce(other, 7, 8)
    source, viewer = followed(world, 7)
    source.begin(6)

    world.lose(source, LOST)
    other.send(6, 7)

    assert viewer.errors == {}
    assert viewer.whole == [1, 2, 3, 4, 5, 6, 7]
    assert not viewer.over


def test_a_viewer_that_still_waits_takes_the_latest_of_the_other_way():
    world = World()
    source = world.publish(7)
    viewer = world.view()
    other = FakeSource()

    world.announce(other, 7, 8)
    assert other.feed.resume is None
    other.send(9)

    assert viewer.whole == [9]
    assert source.owed == set()


async def test_a_question_is_asked_again_on_the_other_way():
    world = World()
    source, other = FakeSource(None), FakeSource()
    world.announce(source, 7)
    viewer = world.view()
    world.announce(other, 7, 8)

    assert source.owed == set()
    assert len(other.questions) == 1
    assert await world.track().described_or_ended() == LIVE
    assert not viewer.over


def test_watchers_hear_of_the_other_way_but_not_of_other_content():
    world = World()
    followed(world, 7)
    watch = world.watch()

    world.announce(FakeSource(), 7, 8)

    assert watch.calls == ["+room", "~room"]
    assert watch.routes["room"].hops == (7, 8)


def test_a_group_that_broke_off_does_not_come_again_by_the_other_way():
    world = World()
    source, viewer = followed(world, 7)
    source.send(7)
    late = source.begin(6)
    assert late is not None
    late.abort(Cancelled())
    other = FakeSource()
    world.announce(other, 7, 8)

    other.send(6, 8)

    assert viewer.errors == {6: "Cancelled"}
    assert viewer.whole == [1, 2, 3, 4, 5, 7, 8]


def test_a_way_that_goes_inside_the_switch_to_it_is_taken_by_no_other_track():
    world = World()
    source = world.publish(7)
    viewers = [world.view(name=name) for name in ("a", "b", "c")]
    for feed in tuple(source.sending):
        source.send(1, feed=feed)
    other = FakeSource()
    other.on_subscribe = lambda feed: world.origin.withdraw("room", other, clean=False)

    world.announce(other, 7, 8)
    for feed in tuple(source.sending):
        source.send(2, feed=feed)

    assert other.owed == set()
    assert [viewer.whole for viewer in viewers] == [[1, 2]] * 3


# Lost and back again.


def test_a_lost_publisher_that_comes_back_in_time_goes_on_at_the_next_group():
    world = World()
    source, viewer = followed(world, 7)
    watch = world.watch()
    world.lose(source, LOST)
    world.pass_(4.9)
    assert not viewer.over

    back = world.publish(7)
    assert back.feed.resume == 6
    back.send(5, 6, 7)

    assert viewer.whole == [1, 2, 3, 4, 5, 6, 7]
    assert watch.calls == ["+room"]
    world.pass_(100)
    assert not viewer.over


def test_a_lost_publisher_that_does_not_come_back_ends_its_viewers():
    world = World()
    source, viewer = followed(world, 7)
    world.lose(source, LOST)

    world.pass_(5)

    assert was_reset(viewer)
    assert world.origin.broadcasts == {}
    assert world.cache.size == 0
    assert world.clock.timers == []


def test_who_came_while_the_publisher_was_lost_is_served_once_it_is_back():
    world = World()
    source, _ = followed(world, 7)
    world.lose(source, LOST)
    waiting = world.view(name="audio")
    cached = world.view(BACK)
    assert cached.whole == [1, 2, 3, 4, 5]

    back = world.publish(7)
    for feed in tuple(back.sending):
        back.send(6, feed=feed)

    assert waiting.whole == [6]
    assert cached.whole == [1, 2, 3, 4, 5, 6]


async def test_who_asked_what_a_track_is_while_the_publisher_was_lost_is_answered():
    world = World()
    source = world.publish(7, info=None)
    world.lose(source, LOST)

    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(world.origin.track("room", "video").described_or_ended())
        await asyncio.sleep(0)
        world.pass_(1)
        world.publish(7)

    assert answer.result() == LIVE


def test_a_publisher_that_comes_back_with_numbers_begun_anew_is_another_instance():
    world = World()
    source = world.publish(7)
    viewer = world.view()
    source.send(100, 101)
    watch = world.watch()
    world.lose(source, LOST)

    back = world.publish(7)
    back.send(0)

    assert was_reset(viewer)
    assert watch.calls == ["+room", "-room", "+room"]
    assert world.cache.size == 0
    again = world.view()
    back.send(1)
    assert again.whole == [1]


def test_numbers_begun_anew_are_another_instance_for_tracks_that_nobody_reads_too():
    world = World()
    source = world.publish(7)
    world.leave(world.view(name="audio"), name="audio")
    viewer = world.view()
    source.send(100, 101)
    world.lose(source, LOST)
    back = world.publish(7)

    back.send(0)

    assert was_reset(viewer)
    assert world.origin.find("room").tracks == {}


def test_an_anonymous_publisher_that_comes_back_is_taken_by_its_content():
    world = World()
    source, viewer = followed(world, 0)
    world.lose(source, LOST)

    back = world.publish(0)
    back.send(6)

    assert viewer.whole == [1, 2, 3, 4, 5, 6]


def test_an_anonymous_publisher_that_comes_back_with_its_latest_group_is_another_instance():
    world = World()
    source, viewer = followed(world, 0)
    world.lose(source, LOST)

    back = world.publish(0)
    back.send(5)

    assert was_reset(viewer)


# The last route.


def test_an_alternate_takes_over_when_the_newest_publisher_ends():
    world = World()
    other = FakeSource()
    world.announce(other, 8)
    source, viewer = followed(world, 7)

    world.origin.withdraw("room", source, clean=True)
    source.stop(None, 6)
    other.send(6)

    assert viewer.whole[-1] == 6
    assert not viewer.over


def test_a_clean_end_of_the_last_route_lets_its_tracks_come_to_their_end():
    world = World()
    source, viewer = followed(world, 7)
    feed = source.feed
    idle = world.view(name="audio")

    world.origin.withdraw("room", source, clean=True)
    with pytest.raises(Unroutable):
        world.view()
    source.send(6, feed=feed)
    source.stop(None, 7)

    assert viewer.whole[-1] == 6
    assert (viewer.error, viewer.final) == (None, 7)
    assert idle.over


def test_a_publisher_that_is_lost_after_its_clean_end_ends_its_viewers():
    world = World()
    source, viewer = followed(world, 7)
    world.origin.withdraw("room", source, clean=True)

    world.lose(source, LOST)

    assert viewer.error is LOST


# What came from the viewer.


def test_a_viewer_whose_own_broadcast_takes_over_is_not_given_its_own():
    world = World()
    _, other = followed(world, 7)
    new = FakeSource()
    viewer = world.view(asker=Asker(new))
    world.announce(new, 8)

    new.send(6)

    assert was_reset(viewer)
    assert viewer.whole == [5]
    assert other.whole[-1] == 6
    with pytest.raises(Unroutable):
        world.view(asker=Asker(new))


def test_a_viewer_that_the_new_way_leads_through_is_not_served_by_it():
    world = World()
    _, other = followed(world, 7)
    viewer = world.view(asker=Asker(object(), 9))

    world.announce(FakeSource(), 7, 9)

    assert was_reset(viewer)
    assert not other.over


def test_the_old_publisher_is_not_given_its_own_before_it_is_decided():
    world = World()
    old, _ = followed(world, 7)
    new = world.publish(8)

    with pytest.raises(Unroutable):
        world.view(asker=Asker(old))
    new.send(6)
    viewer = world.view(asker=Asker(old))

    assert viewer.whole == [6]


# In the middle of a call.


def test_a_newcomer_that_answers_inside_subscribe_is_judged_there():
    world = World()
    _, viewer = followed(world, 7)
    new = FakeSource()
    new.on_subscribe = lambda feed: new.send(6, 7, feed=feed)

    world.announce(new, 8)

    assert viewer.whole == [1, 2, 3, 4, 5, 6, 7]
    assert world.clock.timers == []


def test_a_newcomer_that_fails_inside_subscribe_is_another_instance():
    world = World()
    _, viewer = followed(world, 7)
    audio = world.view(name="audio")
    new = FakeSource()
    new.on_subscribe = lambda feed: new.stop(NotFound())

    world.announce(new, 8)

    assert was_reset(viewer)
    assert was_reset(audio)
    assert new.owed == set()


def test_numbers_begun_anew_inside_subscribe_are_another_instance():
    world = World()
    source = world.publish(7)
    viewers = [world.view(name=name) for name in ("a", "b", "c")]
    for feed in tuple(source.sending):
        source.send(100, feed=feed)
    world.lose(source, LOST)
    back = FakeSource()
    back.on_subscribe = lambda feed: back.send(0, feed=feed)

    world.announce(back, 7)

    assert all(was_reset(viewer) for viewer in viewers)
    assert back.owed == set()


def test_routes_that_change_inside_an_end_leave_the_last_word_to_the_last_change():
    world = World()
    followed(world, 7)
    newest = FakeSource()

    def announce() -> None:
        world.announce(newest, 9)

    world.view(viewer=Viewer(on_ended=announce))
    watch = world.watch()

    world.publish(8).stop(Cancelled())
    viewer = world.view()
    newest.send(1)

    assert viewer.whole == [1]
    assert watch.routes["room"].hops == (9,)
