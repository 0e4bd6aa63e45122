"""Every layout of every version: there and back, cut short, and against nonsense."""

import contextlib
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moq_relay.errors import WireError
from moq_relay.wire import varint
from moq_relay.wire.layout import Length
from moq_relay.wire.lite.messages import (
    Announce,
    AnnounceEnd,
    AnnounceStart,
    Fetch,
    Goaway,
    Group,
    Probe,
    Setup,
    Subscribe,
    SubscribeUpdate,
    TrackInfo,
)
from moq_relay.wire.lite.versions import LITE_02, LITE_03, LITE_04, LITE_05, LITE_06, VERSIONS
from moq_relay.wire.version import Skipped, Slot
from tests.unit.wire.samples import messages

ROOM = 1 << 20
HUGE = 1 << 61

LAYOUTS = [
    pytest.param(version, layout, id=f"{version.name}-{layout.kind.__name__}")
    for version in VERSIONS
    for layout in version.layouts.values()
]
SLOTS = [
    pytest.param(version, slot, id=f"{version.name}-{slot.name}")
    for version in VERSIONS
    for slot in Slot
]

quick = settings(max_examples=20, deadline=None)


def peak_while(call):
    tracemalloc.start()
    try:
        with contextlib.suppress(WireError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "layout"), LAYOUTS)
@quick
@given(st.data())
def test_a_message_comes_back_as_it_was_sent(version, layout, data):
    message = data.draw(messages(version, layout))
    before, after_it = data.draw(st.binary(max_size=3)), data.draw(st.binary(max_size=3))

    raw = version.encode(message)
    stream = bytearray(before + raw + after_it)

    assert version.parse(layout.kind.slot, stream, len(before), ROOM) == (
        message,
        len(before) + len(raw),
    )


@pytest.mark.parametrize(("version", "layout"), LAYOUTS)
@quick
@given(st.data())
def test_a_message_cut_short_is_not_there_yet(version, layout, data):
    raw = version.encode(data.draw(messages(version, layout)))

    parsed = [version.parse(layout.kind.slot, raw[:end], 0, ROOM) for end in range(len(raw))]

    assert parsed == [None] * len(raw)


# --- nonsense -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "slot"), SLOTS)
@quick
@given(st.binary(max_size=80))
def test_junk_is_a_message_or_not_yet_or_a_wire_error(version, slot, junk):
    try:
        parsed = version.parse(slot, junk, 0, ROOM)
    except WireError:
        return

    assert parsed is None or parsed[1] <= len(junk)


@pytest.mark.parametrize(("version", "layout"), LAYOUTS)
@quick
@given(st.data())
def test_a_body_of_junk_behind_a_true_length_is_a_message_or_a_wire_error(version, layout, data):
    body = data.draw(st.binary(max_size=80))
    raw = framed(layout, body)

    try:
        parsed = version.parse(layout.kind.slot, raw, 0, ROOM)
    except WireError:
        return

    assert parsed is not None
    assert parsed[1] == len(raw)
    version.encode(parsed[0])


@pytest.mark.parametrize(("version", "layout"), LAYOUTS)
@quick
@given(st.data())
def test_a_message_with_one_byte_changed_is_a_message_or_a_wire_error(version, layout, data):
    raw = bytearray(version.encode(data.draw(messages(version, layout))))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))

    with contextlib.suppress(WireError):
        version.parse(layout.kind.slot, raw, 0, ROOM)


@pytest.mark.parametrize(("version", "layout"), LAYOUTS)
@quick
@given(st.data())
def test_bytes_too_many_in_a_body_are_a_wire_error(version, layout, data):
    body = body_of(layout, version.encode(data.draw(messages(version, layout))))
    raw = framed(layout, body + b"\x00")

    with pytest.raises(WireError):
        version.parse(layout.kind.slot, raw, 0, ROOM)


@pytest.mark.parametrize(("version", "layout"), LAYOUTS)
@quick
@given(st.data())
def test_bytes_too_few_in_a_body_are_a_wire_error(version, layout, data):
    body = body_of(layout, version.encode(data.draw(messages(version, layout))))

    if not body:
        return
    with pytest.raises(WireError):
        version.parse(layout.kind.slot, framed(layout, body[:-1]), 0, ROOM)


def framed(layout, body):
    tag = b"" if layout.tag is None else varint.encode(layout.tag)
    size = len(body).to_bytes(2, "big") if layout.length is Length.U16 else varint.encode(len(body))
    return tag + size + body


def body_of(layout, raw):
    at = 0 if layout.tag is None else varint.decode(raw, 0)[1]
    at = at + 2 if layout.length is Length.U16 else varint.decode(raw, at)[1]
    return raw[at:]


# --- lengths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "layout"), LAYOUTS)
def test_a_length_above_the_limit_is_refused_before_the_body_comes(version, layout):
    raw = framed(layout, b"\x00" * 65)[:-65]

    assert version.parse(layout.kind.slot, raw, 0, 65) is None
    with pytest.raises(WireError):
        version.parse(layout.kind.slot, raw, 0, 64)


@pytest.mark.parametrize(("version", "layout"), LAYOUTS)
def test_a_huge_length_reserves_nothing(version, layout):
    wide = layout.length is Length.U16
    tag = b"" if layout.tag is None else varint.encode(layout.tag)
    raw = tag + (b"\xff\xff" if wide else varint.encode(HUGE)) + b"\x00" * 8

    allowed = peak_while(lambda: version.parse(layout.kind.slot, raw, 0, HUGE))
    refused = peak_while(lambda: version.parse(layout.kind.slot, raw, 0, ROOM))

    assert version.parse(layout.kind.slot, raw, 0, HUGE) is None
    assert max(allowed, refused) < 32_768


@pytest.mark.parametrize(("version", "layout"), LAYOUTS)
@pytest.mark.parametrize("leading", range(4))
def test_a_huge_length_or_count_inside_a_body_reserves_nothing(version, layout, leading):
    raw = framed(layout, b"\x00" * leading + varint.encode(HUGE) + b"\x00" * 8)

    assert peak_while(lambda: version.parse(layout.kind.slot, raw, 0, ROOM)) < 32_768


@pytest.mark.parametrize("version", [LITE_03, LITE_04, LITE_05])
def test_a_long_list_of_hops_is_refused_by_its_count(version):
    layout = version.layouts[Announce]
    raw = framed(layout, b"\x01\x00" + varint.encode(ROOM) + b"\x00" * ROOM)

    assert peak_while(lambda: version.parse(layout.kind.slot, raw, 0, 2 * ROOM)) < 3 * ROOM


# --- what a version lacks -------------------------------------------------------------------------


def test_a_version_refuses_by_name_to_write_a_message_that_it_lacks():
    with pytest.raises(TypeError, match="moq-lite-05 has no AnnounceEnd"):
        LITE_05.encode(AnnounceEnd(0))


def test_a_version_refuses_by_name_to_read_a_slot_that_it_lacks():
    with pytest.raises(WireError, match="moq-lite-03 has no GOAWAY"):
        LITE_03.parse(Slot.GOAWAY, b"\x01\x00", 0, ROOM)


def test_an_unknown_announcement_is_skipped_by_its_length():
    assert LITE_06.parse(Slot.ANNOUNCEMENT, b"\x07\x03abc\x01", 0, ROOM) == (Skipped(7), 5)
    assert LITE_06.parse(Slot.ANNOUNCEMENT, b"\x07\x03ab", 0, ROOM) is None
    with pytest.raises(WireError):
        LITE_06.parse(Slot.ANNOUNCEMENT, b"\x07\x03", 0, 2)


@pytest.mark.parametrize(
    ("version", "tag"), [(LITE_03, 2), (LITE_04, 2), (LITE_05, 3), (LITE_06, 3)]
)
def test_an_unknown_reply_to_a_subscribe_is_a_wire_error(version, tag):
    with pytest.raises(WireError, match=f"SUBSCRIBE_REPLY of type {tag}"):
        version.parse(Slot.SUBSCRIBE_REPLY, bytes((tag,)), 0, ROOM)


@pytest.mark.parametrize("version", [LITE_02, LITE_03, LITE_04, LITE_05])
@pytest.mark.parametrize(
    "part",
    [
        Group(0, 0, frame_start=1),
        Subscribe(0, "a", "b", 0, floor=3, frame_start=1),
        Subscribe(0, "a", "b", 0, end=3, frame_end=1),
        SubscribeUpdate(0, frame_start=1),
        Fetch("a", "b", 0, 3, frame_start=1),
        Fetch("a", "b", 0, 3, frame_end=1),
    ],
)
def test_a_part_of_a_group_is_not_written_where_only_whole_ones_exist(version, part):
    if type(part) not in version.layouts:
        return

    with pytest.raises(WireError, match="only whole groups"):
        version.encode(part)


# --- rules of single messages ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "slot", "body"),
    [
        pytest.param(
            LITE_06, Slot.SUBSCRIBE, "00016101620000000000 01", id="frame end without end"
        ),
        pytest.param(LITE_06, Slot.SUBSCRIBE_UPDATE, "00000000 00 01", id="the same in an update"),
        pytest.param(LITE_06, Slot.FETCH, "0161 0162 00 03 05 05", id="a fetch backwards"),
        pytest.param(LITE_05, Slot.TRACK_INFO, "7f 00 00 00", id="timescale 0"),
        pytest.param(LITE_05, Slot.ANNOUNCEMENT, "03 00 00", id="a status nobody knows"),
        pytest.param(LITE_04, Slot.ANNOUNCEMENT, "02 00 00", id="a restart before there was one"),
        pytest.param(LITE_04, Slot.ANNOUNCEMENT, "01 00 02 07 07", id="a hop twice"),
        pytest.param(LITE_04, Slot.ANNOUNCEMENT, "01 00 21" + "00" * 33, id="33 hops"),
        pytest.param(LITE_03, Slot.ANNOUNCEMENT, "01 00 21", id="33 counted hops"),
        pytest.param(LITE_04, Slot.ANNOUNCEMENT, "01 02 c328 00", id="a suffix that is no UTF-8"),
        pytest.param(LITE_05, Slot.SETUP, "02 07 00 07 00", id="a parameter twice"),
        pytest.param(
            LITE_05, Slot.SETUP, "41" + "".join(f"40{n:02x}00" for n in range(65)), id="65"
        ),
        pytest.param(LITE_05, Slot.SETUP, "01 05 00", id="an empty hop"),
        pytest.param(LITE_05, Slot.SETUP, "01 05 02 0101", id="a hop and a byte"),
        pytest.param(LITE_05, Slot.SETUP, "01 02 02 c328", id="a path that is no UTF-8"),
        pytest.param(LITE_04, Slot.GOAWAY, "6001" + "61" * 8193, id="a URI of 8193 bytes"),
    ],
)
def test_what_a_message_may_not_say_is_a_wire_error(version, slot, body):
    raw = bytes.fromhex(body)
    layout = next(each for each in version.layouts.values() if each.kind.slot is slot)

    with pytest.raises(WireError):
        version.parse(slot, framed(layout, raw), 0, ROOM)


@pytest.mark.parametrize(
    "message",
    [
        Subscribe(0, "a", "b", 0, frame_end=1),
        Subscribe(0, "a", "b", 256),
        Subscribe(-1, "a", "b", 0),
        Subscribe(0, "a", "b", 0, end=varint.MAX),
        Subscribe(0, "a\ud800", "b", 0),
        Fetch("a", "b", 0, 3, 5, 4),
        TrackInfo(priority=0, max_age=0, timescale=0),
        AnnounceStart("a", (7, 7), 0, 0),
        AnnounceStart("a", tuple(range(33)), 0, 0),
        Setup(((7, b""), (7, b""))),
        Setup(tuple((id_, b"\x00") for id_ in range(65))),
        Goaway("a" * 8193),
    ],
)
def test_what_our_own_reader_would_refuse_is_not_written(message):
    with pytest.raises(WireError):
        LITE_06.encode(message)


def test_a_peer_that_writes_any_byte_for_true_is_understood():
    raw = b"\x08\x7f\x02\x53\x88\x80\x0f\x42\x40"

    message, _ = LITE_05.parse(Slot.TRACK_INFO, raw, 0, ROOM)

    assert message.ordered is True


def test_a_field_that_a_version_lacks_has_its_default():
    sent = Probe(7, rtt=3)

    message, _ = LITE_03.parse(Slot.PROBE, LITE_03.encode(sent), 0, ROOM)

    assert message == Probe(7)


def test_a_version_that_counts_hops_forgets_their_names():
    sent = Announce(1, "a", (4, 5))

    message, _ = LITE_03.parse(Slot.ANNOUNCEMENT, LITE_03.encode(sent), 0, ROOM)

    assert message == Announce(1, "a", (0, 0))
