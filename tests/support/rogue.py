"""A client that does what no client should, one thing at a time."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from moq_relay.sessions.transport import UNI, Arrival, Transport
from moq_relay.transports.quic.dialer import Trust, dial
from moq_relay.wire import varint
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream, UniStream
from moq_relay.wire.version import Version


class Rogue:
    """Events of a session that listens to nothing but its end, and the transport to say things."""

    def __init__(self, version: Version, transport: Transport) -> None:
        self.transport = transport
        self.version = version
        self.heard: set[int] = set()
        """Streams of the relay's."""
        self.reset: dict[int, int] = {}
        """Codes by stream."""
        self.code: int | None = None
        """Of the session's end."""

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        self.heard.add(stream)

    def stream_reset(self, stream: int, code: int) -> None:
        self.reset[stream] = code

    def stream_stopped(self, stream: int, code: int) -> None: ...
    def stream_finished(self, stream: int) -> None: ...
    def datagram(self, data: bytes) -> None: ...
    def transport_writable(self) -> None: ...

    def closed(self, code: int, reason: str) -> None:
        self.code = code

    # What it says.

    def setup(self) -> None:
        """SETUP as it should be."""
        said = varint.encode(UniStream.SETUP) + self.version.encode(wire.Setup.of(hop=77))
        self.transport.send(self.transport.open_uni(), said, fin=True)

    def ask(self, kind: BiStream, *messages: Any, fin: bool = False) -> int:
        """A request, as far as the peer's credit goes."""
        stream = self.transport.open_bi()
        said = varint.encode(kind) + b"".join(map(self.version.encode, messages))
        self.transport.send(stream, said, fin=fin)
        return stream

    def answer(self, stream: int, *messages: Any) -> None:
        """What follows on a stream of either side."""
        self.transport.send(stream, b"".join(map(self.version.encode, messages)))

    @property
    def announce_stream(self) -> int:
        """On which the relay asked what there is."""
        return next(stream for stream in self.heard if not stream & UNI)

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Let the loop turn until ``condition`` holds, or the session is over."""
        async with asyncio.timeout(seconds):
            while not condition() and self.code is None:
                await asyncio.sleep(0.002)


@asynccontextmanager
async def rogue(
    port: int, version: Version, *, setup: bool = True, path: str | None = "/"
) -> AsyncIterator[Rogue]:
    """A session with the relay at ``port``, over WebTransport, or raw QUIC without a path."""
    found: list[Rogue] = []

    def accept(_arrival: Arrival, transport: Transport) -> Rogue:
        found.append(Rogue(version, transport))
        return found[0]

    async with dial(
        "127.0.0.1",
        port,
        accept=accept,
        protocols=[version.alpn],
        path=path,
        trust=Trust(verify=False),
        server_name="localhost",
    ):
        if setup:
            found[0].setup()
        yield found[0]


def initials(count: int, alpn: str) -> list[bytes]:
    """First datagrams of clients that will never send a second."""
    made = []
    for _ in range(count):
        quic = QuicConnection(
            configuration=QuicConfiguration(alpn_protocols=[alpn], server_name="localhost")
        )
        quic.connect(("127.0.0.1", 1), now=0.0)
        made.append(quic.datagrams_to_send(now=0.0)[0][0])
    return made


def with_token(initial: bytes, token: bytes) -> bytes:
    """The same with a token; who looks further finds that it does not decrypt."""
    at = 6 + initial[5]
    at += 1 + initial[at]
    return initial[:at] + varint.encode(len(token)) + token + initial[at + 1 :]


class Strangers:
    """UDP sockets at addresses of loopback that nobody else has; no reply is ever answered."""

    def __init__(self, port: int, count: int) -> None:
        self.sent: dict[str, int] = {}
        """Bytes by address."""
        self.received: dict[str, int] = {}
        self._sockets = []
        for number in range(count):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((f"127.7.0.{number + 1}", 0))
            one.connect(("127.0.0.1", port))
            one.setblocking(False)
            self._sockets.append(one)

    async def flood(self, datagrams: list[bytes], count: int, a_turn: int = 25) -> None:
        """Send ``count`` of ``datagrams``, from one address after the other, and count replies."""
        for number in range(count):
            one = self._sockets[number % len(self._sockets)]
            data = datagrams[number % len(datagrams)]
            with contextlib.suppress(OSError):
                one.send(data)
                host = one.getsockname()[0]
                self.sent[host] = self.sent.get(host, 0) + len(data)
            if number % a_turn == 0:
                await asyncio.sleep(0.002)
                self.listen()
        self.listen()

    def listen(self) -> None:
        """Count what has come back."""
        for one in self._sockets:
            host = one.getsockname()[0]
            with contextlib.suppress(OSError):
                while True:
                    self.received[host] = self.received.get(host, 0) + len(one.recv(65535))

    def __enter__(self) -> "Strangers":
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            one.close()
