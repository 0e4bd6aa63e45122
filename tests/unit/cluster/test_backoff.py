"""Delays: capped, jittered from nothing on, and new only after 30 s of peace."""

import asyncio

import pytest

from moq_relay.cluster.backoff import Backoff, pause


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def backoff(now):
    return Backoff(cap=1.0, first=0.1, clock=lambda: now[0], chance=lambda: 1.0)


def test_delays_double_up_to_the_cap(backoff):
    delays = [backoff.next_delay() for _ in range(6)]

    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_a_delay_is_drawn_between_nothing_and_its_ceiling():
    backoff = Backoff(cap=1.0, first=0.1, chance=lambda: 0.0)

    assert [backoff.next_delay() for _ in range(40)] == [0.0] * 40


def test_a_short_success_does_not_start_the_delays_anew(backoff, now):
    for _ in range(4):
        backoff.next_delay()
    backoff.succeeded()
    now[0] += 29.0

    assert backoff.next_delay() == 1.0


def test_30_seconds_of_stability_start_the_delays_anew(backoff, now):
    for _ in range(4):
        backoff.next_delay()
    backoff.succeeded()
    now[0] += 15.0
    backoff.succeeded()
    now[0] += 15.0

    assert backoff.next_delay() == pytest.approx(0.1)


async def test_a_pause_ends_early_when_it_is_woken():
    wake = asyncio.Event()
    asyncio.get_running_loop().call_soon(wake.set)

    assert await pause(60.0, wake) is True
    assert await pause(0.0) is False


async def test_a_pause_that_is_woken_as_its_time_is_up_was_woken():
    wake = asyncio.Event()
    asyncio.get_running_loop().call_soon(wake.set)

    assert await pause(0.0, wake) is True
