"""The origin: who is told of what, and whom a request reaches."""

import pytest

from moq_relay.errors import SessionClosed, Unroutable
from moq_relay.relay.route import NODES, Asker, Route
from tests.unit.relay.fakes import OUR_HOP, FakeSource, Viewer, Watch, World

LOST = SessionClosed("lost")


# What a watcher sees.


def test_a_watcher_sees_what_is_there_and_what_comes_and_goes():
    world = World()
    alice = world.publish(path="room/alice")
    watch = world.watch("room")
    bob = world.publish(path="room/bob")

    world.origin.withdraw("room/alice", alice, clean=True)
    world.origin.withdraw("room/bob", bob, clean=True)

    assert watch.calls == ["+room/alice", "+room/bob", "-room/alice", "-room/bob"]


def test_a_prefix_matches_whole_segments():
    world = World()
    for path in ("room", "room/a", "roommate", "hall"):
        world.publish(path=path)

    assert sorted(world.watch("room").routes) == ["room", "room/a"]
    assert sorted(world.watch("roo").routes) == []
    assert sorted(world.watch("").routes) == ["hall", "room", "room/a", "roommate"]


def test_a_broadcast_at_the_root_itself_is_seen():
    world = World()
    world.publish(path="")

    assert list(world.watch("").routes) == [""]
    assert world.origin.find("any/thing") is world.origin.broadcasts[""]


def test_what_begins_with_a_dot_is_served_but_not_shown_above_it():
    world = World()
    source = world.publish(path="room/.stats/cpu")

    assert world.watch("").calls == []
    assert world.watch("room/.stats").calls == ["+room/.stats/cpu"]
    assert world.origin.paths("") == []
    assert world.origin.paths("room/.stats") == ["room/.stats/cpu"]
    world.view(path="room/.stats/cpu")
    assert source.sending


def test_a_watcher_sees_a_broadcast_once_with_its_newest_route():
    world = World()
    world.publish(1)
    watch = world.watch()
    world.publish(2)
    world.announce(FakeSource(), 3, since=1.0)

    assert watch.calls == ["+room", "-room", "+room"]
    assert watch.routes["room"].hops == (2,)
    assert world.watch().calls == ["+room"]


def test_a_route_that_only_costs_something_else_is_no_news():
    world = World()
    source = world.publish(1)
    watch = world.watch()

    world.origin.announce("room", Route(source, (1,), 1.0, warm=5, cold=9))

    assert watch.calls == ["+room"]


def test_paths_are_listed_in_order():
    world = World()
    for path in ("b", "a/b", "a", "c"):
        world.publish(path=path)

    assert world.origin.paths() == ["a", "a/b", "b", "c"]
    assert world.origin.paths("a") == ["a", "a/b"]


def test_who_watches_no_more_is_told_no_more():
    world = World()
    watch = world.watch()

    world.origin.unwatch(watch)
    world.origin.unwatch(watch)
    world.publish()

    assert watch.calls == []


def test_withdrawing_what_was_not_announced_is_harmless():
    world = World()
    source = world.publish()
    watch = world.watch()

    world.origin.withdraw("hall", source, clean=True)
    world.origin.withdraw("room", FakeSource(), clean=True)
    world.origin.withdraw("room", source, clean=True)
    world.origin.withdraw("room", source, clean=True)

    assert watch.calls == ["+room", "-room"]


# Nothing goes back where it came from.


def test_nothing_is_announced_to_the_session_it_came_from():
    world = World()
    source = FakeSource()
    watch = world.watch(asker=Asker(source))

    world.announce(source)

    assert watch.calls == []
    assert world.watch(asker=Asker(source)).calls == []
    with pytest.raises(Unroutable):
        world.view(asker=Asker(source))


def test_nothing_is_announced_to_a_hop_that_it_has_passed():
    world = World()
    world.publish(7, 8)

    assert world.watch(asker=Asker(None, 8)).calls == []
    assert world.watch(asker=Asker(None, 7)).calls == []
    assert world.watch(asker=Asker(None, 9)).calls == ["+room"]
    with pytest.raises(Unroutable):
        world.view(asker=Asker(None, 8))


def test_an_asker_without_a_name_sees_what_passed_the_nameless():
    world = World()
    world.publish(0)

    assert world.watch(asker=Asker(object(), 0)).calls == ["+room"]


def test_a_publisher_sees_the_other_publisher_of_its_path():
    world = World()
    one, other = FakeSource(), FakeSource()
    watch = world.watch(asker=Asker(one))
    world.announce(one, 1)
    world.announce(other, 2)
    assert watch.calls == ["+room"]
    assert watch.routes["room"].source is other

    world.origin.withdraw("room", other, clean=True)

    assert watch.calls == ["+room", "-room"]


def test_an_alternate_is_not_renewed_when_the_first_route_is():
    world = World()
    one, other = FakeSource(), FakeSource()
    watch = world.watch(asker=Asker(other))
    world.announce(one, 1)

    world.announce(other, 2)

    assert watch.calls == ["+room"]
    assert watch.routes["room"].source is one


def test_a_route_that_passed_this_node_is_refused():
    world = World()
    watch = world.watch()

    assert not world.origin.announce("room", Route(FakeSource(), (7, OUR_HOP, 8)))

    assert watch.calls == []
    assert world.origin.broadcasts == {}


def test_a_source_whose_route_leads_through_this_node_now_has_none():
    world = World()
    source = world.publish(7)
    watch = world.watch()

    assert not world.origin.announce("room", Route(source, (7, OUR_HOP)))

    assert watch.calls == ["+room", "-room"]


# How it ends.


def test_a_broadcast_ends_only_with_its_last_route():
    world = World()
    one = world.publish(1)
    other = world.publish(1)
    watch = world.watch()

    world.origin.withdraw("room", other, clean=True)
    assert "-room" not in watch.calls
    world.origin.withdraw("room", one, clean=True)

    assert watch.calls[-1] == "-room"
    assert world.clock.timers == []


def test_an_abrupt_loss_lingers():
    world = World(linger=5.0)
    source = world.publish()
    watch = world.watch()

    world.lose(source, LOST)
    world.clock.pass_(4.9)
    assert watch.calls == ["+room"]
    assert world.origin.paths() == ["room"]
    assert world.watch().calls == ["+room"]

    world.clock.pass_(0.1)
    assert watch.calls == ["+room", "-room"]
    assert world.origin.broadcasts == {}


def test_a_clean_end_does_not_linger():
    world = World(linger=5.0)
    source = world.publish()
    watch = world.watch()

    world.origin.withdraw("room", source, clean=True)

    assert watch.calls == ["+room", "-room"]
    assert world.clock.timers == []


def test_without_linger_a_loss_is_an_end():
    world = World(linger=0.0)
    source = world.publish()
    watch = world.watch()

    world.lose(source, LOST)

    assert watch.calls == ["+room", "-room"]


def test_a_loss_after_which_another_route_is_left_does_not_linger():
    world = World()
    world.publish(1)
    newer = world.publish(1)
    world.lose(newer, LOST)

    assert world.clock.timers == []


def test_who_comes_back_in_time_is_not_told_to_go():
    world = World()
    source = world.publish(7)
    watch = world.watch()
    world.lose(source, LOST)
    world.clock.pass_(3)

    back = world.publish(7)
    world.clock.pass_(10)
    assert watch.calls == ["+room"]

    world.lose(back, LOST)
    world.clock.pass_(5)
    assert watch.calls == ["+room", "-room"]


def test_another_publisher_in_time_is_another_instance_of_the_broadcast():
    world = World()
    source = world.publish(7)
    watch = world.watch()
    world.lose(source, LOST)

    world.publish(8)

    assert watch.calls == ["+room", "-room", "+room"]


def test_a_lost_publisher_under_its_name_does_not_see_itself_linger():
    world = World()
    source = world.publish(7)
    world.lose(source, LOST)

    assert world.watch(asker=Asker(object(), 7)).calls == []


# Whom a request reaches.


def test_a_request_goes_to_the_longest_path_that_covers_it():
    world = World()
    outer, inner = world.publish(path="room"), world.publish(path="room/alice")

    world.view(path="room/alice/screen")
    world.view(path="room/bob")

    assert [feed.track.path for feed in inner.sending] == ["room/alice/screen"]
    assert [feed.track.path for feed in outer.sending] == ["room/bob"]


def test_a_request_that_nothing_covers_is_refused_at_once():
    world = World()
    world.publish(path="room")

    for path in ("hall", "roommate", "roo", ""):
        with pytest.raises(Unroutable):
            world.origin.find(path)


def test_a_publisher_of_a_part_reads_it_from_who_has_the_whole():
    world = World()
    whole, part = world.publish(path="room"), world.publish(path="room/alice")

    world.view(path="room/alice", asker=Asker(part))

    assert whole.sending
    assert not part.sending


def test_tracks_of_one_name_on_two_paths_are_two_tracks():
    world = World()
    source = world.publish(path="room")

    world.view(path="room/a")
    world.view(path="room/b")

    assert len(source.subscriptions) == 2


# In the middle of a call.


def test_a_broadcast_that_ends_while_it_is_announced_leaves_no_ghost():
    world = World()
    source = FakeSource()
    first = Watch()
    first.on_call = lambda call: (
        call == "+room" and world.origin.withdraw("room", source, clean=True)
    )
    world.origin.watch("", first)
    second = world.watch()

    world.announce(source)

    assert first.calls == ["+room", "-room"]
    assert second.calls == []


def test_a_broadcast_that_comes_back_while_it_ends_is_not_lost_to_anybody():
    world = World()
    source, again = FakeSource(), FakeSource()
    first = Watch()
    first.on_call = lambda call: call == "-room" and world.announce(again)
    world.origin.watch("", first)
    second = world.watch()
    world.announce(source)

    world.origin.withdraw("room", source, clean=True)

    assert first.calls == ["+room", "-room", "+room"]
    assert second.calls == ["+room", "-room", "+room"]
    for watch in (first, second):
        assert watch.routes["room"].source is again


def test_a_broadcast_that_another_tells_of_first_is_told_once():
    world = World()
    world.publish(path="a")
    world.publish(path="b")
    watch = Watch()
    watch.on_call = lambda call: call == "+a" and world.publish(path="c")

    world.origin.watch("", watch)

    assert watch.calls == ["+a", "+c", "+b"]


def test_a_publisher_that_comes_back_inside_its_loss_does_not_end_later():
    world = World()
    source, again = world.publish(7), FakeSource()
    viewer = world.view()
    source.send(1)
    node = Viewer(on_ended=lambda: world.announce(again, 7))
    world.view(viewer=node, asker=NODES)
    watch = world.watch()

    world.lose(source, LOST)
    world.clock.pass_(10)

    assert node.over
    assert "-room" not in watch.calls
    assert world.clock.timers == []
    again.send(2)
    assert viewer.whole == [1, 2]


def test_a_watcher_that_goes_while_it_is_told_is_told_nothing_more():
    world = World()
    world.publish(path="a")
    world.publish(path="b")
    watch = Watch()
    watch.on_call = lambda call: world.origin.unwatch(watch)

    world.origin.watch("", watch)
    world.publish(path="c")

    assert watch.calls == ["+a"]


def test_a_watcher_that_another_stops_is_told_nothing_more():
    world = World()
    first = Watch()
    second = Watch()
    first.on_call = lambda call: world.origin.unwatch(second)
    world.origin.watch("", first)
    world.origin.watch("", second)

    world.publish()

    assert second.calls == []


def test_a_watcher_that_another_stops_is_told_of_no_end_either():
    world = World()
    first = Watch()
    second = Watch()

    def stop(call: str) -> None:
        if call == "-room":
            world.origin.unwatch(second)
            second.stopped = True

    first.on_call = stop
    world.origin.watch("", first)
    world.origin.watch("", second)
    source = world.publish()

    world.origin.withdraw("room", source, clean=True)

    assert second.calls == ["+room"]


def test_a_broadcast_that_ends_cleanly_inside_a_loss_does_not_end_again_later():
    world = World()
    source, again = world.publish(7), FakeSource()

    def end() -> None:
        world.announce(again, 7)
        world.origin.withdraw("room", again, clean=True)

    world.view(viewer=Viewer(on_ended=end), asker=NODES)
    watch = world.watch()

    world.lose(source, LOST)
    assert watch.calls[-1] == "-room"
    assert world.clock.timers == []


def test_a_watcher_that_fails_costs_itself_only(caplog):
    world = World()
    broken = Watch()

    def fail(call: str) -> None:
        raise ValueError("a bug")

    broken.on_call = fail
    world.origin.watch("", broken)
    other = world.watch()

    source = world.publish()
    world.origin.withdraw("room", source, clean=True)

    assert broken.calls == ["+room"]
    assert other.calls == ["+room", "-room"]
    assert "watcher failed" in caplog.text


def test_a_watcher_may_read_what_it_is_told_of_at_once():
    world = World()
    source = FakeSource()
    viewer = Viewer()
    watch = Watch()
    watch.on_call = lambda call: world.view(viewer=viewer)
    world.origin.watch("", watch)

    world.announce(source)
    source.send(1)

    assert viewer.whole == [1]
