"""Which groups are timed, and what is taken of them."""

import itertools

import pytest

from moq_relay.relay.counters import Counters
from moq_relay.relay.group import Frame, Group
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.relay.sampling import STRIDE, Sampling, Times
from tests.unit.relay.fakes import Clock


def timed(pace: float, sequences, *, late=lambda sequence: 0.0) -> list[int]:
    """The timed ones of groups that begin ``pace`` times a second."""
    sampling = Sampling(float)
    return [s for s in sequences if sampling.begin(s, 500.0 + s / pace + late(s)) is not None]


def test_of_a_quick_track_one_group_of_sixteen_is_timed():
    assert timed(50, range(5, 100)) == [5, 6, 16, 32, 48, 64, 80, 96]


@pytest.mark.parametrize("pace", [0.3, 0.5, 1.0, 1.9])
def test_of_a_slow_track_every_group_is_timed(pace):
    assert timed(pace, range(40)) == list(range(40))


@pytest.mark.parametrize("pace", [2, 3, 5, 8, 11, 15.9, 16, 25, 100])
def test_no_second_goes_by_without_a_timed_group(pace):
    chosen = timed(pace, range(1000))

    gaps = [(later - sooner) / pace for sooner, later in itertools.pairwise(chosen)]
    assert max(gaps) <= 1.0
    assert min(gaps[2:]) > 0.5 or pace > STRIDE


def test_two_nodes_that_disagree_on_the_pace_still_share_the_wider_choice():
    near = timed(8.2, range(400))
    far = timed(8.2, range(400), late=lambda sequence: 0.03 * (sequence * 7 % 5))

    assert len(set(near) & set(far)) >= 400 / 8.2 * 0.8


def test_numbers_that_began_anew_are_timed_again():
    sampling = Sampling(float)
    for sequence in range(1000, 1064):
        sampling.begin(sequence, sequence / 50)

    chosen = [s for s in range(100) if sampling.begin(s, 30.0 + s / 50) is not None]

    assert chosen[0] == 0
    assert len(chosen) <= 100 / STRIDE + 3


def test_a_group_that_comes_late_does_not_change_the_choice():
    assert timed(50, [*range(40), 16, *range(40, 70)])[3:] == [32, 16, 48, 64]


def test_a_burst_of_groups_is_no_pace():
    sampling = Sampling(float)
    for sequence in range(30):
        sampling.begin(sequence, 100.0)

    chosen = [s for s in range(30, 40) if sampling.begin(s, 100.0 + 2 * (s - 29)) is not None]

    assert chosen == list(range(30, 40))


def group(times: Times | None, origin: str = "") -> Group:
    made = Group(1, Cache(CacheLimits(), Counters()), now=0.0)
    made.times, made.origin = times, origin
    return made


def test_a_timed_group_knows_when_its_first_frame_and_its_end_came():
    clock = Clock()
    made = group(Times(clock))

    clock.now = 1.0
    made.append(Frame(b"a", 0))
    clock.now = 2.0
    made.append(Frame(b"b", 0))
    clock.now = 3.0
    made.finish()

    assert (made.times.first, made.times.whole) == (1.0, 3.0)


def test_the_end_of_another_nodes_group_is_not_taken_here():
    made = group(Times(Clock()), "https://there.example/")

    made.append(Frame(b"a", 0))
    made.finish()

    assert made.times.first is not None
    assert made.times.whole is None


def test_what_is_not_timed_has_no_times():
    made = group(None)

    made.append(Frame(b"a", 0))
    made.finish()

    assert made.times is None
