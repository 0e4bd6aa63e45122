"""Group streams to groups: only whole frames go on."""

from __future__ import annotations

from collections.abc import Callable

from moq_relay.errors import (
    FrameTooLarge,
    GroupTooLarge,
    MalformedTrack,
    RequestError,
    WireError,
    WrongSize,
)
from moq_relay.relay.counters import Counters
from moq_relay.relay.feed import Feed
from moq_relay.relay.group import Frame, GroupWriter
from moq_relay.sessions.lite import codes
from moq_relay.sessions.tally import Tally
from moq_relay.wire import varint
from moq_relay.wire.lite.frames import FrameDecoder
from moq_relay.wire.lite.messages import Group as GroupHeader
from moq_relay.wire.version import Slot, Version

EARLY_TIMES = 64
"""Groups of which another node said when they ended before anything of them came."""
FRAMES_AT_ONCE = 4
"""Frames of the largest size that one peer may have under way; the cache knows whole ones only."""


class Inlet:
    """What all group streams of one session share on their way in."""

    __slots__ = (
        "clock",
        "counters",
        "early",
        "feeds",
        "frame_limit",
        "held",
        "message_limit",
        "origin",
        "peer",
        "stop",
        "tally",
        "version",
    )

    def __init__(
        self,
        version: Version,
        counters: Counters,
        clock: Callable[[], float],
        stop: Callable[[int, int], None],
        *,
        frame_limit: int,
        message_limit: int,
        peer: str,
    ) -> None:
        self.feeds: dict[int, Feed] = {}
        """The subscriptions of this session by their id."""
        self.held = 0
        """Bytes of frames that are not complete yet, on all group streams together."""
        self.version = version
        self.counters = counters
        self.tally = Tally()
        self.clock = clock
        self.stop = stop
        self.frame_limit = frame_limit
        self.message_limit = message_limit
        self.peer = peer
        """Who sends, in what is told of its errors."""
        self.origin = ""
        """URL of the node that sends; empty for a publisher."""
        self.early: dict[tuple[int, int], float] = {}
        """When groups ended that are not here yet, by subscription and sequence."""

    def ended_there(self, subscribe: int, sequence: int, at: float) -> None:
        """A group had come to its end at the sending node ``at``, by the clock of this one."""
        feed = self.feeds.get(subscribe)
        if feed is None:
            return
        group = feed.track.groups.get(sequence)
        if group is None:
            self.early[subscribe, sequence] = at
            if len(self.early) > EARLY_TIMES:
                del self.early[next(iter(self.early))]
        elif group.times is not None and group.origin == self.origin:
            group.times.whole = at

    def begins_from_node(self, subscribe: int, sequence: int, opened: object) -> None:
        """A feed ``opened`` a group of another node; perhaps that said already when it ended."""
        at = self.early.pop((subscribe, sequence), None)
        group = self.feeds[subscribe].track.groups.get(sequence)
        if group is not None and group is opened:
            group.origin = self.origin
            if group.times is not None:
                group.times.whole = at


class GroupIngress:
    """One group stream of the peer."""

    __slots__ = ("_deaf", "_decoder", "_feed", "_group", "_head", "_held", "_inlet", "_stream")

    def __init__(self, inlet: Inlet, stream: int) -> None:
        self._inlet = inlet
        self._stream = stream
        self._head = bytearray()
        self._held = 0
        self._feed: Feed | None = None
        self._group: GroupWriter | None = None
        self._deaf = False
        self._decoder: FrameDecoder | None = None

    def feed(self, data: bytes, fin: bool) -> None:
        """Bytes of the stream, after its type."""
        if self._deaf:
            return
        decoder = self._decoder
        if decoder is None:
            data = self._read_head(data, fin)
            decoder = self._decoder
            if decoder is None:
                return
        group = self._group
        assert group is not None
        if not group.open:
            self._refuse(codes.CANCEL)
            return
        try:
            self._append(group, decoder.feed(data), len(data))
            self._hold(decoder.held)
            if fin:
                if decoder.partial:
                    raise WrongSize("a group ended inside a frame")
                group.finish()
                self._done()
        except (FrameTooLarge, GroupTooLarge, WrongSize) as error:
            self._break(error)
        except WireError as error:
            self._break(MalformedTrack(str(error)))

    def reset(self, code: int) -> None:
        """The publisher gave the group up: so do all who read it."""
        error = codes.error(code, self._inlet.peer)
        self._inlet.counters.resets_in[type(error).__name__] += 1
        self.abort(error)

    def abort(self, error: RequestError) -> None:
        """Nothing more will come. Harmless when the group has ended."""
        if self._feed is not None and self._group is not None:
            self._feed.broke_off(self._group, error)
        self._done()

    def _append(
        self, group: GroupWriter, frames: list[tuple[int | None, bytes]], size: int
    ) -> None:
        counters = self._inlet.counters
        counters.bytes_in += size
        self._inlet.tally.bytes_in += size
        counters.frames_in += len(frames)
        for timestamp, payload in frames:
            # A version without timestamps: the time of arrival, in the default timescale.
            stamp = int(self._inlet.clock() * 1_000_000) if timestamp is None else timestamp
            group.append(Frame(payload, stamp))
        if frames and self._feed is not None:
            self._feed.heard(self._inlet.clock())

    def _hold(self, size: int) -> None:
        """Count what waits here for the rest of its frame."""
        inlet = self._inlet
        inlet.held += size - self._held
        self._held = size
        if inlet.held > FRAMES_AT_ONCE * inlet.frame_limit:
            raise GroupTooLarge("too many frames are under way at once")

    def _read_head(self, data: bytes, fin: bool) -> bytes:
        """Open the group once its header is whole; what follows the header."""
        inlet, head = self._inlet, self._head
        head += data
        try:
            found = inlet.version.parse(Slot.GROUP, head, 0, inlet.message_limit)
        except WireError:
            self._refuse(codes.of(MalformedTrack()))
            return b""
        if found is None:
            if fin:
                self._refuse(codes.CANCEL)
            return b""
        header, at = found
        assert isinstance(header, GroupHeader)
        self._feed = inlet.feeds.get(header.subscribe)
        if header.sequence >= varint.MAX - 1:
            # No number is left to ask for what follows, or to say that nothing does.
            self._refuse(codes.of(MalformedTrack()))
            return b""
        if self._feed is not None:
            self._group = self._feed.open_group(header.sequence, first=header.frame_start)
        if self._group is None:
            self._refuse(codes.CANCEL)
            return b""
        if inlet.origin:
            inlet.begins_from_node(header.subscribe, header.sequence, self._group)
        inlet.counters.groups_in += 1
        inlet.tally.groups_in += 1
        self._decoder = FrameDecoder(inlet.version.features.timestamps, inlet.frame_limit)
        rest = bytes(head[at:])
        head.clear()
        return rest

    def _break(self, error: RequestError) -> None:
        """The publisher broke the rules with this group: it costs the group."""
        if self._group is not None:
            self._group.abort(error)
        self._refuse(codes.of(error))

    def _refuse(self, code: int) -> None:
        self._inlet.stop(self._stream, code)
        self._done()

    def _done(self) -> None:
        self._deaf = True
        self._decoder = None
        self._inlet.held -= self._held
        self._held = 0
        if self._feed is not None and self._group is not None:
            self._feed.group_ended(self._group)
        self._feed = self._group = None
