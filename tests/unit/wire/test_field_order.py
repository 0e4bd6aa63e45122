"""The order of fields where captured bytes cannot tell: every field has a value of its own."""

import pytest

from moq_relay.wire.lite.messages import (
    Announce,
    AnnounceEnd,
    AnnounceInit,
    AnnounceOk,
    AnnounceRequest,
    AnnounceStart,
    AnnounceUpdate,
    ClientSetup,
    Fetch,
    Goaway,
    Group,
    Probe,
    ServerSetup,
    SessionInfo,
    Setup,
    Subscribe,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeOk,
    SubscribeStart,
    SubscribeUpdate,
    TrackInfo,
    TrackRequest,
)
from moq_relay.wire.lite.versions import VERSIONS, by_name

RANGE = {"ordered": True, "max_age": 3, "start": 4, "end": 5}
FLOOR = {"max_age": 3, "floor": 4, "end": 5, "frame_start": 6, "frame_end": 7}

BYTES = [
    ("02", ClientSetup((5, 6), ((2, 3), (1, b"a"))), "20 0009 02 05 06 02 02 03 01 01 61"),
    ("02", ServerSetup(5, ((2, 3),)), "21 0004 05 01 02 03"),
    ("02", SessionInfo(9), "01 09"),
    ("02 03 06", AnnounceRequest("a"), "02 01 61"),
    ("04 05", AnnounceRequest("a", 7), "03 01 61 07"),
    ("02", AnnounceInit(("a", "b")), "05 02 01 61 01 62"),
    ("05 06", AnnounceOk(7, 2), "02 07 02"),
    ("02", Announce(1, "a"), "03 01 01 61"),
    ("03", Announce(1, "a", (0, 0)), "04 01 01 61 02"),
    ("04 05", Announce(1, "a", (8, 9)), "06 01 01 61 02 08 09"),
    ("05", Announce(2, "a", (8, 9)), "06 02 01 61 02 08 09"),
    ("06", AnnounceStart("a", (8, 9), 3, 4), "00 07 01 61 02 08 09 03 04"),
    ("06", AnnounceEnd(5), "01 01 05"),
    ("06", AnnounceUpdate(5, (8, 9), 3, 4), "02 06 05 02 08 09 03 04"),
    ("05 06", TrackRequest("a", "b"), "04 01 61 01 62"),
    ("05", TrackInfo(priority=2, ordered=True, max_age=3, timescale=4), "04 02 01 03 04"),
    ("06", TrackInfo(priority=2, max_age=3, timescale=4), "03 02 03 04"),
    ("02", Subscribe(1, "a", "b", 200), "06 01 01 61 01 62 c8"),
    ("03 04 05", Subscribe(1, "a", "b", 200, **RANGE), "0a 01 01 61 01 62 c8 01 03 05 06"),
    ("06", Subscribe(1, "a", "b", 200, **FLOOR), "0b 01 01 61 01 62 c8 03 04 06 06 08"),
    ("02", SubscribeOk(), "00"),
    ("03 04", SubscribeOk(200, **RANGE), "00 05 c8 01 03 05 06"),
    ("05 06", SubscribeStart(5), "00 01 05"),
    ("05 06", SubscribeEnd(5), "01 01 05"),
    ("03 04", SubscribeDrop(1, 2, 3), "01 03 01 02 03"),
    ("05 06", SubscribeDrop(1, 2, 3), "02 03 01 02 03"),
    ("03 04 05", SubscribeUpdate(200, **RANGE), "05 c8 01 03 05 06"),
    ("06", SubscribeUpdate(200, **FLOOR), "06 c8 03 04 06 06 08"),
    ("02 03 04 05", Group(1, 2), "02 01 02"),
    ("06", Group(1, 2, 3), "03 01 02 03"),
    ("03 04 05", Fetch("a", "b", 200, 3), "06 01 61 01 62 c8 03"),
    ("06", Fetch("a", "b", 200, 3, 4, 5), "08 01 61 01 62 c8 03 04 06"),
    ("03", Probe(5), "01 05"),
    ("04 05 06", Probe(5, 6), "02 05 06"),
    ("04 05 06", Goaway("a"), "02 01 61"),
    ("05 06", Setup(((7, b"a"), (5, b"\x09"))), "07 02 07 01 61 05 01 09"),
]  # fmt: skip

CASES = [
    pytest.param(
        by_name(f"moq-lite-{number}"),
        message,
        bytes.fromhex(raw),
        id=f"{number}-{type(message).__name__}-{raw}",
    )
    for numbers, message, raw in BYTES
    for number in numbers.split()
]


@pytest.mark.parametrize(("version", "message", "raw"), CASES)
def test_a_message_is_written_and_read_in_the_order_of_the_draft(version, message, raw):
    assert version.encode(message).hex() == raw.hex()
    assert version.parse(message.slot, raw, 0, len(raw)) == (message, len(raw))


def test_every_message_of_every_version_is_written_out_above():
    written = {(case.values[0], type(case.values[1])) for case in CASES}

    assert written == {(version, kind) for version in VERSIONS for kind in version.layouts}
