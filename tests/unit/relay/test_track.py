"""A track: one feed, many readers, and where each of them begins."""

import asyncio

import pytest

from moq_relay.errors import Cancelled, ControlTimeout, Internal, NotFound, RequestError
from moq_relay.relay.feed import Demand, Feed, TrackInfo
from tests.unit.relay.fakes import BACK, LIVE, FakeSource, Viewer, World, frame

# Where a viewer begins.


def test_a_new_viewer_starts_at_the_latest_group():
    world = World()
    source = world.publish()
    world.view()
    source.send(1, 2, 3)

    late = world.view()

    assert late.first == 3
    assert late.order == [3]


def test_a_new_viewer_gets_the_latest_group_from_its_first_frame_while_it_grows():
    world = World()
    source = world.publish()
    world.view()
    group = source.begin(3)
    assert group is not None
    group.append(frame(3, 0))

    late = world.view()
    group.append(frame(3, 1))
    source.end(group)

    assert late.groups[3].frames == [frame(3, 0), frame(3, 1)]
    assert late.whole == [3]


def test_a_viewer_gets_all_groups_from_its_first_one_on():
    world = World()
    source = world.publish()
    viewer = world.view()

    source.send(5, 6, 8, 7, 9)

    assert viewer.first == 5
    assert viewer.order == [5, 6, 8, 7, 9]


def test_a_group_older_than_the_start_does_not_reach_a_viewer_of_the_latest():
    world = World()
    source = world.publish()
    world.view()
    source.send(5)
    viewer = world.view(Demand(max_age=10.0))

    source.send(4)

    assert viewer.order == [5]


def test_a_viewer_that_was_there_before_the_feed_gets_its_groups_in_whatever_order_they_come():
    world = World()
    source = world.publish()
    viewer = world.view(Demand(max_age=10.0))

    source.send(5, 4)

    assert viewer.order == [5, 4]


def test_a_viewer_starts_at_the_group_it_asks_for():
    world = World()
    source = world.publish()
    world.view()
    source.send(1, 2, 3, 4)

    late = world.view(Demand(start=2))

    assert late.first == 2
    assert late.order == [2, 3, 4]


def test_a_start_before_everything_kept_is_the_oldest_group_kept():
    world = World()
    source = world.publish()
    world.view()
    source.send(5, 6)
    world.clock.pass_(10)

    late = world.view(Demand(start=2, max_age=10.0))

    assert late.first == 5
    assert late.order == [5, 6]


def test_a_start_in_the_future_waits_for_that_group():
    world = World()
    source = world.publish()
    world.view()
    source.send(1)

    late = world.view(Demand(start=3))
    source.send(2, 3)

    assert late.first == 3
    assert late.order == [3]


def test_who_reaches_back_starts_at_the_oldest_group_inside_its_max_age():
    world = World()
    source = world.publish()
    world.view()
    for sequence in range(1, 6):
        source.send(sequence)
        world.pass_(4)

    late = world.view(Demand(max_age=10.0, reach=True))

    # The groups were superseded 16, 12, 8 and 4 seconds ago.
    assert late.first == 3
    assert late.order == [3, 4, 5]


def test_who_reaches_back_never_starts_below_its_floor():
    world = World()
    source = world.publish()
    world.view()
    source.send(1, 2, 3, 4)

    late = world.view(Demand(max_age=10.0, reach=True, floor=3))

    assert late.first == 3
    assert late.order == [3, 4]


def test_who_reaches_back_never_starts_after_the_latest_however_old_it_is():
    world = World()
    source = world.publish()
    world.view()
    source.send(1, 2)
    world.pass_(1000)

    late = world.view(Demand(max_age=0.0, reach=True))

    assert late.first == 2
    assert late.order == [2]


def test_a_floor_above_the_latest_waits_for_that_group():
    world = World()
    source = world.publish()
    world.view()
    source.send(1)

    late = world.view(Demand(max_age=10.0, reach=True, floor=3))
    source.send(2, 3)

    assert late.first == 3
    assert late.order == [3]


@pytest.mark.parametrize(
    ("demand", "order"),
    [
        (Demand(max_age=10.0, reach=True), [5, 4]),
        (Demand(max_age=10.0, reach=True, floor=5), [5]),
        (Demand(max_age=0.0, reach=True), [5]),
        (Demand(max_age=10.0, start=4), [5, 4]),
        (Demand(max_age=10.0, start=5), [5]),
        (Demand(max_age=10.0), [5]),
    ],
)
def test_a_late_group_reaches_only_who_asked_for_it(demand, order):
    world = World()
    source = world.publish()
    world.view()
    source.send(5)
    viewer = world.view(demand)

    source.send(4)

    assert viewer.order == order


def test_nothing_after_the_end_that_was_asked_for_is_told():
    world = World()
    source = world.publish()
    viewer = world.view(Demand(end=2))

    source.send(1, 2, 3)

    assert viewer.order == [1, 2]


def test_a_raised_end_brings_the_groups_that_were_held_back():
    world = World()
    source = world.publish()
    viewer = world.view(Demand(end=2))
    source.send(1, 2, 3, 4, 5)

    world.track().change(viewer, Demand(end=4))
    assert viewer.order == [1, 2, 3, 4]

    world.track().change(viewer, Demand())
    assert viewer.order == [1, 2, 3, 4, 5]


# A cold track.


def test_viewers_of_a_cold_track_wait_for_its_first_group_together():
    world = World()
    source = world.publish()
    viewers = [world.view(), world.view(), world.view(BACK)]
    assert all(viewer.first is None for viewer in viewers)

    source.send(7)

    assert [viewer.order for viewer in viewers] == [[7]] * 3


def test_a_viewer_that_joins_again_gets_the_only_group_though_it_is_cached_already():
    world = World()
    source = world.publish()
    first = world.view()
    source.send(7)
    world.leave(first)

    again = world.view()
    assert again.order == []
    assert source.begin(7) is None

    assert again.first == 7
    assert again.whole == [7]


def test_what_the_source_promised_counts_for_who_reaches_back_on_a_cold_track():
    world = World()
    source = world.publish()
    viewer = world.view(Demand(max_age=10.0, reach=True, floor=3))

    source.feed.started(4)
    source.send(7, 4, 5, 6)

    assert viewer.first == 4
    assert viewer.order == [7, 4, 5, 6]


def test_what_the_source_promised_counts_for_who_asked_for_an_earlier_group():
    world = World()
    source = world.publish()
    viewer = world.view(Demand(start=2))

    source.feed.started(4)
    source.send(7, 5)

    assert viewer.first == 4
    assert viewer.order == [7, 5]


def test_a_promise_does_not_bring_anybody_below_its_floor():
    world = World()
    source = world.publish()
    viewers = [
        world.view(Demand(max_age=10.0, reach=True, floor=5)),
        world.view(Demand(max_age=10.0, start=5)),
        world.view(),
    ]

    source.feed.started(3)
    source.send(7, 4, 5)

    # Who asked for the latest has no floor, and gets all that the feed brings.
    assert [viewer.first for viewer in viewers] == [5, 5, 3]
    assert [viewer.order for viewer in viewers] == [[7, 5], [7, 5], [7, 4, 5]]


def test_numbers_that_began_anew_while_nobody_followed_do_not_keep_a_viewer_waiting():
    world = World()
    source = world.publish()
    first = world.view()
    source.send(100, 101)
    world.leave(first)

    again = world.view()
    source.send(3, 4)

    assert again.first == 3
    assert again.whole == [3, 4]
    assert sorted(world.track().groups) == [3, 4]


def test_old_groups_that_come_first_do_not_look_like_numbers_that_began_anew():
    world = World()
    source = world.publish()
    first = world.view(BACK)
    source.send(100, 101)
    world.leave(first)

    again = world.view(BACK)
    source.send(100, 101, 102)

    assert again.whole == [100, 101, 102]


# One subscription upstream.


def test_there_is_one_subscription_upstream_however_many_viewers_there_are():
    world = World()
    source = world.publish()
    viewers = [world.view() for _ in range(50)]
    source.send(1)

    assert len(source.subscriptions) == 1
    assert len(source.questions) == 1
    assert all(viewer.whole == [1] for viewer in viewers)


def test_the_subscription_goes_with_the_last_viewer_and_what_was_under_way_breaks_off():
    world = World()
    source = world.publish()
    one, other = world.view(), world.view()
    group = source.begin(1)

    world.leave(one)
    assert source.sending

    world.leave(other)
    assert source.sending == []
    assert source.owed == set()
    assert group is not None
    assert isinstance(group.error, Internal)
    assert world.track().groups == {}


def test_leaving_twice_is_harmless():
    world = World()
    source = world.publish()
    viewer = world.view()
    world.leave(viewer)

    world.leave(viewer)

    assert source.owed == set()


def test_the_next_viewer_after_the_last_subscribes_anew():
    world = World()
    source = world.publish()
    world.leave(world.view())

    viewer = world.view()
    source.send(1)

    assert viewer.whole == [1]
    assert len(source.subscriptions) == 2
    assert len(source.questions) == 1


def test_the_subscription_has_the_widest_priority_and_latency_of_the_viewers():
    world = World()
    source = world.publish(info=TrackInfo(max_age=60.0))
    one = world.view(Demand(priority=1, max_age=5.0))
    assert source.feed.demand == Demand(priority=1, max_age=5.0)

    world.view(Demand(priority=9, max_age=2.0))
    assert source.feed.demand == Demand(priority=9, max_age=5.0)
    assert len(source.updates) == 1

    world.leave(one)
    assert source.feed.demand == Demand(priority=9, max_age=2.0)
    assert len(source.updates) == 2


def test_a_viewer_that_wants_no_more_than_the_others_asks_for_no_update():
    world = World()
    source = world.publish()
    world.view(Demand(priority=5, max_age=5.0))

    other = world.view(Demand(priority=3, max_age=1.0))
    world.leave(other)

    assert source.updates == []


def test_a_changed_demand_changes_the_subscription():
    world = World()
    source = world.publish()
    viewer = world.view(Demand(priority=1))

    world.track().change(viewer, Demand(priority=7))
    world.track().change(Viewer(), Demand(priority=9))

    assert [demand.priority for _, demand in source.updates] == [7]


# How it ends.


def test_the_end_of_the_track_reaches_every_viewer_with_its_last_number():
    world = World()
    source = world.publish()
    viewers = [world.view(), world.view()]
    source.send(1)

    source.stop(None, 2)

    assert [(v.over, v.error, v.final) for v in viewers] == [(True, None, 2)] * 2
    assert all(v.whole == [1] for v in viewers)


def test_an_error_reaches_every_viewer_also_such_as_wait_for_the_first_group():
    world = World()
    source = world.publish()
    viewer = world.view()

    source.stop(NotFound("no such track"))

    assert isinstance(viewer.error, NotFound)


def test_a_group_that_is_open_when_the_track_ends_breaks_off():
    world = World()
    source = world.publish()
    viewer = world.view()
    source.begin(1)

    source.stop(None, 2)

    assert viewer.errors == {1: "Internal"}


def test_a_track_that_ended_is_asked_for_anew_by_the_next_viewer():
    world = World()
    source = world.publish()
    world.view()
    source.stop(NotFound())

    viewer = world.view()
    source.send(1)

    assert viewer.whole == [1]


def test_nobody_joins_a_track_that_is_over():
    world = World()
    source = world.publish()
    world.view()
    track = world.track()
    source.stop(NotFound("gone"))

    with pytest.raises(NotFound, match="gone"):
        track.join(Viewer(), Demand(), source)


# What it is.


async def test_whoever_asks_what_a_track_is_gets_one_answer():
    world = World()
    source = world.publish(info=None)
    track = world.origin.track("room", "video")
    world.origin.track("room", "video")

    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(track.described_or_ended()) for _ in range(3)]
        await asyncio.sleep(0)
        source.describe_now(LIVE)

    assert [answer.result() for answer in answers] == [LIVE] * 3
    assert len(source.questions) == 1
    assert source.subscriptions == []
    assert world.origin.track("room", "video").info == LIVE


async def test_a_viewer_asks_no_second_time_what_was_asked_or_is_known_already():
    world = World()
    source = world.publish(info=None)
    world.origin.track("room", "video")

    world.view()
    source.describe_now()
    world.leave(world.view(name="video"))
    world.view()

    assert len(source.questions) == 1


async def test_who_asks_what_a_track_is_hears_that_there_is_none():
    world = World()
    source = world.publish(info=None)
    track = world.origin.track("room", "video")

    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(_refused(track))
        await asyncio.sleep(0)
        source.stop(NotFound("no such track"))

    assert isinstance(answer.result(), NotFound)
    assert world.origin.track("room", "video") is not track


async def _refused(track) -> RequestError:
    with pytest.raises(RequestError) as refusal:
        await track.described_or_ended()
    return refusal.value


async def test_a_question_goes_with_the_last_who_waits_for_its_answer():
    world = World()
    source = world.publish(info=None)
    track = world.origin.track("room", "video")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await track.described_or_ended()

    assert source.owed == set()
    assert track.vacant


def test_a_question_goes_with_the_viewer_that_caused_it():
    world = World()
    source = world.publish(info=None)

    world.leave(world.view())

    assert len(source.questions) == 1
    assert source.owed == set()


def test_a_question_goes_with_the_track_that_ends_before_the_answer():
    world = World()
    source = world.publish(info=None)
    viewer = world.view()
    feed = source.feed

    source.end_feed(feed, None, 0)

    assert viewer.over
    assert source.owed == set()


async def test_a_question_of_a_viewer_goes_with_the_viewer_unless_others_wait():
    world = World()
    source = world.publish(info=None)
    viewer = world.view()
    track = world.track()

    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(track.described_or_ended())
        await asyncio.sleep(0)
        world.leave(viewer)
        assert len(source.owed) == 1
        source.describe_now()

    assert answer.result() == LIVE
    assert source.owed == set()

    world.leave(world.view())
    assert source.owed == set()


def test_the_first_description_stands():
    world = World()
    source = world.publish()
    world.view()

    source.feed.described(TrackInfo(max_age=1.0))

    assert world.track().info == LIVE


# Datagrams.


def test_datagrams_reach_every_viewer_and_are_not_kept():
    world = World()
    source = world.publish()
    viewers = [world.view(), world.view()]

    source.feed.datagram(9, 0, b"x")

    assert [viewer.datagrams for viewer in viewers] == [[(9, b"x")]] * 2
    assert world.view().datagrams == []
    assert world.cache.size == 0


# In the middle of a call.


def test_a_source_that_answers_inside_subscribe_tells_everybody_once():
    world = World()
    source = world.publish()
    source.on_subscribe = lambda feed: source.send(1, 2, feed=feed)

    viewer = world.view(BACK)
    other = world.view()

    assert viewer.order == [1, 2]
    assert other.order == [2]


@pytest.mark.parametrize("error", [None, NotFound()])
def test_a_source_that_refuses_inside_subscribe_is_not_told_to_stop(error):
    world = World()
    source = world.publish()
    source.on_subscribe = lambda feed: source.stop(error, 0)

    viewer = world.view()

    assert viewer.over
    assert viewer.error is error
    assert source.owed == set()


class Refusing(FakeSource):
    """Has none of the tracks."""

    def describe(self, feed: Feed) -> None:
        feed.ended(NotFound())


def test_a_source_that_refuses_to_describe_is_not_subscribed():
    world = World()
    source = Refusing()
    world.announce(source)

    viewer = world.view()

    assert isinstance(viewer.error, NotFound)
    assert source.subscriptions == []


def test_a_viewer_that_leaves_inside_subscribe_leaves_no_subscription():
    world = World()
    source = world.publish()
    viewer = Viewer(on_opened=lambda group: world.leave(viewer))
    source.on_subscribe = lambda feed: source.send(1, 2, feed=feed)

    world.view(viewer=viewer)

    assert viewer.order == [1]
    assert source.sending == []
    assert source.owed == set()


def test_the_last_viewer_may_leave_inside_a_group_that_opens():
    world = World()
    source = world.publish()
    viewer = world.view(viewer=Viewer(on_opened=lambda group: world.leave(viewer)))

    assert source.begin(1) is None

    assert viewer.errors == {1: "Internal"}
    assert source.owed == set()
    assert len(world.cache) == 0


def test_a_viewer_that_another_ends_inside_opened_is_told_nothing_more():
    world = World()
    source = world.publish()
    victim = Viewer()
    world.view(viewer=Viewer(on_opened=lambda group: world.leave(victim)))
    world.view(viewer=victim)
    third = world.view()

    source.send(1, 2)

    assert victim.first is None
    assert third.whole == [1, 2]


def test_a_viewer_that_another_ends_while_both_follow_is_told_nothing_more():
    world = World()
    source = world.publish()
    victim = Viewer()
    world.view(viewer=Viewer(on_opened=lambda group: group.sequence == 2 and world.leave(victim)))
    world.view(viewer=victim)

    source.send(1, 2)

    assert victim.order == [1]


def test_a_viewer_that_another_ends_inside_a_datagram_is_told_nothing_more():
    world = World()
    source = world.publish()
    victim = Viewer()
    world.view(viewer=Viewer(on_datagram=lambda: world.leave(victim)))
    world.view(viewer=victim)

    source.feed.datagram(1, 0, b"")

    assert victim.datagrams == []


def test_a_viewer_that_joins_inside_opened_gets_the_group_once():
    world = World()
    source = world.publish()
    joined: list[Viewer] = []

    def join(_group) -> None:
        if not joined:
            joined.append(world.view())

    world.view(viewer=Viewer(on_opened=join))
    source.send(1, 2)

    assert joined[0].whole == [1, 2]


def test_a_viewer_that_leaves_and_joins_inside_opened_starts_anew():
    world = World()
    source = world.publish()
    again = Viewer()

    def rejoin(_group) -> None:
        world.leave(viewer)
        world.view(viewer=again)

    viewer = world.view(viewer=Viewer(on_opened=rejoin))
    world.view()
    source.send(1, 2)

    assert viewer.order == [1]
    assert again.whole == [1, 2]


def test_viewers_may_come_back_inside_the_end_of_a_track():
    world = World()
    source = world.publish()
    again = Viewer()

    def come_back() -> None:
        world.view(viewer=again)

    world.view(viewer=Viewer(on_ended=come_back))
    other = world.view()

    source.stop(Cancelled())
    source.send(1)

    assert other.over
    assert again.whole == [1]


def test_a_viewer_that_another_ends_inside_the_end_of_a_track_is_told_nothing_more():
    world = World()
    source = world.publish()
    victim = Viewer()
    track = []

    def close() -> None:
        track[0].leave(victim)
        victim.left = True

    world.view(viewer=Viewer(on_ended=close))
    world.view(viewer=victim)
    track.append(world.track())

    source.stop(Cancelled())

    assert not victim.over


@pytest.mark.parametrize(
    ("error", "told"), [(ControlTimeout("enough"), ControlTimeout), (ValueError("a bug"), Internal)]
)
def test_a_viewer_that_fails_costs_itself_only_and_hears_of_it(error, told, caplog):
    world = World()
    source = world.publish()

    def fail(_group) -> None:
        raise error

    broken = world.view(viewer=Viewer(on_opened=fail))
    other = world.view()
    source.send(1, 2)

    assert broken.order == [1]
    assert isinstance(broken.error, told)
    assert other.whole == [1, 2]
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert bool(errors) is (told is Internal)


def test_a_viewer_that_fails_at_the_end_does_not_keep_it_from_others(caplog):
    world = World()
    source = world.publish()

    def fail() -> None:
        raise ValueError("a bug")

    world.view(viewer=Viewer(on_ended=fail))
    other = world.view()

    source.stop(None, 0)

    assert other.over
    assert "track reader failed" in caplog.text


# Nothing is left.


def test_tracks_that_hold_nothing_are_forgotten():
    world = World()
    source = world.publish()
    broadcast = world.origin.find("room")
    viewer = world.view()
    source.send(1)
    world.leave(viewer)
    world.view(name="missing")
    source.stop(NotFound())
    assert len(broadcast.tracks) == 2

    world.pass_(1)
    assert list(broadcast.tracks) == [("room", "video")]

    # Its group is kept for 30 s, and what it is for as long.
    world.pass_(30)
    assert broadcast.tracks == {}
    assert len(world.cache) == 0


def test_the_past_of_a_track_that_ended_is_kept_like_any_other():
    world = World()
    source = FakeSource()
    world.announce(source)
    world.view()
    source.send(1, 2)
    source.stop(None, 3)

    world.pass_(29)

    assert world.origin.fetch("room", "video", 1).finished
