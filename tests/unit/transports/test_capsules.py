"""Capsules in any pieces, and protocol offers in any spelling."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from moq_relay.transports.quic.capsules import (
    CAPSULE_BYTES,
    CLOSE_SESSION,
    CapsuleReader,
    close_capsule,
    offered_protocols,
    parse_close,
    protocol_list,
)
from moq_relay.wire import varint


def capsule(kind, value):
    return varint.encode(kind) + varint.encode(len(value)) + value


def test_a_close_is_written_as_browsers_read_it():
    assert close_capsule(42, "server bye") == bytes.fromhex("68430e0000002a") + b"server bye"


@given(
    st.lists(st.tuples(st.integers(0, 2**62 - 1), st.binary(max_size=50)), max_size=5),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_capsules_come_out_whole_however_they_are_cut(capsules, cuts):
    wire = b"".join(capsule(kind, value) for kind, value in capsules)
    reader, found, at = CapsuleReader(), [], 0

    while at < len(wire):
        size = cuts[len(found) % len(cuts)]
        found += reader.feed(wire[at : at + size])
        at += size

    assert found == capsules


def test_a_capsule_that_is_too_long_is_skipped_and_the_next_one_is_read():
    wire = capsule(0x1234, bytes(CAPSULE_BYTES + 1)) + close_capsule(1, "x")
    reader = CapsuleReader()

    found = [c for at in range(0, len(wire), 1000) for c in reader.feed(wire[at : at + 1000])]

    assert found == [(CLOSE_SESSION, b"\0\0\0\1x")]


@pytest.mark.timeout(20)
def test_a_flood_of_empty_capsules_costs_a_step_a_byte():
    wire = capsule(1, b"") * 300_000

    assert len(CapsuleReader().feed(wire)) == 300_000


@pytest.mark.timeout(20)
def test_an_offer_of_any_length_is_read_as_far_as_an_offer_goes():
    offer = b'"moq-lite-06", ' + b'"\\' * 500_000

    assert offered_protocols([offer]) == ["moq-lite-06"]


@given(st.integers(0, 2**32 - 1), st.text())
def test_a_close_says_what_was_meant_within_its_length(code, reason):
    [(kind, value)] = CapsuleReader().feed(close_capsule(code, reason))

    assert kind == CLOSE_SESSION
    assert len(value) <= 4 + 1024
    heard, text = parse_close(value)
    assert heard == code
    assert reason.startswith(text)


def test_a_close_without_a_code_means_no_error_and_bad_text_is_replaced():
    assert parse_close(b"\0") == (0, "")
    assert parse_close(b"\0\0\0\2\xff") == (2, "\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize(
    ("lines", "offers"),
    [
        ([], []),
        ([b""], []),
        ([b'"a"'], ["a"]),
        ([b'"a", "b"'], ["a", "b"]),
        ([b'"a","b"', b' "c"'], ["a", "b", "c"]),
        ([b'"a";q=1, token, 5, "b"'], ["a", "b"]),
        ([rb'"a\"b", "c\\"'], ['a"b', "c\\"]),
        ([b'"a, b'], []),
        ([b"\xff\xfe"], []),
    ],
)
def test_offers_are_read_tolerantly(lines, offers):
    assert offered_protocols(lines) == offers


def test_a_list_is_read_as_it_was_written():
    assert offered_protocols([protocol_list(["x", "y"])]) == ["x", "y"]
