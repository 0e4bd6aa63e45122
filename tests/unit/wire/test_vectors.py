"""What other implementations sent, against what it means, written by hand."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from moq_relay.wire import varint
from moq_relay.wire.lite.frames import (
    Datagram,
    FrameDecoder,
    append_frame,
    decode_datagram,
    encode_datagram,
)
from moq_relay.wire.lite.messages import (
    Announce,
    AnnounceEnd,
    AnnounceInit,
    AnnounceOk,
    AnnounceRequest,
    AnnounceStart,
    AnnounceUpdate,
    BiStream,
    ClientSetup,
    Fetch,
    Goaway,
    Group,
    Probe,
    ServerSetup,
    Setup,
    Subscribe,
    SubscribeEnd,
    SubscribeOk,
    SubscribeStart,
    SubscribeUpdate,
    TrackInfo,
    TrackRequest,
    UniStream,
)
from moq_relay.wire.lite.versions import by_name

VECTORS = {
    vector["id"]: vector
    for vector in json.loads((Path(__file__).parents[2] / "vectors" / "lite.json").read_text())
}


@dataclass(frozen=True)
class Frames:
    """The rest of a stream as frames: absolute timestamp, or None, and payload."""

    frames: list[tuple[int | None, bytes]]


HELLO = [(1_000_000, b"hello"), (1_020_000, b"world!")]
HELLO_UNTIMED = [(None, b"hello"), (None, b"world!")]

EXPECTED: dict[str, list[object]] = {
    # --- moq-lite-05 ---
    "05-setup-client": [
        UniStream.SETUP,
        Setup(((2, b"/anon"), (1, b"\x01"), (5, bytes.fromhex("c001c0f8b64e5aab")))),
    ],
    "05-setup-server": [
        UniStream.SETUP,
        Setup(((1, b"\x01"), (5, bytes.fromhex("c00a55453caf9aa3")))),
    ],
    "05-announce-request": [BiStream.ANNOUNCE, AnnounceRequest("", 0x180D24E4F3FAD9)],
    "05-announce-ok-empty": [AnnounceOk(0x0A55453CAF9AA3, 0)],
    "05-announce-ok-1": [AnnounceOk(0x01C0F8B64E5AAB, 1), Announce(1, "room/alice")],
    "05-announce-forwarded": [Announce(1, "room/alice", (0x01C0F8B64E5AAB,))],
    "05-announce-ended": [Announce(0, "room/alice")],
    "05-track": [BiStream.TRACK, TrackRequest("room/alice", "chat")],
    "05-track-info": [TrackInfo(priority=127, ordered=False, max_age=5000, timescale=1_000_000)],
    "05-subscribe": [BiStream.SUBSCRIBE, Subscribe(0, "room/alice", "chat", 0)],
    "05-subscribe-start": [SubscribeStart(0)],
    "05-subscribe-update": [SubscribeUpdate(9)],
    "05-subscribe-end": [SubscribeEnd(3)],
    "05-group-2frames": [UniStream.GROUP, Group(0, 0), Frames(HELLO)],
    "05-datagram": [Datagram(0, 2, 3_000_000, b"dgram!")],
    "05-probe-report": [Probe(30_327_935, 3)],
    # --- moq-lite-06 ---
    "06-setup-client": [
        UniStream.SETUP,
        Setup(((2, b"/anon"), (5, bytes.fromhex("c00104d59bde1a0a")), (1, b"\x01"))),
    ],
    "06-announce-request": [BiStream.ANNOUNCE, AnnounceRequest("")],
    "06-announce-request-prefix": [BiStream.ANNOUNCE, AnnounceRequest("room")],
    "06-announce-ok-start": [
        AnnounceOk(0x0104D59BDE1A0A, 1),
        AnnounceStart("room/alice", (), 0, 0),
    ],
    "06-announce-forwarded": [AnnounceStart("room/alice", (0x0104D59BDE1A0A,), 1, 1)],
    "06-announce-suffix": [AnnounceStart("a", (11,), 1, 1)],
    "06-announce-exact": [AnnounceStart("", (11,), 1, 1)],
    "06-announce-end": [AnnounceEnd(0)],
    "06-announce-update": [AnnounceUpdate(0, (22,), 1, 1)],
    "06-track-info": [TrackInfo(priority=127, max_age=5000, timescale=1_000_000)],
    "06-subscribe": [BiStream.SUBSCRIBE, Subscribe(0, "room/alice", "chat", 0)],
    "06-subscribe-floor": [
        BiStream.SUBSCRIBE,
        Subscribe(1, "room/a", "chat", 0, max_age=60_000, floor=3),
    ],
    "06-subscribe-start": [SubscribeStart(3)],
    "06-subscribe-update": [SubscribeUpdate(9)],
    "06-update-upstream": [SubscribeUpdate(5, max_age=5000)],
    "06-subscribe-end": [SubscribeEnd(3)],
    "06-group": [UniStream.GROUP, Group(0, 0, 0), Frames(HELLO)],
    "06-fetch": [BiStream.FETCH, Fetch("room/a", "chat", 0, 3)],
    "06-fetch-reply": [Frames([(100, b"g3f0")])],
    "06-datagram": [Datagram(0, 2, 3_000_000, b"dgram!")],
    "06-goaway": [BiStream.GOAWAY, Goaway("moqt://127.0.0.1:5312/anon")],
    # --- moq-lite-04 ---
    "04-announce-request": [BiStream.ANNOUNCE, AnnounceRequest("", 0x0B5CA4FDC908CF)],
    "04-announce": [Announce(1, "room/alice", (0x1F5EF5C2E3B556,))],
    "04-announce-forwarded": [
        Announce(1, "room/alice", (0x1F5EF5C2E3B556, 0x056C6C4DDB6F93)),
    ],
    "04-announce-ended": [Announce(0, "room/alice")],
    "04-subscribe": [BiStream.SUBSCRIBE, Subscribe(0, "room/alice", "chat", 0)],
    "04-subscribe-ok": [SubscribeOk()],
    "04-group": [UniStream.GROUP, Group(0, 0), Frames(HELLO_UNTIMED)],
    "04-probe": [Probe(87_175_609, 1)],
    # --- moq-lite-03 ---
    "03-announce-request": [BiStream.ANNOUNCE, AnnounceRequest("")],
    "03-announce": [Announce(1, "room/alice", (0,))],
    "03-announce-forwarded": [Announce(1, "room/alice", (0, 0, 0))],
    "03-subscribe": [BiStream.SUBSCRIBE, Subscribe(0, "room/alice", "chat", 0)],
    "03-subscribe-ok": [SubscribeOk()],
    "03-group": [UniStream.GROUP, Group(0, 0), Frames(HELLO_UNTIMED)],
    "03-probe": [Probe(79_570_200)],
    # --- moq-lite-02; CLIENT_SETUP is stream type and message type in one ---
    "02-client-setup": [
        ClientSetup(
            (0xFF0DAD02, 0xFF0DAD01, 0xFF00000E),
            (
                (2, 0xFFFFFFFF),
                (0x40B5A, 1),
                (0x40B5C, 1),
                (5, b"127.0.0.1:26992"),
                (7, b"moq-lite-rs"),
                (1, b"/anon"),
            ),
        ),
    ],
    "02-server-setup": [ServerSetup(0xFF0DAD02)],
    "02-announce-please": [BiStream.ANNOUNCE, AnnounceRequest("")],
    "02-announce-init-empty": [AnnounceInit()],
    "02-announce-active": [Announce(1, "room/alice")],
    "02-announce-init-1": [AnnounceInit(("room/js",))],
    "02-subscribe": [BiStream.SUBSCRIBE, Subscribe(0, "room/alice", "chat", 0)],
    "02-subscribe-ok": [SubscribeOk()],
    "02-group": [UniStream.GROUP, Group(0, 0), Frames([(None, b"hello"), (None, b"world!")])],
}


def test_every_vector_has_an_expectation_and_every_expectation_a_vector():
    assert set(EXPECTED) == set(VECTORS)
    assert len(VECTORS) == 61


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS.keys())
def test_the_annotated_segments_of_a_vector_are_its_bytes(vector):
    joined = "".join(segment for segment, _ in vector["segments"])

    assert bytes.fromhex(joined) == bytes.fromhex(vector["hex"])


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS.keys())
def test_a_vector_means_what_is_expected(vector):
    raw = bytes.fromhex(vector["hex"])
    version = by_name(vector["version"])

    read, at = [], 0
    for expected in EXPECTED[vector["id"]]:
        match expected:
            case BiStream() | UniStream():
                number, at = varint.decode(raw, at)
                read.append(type(expected)(number))
            case Frames():
                decoder = FrameDecoder(version.features.timestamps, len(raw))
                read.append(Frames(decoder.feed(raw[at:])))
                assert not decoder.partial
                at = len(raw)
            case Datagram():
                assert version.features.datagrams
                read.append(decode_datagram(raw[at:]))
                at = len(raw)
            case _:
                message, at = version.parse(type(expected).slot, raw, at, len(raw))
                read.append(message)

    assert read == EXPECTED[vector["id"]]
    assert at == len(raw)


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS.keys())
def test_what_a_vector_means_is_written_in_the_same_bytes(vector):
    version = by_name(vector["version"])

    written = bytearray()
    for expected in EXPECTED[vector["id"]]:
        match expected:
            case BiStream() | UniStream():
                written += varint.encode(expected)
            case Frames():
                before = 0
                for timestamp, payload in expected.frames:
                    delta = None if timestamp is None else timestamp - before
                    append_frame(written, payload, delta)
                    before = timestamp
            case Datagram():
                written += encode_datagram(expected)
            case _:
                written += version.encode(expected)

    assert written.hex() == vector["hex"]


def test_a_setup_says_its_parameters_by_name():
    raw = bytes.fromhex(VECTORS["05-setup-client"]["hex"])

    setup, _ = by_name("moq-lite-05").parse(Setup.slot, raw, 1, len(raw))

    assert (setup.path, setup.hop, setup.probe) == ("/anon", 0x01C0F8B64E5AAB, 1)
    assert (setup.role, setup.cost) == (None, 1)
