"""Frames out of any cut of a stream, and datagrams."""

import contextlib
import itertools
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moq_relay.errors import FrameTooLarge, WireError
from moq_relay.wire import varint
from moq_relay.wire.lite.frames import (
    MAX_TIMESTAMP,
    Datagram,
    FrameDecoder,
    append_frame,
    decode_datagram,
    encode_datagram,
)

ROOM = 1 << 20
TIMESTAMP = st.one_of(st.integers(0, 100), st.integers(0, MAX_TIMESTAMP))
PAYLOADS = st.lists(st.binary(max_size=80), max_size=8)
TIMED = st.lists(st.tuples(TIMESTAMP, st.binary(max_size=80)), max_size=8)

quick = settings(max_examples=100, deadline=None)


def coded(frames):
    buffer, before = bytearray(), 0
    for timestamp, payload in frames:
        append_frame(buffer, payload, None if timestamp is None else timestamp - before)
        before = timestamp
    return bytes(buffer)


def pieces(raw, cuts):
    edges = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[start:end] for start, end in itertools.pairwise(edges)]


def fed(decoder, chunks):
    return [frame for chunk in chunks for frame in decoder.feed(chunk)]


@quick
@given(TIMED)
def test_frames_come_back_with_their_absolute_timestamps(frames):
    decoder = FrameDecoder(True, ROOM)

    assert decoder.feed(coded(frames)) == frames
    assert not decoder.partial


@quick
@given(PAYLOADS)
def test_frames_of_a_version_without_timestamps_have_none(payloads):
    frames = [(None, payload) for payload in payloads]

    assert FrameDecoder(False, ROOM).feed(coded(frames)) == frames


@quick
@given(TIMED, st.lists(st.integers(0, 10_000), max_size=12))
def test_the_cut_of_a_stream_into_pieces_does_not_matter(frames, cuts):
    decoder = FrameDecoder(True, ROOM)

    assert fed(decoder, pieces(coded(frames), cuts)) == frames
    assert not decoder.partial


@quick
@given(st.booleans(), st.binary(max_size=120))
def test_junk_byte_by_byte_gives_what_junk_at_once_gives(timestamps, junk):
    at_once, bytewise = FrameDecoder(timestamps, 64), FrameDecoder(timestamps, 64)

    try:
        expected = at_once.feed(junk)
    except (WireError, FrameTooLarge) as error:
        with pytest.raises(type(error)):
            fed(bytewise, [junk[at : at + 1] for at in range(len(junk))])
        return

    assert fed(bytewise, [junk[at : at + 1] for at in range(len(junk))]) == expected
    assert bytewise.partial == at_once.partial


@quick
@given(st.tuples(TIMESTAMP, st.binary(max_size=80)))
def test_a_frame_cut_short_is_not_there_yet(frame):
    raw = coded([frame])

    for end in range(1, len(raw)):
        decoder = FrameDecoder(True, ROOM)
        assert decoder.feed(raw[:end]) == []
        assert decoder.partial


def test_nothing_is_held_before_the_first_byte_and_after_the_last():
    decoder = FrameDecoder(False, ROOM)

    assert not decoder.partial
    assert decoder.feed(b"\x02a") == []
    assert decoder.partial
    assert decoder.feed(b"b") == [(None, b"ab")]
    assert not decoder.partial


def test_a_frame_without_payload_is_a_frame():
    assert FrameDecoder(True, ROOM).feed(b"\x04\x00\x02\x00") == [(2, b""), (3, b"")]


def test_timestamps_may_go_back_but_not_below_zero():
    assert FrameDecoder(True, ROOM).feed(b"\x04\x00\x03\x00") == [(2, b""), (0, b"")]
    with pytest.raises(WireError):
        FrameDecoder(True, ROOM).feed(b"\x04\x00\x05\x00")


def test_a_timestamp_above_what_can_be_written_again_is_refused():
    raw = coded([(MAX_TIMESTAMP, b"")])

    assert FrameDecoder(True, ROOM).feed(raw) == [(MAX_TIMESTAMP, b"")]
    with pytest.raises(WireError):
        FrameDecoder(True, ROOM).feed(raw + b"\x02\x00")


@given(TIMESTAMP, TIMESTAMP)
def test_any_difference_of_two_timestamps_can_be_written(one, other):
    buffer = bytearray()

    append_frame(buffer, b"", one - other)

    assert buffer


def test_a_difference_that_does_not_fit_leaves_the_buffer_as_it_was():
    buffer = bytearray(b"before")

    for delta in (1 << 61, -(1 << 61) - 1):
        with pytest.raises(WireError):
            append_frame(buffer, b"frame", delta)

    assert buffer == b"before"


@pytest.mark.parametrize("timestamps", [True, False])
def test_a_frame_above_the_limit_is_refused_by_its_length(timestamps):
    head = b"\x00" if timestamps else b""

    assert FrameDecoder(timestamps, 64).feed(head + varint.encode(64)) == []
    with pytest.raises(FrameTooLarge):
        FrameDecoder(timestamps, 64).feed(head + varint.encode(65))


@pytest.mark.parametrize("limit", [ROOM, 1 << 61])
def test_a_huge_frame_reserves_only_what_came(limit):
    raw = varint.encode(1 << 61) + b"\x00" * 1000

    tracemalloc.start()
    try:
        with contextlib.suppress(FrameTooLarge):
            FrameDecoder(False, limit).feed(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 32_768


def test_a_large_frame_in_small_pieces_costs_time_and_memory_in_proportion():
    size = 8 << 20
    piece = b"\x07" * 1024
    decoder = FrameDecoder(False, size)
    decoder.feed(varint.encode(size))

    tracemalloc.start()
    began = time.process_time()
    try:
        frames = fed(decoder, [piece] * (size // len(piece)))
        seconds = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert frames == [(None, b"\x07" * size)]
    assert peak < 2.5 * size
    assert seconds < 1  # 0.03 s when each byte is copied twice, 4 s when each piece copies all


# --- datagrams ------------------------------------------------------------------------------------


NUMBER = st.integers(0, varint.MAX)


@given(st.builds(Datagram, NUMBER, NUMBER, TIMESTAMP, st.binary(max_size=80)))
def test_a_datagram_comes_back_as_it_was_sent(datagram):
    assert decode_datagram(encode_datagram(datagram)) == datagram


@given(st.binary(max_size=40))
def test_a_datagram_of_junk_is_a_datagram_or_a_wire_error(junk):
    with contextlib.suppress(WireError):
        decode_datagram(junk)


@pytest.mark.parametrize("end", range(3))
def test_a_datagram_that_ends_inside_its_header_is_a_wire_error(end):
    with pytest.raises(WireError):
        decode_datagram(b"\x00\x02\x05"[:end])


def test_a_datagram_beyond_the_last_timestamp_is_a_wire_error():
    with pytest.raises(WireError):
        decode_datagram(b"\x00\x00" + varint.encode(MAX_TIMESTAMP + 1))
