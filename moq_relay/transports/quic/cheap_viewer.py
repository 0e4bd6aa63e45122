"""A viewer that costs far less than a relay: aioquic shakes hands, then received packets bypass it.

1-RTT packets that hold nothing but group streams are opened, counted and acknowledged here, one ACK
per wake-up of the socket; anything else goes to aioquic, whose own stream code never sees a group.
It makes load, and plays nothing. Linux only, for UDP_GRO.
"""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from moq_relay.transports.quic.codes import from_stream
from moq_relay.transports.quic.tap import CREDIT, SERVER_UNI, SUITES, Hook, Tap

UDP_GRO = 104
"""Linux's option by which one read returns several packets of one sender (udp(7))."""
BATCH = 32
"""Reads per wake-up: a busy relay must not starve the other viewers of this process."""
QUIET_SECONDS = 3.0
"""A viewer that heard nothing for so long sends a PING, as the Rust client does."""
IDLE_SECONDS = 60.0
REMEMBERED = 512
"""Finished streams whose numbers a viewer still knows."""
RECEIVE_BUFFER = 4 << 20
RESET_STREAM, STREAM_DATA_BLOCKED = 0x04, 0x15
STREAM_FRAMES = range(0x08, 0x10)


class Lost(Exception):
    """The relay refused this viewer, or its connection ended."""


class Counted(Protocol):
    """One stream of groups, while it arrives."""

    def take(self, offset: int, source: bytes, start: int, stop: int, fin: bool) -> bool:
        """One piece ``source[start:stop]``, in any order; whether the stream is now complete."""

    def reset(self, code: int) -> None:
        """The relay gave the group up, with this application code."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a viewer says; all of it is known before it connects."""

    alpn: str
    setup: bytes
    """All of the first unidirectional stream."""
    requests: Sequence[bytes]
    """Of each subscription, what its stream starts with."""
    announce: bytes
    """What a stream starts with on which the relay asks for announcements, and the answer."""
    nothing: bytes


class CheapViewer:
    """One connection that watches, and forgets what was counted of it."""

    def __init__(
        self,
        address: tuple[str, int],
        script: Script,
        stream: Callable[[], Counted],
        *,
        ack_every: int = 0,
        uni_credit: int | None = None,
    ) -> None:
        """Begin to connect; ``stream`` makes what counts one group stream.

        Args:
            ack_every: packets for which an ACK goes out at once; 0: one per wake-up.
            uni_credit: what each group stream may send before it waits for credit that never
                comes; None grants everything.
        """
        self._address = address
        self._script = script
        self._stream = stream
        self._ack_every = ack_every
        self.deadline = 0.0
        self.packets = 0
        self._waiting: set[int] = set()
        self._asked = False
        self._streams: dict[int, Counted] = {}
        self._finished: dict[int, None] = {}
        self._heard = time.monotonic()
        self._buffer = bytearray(65536)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._socket.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self._socket.connect(address)
        self._socket.setblocking(False)
        self._quic = QuicConnection(configuration=_configuration(script.alpn))
        self._tap = Tap(self._quic, uni_credit)
        hooks: dict[int, Hook] = dict.fromkeys(STREAM_FRAMES, self._slow_stream)
        self._tap.divert(
            hooks | {RESET_STREAM: self._slow_reset, STREAM_DATA_BLOCKED: self._slow_blocked}
        )
        self._quic.connect(address, self._heard)
        self._flush(self._heard)

    @property
    def ready(self) -> bool:
        """Whether the relay answered every subscription."""
        return self._asked and not self._waiting

    @property
    def acks(self) -> int:
        """Acknowledgements that were sent beside aioquic."""
        return self._tap.acks

    def fileno(self) -> int:
        """Of its socket, for epoll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Say goodbye and give the socket back; harmless when nobody listens any more."""
        self._quic.close()
        with contextlib.suppress(Lost):
            self._flush(time.monotonic())
        self._socket.close()

    # Receiving.

    def readable(self) -> None:
        """Take what the socket holds, and acknowledge it.

        Raises:
            Lost: the connection is over.
        """
        now = self._heard = time.monotonic()
        due = 0
        slow = False
        for _ in range(BATCH):
            try:
                size, extra, _, _ = self._socket.recvmsg_into([self._buffer], 64)
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                raise Lost("nothing listens there") from None
            segment = struct.unpack("i", extra[0][2][:4])[0] if extra else size
            for at in range(0, size, segment):
                packet = bytes(self._buffer[at : min(at + segment, size)])
                content = self._tap.open(packet)
                if content is not None and self._count(content):
                    self._tap.took()
                    self.packets += 1
                    due += 1
                    if due == self._ack_every:
                        self._send(self._tap.acknowledgement(now))
                        due = 0
                    continue
                slow = True
                self._tap.leave(now)
                self._quic.receive_datagram(packet, self._address, now)
                self._tap.enter()
        if slow:
            self._obey_events()
        # The policy is one ACK per wake-up whichever way a packet took.
        if self._tap.active and (due or slow):
            self._send(self._tap.acknowledgement(now))
        if slow:
            self._flush(now)

    def tick(self, now: float) -> None:
        """Run what is due of aioquic's timers; cheap before ``deadline``.

        Raises:
            Lost: the connection is over.
        """
        if now - self._heard > QUIET_SECONDS:
            self._heard = now
            self._quic.send_ping(0)
            self._flush(now)
        if now < self.deadline:
            return
        self._tap.heard(self._heard + IDLE_SECONDS)
        timer = self._quic.get_timer()
        if timer is not None and timer <= now:
            self._quic.handle_timer(now)
            self._obey_events()
        self._flush(now)

    def _flush(self, now: float) -> None:
        for packet, _ in self._quic.datagrams_to_send(now):
            self._send(packet)
        self.deadline = self._quic.get_timer() or now + QUIET_SECONDS

    def _send(self, packet: bytes) -> None:
        try:
            self._socket.send(packet)
        except ConnectionRefusedError:
            raise Lost("nothing listens there") from None

    def _obey_events(self) -> None:
        while (event := self._quic.next_event()) is not None:
            match event:
                case events.HandshakeCompleted():
                    self._ask()
                case events.StreamDataReceived(stream_id=stream, data=content):
                    self._control(stream, content)
                case events.StreamReset(stream_id=stream, error_code=code):
                    if stream in self._waiting:
                        raise Lost(f"subscription refused with {from_stream(code):#x}")
                case events.ConnectionTerminated(error_code=code, reason_phrase=reason):
                    raise Lost(f"connection ended with {code:#x} {reason}")

    def _ask(self) -> None:
        self._asked = True
        quic = self._quic
        stream = quic.get_next_available_stream_id(is_unidirectional=True)
        quic.send_stream_data(stream, self._script.setup, end_stream=True)
        for request in self._script.requests:
            stream = quic.get_next_available_stream_id()
            self._waiting.add(stream)
            quic.send_stream_data(stream, request)

    def _control(self, stream: int, content: bytes) -> None:
        if stream in self._waiting:
            self._waiting.remove(stream)
        elif stream & 3 == 1 and content.startswith(self._script.announce):
            self._quic.send_stream_data(stream, self._script.nothing)

    # Group streams.

    def _count(self, content: bytes) -> bool:
        """Feed the frames of a packet of group streams; False, and nothing done, for any other."""
        frames = []
        at, end = 0, len(content)
        while at < end:
            kind = content[at]
            if kind == 0:
                at += 1
                continue
            if kind not in STREAM_FRAMES:
                return False
            stream, at = _varint(content, at + 1)
            if stream & 3 != SERVER_UNI:
                return False
            offset = 0
            if kind & 4:
                offset, at = _varint(content, at)
            size = end - at
            if kind & 2:
                size, at = _varint(content, at)
            frames.append((stream, offset, at, at + size, bool(kind & 1)))
            at += size
        for number, offset, start, stop, fin in frames:
            arriving = self._arriving(number)
            if arriving is not None and arriving.take(offset, content, start, stop, fin):
                self._finish(number)
        return True

    def _arriving(self, number: int) -> Counted | None:
        """The stream of this number; None when it is over."""
        found = self._streams.get(number)
        if found is None and number not in self._finished:
            found = self._streams[number] = self._stream()
        return found

    def _finish(self, number: int) -> None:
        """Forget a stream, but for a while not that it was there: packets may come twice."""
        self._streams.pop(number, None)
        self._finished[number] = None
        if len(self._finished) > REMEMBERED:
            del self._finished[next(iter(self._finished))]

    def _slow_stream(self, number: int, kind: int, buffer: Any) -> None:
        offset = buffer.pull_uint_var() if kind & 4 else 0
        size = buffer.pull_uint_var() if kind & 2 else buffer.capacity - buffer.tell()
        content = buffer.pull_bytes(size)
        arriving = self._arriving(number)
        if arriving is not None and arriving.take(offset, content, 0, size, bool(kind & 1)):
            self._finish(number)

    def _slow_reset(self, number: int, _: int, buffer: Any) -> None:
        code, _ = buffer.pull_uint_var(), buffer.pull_uint_var()
        if number not in self._finished:
            stream = self._streams.get(number) or self._stream()
            stream.reset(from_stream(code))
            self._finish(number)

    def _slow_blocked(self, _number: int, _kind: int, buffer: Any) -> None:
        buffer.pull_uint_var()


def _configuration(alpn: str) -> QuicConfiguration:
    # No group ever has to wait for MAX_DATA, which would leave the fast path.
    return QuicConfiguration(
        is_client=True,
        alpn_protocols=[alpn],
        server_name="localhost",
        verify_mode=ssl.CERT_NONE,
        idle_timeout=IDLE_SECONDS,
        max_data=CREDIT,
        max_stream_data=CREDIT,
        max_datagram_frame_size=65536,
        cipher_suites=SUITES,
    )


def _varint(source: bytes, at: int) -> tuple[int, int]:
    """As ``varint.decode``, of what is known to be whole."""
    first = source[at]
    if first < 0x40:
        return first, at + 1
    size = 1 << (first >> 6)
    return int.from_bytes(source[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size
