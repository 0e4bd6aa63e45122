"""Routes of a cluster: which one is best, and what other nodes get of a broadcast."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moq_relay.errors import Internal, NotFound, SessionClosed, Unroutable
from moq_relay.relay.route import NODES, Asker, Route, prefer
from tests.unit.relay.fakes import BACK, LOST, FakeSource, World, followed, was_reset


def best(*routes):
    routes = list(routes)
    prefer(routes)
    return routes[0]


# Which one is best.


def test_what_can_be_reached_goes_before_all_else():
    far = Route(FakeSource(), since=1.0, local=False, live=False)

    assert best(Route(FakeSource(), since=9.0, local=False, up=False), far) is far


def test_what_nothing_speaks_against_goes_before_the_newest():
    sound = Route(FakeSource(), since=1.0, local=False)

    assert best(Route(FakeSource(), since=9.0, local=False, live=False), sound) is sound


def test_the_newest_publisher_goes_first_wherever_it_is():
    newest = Route(FakeSource(), since=2.0, local=False)

    assert best(Route(FakeSource(), since=1.0, born=5.0), newest) is newest


def test_at_equal_age_the_local_one_goes_first_and_then_by_place():
    local, first = Route(FakeSource(), since=1.0), Route(FakeSource(), since=1.0, local=False)
    second = Route(FakeSource(), since=1.0, local=False, place=-1)

    routes = [second, first, local]
    prefer(routes)

    assert routes == [local, first, second]


def test_publishers_of_this_node_go_by_their_arrival_when_the_shared_clock_went_back():
    old, new = Route(FakeSource(), since=9.0, born=1.0), Route(FakeSource(), since=5.0, born=2.0)
    between = Route(FakeSource(), since=7.0, local=False)

    assert best(old, new) is new
    assert best(old, between, new) is between


routes = st.builds(
    Route,
    st.builds(FakeSource),
    since=st.integers(0, 3).map(float),
    local=st.booleans(),
    born=st.integers(0, 3).map(float),
    up=st.booleans(),
    live=st.booleans(),
    place=st.integers(-2, 0),
)


@given(st.lists(routes, max_size=6), st.randoms())
def test_the_order_does_not_depend_on_who_came_first(routes, random):
    def facts(route):
        born = route.born if route.local else 0.0
        return route.up, route.live, route.local, born, route.since, route.place

    shuffled = routes.copy()
    random.shuffle(shuffled)
    prefer(routes)
    prefer(shuffled)

    assert list(map(facts, routes)) == list(map(facts, shuffled))


# When the way to a source changes.


def announce(world, source, *hops, path="room", **options):
    world.clock.now += 0.001
    options.setdefault("since", world.clock.now)
    route = Route(source, hops, local=False, **options)
    assert world.origin.announce(path, route)
    return route


def test_a_source_that_cannot_be_reached_leaves_its_viewers_to_another_with_the_same_content():
    world = World()
    other, source = FakeSource(), FakeSource()
    announce(world, other, 7, 1)
    announce(world, source, 7, 2)
    viewer = world.view(BACK)
    source.send(1, 2)

    announce(world, source, 7, 2, up=False)
    other.send(3)

    assert viewer.whole == [1, 2, 3]
    assert other.feed.resume == 3
    assert source.owed == set()


def test_a_source_that_cannot_be_reached_keeps_its_viewers_when_there_is_no_other():
    world = World()
    source = FakeSource()
    announce(world, source, 7, 2)
    viewer = world.view(BACK)
    source.send(1)
    feed = source.feed

    announce(world, source, 7, 2, up=False)
    announce(world, source, 7, 2)
    source.send(2, feed=feed)

    assert viewer.whole == [1, 2]
    assert len(source.subscriptions) == 1


def test_a_source_with_other_content_is_probed_when_the_first_cannot_be_reached():
    world = World()
    other, source = FakeSource(), FakeSource()
    announce(world, other, 8, 1)
    announce(world, source, 7, 2)
    viewer = world.view(BACK)
    source.send(1, 2)

    announce(world, source, 7, 2, up=False)
    other.send(2)

    assert was_reset(viewer)


def test_news_of_a_route_that_is_probed_does_not_begin_the_probe_anew():
    world = World()
    _, viewer = followed(world, 7)
    new = FakeSource()
    announce(world, new, 8, 2)

    announce(world, new, 8, 2, place=-1)
    assert len(new.subscriptions) == 1
    new.send(6)

    assert viewer.whole[-1] == 6


def test_a_feed_that_its_source_means_to_go_on_with_is_asked_for_again():
    world = World()
    source, viewer = followed(world, 7)
    feed = source.feed
    feed.on_refused = lambda feed, error: True
    group = source.begin(6)

    source.stop(LOST)
    assert group.open
    assert source.feed.resume == 6
    source.send(6, 7)

    assert viewer.whole == [1, 2, 3, 4, 5, 6, 7]
    assert not viewer.over


def test_a_source_that_is_told_of_the_end_may_have_gone_elsewhere():
    world = World()
    source, viewer = followed(world, 7)
    other = FakeSource()

    def refused(feed, error):
        world.announce(other, 7, 9)
        return True

    source.feed.on_refused = refused
    source.stop(LOST)
    other.send(6)

    assert viewer.whole == [1, 2, 3, 4, 5, 6]
    assert source.owed == set()
    assert len(other.subscriptions) == 1


async def test_a_question_that_its_source_means_to_answer_is_asked_again():
    world = World()
    source = world.publish(7, info=None)
    world.view()
    for feed in source.owed:
        feed.on_refused = lambda feed, error: True

    source.stop(LOST)
    assert len([feed for feed in source.questions if feed.live]) == 1


def test_a_probe_that_its_source_means_to_go_on_with_is_begun_again():
    world = World()
    _, viewer = followed(world, 7)
    new = world.publish(8)
    probe = new.feed
    probe.on_refused = lambda feed, error: True

    new.stop(LOST)
    new.send(6)

    assert viewer.whole[-1] == 6
    assert not viewer.over


# Dates.


def test_a_publisher_is_dated_by_the_shared_clock_and_keeps_its_date():
    world = World()
    moments = itertools.count(1000)
    world.origin.stamp = lambda: float(next(moments))
    source = FakeSource()

    world.origin.publish("room", source, (7,))
    world.clock.now += 5
    world.origin.publish("room", source, (7, 8), live=False)

    (route,) = world.origin.find("room").routes
    assert (route.since, route.born, route.hops, route.live) == (1000.0, 100.0, (7, 8), False)


def test_what_passed_this_node_is_not_published():
    world = World()

    assert not world.origin.publish("room", FakeSource(), (7, world.origin.hop))


def test_a_better_date_may_change_who_is_newest():
    world = World()
    world.origin.stamp = lambda: 10.0
    source, other = FakeSource(), FakeSource()
    world.origin.publish("room", source, (7,))
    announce(world, other, 7, 2, since=11.0)
    assert world.origin.find("room").active.source is other

    world.origin.date("room", source, 12.0)

    assert world.origin.find("room").active.source is source
    world.origin.date("room", source, 12.0)
    world.origin.date("room", FakeSource(), 99.0)
    world.origin.date("hall", source, 99.0)


def test_a_path_that_nobody_had_is_told_once():
    world = World()
    seen = []
    world.origin.on_appeared = seen.append

    world.publish(7)
    world.publish(8)
    world.publish(9, path="room/.hidden")

    assert seen == ["room", "room/.hidden"]


# What other nodes get.


def offers(world):
    """Each thing that was offered of the room, by its first hop."""
    seen = []

    def told(path):
        offer = world.origin.offer(path)
        hop = offer and offer.publisher
        if not seen or seen[-1] != hop:
            seen.append(hop)

    world.origin.on_offered = told
    return seen


def test_what_a_publisher_of_this_node_has_is_offered_until_it_ends():
    world = World()
    seen = offers(world)
    source = world.publish(7)

    world.origin.withdraw("room", source, clean=True)

    assert seen == [7, None]


def test_what_comes_from_elsewhere_is_not_offered():
    world = World()
    seen = offers(world)

    announce(world, FakeSource(), 7, 2)

    assert seen == [None]


def test_a_publisher_is_offered_also_while_another_node_has_a_newer_one():
    world = World()
    source = world.publish(7)
    announce(world, FakeSource(), 8, 2)

    assert world.origin.offer("room").source is source

    world.origin.withdraw("room", source, clean=True)
    assert world.origin.offer("room") is None


def test_a_lost_publisher_is_offered_while_it_may_come_back():
    world = World()
    seen = offers(world)
    source = world.publish(7)

    world.lose(source, LOST)
    world.pass_(4.9)
    assert seen == [7]

    world.pass_(1)
    assert seen == [7, None]


def test_of_two_publishers_the_newest_is_offered_under_the_name_of_what_is_served():
    world = World()
    old, viewer = followed(world, 7)
    new = world.publish(8)

    undecided = world.origin.offer("room")
    assert (undecided.source, undecided.hops) == (new, (7,))
    new.send(6)
    assert world.origin.offer("room").hops == (7,)

    world.leave(viewer)
    newest = world.publish(9)
    assert (world.origin.offer("room").source, world.origin.offer("room").hops) == (newest, (9,))
    assert old.owed == set()


def test_another_node_sees_and_gets_what_is_published_here_only():
    world = World()
    announce(world, FakeSource(), 7, 2)
    watch = world.watch(asker=NODES)

    with pytest.raises(Unroutable):
        world.view(asker=NODES)
    source = world.publish(8)
    viewer = world.view(asker=NODES)
    source.send(1)

    assert watch.routes["room"].source is source
    assert viewer.whole == [1]


def test_another_node_gets_what_is_published_here_while_viewers_here_get_something_newer():
    world = World()
    source = world.publish(7)
    newer = FakeSource()
    announce(world, newer, 8, 2)

    here, there = world.view(), world.view(asker=NODES)
    newer.send(50)
    source.send(1)

    assert here.whole == [50]
    assert there.whole == [1]


def test_another_node_goes_on_where_it_was_when_the_broadcast_goes_over_to_a_newer_one():
    world = World()
    source, here = followed(world, 7)
    there = world.view(BACK, asker=Asker(object(), 99, local_only=True))
    group = source.begin(6)
    first = source.feed
    newer = FakeSource()

    announce(world, newer, 7, 2)
    source.end(group, first)
    newer.send(7)
    source.send(7, 8)

    assert there.whole == [1, 2, 3, 4, 5, 6, 7, 8]
    assert here.whole == [1, 2, 3, 4, 5, 6, 7]
    assert not there.over
    assert world.cache.size > 0


def test_another_node_that_reads_alone_keeps_the_group_under_way():
    world = World()
    source = world.publish(7)
    there = world.view(BACK, asker=NODES)
    source.send(1)
    group = source.begin(2)
    first = source.feed

    announce(world, FakeSource(), 7, 2)
    source.end(group, first)
    source.send(3)

    assert there.whole == [1, 2, 3]
    assert len(source.sending) == 1


def test_another_node_goes_on_with_the_local_content_when_another_one_takes_over_here():
    world = World()
    source, here = followed(world, 7)
    there = world.view(BACK, asker=NODES)
    newer = FakeSource()

    announce(world, newer, 8, 2)
    newer.send(3)
    source.send(6)

    assert was_reset(here)
    assert there.whole == [1, 2, 3, 4, 5, 6]
    assert world.origin.offer("room").hops == (7,)


def test_a_node_that_waits_for_the_first_group_goes_on_waiting_for_the_local_one():
    world = World()
    source = world.publish(7)
    there = world.view(asker=NODES)

    announce(world, FakeSource(), 7, 2)
    source.send(4)

    assert there.whole == [4]


def test_a_reader_that_went_over_may_change_its_wishes_and_leave():
    world = World()
    source, _ = followed(world, 7)
    there = world.view(BACK, asker=NODES)
    track = world.track()
    announce(world, FakeSource(), 7, 2)
    inside = source.feed.track
    assert inside is not track

    track.change(there, BACK.__class__(priority=9))
    assert inside.demand.priority == 9
    track.leave(there)

    assert source.owed == set()
    world.pass_(40)
    assert world.origin._inside == {}


def test_two_nodes_share_one_subscription_to_what_is_published_here():
    world = World()
    source, _ = followed(world, 7)
    first, second = world.view(BACK, asker=NODES), world.view(BACK, asker=NODES)
    announce(world, FakeSource(), 7, 2)
    third = world.view(BACK, asker=NODES)

    source.send(6)

    assert len(source.sending) == 1
    assert first.whole == second.whole == [1, 2, 3, 4, 5, 6]
    assert third.whole == [6]


def test_a_group_of_the_past_is_fetched_from_the_publisher_here():
    world = World()
    source = world.publish(7)
    newer = FakeSource()
    announce(world, newer, 8, 2)

    world.origin.fetch("room", "video", 3, NODES)

    assert len(source.fetches) == 1
    assert newer.fetches == []


def test_another_node_is_told_when_the_publisher_here_is_lost_so_that_it_may_ask_elsewhere():
    world = World()
    source, here = followed(world, 7)
    there = world.view(BACK, asker=NODES)

    world.lose(source, LOST)

    assert type(there.error) is SessionClosed
    assert not here.over
    with pytest.raises(SessionClosed):
        world.view(asker=NODES)


def test_another_node_stays_when_the_next_publisher_here_has_the_same_content():
    world = World()
    older = world.publish(7)
    source, _ = followed(world, 7)
    there = world.view(BACK, asker=NODES)

    world.lose(source, LOST)
    older.send(6)

    assert there.whole == [1, 2, 3, 4, 5, 6]


def test_a_node_that_got_what_is_published_here_alone_is_told_when_that_is_lost():
    world = World()
    source = world.publish(7)
    announce(world, FakeSource(), 8, 2)
    there = world.view(asker=NODES)
    source.send(1)

    world.lose(source, LOST)

    assert type(there.error) is SessionClosed
    with pytest.raises(Unroutable):
        world.view(asker=NODES)


def test_a_publisher_that_comes_back_is_served_to_nodes_that_ask_again():
    world = World()
    source = world.publish(7)
    announce(world, FakeSource(), 8, 2)
    world.view(asker=NODES)
    source.send(1)
    world.lose(source, LOST)

    back = world.publish(9)
    again = world.view(asker=NODES)
    back.send(2)

    assert 2 in again.whole


def test_a_track_that_fails_there_ends_for_the_node_that_asked():
    world = World()
    source = world.publish(7)
    announce(world, FakeSource(), 8, 2)
    there = world.view(asker=NODES)

    source.stop(NotFound("no such track"))

    assert type(there.error) is NotFound


def test_a_path_that_ends_ends_for_other_nodes_too():
    world = World()
    source = world.publish(7)
    newer = FakeSource()
    announce(world, newer, 8, 2)
    there = world.view(asker=NODES)

    world.origin.withdraw("room", newer, clean=True)
    world.origin.withdraw("room", source, clean=True)
    source.stop(Internal("over"))

    assert there.over
    assert world.origin.broadcasts == {}
    assert world.origin._inside == {}
