"""Single groups: from the cache, else from upstream, once."""

import pytest

from moq_relay.errors import Internal, NotFound
from tests.unit.relay.fakes import LOST, Viewer, World, followed

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
