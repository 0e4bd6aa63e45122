"""A peer that says anything, on every level that its connection has."""

from random import Random
from typing import Any

from aioquic.h3.connection import FrameType, StreamType

from moq_relay.sessions.transport import UNI
from moq_relay.transports.quic.capsules import close_capsule
from moq_relay.transports.quic.connection import QuicTransport
from moq_relay.wire import varint
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.version import Slot, Version
from tests.support.junk import LENGTHS, Phrases, mutate

OPEN_STREAMS = 40
"""Streams that it leaves half open before it lets the oldest go."""


class WildPeer:
    """Events of a client whose every answer may be wrong."""

    def __init__(self, version: Version, random: Random) -> None:
        self.transport: QuicTransport
        self.over = False
        self.phrases = Phrases(version, random)
        self._version = version
        self._random = random
        self._left: list[int] = []
        self._asked: dict[int, bytes] = {}

    # What it does.

    def begin(self) -> None:
        """Say SETUP, rightly as a rule: who starts with nonsense is not listened to for long."""
        if not (self._version.features.setup_stream or self._version.features.inband_setup):
            return
        unidirectional, said = self.phrases.setup()
        if self._random.random() < 0.15:
            said = mutate(self._random, said)
        self._open(unidirectional, said, fin=unidirectional)

    def act(self) -> str:
        """One case on the level of moq; what it was."""
        random = self._random
        match random.randrange(8):
            case 0 | 1 | 2:
                said = mutate(random, self.phrases.request())
                return f"request {said[:40]!r} {self._stream(False, said)}"
            case 3 | 4:
                said = mutate(random, self.phrases.group(random.randrange(4)))
                return f"group {said[:40]!r} {self._stream(True, said)}"
            case 5:
                said = mutate(random, self.phrases.setup()[1])
                return f"setup {said[:40]!r} {self._stream(random.random() < 0.5, said)}"
            case 6:
                said = mutate(random, self.phrases.datagram())
                self.transport.send_datagram(said)
                return f"datagram {said[:40]!r}"
            case _:
                return f"left stream {self._meddle()}"

    def _stream(self, unidirectional: bool, said: bytes) -> str:
        """Say it on a new stream, in pieces, and end it in any way or not at all."""
        random = self._random
        stream = self._open(unidirectional, b"", fin=False)
        if stream is None:
            return "without credit"
        cut = random.randrange(len(said) + 1)
        self.transport.send(stream, said[:cut])
        self.transport.send(stream, said[cut:])
        return self._end(stream)

    def _end(self, stream: int) -> str:
        random, transport = self._random, self.transport
        ways = ["fin", "reset", "nothing", "stop", "fin and stop", "reset and stop"]
        way = random.choice(ways[: 3 if stream & UNI else 6])
        code = random.choice((0, 1, 0x33, *LENGTHS[:-3]))
        if "fin" in way:
            transport.send(stream, b"", fin=True)
        if "reset" in way:
            transport.reset(stream, code)
        if "stop" in way:
            transport.stop(stream, code)
        if way in {"nothing", "stop"}:
            self._left.append(stream)
            if len(self._left) > OPEN_STREAMS:
                transport.reset(self._left.pop(0), 0)
        return way

    def _meddle(self) -> str:
        """Go on with a stream that was left half open, of either side."""
        random = self._random
        streams = [*self._left, *self._asked]
        if not streams:
            return "none"
        stream = random.choice(streams)
        self.transport.send(stream, random.randbytes(random.randint(1, 200)))
        return f"{stream} {self._end(stream)}"

    def _open(self, unidirectional: bool, said: bytes, *, fin: bool) -> int | None:
        transport = self.transport
        if not (transport.can_open_uni() if unidirectional else transport.can_open_bi()):
            return None
        stream = transport.open_uni() if unidirectional else transport.open_bi()
        transport.send(stream, said, fin=fin)
        return stream

    # What it hears.

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        if stream & UNI or not stream & 1 or (stream not in self._asked and not data):
            return
        heard = self._asked.get(stream, b"") + data
        first = stream not in self._asked
        self._asked[stream] = heard
        if first:
            self._answer(stream, heard)
        if fin:
            del self._asked[stream]

    def _answer(self, stream: int, heard: bytes) -> None:
        random, kind = self._random, heard[0]
        if kind == BiStream.ANNOUNCE:
            said = self.phrases.announcements()
        else:
            said = self.phrases.answer(kind)
        wrong = random.random() < 0.5
        self.transport.send(stream, mutate(random, said) if wrong else said)
        if kind == BiStream.SUBSCRIBE and (number := self._number(heard)) is not None:
            for _ in range(random.randrange(6)):
                group = self.phrases.group(number)
                self._stream(True, mutate(random, group) if random.random() < 0.5 else group)
        if kind == BiStream.FETCH or random.random() < 0.2:
            self._end(stream)

    def _number(self, heard: bytes) -> int | None:
        found: Any = self._version.parse(Slot.SUBSCRIBE, heard, 1, 1 << 16)
        return None if found is None else found[0].id

    def stream_reset(self, stream: int, code: int) -> None:
        self._asked.pop(stream, None)

    def stream_stopped(self, stream: int, code: int) -> None: ...

    def stream_finished(self, stream: int) -> None: ...

    def datagram(self, data: bytes) -> None: ...

    def transport_writable(self) -> None: ...

    def closed(self, code: int, reason: str) -> None:
        self.over = True


class WildHttp:
    """Nonsense below a WebTransport session: in capsules, in HTTP/3, and where streams belong."""

    def __init__(self, transport: QuicTransport, random: Random) -> None:
        self._connection = transport._connection
        self._engine = transport._engine
        self._random = random
        binding: Any = self._connection.binding
        self._session: int | None = getattr(binding, "_session", None)
        """The CONNECT stream; None on a connection where nobody speaks HTTP/3 but us."""

    def act(self) -> str:
        """One case; what it was."""
        random = self._random
        acts = [self._uni, self._request, self._datagram]
        if self._session is not None:
            acts += [self._capsule] * 3 + [self._frame] * 3 + [self._cut]
        done = random.choice(acts)()
        self._connection.touch()
        return done

    def _capsule(self) -> str:
        """Something inside the CONNECT stream's content."""
        random = self._random
        length = random.choice(LENGTHS)
        known = [
            close_capsule(random.randrange(1 << 32), "x" * random.choice((0, 10, 5000))),
            varint.encode(0x2843) + varint.encode(length) + random.randbytes(8),
            varint.encode(0x78AE) + varint.encode(0),
            varint.encode(random.choice(LENGTHS)) + varint.encode(length) + random.randbytes(50),
        ]
        said = mutate(random, random.choice(known))
        self._say(_frame(FrameType.DATA, said))
        return f"capsule {said[:40]!r}"

    def _frame(self) -> str:
        """An HTTP/3 frame on the CONNECT stream."""
        said = self._any_frame()
        self._say(said)
        return f"frame on the session's stream {said[:40]!r}"

    def _any_frame(self) -> bytes:
        random = self._random
        kind = random.choice((*FrameType, 0x21, 0x2, random.choice(LENGTHS)))
        return mutate(random, _frame(kind, random.randbytes(random.choice((0, 5, 60, 900)))))

    def _say(self, said: bytes) -> None:
        assert self._session is not None
        self._engine.send_stream_data(self._session, said, self._random.random() < 0.1)

    def _cut(self) -> str:
        """Break the CONNECT stream off in one of its directions."""
        assert self._session is not None
        code = self._random.choice(LENGTHS)
        if self._random.random() < 0.5:
            self._engine.reset_stream(self._session, code)
            return f"session's stream reset {code}"
        self._engine.stop_stream(self._session, code)
        return f"session's stream stopped {code}"

    def _uni(self) -> str:
        """A stream of HTTP/3's, or one of a session that is not there."""
        random = self._random
        kind = random.choice((*StreamType, 0x21, 0x54, random.choice(LENGTHS)))
        said = varint.encode(kind)
        if kind == StreamType.WEBTRANSPORT:
            said += varint.encode(random.choice((0, 4, 400, *LENGTHS)))
        said = mutate(random, said + self._any_frame())
        return f"uni {said[:40]!r} {self._stream(True, said)}"

    def _request(self) -> str:
        """A request stream that nobody asked for, or a stream of another session."""
        random = self._random
        heads = [
            _frame(FrameType.HEADERS, b"\0\0\xd1\xd7\x50\x01a\xc1"),
            _frame(FrameType.HEADERS, random.randbytes(random.randrange(200))),
            varint.encode(FrameType.WEBTRANSPORT_STREAM) + varint.encode(random.choice(LENGTHS)),
            varint.encode(FrameType.WEBTRANSPORT_STREAM),
        ]
        said = mutate(random, random.choice(heads) + self._any_frame())
        return f"request {said[:40]!r} {self._stream(False, said)}"

    def _stream(self, unidirectional: bool, said: bytes) -> str:
        random, engine = self._random, self._engine
        if not engine.can_open(unidirectional=unidirectional):
            return "without credit"
        stream = engine.open(unidirectional=unidirectional)
        way = random.choice(("fin", "nothing", "reset", "stop"))
        engine.send_stream_data(stream, said, way == "fin")
        if way == "reset":
            engine.reset_stream(stream, random.choice(LENGTHS))
        if way == "stop" and not unidirectional:
            engine.stop_stream(stream, random.choice(LENGTHS))
        return way

    def _datagram(self) -> str:
        random = self._random
        said = varint.encode(random.choice(LENGTHS)) + random.randbytes(random.randrange(100))
        said = mutate(random, said)
        self._engine.send_datagram_frame(said)
        return f"datagram {said[:40]!r}"


def _frame(kind: int, body: bytes) -> bytes:
    return varint.encode(kind) + varint.encode(len(body)) + body
