"""Another publisher under the same path: the same content, or another instance of it."""

import pytest

from moq_relay.errors import NotFound
from moq_relay.relay.broadcast import PROBE_SECONDS
from moq_relay.relay.feed import Demand, TrackInfo
from moq_relay.relay.route import Asker
from tests.unit.relay.fakes import (
    BACK,
    LIVE,
    LOST,
    FakeSource,
    Viewer,
    Watch,
    World,
    followed,
    was_reset,
)

# Another publisher takes over.


def test_equal_descriptions_and_a_later_group_go_on_there():
    world = World()
    old, viewer = followed(world, 7)
    new = world.publish(8)
    assert new.feed.demand == Demand()

    new.send(6, 7)

    assert viewer.whole == [1, 2, 3, 4, 5, 6, 7]
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

    assert was_reset(viewer)
    assert was_reset(slow)
    assert world.cache.size == 0
    assert world.origin.find("room").tracks == {}
    assert watch.calls == ["+room", "-room", "+room"]
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

    assert watch.calls == ["+room", "-room", "+room"]
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

    assert was_reset(video)
    assert was_reset(audio)


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

    assert watch.calls == ["+room", "-room", "+room"]
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

    assert was_reset(viewer)
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


def test_a_publisher_that_was_replaced_is_not_taken_for_the_new_one():
    world = World()
    followed(world, 7)
    new = world.publish(8)
    new.send(3)
    viewer = world.view(BACK)
    new.send(4)
    back = world.publish(7)

    back.send(4)

    assert was_reset(viewer)


def test_a_viewer_of_its_own_broadcast_is_ended_before_the_first_group_comes_back_to_it():
    world = World()
    followed(world, 7)
    world.view(name="audio")
    new = FakeSource()
    viewer = world.view(asker=Asker(new))
    world.announce(new, 8)
    video = next(feed for feed in new.sending if feed.track.name == "video")

    new.send(6, feed=video)

    assert viewer.whole == [5]
    assert was_reset(viewer)


def test_a_new_way_through_the_first_name_of_the_content_names_it_once():
    world = World()
    followed(world, 7)
    watch = world.watch()
    new = FakeSource()
    world.announce(new, 8, 7, 9)

    new.send(6)

    assert watch.routes["room"].hops == (7, 9)


def test_a_newer_publisher_that_comes_while_the_old_content_is_withdrawn_has_the_last_word():
    world = World()
    world.publish(7)
    newest = FakeSource()
    first = Watch()

    def announce(call: str) -> None:
        if call == "-room":
            first.on_call = lambda call: None
            world.announce(newest, 9)

    first.on_call = announce
    world.origin.watch("", first)
    second = world.watch()

    world.publish(8)

    for watch in (first, second):
        assert watch.routes["room"].hops == (9,)
    viewer = world.view()
    newest.send(1)
    assert viewer.whole == [1]
