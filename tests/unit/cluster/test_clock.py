"""Redis' clock as seen from here."""

import pytest

from moq_relay.cluster.clock import RedisClock


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def clock(now):
    return RedisClock(lambda: now[0])


def test_before_the_first_answer_nothing_is_known(clock):
    assert clock.now() == 0.0
    assert clock.error_seconds is None


def test_the_quickest_answer_is_believed(clock, now):
    clock.sample(98.0, 100.0, 5_000_400_000)
    clock.sample(99.98, 100.0, 5_000_000_000)
    clock.sample(99.0, 100.0, 5_000_200_000)
    now[0] = 110.0

    assert clock.now() == pytest.approx(5010.01)
    assert clock.error_seconds == pytest.approx(0.011)


def test_a_clock_that_jumped_is_believed_at_once(clock):
    clock.sample(99.99, 100.0, 5_000_000_000)

    clock.sample(99.9, 100.0, 1_400_000_000)

    assert clock.now() == pytest.approx(1400.05)


def test_the_bound_grows_until_the_next_answer(clock, now):
    clock.sample(99.998, 100.0, 5_000_000_000)
    now[0] = 200.0
    assert clock.error_seconds == pytest.approx(0.001 + 0.01)

    clock.sample(199.996, 200.0, 5_100_000_000)

    assert clock.error_seconds == pytest.approx(0.002)
