"""A scripted moq-lite peer: it says what a test tells it to, and writes down all it hears."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from moq_relay.sessions.transport import UNI, Transport
from moq_relay.wire import varint
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.frames import Datagram, FrameDecoder, append_frame, encode_datagram
from moq_relay.wire.lite.messages import BiStream, UniStream
from moq_relay.wire.version import Slot, Version

UNKNOWN = 0x3F
"""A type that no stream of any version has."""
LIMIT = 1 << 30

T = TypeVar("T")


class Stream:
    """One stream as the peer sees it."""

    def __init__(self, peer: "Peer", number: int) -> None:
        self.number = number
        self.data = bytearray()
        self.at = 0
        self.fin = False
        self.reset_code: int | None = None
        self.stop_code: int | None = None
        self.acknowledged = False
        self._peer = peer

    def __repr__(self) -> str:
        return (
            f"<stream {self.number} {bytes(self.data[self.at :])!r} fin={self.fin} "
            f"reset={self.reset_code} stopped={self.stop_code}>"
        )

    # What the peer says.

    def raw(self, data: bytes, *, fin: bool = False) -> "Stream":
        self._peer.transport.send(self.number, data, fin=fin)
        return self

    def write(self, *messages: Any, fin: bool = False) -> "Stream":
        return self.raw(b"".join(map(self._peer.version.encode, messages)), fin=fin)

    def finish(self) -> None:
        self.raw(b"", fin=True)

    def reset(self, code: int) -> None:
        self._peer.transport.reset(self.number, code)

    def stop(self, code: int) -> None:
        self._peer.transport.stop(self.number, code)

    # What the peer hears.

    def pop(self, slot: Slot) -> Any:
        """The next message, or None when it is not all there."""
        found = self._peer.version.parse(slot, self.data, self.at, LIMIT)
        if found is None:
            return None
        message, self.at = found
        return message

    async def read(self, slot: Slot) -> Any:
        """The next message; fails when the stream ended instead."""
        found: list[Any] = []

        def there() -> bool:
            if (message := self.pop(slot)) is not None:
                found.append(message)
            return bool(found) or self.over

        await self._peer.until(there)
        assert found, f"no {slot.name}, but {self}"
        return found[0]

    @property
    def over(self) -> bool:
        return self.fin or self.reset_code is not None

    async def ended(self) -> None:
        """Wait for the FIN behind the last message that was read."""
        await self._peer.until(lambda: self.over)
        assert self.reset_code is None, self
        assert self.at == len(self.data), self

    async def was_over(self) -> None:
        """Wait until it has ended, one way or the other."""
        await self._peer.until(lambda: self.over)

    async def was_reset(self) -> int:
        await self._peer.until(lambda: self.over)
        assert self.reset_code is not None, self
        return self.reset_code

    async def was_stopped(self) -> int:
        await self._peer.until(lambda: self.stop_code is not None)
        assert self.stop_code is not None
        return self.stop_code


class HeardGroup:
    """A group stream that came in."""

    def __init__(self, stream: Stream, header: wire.Group, timestamps: bool) -> None:
        self.stream = stream
        self.header = header
        self._timestamps = timestamps

    @property
    def sequence(self) -> int:
        return self.header.sequence

    @property
    def frames(self) -> list[tuple[int | None, bytes]]:
        decoder = FrameDecoder(self._timestamps, LIMIT)
        return decoder.feed(bytes(self.stream.data[self.stream.at :]))

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.frames]

    @property
    def complete(self) -> bool:
        return self.stream.fin


class Peer:
    """The far end of a session; its ``Events``."""

    def __init__(self, transport: Transport, version: Version, *, dialled: bool = True) -> None:
        self.transport = transport
        self.version = version
        self.dialled = dialled
        self.streams: dict[int, Stream] = {}
        self.datagrams: list[bytes] = []
        self.writable_calls = 0
        self.close: tuple[int, str] | None = None
        """Code and reason with which the session ended."""
        self._changed = asyncio.Event()
        self._taken: set[int] = set()
        transport.events = self

    # Events.

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        heard = self._stream(stream)
        heard.data += data
        heard.fin = heard.fin or fin
        self._changed.set()

    def stream_reset(self, stream: int, code: int) -> None:
        self._stream(stream).reset_code = code
        self._changed.set()

    def stream_stopped(self, stream: int, code: int) -> None:
        self._stream(stream).stop_code = code
        self._changed.set()

    def stream_finished(self, stream: int) -> None:
        self._stream(stream).acknowledged = True
        self._changed.set()

    def datagram(self, data: bytes) -> None:
        self.datagrams.append(data)
        self._changed.set()

    def transport_writable(self) -> None:
        self.writable_calls += 1
        self._changed.set()

    def closed(self, code: int, reason: str) -> None:
        self.close = code, reason
        self._changed.set()

    # Waiting.

    async def until(self, condition: Callable[[], Any], seconds: float = 5.0) -> None:
        """Wait until what the peer has heard makes ``condition`` true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def was_closed(self) -> int:
        await self.until(lambda: self.close is not None)
        assert self.close is not None
        return self.close[0]

    async def round_trip(self) -> None:
        """All that was said before has been answered, and the session lives."""
        stream = self.open(UNKNOWN)
        await self.until(lambda: stream.over or self.close is not None)
        assert self.close is None, f"the session ended: {self.close}"
        assert stream.reset_code == 1

    # Speaking.

    def open(self, kind: int | None, *messages: Any, raw: bytes = b"", fin: bool = False) -> Stream:
        """A bidirectional stream: its type, messages, and whatever bytes."""
        stream = self._stream(self.transport.open_bi())
        head = b"" if kind is None else varint.encode(kind)
        return stream.raw(head + b"".join(map(self.version.encode, messages)) + raw, fin=fin)

    def uni(self, raw: bytes, *, fin: bool = False) -> Stream:
        """A unidirectional stream of whatever bytes."""
        return self._stream(self.transport.open_uni()).raw(raw, fin=fin)

    def setup(self, **parameters: Any) -> Stream:
        """SETUP where it has a stream of its own, CLIENT_SETUP where it is in band."""
        features = self.version.features
        if features.setup_stream:
            message = self.version.encode(wire.Setup.of(**parameters))
            return self.uni(varint.encode(UniStream.SETUP) + message, fin=True)
        if not features.inband_setup:
            return Stream(self, -1)
        assert self.version.wire_number is not None
        path = parameters.get("path")
        pairs = () if path is None else ((1, path.encode()),)
        return self.open(None, wire.ClientSetup((self.version.wire_number,), pairs))

    def group(
        self,
        subscribe: int,
        sequence: int,
        *frames: bytes | tuple[int, bytes],
        first: int = 0,
        fin: bool = True,
    ) -> Stream:
        """A group stream; frames without a timestamp have 1000 times their index."""
        header = self.version.encode(wire.Group(subscribe, sequence, first))
        return self.uni(
            varint.encode(UniStream.GROUP) + header + self.coded(*frames, first=first), fin=fin
        )

    def coded(self, *frames: bytes | tuple[int, bytes], first: int = 0) -> bytes:
        """Frames as they stand on a stream."""
        buffer, last = bytearray(), 0
        for index, frame in enumerate(frames, first):
            stamp, payload = frame if isinstance(frame, tuple) else (1000 * index, frame)
            append_frame(
                buffer, payload, stamp - last if self.version.features.timestamps else None
            )
            last = stamp
        return bytes(buffer)

    def send_datagram(self, subscribe: int, sequence: int, stamp: int, payload: bytes) -> None:
        self.transport.send_datagram(encode_datagram(Datagram(subscribe, sequence, stamp, payload)))

    # Hearing.

    async def asked(self, kind: BiStream) -> Stream:
        """The next request of this type that the far end opened; the type is read."""

        def fresh() -> list[Stream]:
            return [s for s in self.requests(kind) if s.number not in self._taken]

        await self.until(fresh)
        stream = fresh()[0]
        self._taken.add(stream.number)
        stream.at = len(varint.encode(kind))
        return stream

    def requests(self, kind: BiStream) -> list[Stream]:
        """Every request of this type that the far end ever opened."""
        return [
            stream
            for number, stream in sorted(self.streams.items())
            if not number & UNI
            and not self._ours(number)
            and (read := varint.decode(stream.data, 0)) is not None
            and read[0] == kind
        ]

    @property
    def groups(self) -> list[HeardGroup]:
        """All group streams whose header is there, in the order in which they were opened."""
        found = []
        for number, stream in sorted(self.streams.items()):
            if not number & UNI or self._ours(number):
                continue
            kind = varint.decode(stream.data, 0)
            if kind is None or kind[0] != UniStream.GROUP:
                continue
            header = self.version.parse(Slot.GROUP, stream.data, kind[1], LIMIT)
            if header is not None:
                stream.at = header[1]
                assert isinstance(header[0], wire.Group)
                found.append(HeardGroup(stream, header[0], self.version.features.timestamps))
        return found

    async def heard(self, *sequences: int) -> list[HeardGroup]:
        """Wait until these groups are here whole; they, in this order."""
        await self.until(lambda: set(sequences) <= {g.sequence for g in self.groups if g.complete})
        by_sequence = {group.sequence: group for group in self.groups if group.complete}
        return [by_sequence[sequence] for sequence in sequences]

    def _ours(self, number: int) -> bool:
        return bool(number & 1) != self.dialled

    def _stream(self, number: int) -> Stream:
        if number not in self.streams:
            self.streams[number] = Stream(self, number)
        return self.streams[number]
