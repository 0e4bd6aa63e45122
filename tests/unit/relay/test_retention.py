"""How long groups are kept, and which go for want of room."""

import pytest

from moq_relay.errors import GroupTooLarge
from moq_relay.relay.feed import Demand, TrackInfo
from moq_relay.relay.retention import CacheLimits
from tests.unit.relay.fakes import FakeSource, Viewer, World, frame

MIB = 1 << 20


def kept(world: World, name: str = "video") -> list[int]:
    return sorted(world.track(name=name).groups)


def follow(world: World, source: FakeSource, name: str = "video") -> Viewer:
    viewer = world.view(name=name)
    assert source.sending
    return viewer


@pytest.mark.parametrize(
    ("max_age", "duration", "seconds"),
    [(10.0, 30.0, 10), (60.0, 30.0, 30), (30.0, 8.0, 8), (None, 30.0, 5), (None, 3.0, 3)],
)
def test_a_group_is_kept_as_long_as_its_publisher_and_the_cache_allow(max_age, duration, seconds):
    world = World(CacheLimits(duration=duration))
    source = world.publish(info=TrackInfo(max_age=max_age))
    follow(world, source)
    source.send(1)
    world.pass_(100)
    source.send(2)

    world.pass_(seconds)
    assert kept(world) == [1, 2]

    world.pass_(1)
    assert kept(world) == [2]
    assert world.counters.evictions == {"age": 1}


def test_an_owner_with_too_much_loses_its_oldest_groups_and_no_latest():
    world = World()
    sources = {path: world.publish(path=path) for path in ("a/1", "a/2", "b/1")}
    for path in sources:
        world.view(path=path)
    for sequence in range(1, 4):
        for source in sources.values():
            source.send(sequence, size=100)
    whole = world.cache.size

    world.cache.trim(lambda path: path.partition("/")[0], whole)
    assert world.cache.size == whole

    world.cache.trim(lambda path: path.partition("/")[0], whole // 3 + 1)
    left = {path: sorted(world.track(path).groups) for path in sources}
    assert left == {"a/1": [3], "a/2": [2, 3], "b/1": [1, 2, 3]}
    assert world.counters.evictions == {"tenant": 3}

    world.cache.trim(lambda path: "all", 1)
    assert {path: sorted(world.track(path).groups) for path in sources} == {
        path: [3] for path in sources
    }


def test_the_defaults_are_30_seconds_and_256_mib():
    assert CacheLimits().duration == 30.0
    assert CacheLimits().capacity == 256 * MIB


def test_the_latest_group_is_kept_for_as_long_as_somebody_follows_the_track():
    world = World()
    source = world.publish(info=TrackInfo(max_age=1.0))
    follow(world, source)
    source.send(1)

    world.pass_(1000)

    assert kept(world) == [1]


def test_the_latest_group_of_a_track_that_nobody_follows_goes_like_any_other():
    world = World()
    source = world.publish(info=TrackInfo(max_age=10.0))
    viewer = follow(world, source)
    source.send(1)
    world.pass_(50)

    world.leave(viewer)
    world.pass_(10)
    assert kept(world) == [1]

    world.pass_(1)
    assert kept(world) == []


def test_a_late_group_is_as_old_as_the_group_that_came_before_it():
    world = World()
    source = world.publish(info=TrackInfo(max_age=10.0))
    follow(world, source)
    source.send(1, 3)
    world.pass_(6)
    source.send(2)

    world.pass_(4)
    assert kept(world) == [1, 2, 3]
    world.pass_(1)
    assert kept(world) == [3]


def test_a_description_that_comes_late_counts_for_groups_that_are_here():
    world = World()
    source = world.publish(info=None)
    follow(world, source)
    source.send(1, 2)
    world.pass_(3)
    source.describe_now(TrackInfo(max_age=20.0))

    world.pass_(17)
    assert kept(world) == [1, 2]
    world.pass_(1)
    assert kept(world) == [2]


def test_an_open_group_goes_for_its_age_too_and_its_readers_are_told():
    world = World()
    source = world.publish(info=TrackInfo(max_age=2.0))
    viewer = follow(world, source)
    source.begin(1)
    source.send(2)

    world.pass_(3)

    assert viewer.errors == {1: "Evicted"}
    assert viewer.whole == [2]


def test_over_the_capacity_the_oldest_group_of_any_track_goes_first():
    world = World(CacheLimits(capacity=50))
    source = world.publish()
    for name in ("audio", "video"):
        follow(world, source, name)
    audio, video = source.sending
    source.send(1, feed=video, size=10)
    source.send(1, feed=audio, size=10)
    source.send(2, feed=audio, size=10)
    source.send(2, feed=video, size=10)
    source.send(3, feed=video, size=10)

    source.send(3, feed=audio, size=10)

    assert kept(world, "audio") == [2, 3]
    assert kept(world, "video") == [1, 2, 3]
    assert world.cache.size == 50

    source.send(4, feed=audio, size=10)
    assert kept(world, "audio") == [2, 3, 4]
    assert kept(world, "video") == [2, 3]
    assert world.counters.evictions == {"capacity": 2}


def test_no_track_loses_its_latest_group_for_want_of_room():
    world = World(CacheLimits(capacity=25))
    source = world.publish()
    names = ("a", "b", "c", "d")
    for name in names:
        follow(world, source, name)

    for feed in tuple(source.sending):
        source.send(1, feed=feed, size=10)

    assert [kept(world, name) for name in names] == [[1]] * 4
    assert world.cache.size == 40


def test_the_group_that_grows_does_not_make_room_for_itself():
    world = World(CacheLimits(capacity=25))
    source = world.publish()
    viewer = follow(world, source)
    late = source.begin(1)
    source.send(2, size=10)

    assert late is not None
    for index in range(3):
        late.append(frame(1, index, 10))

    assert viewer.errors == {}
    assert kept(world) == [1, 2]


def test_who_still_reads_a_group_that_goes_for_want_of_room_is_told():
    world = World(CacheLimits(capacity=25))
    source = world.publish()
    viewer = follow(world, source)
    old = source.begin(1)
    assert old is not None
    old.append(frame(1, 0, 10))

    source.send(2, 3, size=10)

    assert viewer.errors == {1: "Evicted"}
    assert viewer.whole == [2, 3]


def test_the_size_is_that_of_the_groups_held_after_a_group_outgrew_its_limit():
    world = World(CacheLimits(group_bytes=25))
    source = world.publish()
    viewer = follow(world, source)
    source.send(1, size=10)

    group = source.begin(2)
    assert group is not None
    group.append(frame(1, 0, 10))
    group.append(frame(1, 1, 10))
    with pytest.raises(GroupTooLarge):
        group.append(frame(1, 2, 10))

    assert world.cache.size == 10
    assert viewer.errors == {2: "GroupTooLarge"}


def test_a_sweep_looks_at_no_group_that_stays():
    world = World()
    source = world.publish(info=TrackInfo(max_age=30.0))
    world.view(Demand())
    source.send(*range(1000))
    looked = 0
    expiry = world.cache._expiry

    def counting(group):
        nonlocal looked
        looked += 1
        return expiry(group)

    world.cache._expiry = counting  # type: ignore[method-assign]

    world.pass_(30)

    assert looked == 0
    assert len(world.cache) == 1000
