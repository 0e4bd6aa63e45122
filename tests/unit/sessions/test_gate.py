"""Who may come by the address that it comes from, and what is said of who may not."""

import ipaddress
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moq_relay.errors import LimitReached
from moq_relay.sessions.bucket import Bucket
from moq_relay.sessions.gate import (
    ANSWERS,
    LINES_AT_ONCE,
    SILENT_SECONDS,
    Answer,
    Gate,
    GateLimits,
    host_of,
)
from tests.support.node import Clock

COME, WAIT, REFUSED = Answer.COME, Answer.WAIT, Answer.REFUSED
NEAR = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("2001:db8:1::/48"))


def gate(clock=None, **limits):
    options = {"known": limits.pop("known")} if "known" in limits else {}
    return Gate(GateLimits(**limits), clock=clock or Clock(), **options)


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


# --- the bucket -----------------------------------------------------------------------------------


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(-1.0, 10.0), st.integers(0, 50)), max_size=50),
)
def test_no_more_is_given_than_the_burst_and_what_came_since(rate, burst, steps):
    now = most = 0.0
    bucket = Bucket(rate, burst, now)
    given_ = 0

    for seconds, asked in steps:
        now += seconds
        most += max(0.0, seconds) * rate
        given_ += sum(bucket.take(now) for _ in range(asked))
        assert given_ <= burst + most + 1e-6


@given(rate=st.integers(1, 100), burst=st.integers(1, 100), asked=st.integers(1, 300))
def test_who_keeps_to_the_rate_is_never_refused(rate, burst, asked):
    bucket = Bucket(rate, burst, 0.0)

    assert all(bucket.take(turn * (1 / rate + 1e-9)) for turn in range(asked))


def test_a_rest_gives_no_more_than_the_burst():
    bucket = Bucket(rate=10, burst=3, now=0.0)

    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


# --- requests by http -----------------------------------------------------------------------------


def test_an_address_asks_by_http_so_often_and_connects_twice_as_often():
    clock = Clock()
    door = gate(clock, requests=3)

    assert [door.may_ask("192.0.2.1") for _ in range(7)] == [True] * 6 + [False]
    assert [door.may_connect("192.0.2.1") for _ in range(13)] == [True] * 12 + [False]
    assert door.may_ask("192.0.2.2")
    clock.now += 1
    assert [door.may_ask("192.0.2.1") for _ in range(4)] == [True] * 3 + [False]
    assert [door.may_connect("192.0.2.1") for _ in range(7)] == [True] * 6 + [False]


def test_what_a_request_cost_besides_is_paid_before_the_next_one():
    clock = Clock()
    door = gate(clock, requests=10, trusted=NEAR)

    assert door.may_ask("192.0.2.1")
    door.owes("192.0.2.1", 29)
    clock.now += 1
    assert not door.may_ask("192.0.2.1")
    clock.now += 0.1
    assert door.may_ask("192.0.2.1")
    for host in ("127.0.0.1", "192.0.2.2"):
        door.owes(host, 1000)
        assert door.may_ask(host)


def test_by_http_a_trusted_network_asks_as_often_as_it_likes_and_without_a_limit_all_do():
    limited, open_ = gate(requests=1, trusted=NEAR), gate()

    for _ in range(100):
        assert limited.may_ask("127.0.0.1")
        assert limited.may_connect("127.0.0.1")
        assert open_.may_ask("192.0.2.1")
        assert open_.may_connect("192.0.2.1")
    assert (limited.remembered, open_.remembered) == (0, 0)


# --- sessions of an address -----------------------------------------------------------------------


def test_an_address_has_so_many_sessions_and_another_has_its_own():
    door = gate(sessions_per_address=2)
    door.entered(1, "192.0.2.1:1000")
    door.entered(2, "192.0.2.1:2000")

    with pytest.raises(LimitReached) as refusal:
        door.check("192.0.2.1:3000")
    assert refusal.value.reason == "address"
    door.check("192.0.2.2:3000")

    door.left(1)
    door.check("192.0.2.1:3000")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1:1", "192.0.2.2:1", False),
        ("192.0.2.1:1", "[::ffff:192.0.2.1]:2", True),
        ("[2001:db8::1]:1", "[2001:db8::ffff:1]:2", True),
        ("[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", False),
        ("[fe80::1%eth0]:1", "[fe80::2%eth1]:1", True),
        ("somewhere:1", "somewhere:2", True),
    ],
)
def test_an_ipv6_address_is_its_64_and_an_ipv4_one_itself_however_it_is_written(one, other, same):
    door = gate(sessions_per_address=1)
    door.entered(1, one)

    if same:
        with pytest.raises(LimitReached):
            door.check(other)
    else:
        door.check(other)


@pytest.mark.parametrize("peer", ["127.0.0.9:1", "[::ffff:127.0.0.9]:1", "[2001:db8:1:5::1]:1"])
def test_a_trusted_network_has_any_number_of_sessions_and_handshakes(peer):
    door = gate(sessions_per_address=1, handshakes=1, trusted=NEAR)
    door.saturated = "loop"

    for number in range(100):
        assert door.knock(host_of(peer)) is COME
        door.check(peer)
        door.shed(peer)
        door.entered(number, peer)
    assert door.remembered == 0


def test_a_session_that_never_counted_may_leave():
    door = gate(sessions_per_address=1, trusted=NEAR)
    door.entered(1, "127.0.0.1:1")

    door.left(1)
    door.left(2)

    assert door.remembered == 0


def test_who_has_all_its_sessions_is_told_so_before_a_handshake():
    door = gate(sessions_per_address=1)
    door.entered(1, "192.0.2.1:1000")

    assert door.knock("192.0.2.1") is REFUSED
    assert door.knock("192.0.2.2") is COME
    assert door.counters.handshakes_refused == {"address": 1}


# --- handshakes a second --------------------------------------------------------------------------


def test_one_address_begins_half_of_what_all_may_and_the_others_have_the_rest():
    door = gate(handshakes=10)

    assert [door.knock("192.0.2.1") for _ in range(6)] == [COME] * 5 + [WAIT]
    assert [door.knock("192.0.2.2") for _ in range(6)] == [COME] * 5 + [WAIT]
    assert door.knock("192.0.2.3") is WAIT
    assert door.counters.handshakes_refused == {"rate": 3}


def test_every_one_of_a_crowd_behind_one_address_comes_in_its_turn():
    clock = Clock()
    door = gate(clock, handshakes=10)
    waiting, seconds = 23, 0

    while waiting:
        waiting -= sum(door.knock("192.0.2.1") is COME for _ in range(waiting))
        clock.now += 1
        seconds += 1

    assert seconds == 5


def test_who_was_put_off_comes_in_its_turn_and_has_lost_nothing_of_its_own():
    clock = Clock()
    door = gate(clock, handshakes=10)
    for last in range(10):
        assert door.knock(f"192.0.2.{last}") is COME
    assert [door.knock("198.51.100.1") for _ in range(9)] == [WAIT] * 9

    clock.now += 1
    assert [door.knock("198.51.100.1") for _ in range(5)] == [COME] * 5


def test_a_flood_is_answered_a_thousand_times_a_second_and_then_not_at_all():
    door = gate(sessions_per_address=1)
    door.entered(1, "192.0.2.1:1")

    answers = [door.knock("192.0.2.1") for _ in range(ANSWERS + 10)]

    assert answers == [REFUSED] * ANSWERS + [WAIT] * 10


def test_without_limits_everybody_comes_and_nothing_is_remembered():
    door = gate()

    assert {door.knock(f"192.0.{n // 256}.{n % 256}") for n in range(1000)} == {COME}
    assert door.remembered == 0


def test_no_more_addresses_are_remembered_than_there_is_room_for_besides_those_with_sessions():
    door = gate(handshakes=1_000_000, sessions_per_address=2, known=100)
    for number in range(50):
        door.entered(number, f"192.0.2.{number}:1")

    for number in range(10_000):
        door.knock(f"2001:db8:{number:x}::1")
        door.refuse(f"[2001:db8:0:{number:x}::1]:1", "too many")

    assert door.remembered == 150
    for number in range(50):
        door.left(number)
    assert door.remembered == 100


# --- shedding -------------------------------------------------------------------------------------


def test_while_something_is_used_up_nobody_new_is_let_in_and_told_what():
    door = gate()
    door.shed("192.0.2.1:1")

    door.saturated = "memory"
    with pytest.raises(LimitReached, match="memory") as refusal:
        door.shed("192.0.2.1:1")
    assert refusal.value.reason == "saturation"

    door.saturated = None
    door.shed("192.0.2.1:1")


# --- what is said ---------------------------------------------------------------------------------


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "moq_relay.sessions.gate")
    return caplog


def test_an_address_is_logged_once_a_minute_with_how_much_was_not(said):
    clock = Clock()
    door = gate(clock)

    for port in range(5):
        door.refuse(f"192.0.2.1:{port}", "too many")
    assert lines(said) == ["session refused peer=192.0.2.1:0 reason=too many unsaid=0"]

    clock.now += SILENT_SECONDS - 0.1
    door.refuse("192.0.2.1:6", "too many")
    assert len(lines(said)) == 1
    clock.now += 0.1
    door.refuse("192.0.2.1:7", "unauthorized")
    assert lines(said)[1:] == ["session refused peer=192.0.2.1:7 reason=unauthorized unsaid=5"]


def test_a_flood_from_many_addresses_does_not_fill_the_log(said):
    clock = Clock()
    door = gate(clock)

    for number in range(1000):
        door.refuse(f"[2001:db8:0:{number:x}::1]:1", "too many")
    assert len(lines(said)) == LINES_AT_ONCE

    clock.now += 1
    door.refuse("192.0.2.1:7", "too many")
    assert lines(said)[-1].endswith(f"unsaid={1000 - LINES_AT_ONCE}")
