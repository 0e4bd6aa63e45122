"""Groups: frames in order, many readers, and what ends them."""

import pytest

from moq_relay.errors import Cancelled, Evicted, GroupTooLarge, Internal
from moq_relay.relay.counters import Counters
from moq_relay.relay.group import Group
from moq_relay.relay.retention import Cache, CacheLimits
from tests.unit.relay.fakes import LIMITS, GroupListener, frame


def make(limits: CacheLimits = LIMITS) -> tuple[Group, Cache]:
    cache = Cache(limits, Counters())
    return Group(7, cache, now=0.0), cache


def test_every_reader_gets_every_frame_whenever_it_joins():
    group, _ = make()
    early = GroupListener(group)
    group.append(frame(7, 0))
    middle = GroupListener(group)
    group.append(frame(7, 1))
    group.finish()
    late = GroupListener(group)

    for reader in (early, middle, late):
        assert reader.frames == [frame(7, 0), frame(7, 1)]
        assert reader.finished


def test_nothing_comes_after_the_end():
    group, cache = make()
    group.append(frame(7, 0))
    group.finish()

    group.append(frame(7, 1))
    group.finish()

    assert group.frames == [frame(7, 0)]
    assert cache.size == 1


def test_an_abort_ends_every_reader_once_and_frees_the_bytes():
    group, cache = make()
    reader = GroupListener(group)
    group.append(frame(7, 0, size=100))
    error = Cancelled()

    group.abort(error)
    group.abort(Internal())
    group.append(frame(7, 1))
    group.finish()

    assert reader.error is error
    assert reader.rings == 2
    assert group.error is error
    assert not group.finished
    assert group.frames == []
    assert cache.size == 0
    assert len(cache) == 0


def test_a_complete_group_that_nobody_reads_stays_complete_for_who_holds_it():
    group, cache = make()
    group.append(frame(7, 0))
    group.finish()

    group.abort(Evicted())

    assert GroupListener(group).finished
    assert cache.size == 0
    assert len(cache) == 0


def test_a_complete_group_that_is_still_read_breaks_off_for_its_reader():
    group, _ = make()
    slow = Slow(group)
    group.append(frame(7, 0))
    group.finish()

    group.abort(Evicted())

    assert isinstance(group.error, Evicted)
    assert slow.rings == 3


class Slow:
    """A reader that does not leave at the end: it has bytes of the group to send yet."""

    def __init__(self, group: Group) -> None:
        self.rings = 0
        group.join(self)

    def ready(self) -> None:
        self.rings += 1


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ([60, 40], True),
        ([60, 41], False),
        ([101], False),
        ([1, 1, 1], True),
        ([1, 1, 1, 1], False),
    ],
)
def test_a_group_over_its_bytes_or_frames_is_aborted(sizes, kept):
    group, cache = make(CacheLimits(group_bytes=100, group_frames=3))
    reader = GroupListener(group)

    def fill() -> None:
        for index, size in enumerate(sizes):
            group.append(frame(7, index, size))

    if kept:
        fill()
        assert cache.size == sum(sizes)
        return
    with pytest.raises(GroupTooLarge):
        fill()
    assert isinstance(reader.error, GroupTooLarge)
    assert cache.size == 0
    assert len(cache) == 0


def test_the_limits_are_32_mib_and_8192_frames():
    limits = CacheLimits()

    assert limits.group_bytes == 32 * 1024 * 1024
    assert limits.group_frames == 8192


def test_a_reader_that_left_is_not_rung():
    group, _ = make()
    reader = GroupListener(group)
    group.append(frame(7, 0))

    group.leave(reader)
    group.leave(reader)
    group.append(frame(7, 1))

    assert reader.frames == [frame(7, 0)]


def test_a_reader_that_another_ends_in_its_turn_is_not_rung_any_more():
    group, _ = make()

    class Closer:
        def ready(self) -> None:
            group.leave(victim)

    group.join(Closer())
    victim = GroupListener(group)

    group.append(frame(7, 0))

    assert victim.rings == 0


def test_a_reader_that_joins_inside_a_ring_is_not_rung_for_what_it_saw():
    group, _ = make()
    joined: list[GroupListener] = []

    class Joiner:
        def ready(self) -> None:
            if not joined:
                joined.append(GroupListener(group))

    group.join(Joiner())
    group.append(frame(7, 0))
    group.append(frame(7, 1))

    assert joined[0].frames == [frame(7, 0), frame(7, 1)]
    assert joined[0].rings == 1


def test_an_abort_inside_an_abort_leaves_nobody_out():
    group, _ = make()

    class Rude:
        def ready(self) -> None:
            group.abort(Internal())

    group.join(Rude())
    reader = GroupListener(group)
    error = Cancelled()

    group.abort(error)

    assert reader.error is error


@pytest.mark.parametrize("error", [Cancelled("enough"), ValueError("a bug")])
def test_a_reader_that_fails_costs_itself_only(error, caplog):
    group, _ = make()
    rings = []

    class Broken:
        def ready(self) -> None:
            rings.append(1)
            raise error

    group.join(Broken())
    reader = GroupListener(group)

    group.append(frame(7, 0))
    group.append(frame(7, 1))

    assert rings == [1]
    assert len(reader.frames) == 2
    assert bool([r for r in caplog.records if r.levelname == "ERROR"]) is isinstance(
        error, ValueError
    )


def test_shared_encodings_go_with_the_last_reader_of_a_complete_group():
    group, _ = make()
    one, other = Slow(group), Slow(group)
    group.codings["x"] = b""

    group.finish()
    group.leave(one)
    assert group.codings

    group.leave(other)
    assert not group.codings


def test_shared_encodings_go_at_the_end_when_nobody_reads():
    group, _ = make()
    group.codings["x"] = b""

    group.finish()

    assert not group.codings


def test_a_group_whose_last_reader_leaves_before_its_end_is_abandoned():
    group, _ = make()
    told = []
    group.on_abandoned = lambda: told.append(group.readers)
    one, other = GroupListener(group), GroupListener(group)

    group.leave(one)
    assert not told
    group.leave(other)

    assert told == [0]


def test_a_group_that_is_read_to_its_end_is_not_abandoned():
    group, _ = make()
    told = []
    group.on_abandoned = lambda: told.append(1)
    GroupListener(group)

    group.finish()

    assert not told


def test_age_counts_from_when_a_newer_group_existed():
    group, _ = make()
    assert group.age(50.0) == 0

    group.supersede(60.0)
    group.supersede(70.0)

    assert group.age(65.0) == 5.0
