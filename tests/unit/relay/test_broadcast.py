"""Routes of a broadcast, and what becomes of its viewers when another is better."""

import asyncio

import pytest

from moq_relay.errors import Cancelled, Internal, NotFound, SessionClosed, Unroutable
from moq_relay.relay.broadcast import PROBE_SECONDS
from moq_relay.relay.feed import Demand, TrackInfo
from moq_relay.relay.route import Asker
from tests.unit.relay.fakes import BACK, LIVE, FakeSource, Viewer, World

LOST = SessionClosed("lost")


def followed(world: World, *hops: int, info: TrackInfo = LIVE) -> tuple[FakeSource, Viewer]:
    """A publisher that has sent groups 1 to 5, and a viewer that has them."""
    source = world.publish(*hops, info=info)
    viewer = world.view(BACK)
    source.send(1, 2, 3, 4, 5)
    assert viewer.whole == [1, 2, 3, 4, 5]
    return source, viewer


def reset(viewer: Viewer) -> bool:
    """Whether the viewer was told that the content is gone, with the error that is 0 on wires."""
    return viewer.over and type(viewer.error) is Internal


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


def test_a_way_that_is_lost_in_the_middle_of_a_group_costs_that_group_only():
    world = World()
    other = FakeSource()
    world.announce(other, 7, 8)
    source, viewer = followed(world, 7)
    source.begin(6)

    world.lose(source, LOST)
    other.send(7)

    assert viewer.errors == {6: "Internal"}
    assert viewer.whole == [1, 2, 3, 4, 5, 7]
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

    assert reset(viewer)
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

    assert reset(viewer)
    assert watch.calls == ["+room", "!room"]
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

    assert reset(viewer)
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

    assert reset(viewer)


# Another publisher takes over.


def test_equal_descriptions_and_a_later_group_go_on_at_that_group():
    world = World()
    old, viewer = followed(world, 7)
    new = world.publish(8)
    assert new.feed.demand == Demand()

    new.send(9, 10)

    assert viewer.whole == [1, 2, 3, 4, 5, 9, 10]
    assert not viewer.over
    assert old.owed == set()
    assert new.feed.demand == BACK


def test_the_older_publisher_serves_until_the_newer_has_shown_a_later_group():
    world = World()
    old, viewer = followed(world, 7)
    new = world.publish(8)
    old.send(6)
    group = old.begin(7)
    assert group is not None

    new.send(8)
    old.end(group)

    assert viewer.whole == [1, 2, 3, 4, 5, 6, 7, 8]
    assert old.owed == set()


def test_no_group_is_taken_before_the_description_is_known_to_be_equal():
    world = World()
    _, viewer = followed(world, 7)
    new = world.publish(8, info=None)
    assert new.subscriptions == []

    new.describe_now(LIVE)
    new.send(9)

    assert viewer.whole == [1, 2, 3, 4, 5, 9]


@pytest.mark.parametrize(
    "difference",
    ["description", "number", "no track", "refused", "silent", "nothing said"],
)
def test_whatever_else_another_publisher_has_is_another_instance(difference):
    world = World()
    old, viewer = followed(world, 7)
    watch = world.watch()
    slow = world.view(viewer=Viewer(), name="audio")
    new = FakeSource(
        {"description": TrackInfo(max_age=1.0), "nothing said": None}.get(difference, LIVE)
    )
    world.announce(new, 8)

    match difference:
        case "number":
            new.send(5, feed=new.sending[0])
        case "no track":
            new.stop(NotFound())
        case "refused":
            new.stop(None, 0)
        case "silent" | "nothing said":
            world.clock.pass_(PROBE_SECONDS)

    assert reset(viewer)
    assert reset(slow)
    assert world.cache.size == 0
    assert world.origin.find("room").tracks == {}
    assert watch.calls == ["+room", "!room"]
    assert watch.routes["room"].hops == (8,)
    assert old.owed == new.owed == set()
    assert world.clock.timers == []


def test_what_is_open_for_the_old_publisher_is_reset_by_the_new_instance():
    world = World()
    old, viewer = followed(world, 7)
    old.begin(6)

    world.publish(8).send(3)

    assert viewer.errors == {6: "Internal"}


def test_viewers_of_an_old_instance_come_back_to_the_new_one():
    world = World()
    followed(world, 7)
    again = Viewer()

    def come_back() -> None:
        world.view(viewer=again)

    world.view(viewer=Viewer(on_ended=come_back))
    new = world.publish(8)
    new.send(3)
    new.send(4)

    assert again.whole == [4]


def test_without_viewers_another_publisher_is_another_instance():
    world = World()
    _, viewer = followed(world, 7)
    world.leave(viewer)
    watch = world.watch()

    new = world.publish(8)

    assert watch.calls == ["+room", "!room"]
    assert new.subscriptions == []
    assert world.cache.size == 0


def test_every_track_that_is_read_must_go_on_or_none_does():
    world = World()
    old, video = followed(world, 7)
    audio = world.view(name="audio")
    old.send(50, feed=old.sending[1])
    new = world.publish(8)
    feeds = {feed.track.name: feed for feed in new.sending}

    new.send(6, feed=feeds["video"])
    assert video.whole[-1] == 6
    new.send(3, feed=feeds["audio"])

    assert reset(video)
    assert reset(audio)


def test_every_track_that_goes_on_is_judged_alone_when_nobody_reads_the_others_any_more():
    world = World()
    _, video = followed(world, 7)
    audio = world.view(name="audio")
    new = world.publish(8)
    feeds = {feed.track.name: feed for feed in new.sending}
    new.send(6, feed=feeds["video"])

    world.leave(audio, name="audio")
    world.clock.pass_(10)

    assert not video.over
    assert world.clock.timers == []


def test_when_nobody_is_left_to_judge_by_it_is_another_instance():
    world = World()
    _, viewer = followed(world, 7)
    watch = world.watch()
    new = world.publish(8)

    world.leave(viewer)

    assert watch.calls == ["+room", "!room"]
    assert new.owed == set()
    assert world.cache.size == 0


def test_who_comes_while_it_is_undecided_gets_what_is_served():
    world = World()
    old, _ = followed(world, 7)
    new = world.publish(8)

    viewer = world.view()
    audio = world.view(name="audio")
    old.send(50, feed=old.sending[-1])
    new.send(6)

    assert viewer.whole == [5, 6]
    assert audio.whole == [50]
    assert {feed.track.name for feed in new.sending} == {"video", "audio"}
    assert old.owed == set()


def test_who_comes_while_it_is_undecided_and_the_old_one_is_lost_waits():
    world = World()
    old, viewer = followed(world, 7)
    world.lose(old, LOST)
    new = world.publish(8)
    audio = world.view(name="audio")
    assert len(new.sending) == 1

    new.send(6)
    new.send(70, feed=new.sending[-1])

    assert viewer.whole[-1] == 6
    assert audio.whole == [70]


def test_the_content_keeps_its_first_name_while_it_goes_on():
    world = World()
    followed(world, 7)
    watch = world.watch()
    new = FakeSource()
    world.announce(new, 8, 9)

    new.send(6)

    assert watch.calls == ["+room", "~room"]
    assert watch.routes["room"].hops == (7, 9)
    assert watch.routes["room"].source is new


def test_a_publisher_that_took_over_is_known_when_it_comes_another_way():
    world = World()
    followed(world, 7)
    new = world.publish(8)
    new.send(6)
    other = FakeSource()

    world.announce(other, 8, 9)

    assert other.feed.resume == 7


def test_a_third_publisher_is_judged_by_what_is_served_not_by_who_failed_to_show():
    world = World()
    old, viewer = followed(world, 7)
    undecided = world.publish(8)

    third = world.publish(8)
    assert undecided.owed == set()
    third.send(5)

    assert reset(viewer)
    assert old.owed == set()


def test_the_served_publisher_may_come_back_before_it_is_decided():
    world = World()
    old, viewer = followed(world, 7)
    world.lose(old, LOST)
    new = world.publish(8)

    back = world.publish(7)
    back.send(6)
    world.clock.pass_(10)

    assert viewer.whole[-1] == 6
    assert not viewer.over
    assert new.owed == set()


def test_a_newcomer_that_goes_before_it_is_decided_leaves_all_as_it_was():
    world = World()
    old, viewer = followed(world, 7)
    watch = world.watch()
    new = world.publish(8)

    world.lose(new, LOST)
    old.send(6)
    world.clock.pass_(10)

    assert viewer.whole[-1] == 6
    assert watch.calls == ["+room"]
    assert len(old.subscriptions) == 1


def test_an_old_publisher_that_goes_before_it_is_decided_does_not_end_its_viewers():
    world = World()
    old, viewer = followed(world, 7)
    new = world.publish(8)

    world.lose(old, LOST)
    new.send(6)

    assert viewer.whole == [1, 2, 3, 4, 5, 6]
    assert not viewer.over


def test_a_track_that_ends_before_it_is_decided_is_no_longer_judged_by():
    world = World()
    old, video = followed(world, 7)
    audio = world.view(name="audio")
    new = world.publish(8)
    new.send(6, feed=new.sending[0])

    old.stop(None, 0)
    world.clock.pass_(10)

    assert audio.over
    assert audio.error is None
    assert not video.over


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
    old, other = followed(world, 7)
    new = FakeSource()
    viewer = world.view(asker=Asker(new))
    world.announce(new, 8)

    new.send(6)

    assert reset(viewer)
    assert viewer.whole == [5]
    assert other.whole[-1] == 6
    with pytest.raises(Unroutable):
        world.view(asker=Asker(new))


def test_a_viewer_that_the_new_way_leads_through_is_not_served_by_it():
    world = World()
    source, other = followed(world, 7)
    viewer = world.view(asker=Asker(object(), 9))

    world.announce(FakeSource(), 7, 9)

    assert reset(viewer)
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


# Single groups.


def test_a_group_in_the_cache_is_fetched_from_there():
    world = World()
    source, _ = followed(world, 7)

    assert world.origin.fetch("room", "video", 3).frames[0].payload == b"\3"
    assert world.origin.fetch("room", "video", None).sequence == 5
    assert source.fetches == []


def test_a_group_that_is_open_is_fetched_as_it_grows():
    world = World()
    source, _ = followed(world, 7)
    group = source.begin(6)

    assert world.origin.fetch("room", "video", 6) is group


def test_a_group_that_lacks_its_start_is_asked_for_upstream():
    world = World()
    source, _ = followed(world, 7)
    source.feed.open_group(6, first=3)

    group = world.origin.fetch("room", "video", 6)

    assert source.fetches == [group]


def test_a_group_that_is_not_in_the_cache_is_asked_for_upstream_once():
    world = World()
    source, viewer = followed(world, 7)

    one = world.origin.fetch("room", "video", 99)
    other = world.origin.fetch("room", "video", 99)
    one.finish()
    third = world.origin.fetch("room", "video", 99)

    assert one is other is third
    assert source.fetches == [one]
    assert viewer.whole == [1, 2, 3, 4, 5]
    assert world.view().first == 5


def test_a_fetch_needs_no_subscription():
    world = World()
    source = world.publish()

    group = world.origin.fetch("room", "video", 3)

    assert source.fetches == [group]
    assert source.subscriptions == source.questions == []


def test_a_fetch_that_failed_is_tried_again_by_the_next():
    world = World()
    source = world.publish()
    source.on_fetch = lambda group: group.abort(NotFound())

    one = world.origin.fetch("room", "video", 3)
    other = world.origin.fetch("room", "video", 3)

    assert isinstance(one.error, NotFound)
    assert source.fetches == [one, other]
    assert len(world.cache) == 0


@pytest.mark.parametrize("sequence", [None, 3])
def test_a_group_that_is_nowhere_is_not_found(sequence):
    world = World()
    source = world.publish()
    if sequence is not None:
        world.lose(source, LOST)

    with pytest.raises(NotFound):
        world.origin.fetch("room", "video", sequence)


def test_fetched_groups_go_like_any_other_but_not_while_they_are_read():
    world = World()
    source = world.publish()
    group = world.origin.fetch("room", "video", 3)
    reader = Viewer()
    reader.started(3)
    reader.opened(group)

    world.pass_(60)
    assert group.open
    group.finish()
    world.pass_(1)

    assert len(world.cache) == 0
    assert world.origin.find("room").tracks == {}
    assert world.origin.fetch("room", "video", 3) is not group
    assert len(source.fetches) == 2


def test_a_fetch_that_nobody_reads_and_nobody_answers_is_given_up():
    world = World()
    world.publish()
    group = world.origin.fetch("room", "video", 3)
    told = []
    group.on_abandoned = lambda: told.append(group.error is not None)

    world.pass_(6)

    assert told == [True]
    assert len(world.cache) == 0


def test_another_instance_has_no_groups_of_the_old_one():
    world = World()
    world.publish(7)
    group = world.origin.fetch("room", "video", 3)

    new = world.publish(8)

    assert isinstance(group.error, Internal)
    world.origin.fetch("room", "video", 3)
    assert len(new.fetches) == 1


def test_a_fetch_while_it_is_undecided_goes_to_what_is_served():
    world = World()
    old, _ = followed(world, 7)
    new = world.publish(8)

    world.origin.fetch("room", "video", 99)

    assert len(old.fetches) == 1
    assert new.fetches == []


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

    assert reset(viewer)
    assert reset(audio)
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

    assert all(reset(viewer) for viewer in viewers)
    assert back.owed == set()


def test_routes_that_change_inside_an_end_leave_the_last_word_to_the_last_change():
    world = World()
    old, _ = followed(world, 7)
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
