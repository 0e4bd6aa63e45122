"""What a peer's nonsense costs: its stream, its group or its session, and never anybody else."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from moq_relay.relay.retention import CacheLimits
from moq_relay.sessions.transport import UNI
from moq_relay.wire import varint
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream, UniStream
from moq_relay.wire.lite.versions import LITE_02, LITE_03, LITE_04, LITE_05, LITE_06, VERSIONS
from tests.support.node import Viewer, node
from tests.support.peer import UNKNOWN

SINCE_03 = (LITE_06, LITE_05, LITE_04, LITE_03)
SINCE_04 = (LITE_06, LITE_05, LITE_04)
SINCE_05 = (LITE_06, LITE_05)
ONLY_06 = (LITE_06,)
UP_TO_05 = (LITE_05, LITE_04, LITE_03, LITE_02)
UP_TO_04 = (LITE_04, LITE_03, LITE_02)
UP_TO_03 = (LITE_03, LITE_02)
ONLY_02 = (LITE_02,)

HUGE = varint.encode(1 << 40)
"""A length that nobody allows."""
NOT_TEXT = b"\x02\xff\xfe"
LONGEST = varint.MAX


# --- what it costs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """What the node answers on the stream of the nonsense; None: nothing."""

    reset: int | None = None
    stop: int | None = None
    group: int | None = None
    """The code with which a viewer's stream of the same group is reset."""
    session: int | None = None


FREE = Costs()
REQUEST = Costs(reset=1, stop=1)
ENDED_REQUEST = Costs(reset=1)
SESSION = Costs(session=3)


class Naughty:
    """A peer that publishes ``bad``, which a good viewer watches, and watches ``good`` itself."""

    def __init__(self, peer, publisher, viewer, sending, reader):
        self.peer = peer
        self.publisher = publisher
        self.viewer = viewer
        self.sending = sending
        self.reader = reader

    def encode(self, message):
        return self.peer.version.encode(message)

    def surplus(self, message):
        """A message whose body has a byte more than its fields."""
        return self._resized(message, lambda body: body + b"\x00")

    def missing(self, message):
        """A message whose body has a byte less than its fields."""
        return self._resized(message, lambda body: body[:-1])

    def _resized(self, message, change):
        whole = self.encode(message)
        layout = self.peer.version.layouts[type(message)]
        tag = b"" if layout.tag is None else varint.encode(layout.tag)
        at = len(tag)
        if layout.length.name == "U16":
            body = change(whole[at + 2 :])
            return tag + len(body).to_bytes(2, "big") + body
        _, at = varint.decode(whole, at)
        body = change(whole[at:])
        return tag + varint.encode(len(body)) + body

    def bi(self, kind, raw=b"", *, fin=False):
        return self.peer.open(kind, raw=raw, fin=fin)

    def uni(self, kind, raw=b"", *, fin=False):
        return self.peer.uni(varint.encode(kind) + raw, fin=fin)

    def setup(self, raw, *, fin=True):
        return self.uni(UniStream.SETUP, raw, fin=fin)

    def announce(self, raw, *, fin=False):
        return self.publisher.announces.raw(raw, fin=fin)

    def group(self, header, frames=b"", *, fin=False):
        return self.uni(UniStream.GROUP, self.encode(header) + frames, fin=fin)

    def mine(self, sequence, first=0):
        return wire.Group(self.sending.wanted.id, sequence, first)


@dataclass(frozen=True)
class Row:
    sentence: str
    versions: tuple
    says: Callable
    costs: Costs
    fresh: bool = False
    """Said as the first thing in a session, before any SETUP."""


def subscribe(number=50, track="x", **options):
    return wire.Subscribe(number, "good", track, 0, **options)


TRACK = wire.TrackRequest("good", "x")
FETCH = wire.Fetch("good", "x", 0, 1)
DEEP = "/".join("d" * 33)


def stopped_and_reset(n):
    """RESET and STOP of whatever streams, also of such as never were and never could be."""
    events = n.peer.transport.far.events
    for stream in (8000, 8001, 8002, 8003, n.sending.stream.number, n.publisher.announces.number):
        events.stream_stopped(stream, 0)
    for stream in (8000, 8001, 8002, 8003):
        events.stream_reset(stream, 0x33)
        events.stream_finished(stream)


def begins_and_resets(n):
    for kind in (BiStream.ANNOUNCE, BiStream.SUBSCRIBE, UNKNOWN):
        n.bi(kind).reset(7)
        n.bi(kind, b"\x05\x01").reset(LONGEST)
    n.uni(UniStream.GROUP).reset(3)
    n.peer.uni(b"\x40").reset(3)


def two_setups(n):
    n.setup(n.encode(wire.Setup()))
    n.setup(n.encode(wire.Setup()))


def two_violations(n):
    for _ in range(2):
        n.bi(BiStream.ANNOUNCE, HUGE)


def repeated_update(n):
    n.viewer.open_update.raw(n.surplus(wire.SubscribeUpdate(1)))
    return n.viewer.open_update


def retired_id(n):
    n.publisher.announce("brief")
    n.publisher.end("brief")
    n.announce(n.encode(wire.AnnounceEnd(1)))


def hops(count, *, distinct=True):
    listed = b"".join(varint.encode(1000 + (i if distinct else 0)) for i in range(count))
    return varint.encode(count) + listed


def announce_with(n, listed):
    if n.peer.version is LITE_06:
        body = b"\x01x" + listed + b"\x00\x00"
        n.announce(b"\x00" + varint.encode(len(body)) + body)
    else:
        body = b"\x01\x01x" + listed
        n.announce(varint.encode(len(body)) + body)


def unknown_announcement(n):
    n.announce(b"\x2a\x03abc")
    n.publisher.announce("next")
    n.publisher.end("next")


def many_halves(n):
    half = b"\x00" * (n.peer.version in SINCE_05) + b"\x43\xe8" + b"x" * 990
    return [n.group(n.mine(sequence), half) for sequence in range(20, 25)][-1]


def too_late(n):
    end = varint.encode(LONGEST - 1) + b"\x00"
    return n.group(n.mine(7), n.peer.coded((5, b"x")) + end)


def datagram(raw):
    def says(n):
        n.peer.transport.send_datagram(raw)

    return says


def frames_after_the_limit(n):
    return n.group(n.mine(7), n.peer.coded(*[b"x"] * 9))


def unasked_bytes(n):
    stream = n.bi(BiStream.TRACK, n.encode(wire.TrackRequest("bad", "silent")))
    stream.raw(b"\x00" * 40_000).raw(b"\x00" * 40_000).raw(b"\x00" * 40_000)


def answered_badly(raw, **how):
    def says(n):
        n.sending.stream.raw(raw(n), **how)
        return n.sending.stream

    return says


TABLE = [
    # A stream begins with its type.
    Row("an unknown type of request", VERSIONS, lambda n: n.bi(UNKNOWN), REQUEST),
    Row("a type that only stands for the session", VERSIONS, lambda n: n.bi(0), REQUEST),
    Row("the largest type of request", VERSIONS, lambda n: n.bi(LONGEST), REQUEST),
    Row("a request without a type", VERSIONS, lambda n: n.bi(None, fin=True), ENDED_REQUEST),
    Row(
        "a request that ends inside its type",
        VERSIONS,
        lambda n: n.bi(None, b"\x40", fin=True),
        ENDED_REQUEST,
    ),
    Row("an unknown type of group stream", VERSIONS, lambda n: n.uni(UNKNOWN), Costs(stop=1)),
    Row("the largest type of group stream", VERSIONS, lambda n: n.uni(LONGEST), Costs(stop=1)),
    Row("a group stream without a type", VERSIONS, lambda n: n.peer.uni(b"", fin=True), FREE),
    Row("one that ends inside its type", VERSIONS, lambda n: n.peer.uni(b"\x40", fin=True), FREE),
    Row("a type that is never finished", VERSIONS, lambda n: n.peer.uni(b"\xc0\x00"), FREE),
    # A known type that is not one of this version's.
    Row("TRACK where there is none", UP_TO_04, lambda n: n.bi(BiStream.TRACK), SESSION),
    Row("FETCH where there is none", ONLY_02, lambda n: n.bi(BiStream.FETCH), SESSION),
    Row("PROBE where there is none", ONLY_02, lambda n: n.bi(BiStream.PROBE), SESSION),
    Row("GOAWAY where there is none", UP_TO_03, lambda n: n.bi(BiStream.GOAWAY), SESSION),
    Row("CLIENT_SETUP", SINCE_03, lambda n: n.bi(BiStream.CLIENT_SETUP), SESSION),
    Row("a SETUP stream", UP_TO_04, lambda n: n.setup(b"\x01\x00"), SESSION),
    Row("PROBE where it is not measured", SINCE_03, lambda n: n.bi(BiStream.PROBE), REQUEST),
    # Missing and surplus bytes of a request.
    Row(
        "a SUBSCRIBE that is too long",
        VERSIONS,
        lambda n: n.bi(BiStream.SUBSCRIBE, n.surplus(subscribe())),
        REQUEST,
    ),
    Row(
        "a SUBSCRIBE that is too short",
        VERSIONS,
        lambda n: n.bi(BiStream.SUBSCRIBE, n.missing(subscribe())),
        REQUEST,
    ),
    Row(
        "a SUBSCRIBE that ends too soon",
        VERSIONS,
        lambda n: n.bi(BiStream.SUBSCRIBE, n.encode(subscribe())[:-1], fin=True),
        ENDED_REQUEST,
    ),
    Row(
        "no SUBSCRIBE",
        VERSIONS,
        lambda n: n.bi(BiStream.SUBSCRIBE, fin=True),
        ENDED_REQUEST,
    ),
    Row(
        "an empty SUBSCRIBE",
        VERSIONS,
        lambda n: n.bi(BiStream.SUBSCRIBE, b"\x00"),
        REQUEST,
    ),
    Row(
        "a SUBSCRIBE longer than allowed",
        VERSIONS,
        lambda n: n.bi(BiStream.SUBSCRIBE, HUGE),
        REQUEST,
    ),
    Row(
        "a SUBSCRIBE whose name is longer than itself",
        VERSIONS,
        lambda n: n.bi(BiStream.SUBSCRIBE, b"\x03\x07\x3fa"),
        REQUEST,
    ),
    Row(
        "a SUBSCRIBE whose name is no text",
        VERSIONS,
        lambda n: n.bi(BiStream.SUBSCRIBE, b"\x05\x07" + NOT_TEXT + b"\x00"),
        REQUEST,
    ),
    Row(
        "a SUBSCRIBE with a path that is too deep",
        VERSIONS,
        lambda n: n.bi(BiStream.SUBSCRIBE, n.encode(wire.Subscribe(50, DEEP, "x", 0))),
        REQUEST,
    ),
    Row(
        "a TRACK that is too long",
        SINCE_05,
        lambda n: n.bi(BiStream.TRACK, n.surplus(TRACK)),
        REQUEST,
    ),
    Row(
        "a TRACK that is too short",
        SINCE_05,
        lambda n: n.bi(BiStream.TRACK, n.missing(TRACK)),
        REQUEST,
    ),
    Row("no TRACK", SINCE_05, lambda n: n.bi(BiStream.TRACK, fin=True), ENDED_REQUEST),
    Row("a TRACK longer than allowed", SINCE_05, lambda n: n.bi(BiStream.TRACK, HUGE), REQUEST),
    Row(
        "a FETCH that is too long",
        SINCE_03,
        lambda n: n.bi(BiStream.FETCH, n.surplus(FETCH)),
        REQUEST,
    ),
    Row(
        "a FETCH that is too short",
        SINCE_03,
        lambda n: n.bi(BiStream.FETCH, n.missing(FETCH)),
        REQUEST,
    ),
    Row("no FETCH", SINCE_03, lambda n: n.bi(BiStream.FETCH, fin=True), ENDED_REQUEST),
    Row(
        "a FETCH that ends before it starts",
        ONLY_06,
        lambda n: n.bi(BiStream.FETCH, b"\x0b\x04good\x01x\x00\x01\x05\x03"),
        REQUEST,
    ),
    Row(
        "a GOAWAY that is too long",
        SINCE_04,
        lambda n: n.bi(BiStream.GOAWAY, n.surplus(wire.Goaway(""))),
        REQUEST,
    ),
    Row(
        "a GOAWAY to an address without end",
        SINCE_04,
        lambda n: n.bi(BiStream.GOAWAY, varint.encode(8195) + varint.encode(8193) + b"a" * 8193),
        REQUEST,
    ),
    Row(
        "a frame end without a group end",
        ONLY_06,
        lambda n: n.bi(BiStream.SUBSCRIBE, b"\x0d\x32\x04good\x01x\x00\x00\x00\x00\x00\x02"),
        REQUEST,
    ),
    Row("an UPDATE that is too long", SINCE_03, repeated_update, REQUEST),
    Row(
        "a subscription id that is in use",
        VERSIONS,
        lambda n: n.bi(BiStream.SUBSCRIBE, n.encode(subscribe(0))),
        SESSION,
    ),
    Row("more than any request has", SINCE_05, unasked_bytes, SESSION),
    # The announce stream and the setup stand for more than themselves.
    Row(
        "an ANNOUNCE_REQUEST that is too long",
        VERSIONS,
        lambda n: n.bi(BiStream.ANNOUNCE, n.surplus(wire.AnnounceRequest("a"))),
        SESSION,
    ),
    Row(
        "an ANNOUNCE_REQUEST that is too short",
        VERSIONS,
        lambda n: n.bi(BiStream.ANNOUNCE, n.missing(wire.AnnounceRequest("a"))),
        SESSION,
    ),
    Row(
        "an ANNOUNCE_REQUEST that ends too soon",
        VERSIONS,
        lambda n: n.bi(BiStream.ANNOUNCE, b"\x05\x01", fin=True),
        SESSION,
    ),
    Row("no ANNOUNCE_REQUEST", VERSIONS, lambda n: n.bi(BiStream.ANNOUNCE, fin=True), SESSION),
    Row(
        "an ANNOUNCE_REQUEST longer than allowed",
        VERSIONS,
        lambda n: n.bi(BiStream.ANNOUNCE, HUGE),
        SESSION,
    ),
    Row(
        "a prefix that is too deep",
        VERSIONS,
        lambda n: n.bi(BiStream.ANNOUNCE, n.encode(wire.AnnounceRequest(DEEP))),
        SESSION,
    ),
    Row("two ANNOUNCE_REQUESTs longer than allowed", VERSIONS, two_violations, SESSION),
    Row("a second SETUP", SINCE_05, lambda n: n.setup(n.encode(wire.Setup())), SESSION),
    Row("two SETUPs at once", SINCE_05, two_setups, SESSION, fresh=True),
    Row(
        "a SETUP that is too long",
        SINCE_05,
        lambda n: n.setup(n.surplus(wire.Setup.of(hop=5))),
        SESSION,
        fresh=True,
    ),
    Row(
        "a SETUP that is too short",
        SINCE_05,
        lambda n: n.setup(n.missing(wire.Setup.of(hop=5))),
        SESSION,
        fresh=True,
    ),
    Row(
        "a SETUP that ends too soon", SINCE_05, lambda n: n.setup(b"\x05\x01"), SESSION, fresh=True
    ),
    Row("no SETUP on its stream", SINCE_05, lambda n: n.setup(b""), SESSION, fresh=True),
    Row(
        "a SETUP longer than allowed",
        SINCE_05,
        lambda n: n.setup(HUGE, fin=False),
        SESSION,
        fresh=True,
    ),
    Row(
        "a parameter of SETUP that appears twice",
        SINCE_05,
        lambda n: n.setup(b"\x07\x02\x05\x01\x07\x05\x01\x07"),
        SESSION,
        fresh=True,
    ),
    Row(
        "an unknown parameter of SETUP that appears twice",
        SINCE_05,
        lambda n: n.setup(b"\x07\x02\x3e\x01\x07\x3e\x01\x07"),
        SESSION,
        fresh=True,
    ),
    Row(
        "more parameters of SETUP than anybody has",
        SINCE_05,
        lambda n: n.setup(b"\x40\x83\x40\x41" + b"".join(bytes((i, 0)) for i in range(65))),
        SESSION,
        fresh=True,
    ),
    Row(
        "a hop in SETUP that is no number",
        SINCE_05,
        lambda n: n.setup(b"\x05\x01\x05\x02\x07\x07"),
        SESSION,
        fresh=True,
    ),
    Row(
        "a path in SETUP where the URL has it",
        SINCE_05,
        lambda n: n.setup(n.encode(wire.Setup.of(path="/"))),
        SESSION,
        fresh=True,
    ),
    Row(
        "a second CLIENT_SETUP",
        ONLY_02,
        lambda n: n.bi(None, n.encode(wire.ClientSetup((LITE_02.wire_number,)))),
        SESSION,
    ),
    Row(
        "a CLIENT_SETUP that is too long",
        ONLY_02,
        lambda n: n.bi(None, n.surplus(wire.ClientSetup((LITE_02.wire_number,)))),
        SESSION,
        fresh=True,
    ),
    Row(
        "a CLIENT_SETUP that ends too soon",
        ONLY_02,
        lambda n: n.bi(None, b"\x20\x00\x09\x01", fin=True),
        SESSION,
        fresh=True,
    ),
    # Announcements.
    Row("an unknown announcement", ONLY_06, unknown_announcement, FREE),
    Row(
        "a START for what is live",
        ONLY_06,
        lambda n: n.announce(n.encode(wire.AnnounceStart("bad", (), 0, 0))),
        SESSION,
    ),
    Row(
        "a START for what is live, spelled otherwise",
        ONLY_06,
        lambda n: n.announce(n.encode(wire.AnnounceStart("/bad//", (), 0, 0))),
        SESSION,
    ),
    Row(
        "an END of an unknown id",
        ONLY_06,
        lambda n: n.announce(n.encode(wire.AnnounceEnd(9))),
        SESSION,
    ),
    Row("an END of a retired id", ONLY_06, retired_id, SESSION),
    Row(
        "an UPDATE of an unknown id",
        ONLY_06,
        lambda n: n.announce(n.encode(wire.AnnounceUpdate(9, (), 0, 0))),
        SESSION,
    ),
    Row(
        "an end of what is not live",
        UP_TO_05,
        lambda n: n.announce(n.encode(wire.Announce(0, "elsewhere"))),
        FREE,
    ),
    Row(
        "an announcement that is too long",
        UP_TO_05,
        lambda n: n.announce(n.surplus(wire.Announce(1, "x"))),
        SESSION,
    ),
    Row(
        "an announcement that is too long",
        ONLY_06,
        lambda n: n.announce(n.surplus(wire.AnnounceStart("x", (), 0, 0))),
        SESSION,
    ),
    Row("an announcement without a body", VERSIONS, lambda n: n.announce(b"\x00\x00"), SESSION),
    Row(
        "an announcement longer than allowed",
        VERSIONS,
        lambda n: n.announce(b"\x00" * (n.peer.version is LITE_06) + HUGE),
        SESSION,
    ),
    Row(
        "an announcement that ends too soon",
        VERSIONS,
        lambda n: n.announce(b"\x00" * (n.peer.version is LITE_06) + b"\x05\x01", fin=True),
        SESSION,
    ),
    Row("a status of no meaning", UP_TO_05, lambda n: n.announce(b"\x02\x09\x00"), SESSION),
    Row("more hops than allowed", SINCE_04, lambda n: announce_with(n, hops(33)), SESSION),
    Row(
        "a hop that appears twice",
        SINCE_04,
        lambda n: announce_with(n, hops(2, distinct=False)),
        SESSION,
    ),
    Row("a number of hops that lies", SINCE_04, lambda n: announce_with(n, b"\x20"), SESSION),
    # Answers to what we asked.
    Row(
        "an answer of an unknown type",
        SINCE_03,
        answered_badly(lambda n: b"\x2a\x01\x00"),
        Costs(reset=0x12, stop=0x12),
    ),
    Row(
        "an answer that is too long",
        SINCE_03,
        answered_badly(lambda n: n.surplus(wire.SubscribeDrop(1, 2, 3))),
        Costs(reset=0x12, stop=0x12),
    ),
    Row(
        "an answer that is too long",
        ONLY_02,
        answered_badly(lambda n: b"\x01\x00"),
        Costs(reset=0x12, stop=0x12),
    ),
    Row(
        "an answer that ends too soon",
        SINCE_03,
        answered_badly(lambda n: b"\x00", fin=True),
        Costs(reset=0x12),
    ),
    # Groups and their frames.
    Row(
        "a group of no subscription",
        VERSIONS,
        lambda n: n.group(wire.Group(99, 1)),
        Costs(stop=1),
    ),
    Row(
        "a group header that is too long",
        VERSIONS,
        lambda n: n.uni(UniStream.GROUP, n.surplus(n.mine(7))),
        Costs(stop=0x12),
    ),
    Row(
        "a group header that is too short",
        VERSIONS,
        lambda n: n.uni(UniStream.GROUP, n.missing(n.mine(7))),
        Costs(stop=0x12),
    ),
    Row(
        "a group header longer than allowed",
        VERSIONS,
        lambda n: n.uni(UniStream.GROUP, HUGE),
        Costs(stop=0x12),
    ),
    Row(
        "a group header that ends too soon",
        VERSIONS,
        lambda n: n.uni(UniStream.GROUP, n.encode(n.mine(7))[:-1], fin=True),
        FREE,
    ),
    Row("a group that was there", VERSIONS, lambda n: n.group(n.mine(1)), Costs(stop=1)),
    Row(
        "a group behind which no number is left",
        VERSIONS,
        lambda n: n.group(n.mine(LONGEST)),
        Costs(stop=0x12),
    ),
    Row(
        "a group that ends inside a frame",
        VERSIONS,
        lambda n: n.group(n.mine(7), n.peer.coded(b"x", b"yy")[:-1], fin=True),
        Costs(group=0x37),
    ),
    Row(
        "a group that ends inside the head of a frame",
        VERSIONS,
        lambda n: n.group(n.mine(7), n.peer.coded(b"x") + b"\x40", fin=True),
        Costs(group=0x37),
    ),
    Row(
        "a frame larger than allowed",
        VERSIONS,
        lambda n: n.group(
            n.mine(7), n.peer.coded(b"x") + b"\x00" * (n.peer.version in SINCE_05) + b"\x44\x01"
        ),
        Costs(stop=0x38, group=0x38),
    ),
    Row(
        "more frames begun than allowed",
        VERSIONS,
        many_halves,
        Costs(stop=0x32, group=0x32),
    ),
    Row(
        "a group larger than allowed",
        VERSIONS,
        lambda n: n.group(n.mine(7), n.peer.coded(*[b"x" * 1000] * 5)),
        Costs(stop=0x32, group=0x32),
    ),
    Row(
        "a group of more frames than allowed",
        VERSIONS,
        frames_after_the_limit,
        Costs(stop=0x32, group=0x32),
    ),
    Row(
        "a frame before the beginning of time",
        SINCE_05,
        lambda n: n.group(n.mine(7), n.peer.coded((5, b"x")) + b"\x0b\x00"),
        Costs(stop=0x12, group=0x12),
    ),
    Row(
        "a frame after its end",
        SINCE_05,
        too_late,
        Costs(stop=0x12, group=0x12),
    ),
    # Datagrams.
    Row("an empty datagram", VERSIONS, datagram(b""), FREE),
    Row(
        "a datagram that ends inside its head",
        VERSIONS,
        datagram(b"\x00\x40"),
        FREE,
    ),
    Row(
        "a datagram of no subscription",
        VERSIONS,
        lambda n: n.peer.send_datagram(99, 1, 1, b"x"),
        FREE,
    ),
    Row(
        "a datagram after the end of time",
        VERSIONS,
        lambda n: n.peer.send_datagram(n.sending.wanted.id, 1, LONGEST, b"x"),
        FREE,
    ),
    # Streams that are given up, and such as never were.
    Row("resets and stops of streams that never were", VERSIONS, stopped_and_reset, FREE),
    Row("streams that are reset as soon as they begin", VERSIONS, begins_and_resets, FREE),
]

CASES = [
    pytest.param(row, version, id=f"{row.sentence} ({version.name})".replace(" ", "-"))
    for row in TABLE
    for version in row.versions
]


async def naughty(relay, version, good_viewer, *, fresh):
    """A peer of ``version`` in the middle of everything, or at the very beginning."""
    if fresh:
        return Naughty(relay.connect(version), None, None, None, None)
    publisher = await relay.publisher(version, "bad")
    reader = good_viewer.subscribe("bad", "t")
    sending = await publisher.accept(0)
    sending.group(0, b"zero")
    sending.group(1, b"one")
    await reader.heard(0, 1)
    viewer = Viewer(publisher.peer)
    viewer.own = viewer.subscribe("good", "t")
    viewer.open_update = viewer.subscribe("good", "t").stream
    await viewer.own.accepted()
    return Naughty(publisher.peer, publisher, viewer, sending, reader)


def group_resets(peer):
    """Codes with which group streams were reset."""
    resets = [s.reset_code for number, s in peer.streams.items() if number & UNI]
    return [code for code in resets if code is not None]


@pytest.mark.parametrize(("row", "version"), CASES)
async def test_nonsense_costs_what_it_costs_and_nobody_else(row, version):
    costs = row.costs
    limits = CacheLimits(group_bytes=4000, group_frames=8)
    async with node(frame_bytes=1024, cache=limits) as relay:
        good = await relay.publisher(LITE_05, "good", hop=77)
        watcher = await relay.viewer(LITE_06)
        watched = watcher.subscribe("good", "t")
        good_sending = await good.accept(0)
        good_sending.group(0, b"before")
        await watched.heard(0)
        n = await naughty(relay, version, watcher, fresh=row.fresh)

        stream = row.says(n)

        if costs.session is not None:
            assert await n.peer.was_closed() == costs.session
            assert relay.counters.violations == 1
        else:
            if costs.reset is not None:
                assert await stream.was_reset() == costs.reset
            if costs.stop is not None:
                assert await stream.was_stopped() == costs.stop
            if costs.group is not None:
                await watcher.peer.until(lambda: group_resets(watcher.peer))
                assert group_resets(watcher.peer) == [costs.group]
            await n.peer.round_trip()

        good_sending.group(1, b"after")
        await watched.heard(1)
        if costs.session is None:
            await n.viewer.own.heard(1)
            if stream is not n.sending.stream:
                n.sending.group(30, b"still here")
                await n.reader.heard(30)
                assert not n.reader.stream.over


def test_every_version_has_its_rows():
    for version in VERSIONS:
        assert sum(version in row.versions for row in TABLE) > 55
    assert len({(row.sentence, row.versions) for row in TABLE}) == len(TABLE)
