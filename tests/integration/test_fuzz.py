"""Hostile peers by the hundred, beside a good publisher and a good viewer who must not notice.

``FUZZ_CASES`` and ``FUZZ_SEED`` choose how much and which; a failure names the seed.
"""

import asyncio
import os
import random
import time

import pytest

from moq_relay.sessions.transport import Transport
from moq_relay.wire import varint
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.frames import append_frame
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.lite.versions import LITE_05, LITE_06, VERSIONS
from moq_relay.wire.version import Version
from tests.support.node import Node, far_end, node, until

CASES = int(os.environ.get("FUZZ_CASES", "100000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))

CASES_PER_SESSION = 125
CASES_PER_ROUND = 25
"""After each round the good viewer must have got one more group."""

CODES = (0, 1, 2, 5, 0x33, 0x36, 77, varint.MAX)


# --- what hostile peers say -----------------------------------------------------------------------


def requests(version: Version) -> list[bytes]:
    """Every request that the version has, some of which the node can answer."""
    candidates = [
        (BiStream.ANNOUNCE, wire.AnnounceRequest("")),
        (BiStream.ANNOUNCE, wire.AnnounceRequest("good")),
        (BiStream.PROBE, wire.Probe(5, 7) if "rtt" in names(version) else wire.Probe(5)),
        (BiStream.GOAWAY, wire.Goaway("https://elsewhere/")),
    ]
    for path in ("good", "bad", "none"):
        for track in ("t", "u"):
            candidates += [
                (BiStream.FETCH, wire.Fetch(path, track, 1, 2)),
                (BiStream.TRACK, wire.TrackRequest(path, track)),
            ]
    return [
        (b"" if kind is None else varint.encode(kind)) + version.encode(message)
        for kind, message in candidates
        if type(message) in version.layouts
    ]


def names(version: Version) -> tuple[str, ...]:
    layout = version.layouts.get(wire.Probe)
    return layout.names if layout is not None else ()


def announcements(version: Version) -> list[bytes]:
    """What may follow on an announce stream."""
    candidates = [
        wire.AnnounceStart("bad/x", (5, 6), 1, 2),
        wire.AnnounceEnd(0),
        wire.AnnounceEnd(1),
        wire.AnnounceUpdate(0, (7,), 1, 2),
        wire.Announce(1, "bad", () if version.features.hop_count else (5,)),
        wire.Announce(1, "bad/x"),
        wire.Announce(0, "bad"),
        wire.AnnounceOk(9, 1),
        wire.AnnounceInit(("bad", "x")),
    ]
    found = []
    for message in candidates:
        if type(message) in version.layouts:
            found.append(version.encode(message))
    return found


def replies(version: Version) -> list[bytes]:
    """What may follow on a subscribe stream, from either side."""
    candidates = [
        wire.SubscribeOk(),
        wire.SubscribeStart(1),
        wire.SubscribeEnd(3),
        wire.SubscribeEnd(varint.MAX),
        wire.SubscribeDrop(1, 2, 3),
        wire.SubscribeUpdate(9, max_age=varint.MAX, end=7),
        wire.SubscribeUpdate(1, floor=3, start=None),
        wire.TrackInfo(priority=1, max_age=varint.MAX, timescale=1),
    ]
    return [version.encode(m) for m in candidates if type(m) in version.layouts]


def frames(version: Version) -> bytes:
    buffer = bytearray()
    for index, payload in enumerate((b"one", b"", b"x" * 300)):
        append_frame(buffer, payload, index * 7 if version.features.timestamps else None)
    return bytes(buffer)


class Hostile:
    """A peer that hears nothing and says whatever its dice tell it."""

    def __init__(self, transport: Transport, version: Version, dice: random.Random) -> None:
        self.transport = transport
        self.version = version
        self.dice = dice
        self.over = False
        self.known: list[int] = []
        """Streams of either side that have been heard of."""
        self.subscribed = [0]
        """Ids that the node's subscriptions here have: it counts them from 0."""
        self.sequence = 0
        self.last_id = 0
        self.requests = requests(version)
        self.follow_ups = announcements(version) + replies(version) + [frames(version)]
        transport.events = self  # type: ignore[assignment]

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        if stream in self.known[-50:]:
            return
        self.known.append(stream)
        if stream & 3 == 1 and self.dice.random() < 0.8:
            self.answer(stream, data[:1])

    def stream_reset(self, stream: int, code: int) -> None: ...
    def stream_stopped(self, stream: int, code: int) -> None: ...
    def stream_finished(self, stream: int) -> None: ...
    def datagram(self, data: bytes) -> None: ...
    def transport_writable(self) -> None: ...
    def closed(self, code: int, reason: str) -> None:
        self.over = True

    def begin(self) -> None:
        """The opening, nearly always a right one."""
        features = self.version.features
        if features.setup_stream:
            setup = b"\x01" + self.version.encode(wire.Setup.of(hop=self.dice.choice((0, 5, 6))))
            self.send(self.transport.open_uni(), self.maybe(setup, 0.02), fin=True)
        elif features.inband_setup:
            setup = self.version.encode(wire.ClientSetup((0xFF0DAD02,)))
            self.send(self.transport.open_bi(), self.maybe(setup, 0.02))

    def answer(self, stream: int, kind: bytes) -> None:
        """Say what a good publisher would, so that groups are taken and viewers served."""
        encode, features = self.version.encode, self.version.features
        if kind == varint.encode(BiStream.TRACK) and features.track_stream:
            info = wire.TrackInfo(priority=1, max_age=5000, timescale=1000)
            self.send(stream, encode(info), fin=True)
        elif kind == varint.encode(BiStream.SUBSCRIBE):
            reply = wire.SubscribeOk() if features.subscribe_ok else wire.SubscribeStart(0)
            self.send(stream, encode(reply))
            self.subscribed.append(self.subscribed[-1] + 1)

    def subscription(self, path: str, track: str) -> bytes:
        """Nearly always with an id that is not in use."""
        dice = self.dice
        self.last_id += dice.random() < 0.99
        message = wire.Subscribe(
            self.last_id,
            path,
            track,
            dice.choice((0, 3, 255)),
            max_age=dice.choice((0, 5000, varint.MAX)),
            start=dice.choice((None, 0, 3, varint.MAX - 1)),
            floor=dice.choice((0, 3, varint.MAX)),
            end=dice.choice((None, None, 0, 9)),
        )
        return varint.encode(BiStream.SUBSCRIBE) + self.version.encode(message)

    def request(self) -> bytes:
        if self.dice.random() < 0.5:
            path, track = self.dice.choice(("good", "bad", "none")), self.dice.choice("tu")
            return self.subscription(path, track)
        return self.dice.choice(self.requests)

    def case(self) -> None:
        """One thing that is said."""
        dice = self.dice
        transport = self.transport
        full = not (transport.can_open_bi() and transport.can_open_uni())
        match 11 if full else dice.randrange(12):
            case 0 | 1 | 2 | 3:
                self.say(self.transport.open_bi(), self.maybe(self.request(), 0.3))
            case 4 | 5 | 6:
                self.say(self.transport.open_uni(), self.maybe(self.group(), 0.5))
            case 7:
                self.say(self.transport.open_uni(), dice.randbytes(dice.randrange(40)))
            case 8:
                self.say(self.transport.open_bi(), dice.randbytes(dice.randrange(40)))
            case 9:
                datagram = bytes((dice.randrange(3), dice.randrange(9), 5)) + b"payload"
                self.transport.send_datagram(self.maybe(datagram, 0.5))
            case _:
                # Few on the first streams, which stand for the whole session.
                known = self.known[3:] if dice.random() < 0.97 else self.known
                follow_up = self.maybe(dice.choice(self.follow_ups), 0.2)
                self.say(dice.choice(known or [1]), follow_up, known=True)

    def group(self) -> bytes:
        self.sequence += self.dice.choice((0, 1, 1, 1, 2))
        sequence = self.dice.choice((*[self.sequence] * 6, 0, varint.MAX))
        number = self.dice.choice(self.subscribed[-4:]) if self.dice.random() < 0.9 else 99
        header = wire.Group(number, sequence)
        return b"\x00" + self.version.encode(header) + frames(self.version)

    def say(self, stream: int, raw: bytes, *, known: bool = False) -> None:
        dice = self.dice
        cut = dice.randrange(len(raw) + 1) if dice.random() < 0.3 else len(raw)
        self.send(stream, raw[:cut])
        ending = dice.random()
        if ending < 0.15:
            self.transport.reset(stream, dice.choice(CODES))
        elif ending < 0.25:
            self.transport.stop(stream, dice.choice(CODES))
        self.send(stream, raw[cut:], fin=ending > (0.9 if known else 0.6))
        if not known:
            self.known.append(stream)

    def send(self, stream: int, raw: bytes, *, fin: bool = False) -> None:
        self.transport.send(stream, raw, fin=fin)

    def maybe(self, raw: bytes, chance: float) -> bytes:
        """The same, or something like it."""
        dice = self.dice
        if dice.random() > chance or not raw:
            return raw
        at = dice.randrange(len(raw))
        match dice.randrange(7):
            case 0:
                return raw[:at]
            case 1:
                return raw[:at] + bytes((dice.randrange(256),)) + raw[at + 1 :]
            case 2:
                return raw[:at] + dice.randbytes(dice.randrange(1, 5)) + raw[at:]
            case 3:
                return raw[:at] + b"\xff" * 8 + raw[at:]
            case 4:
                return raw + dice.choice(self.follow_ups)
            case 5:
                return raw + raw
            case _:
                return raw[:at] + bytes((raw[at] ^ (1 << dice.randrange(8)),)) + raw[at + 1 :]


# --- the ones who must not notice -----------------------------------------------------------------


class Good:
    """A publisher and a viewer of a track that goes on and on."""

    def __init__(self, relay: Node) -> None:
        self.relay = relay
        self.sequence = 0

    async def begin(self) -> None:
        self.publisher = await self.relay.publisher(LITE_05, "good", hop=77)
        self.viewer = await self.relay.viewer(LITE_06)
        self.watched = self.viewer.subscribe("good", "t")
        self.sending = await self.publisher.accept(0)
        await self.next()

    async def next(self) -> None:
        """One more group, whole and in time."""
        payload = b"group %d" % self.sequence
        self.sending.group(self.sequence, payload)
        (group,) = await self.watched.heard(self.sequence)
        assert group.payloads == [payload]
        assert not self.watched.stream.over
        self.sequence += 1
        for peer in (self.publisher.peer, self.viewer.peer):
            for number in [n for n in peer.streams if n & 2]:
                del peer.streams[number]


async def hostile_session(
    relay: Node, version: Version, dice: random.Random, streams: int
) -> Hostile:
    """A session in which the peer has announced something that its like subscribe to."""
    peer = relay.connect(version, streams=streams)
    hostile = Hostile(peer.transport, version, dice)
    hostile.begin()
    for _ in range(6):
        await asyncio.sleep(0)
    announce = next((n for n in hostile.known if n & 3 == 1), None)
    if announce is not None:
        features = version.features
        opening = b""
        if features.announce_ok:
            opening = version.encode(wire.AnnounceOk(dice.choice((5, 6)), 1))
        elif features.announce_init:
            opening = version.encode(wire.AnnounceInit(("bad",)))
        if features.announce_ids:
            opening += version.encode(wire.AnnounceStart("bad", (), 0, 0))
        elif not features.announce_init:
            opening += version.encode(wire.Announce(1, "bad"))
        hostile.send(announce, opening)
    return hostile


def kept(relay: Node) -> dict[str, int]:
    """Everything that could grow."""
    sessions = list(relay.host.sessions)
    return {
        "sessions": len(sessions),
        "tasks": len(asyncio.all_tasks()),
        "broadcasts": len(relay.origin.broadcasts),
        "watches": len(relay.origin._watches),
        "requests": sum(len(s._requests) + len(s._deaf) for s in sessions),
        "group streams": sum(len(s._uni) for s in sessions),
        "viewers": sum(len(s.publisher._tracks) for s in sessions),
        "streams": sum(len(s.publisher._line.owners) for s in sessions),
        "upstream": sum(len(s.subscriber._requests) for s in sessions),
        "questions": sum(len(s.subscriber._questions) for s in sessions),
        "feeds": sum(len(s._inlet.feeds) for s in sessions),
        "waiting": sum(len(s.scheduler) for s in sessions),
    }


async def attack(relay: Node, good: Good, dice: random.Random, streams: int) -> int:
    """Two hostile sessions that publish and watch each other's; how many cases it was."""
    versions = dice.sample(VERSIONS, 2)
    pair = [await hostile_session(relay, version, dice, streams) for version in versions]
    for hostile in pair:
        hostile.send(hostile.transport.open_bi(), hostile.subscription("bad", "t"))
    done = 0
    for _ in range(CASES_PER_SESSION // CASES_PER_ROUND):
        for hostile in pair:
            for _ in range(CASES_PER_ROUND):
                if not hostile.over:
                    hostile.case()
                    done += 1
        for _ in range(4):
            await asyncio.sleep(0)
        await good.next()
    for hostile in pair:
        hostile.transport.close(dice.choice((0, 3, 77)), "enough")
    return done


ROOMY: dict[str, int] = {}
TIGHT = {
    "frame_bytes": 200,
    "message_bytes": 64,
    "requests_per_session": 12,
    "announces_per_session": 2,
    "viewer_backlog": 2_000,
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("limits", "streams", "cases"),
    [(ROOMY, 10_000, CASES * 3 // 4), (TIGHT, 10_000, CASES // 8), (TIGHT, 20, CASES // 8)],
    ids=["roomy", "tight", "without credit"],
)
async def test_hostile_peers_cost_nobody_else_a_group_and_leave_nothing_behind(
    limits, streams, cases
):
    began = time.monotonic()
    dice = random.Random(SEED)
    done = 0
    async with node(linger=0, **limits) as relay:
        good = Good(relay)
        await good.begin()
        await until(lambda: kept(relay)["streams"] == 0)
        before = kept(relay)

        while done < cases:
            done += await attack(relay, good, dice, streams)

        await until(lambda: kept(relay) == before, seconds=15)
        assert relay.counters.viewers == relay.counters.upstream == 1
        assert far_end(good.viewer.peer).stats().streams < 20
        relay.origin.sweep(relay.origin.clock() + 1000)
        assert len(relay.origin.cache) <= 2
        print(f"seed {SEED}: {done} cases, {time.monotonic() - began:.0f} s", relay.counters)
