"""A viewer that costs far less than a relay: aioquic shakes hands, then received packets bypass it.

1-RTT packets that hold nothing but group streams are opened, counted and acknowledged here, one ACK
per wake-up of the socket; anything else goes to aioquic, whose own stream code never sees a group.
"""

import socket
import ssl
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from aioquic.buffer import Buffer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from tests.support import lite05
from tests.support.fast_packets import SUITES, FastPackets
from tests.support.group_stream import Groups, GroupStream
from tests.support.window import Window

UDP_GRO = 104
"""Linux's option by which one read returns several packets of one sender (udp(7))."""
BATCH = 32
"""Reads per wake-up: a busy relay must not starve the other viewers of this process."""
CREDIT = 1 << 40
QUIET_SECONDS = 3.0
"""A viewer that heard nothing for so long sends a PING, as the Rust client does."""
IDLE_SECONDS = 60.0
REMEMBERED = 512
"""Finished streams whose numbers a viewer still knows."""
FRAME_TABLE = "_QuicConnection__frame_handlers"
RESET_STREAM, STREAM_DATA_BLOCKED = 0x04, 0x15
STREAM_FRAMES = range(0x08, 0x10)
SERVER_UNI = 3
"""The two low bits of a stream that the server opened for sending only."""


Take = Callable[[Any, int, Buffer], None]
Hook = Callable[[int, int, Buffer], None]


class Lost(Exception):
    """The relay refused this viewer, or its connection ended."""


class CheapViewer:
    """One connection that watches tracks of one broadcast and forgets what it has counted.

    ``uni_credit`` is what each group stream may send before it waits for credit that never comes;
    None grants everything.
    """

    def __init__(
        self,
        address: tuple[str, int],
        broadcast: str,
        tracks: list[str],
        window: Window,
        *,
        ack_every: int = 0,
        uni_credit: int | None = None,
    ) -> None:
        self._address = address
        self._broadcast = broadcast
        self._ack_every = ack_every
        self.groups = {number: Groups(name, window) for number, name in enumerate(tracks)}
        self.deadline = 0.0
        self.packets = 0
        self._waiting: dict[int, int] = {}
        self._asked = False
        self._streams: dict[int, GroupStream] = {}
        self._finished: dict[int, None] = {}
        self._heard = time.monotonic()
        self._buffer = bytearray(65536)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self._socket.connect(address)
        self._socket.setblocking(False)
        self._quic = self._connection(uni_credit)
        self._fast = FastPackets(self._quic)
        self._quic.connect(address, self._heard)
        self._flush(self._heard)

    @property
    def ready(self) -> bool:
        """Whether the relay answered every subscription."""
        return self._asked and not self._waiting

    @property
    def acks(self) -> int:
        """Acknowledgements that were sent beside aioquic."""
        return self._fast.acks

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Say goodbye and give the socket back."""
        self._quic.close()
        self._flush(time.monotonic())
        self._socket.close()

    def _connection(self, uni_credit: int | None) -> QuicConnection:
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=[lite05.ALPN],
            server_name="localhost",
            verify_mode=ssl.CERT_NONE,
            idle_timeout=IDLE_SECONDS,
            max_data=CREDIT,
            max_stream_data=CREDIT,
            max_datagram_frame_size=65536,
            cipher_suites=SUITES,
        )
        quic = QuicConnection(configuration=configuration)
        # No group ever has to wait for MAX_STREAMS or MAX_DATA, which would leave the fast path.
        quic._local_max_streams_uni.value = CREDIT
        if uni_credit is not None:
            quic._local_max_stream_data_uni = uni_credit
        self._hook(getattr(quic, FRAME_TABLE))
        return quic

    # -- receiving ---------------------------------------------------------------------------

    def readable(self) -> None:
        """Take what the socket holds, and acknowledge it."""
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
                content = self._fast.open(packet)
                if content is not None and self._count(content):
                    self._fast.took()
                    self.packets += 1
                    due += 1
                    if due == self._ack_every:
                        self._send(self._fast.acknowledgement(now))
                        due = 0
                    continue
                slow = True
                self._fast.leave(now)
                self._quic.receive_datagram(packet, self._address, now)
                self._fast.enter()
        if slow:
            self._obey_events()
        # The policy is one ACK per wake-up whichever way a packet took.
        if self._fast.active and (due or slow):
            self._send(self._fast.acknowledgement(now))
        if slow:
            self._flush(now)

    def tick(self, now: float) -> None:
        """Run what is due of aioquic's timers; cheap before ``deadline``."""
        if now - self._heard > QUIET_SECONDS:
            self._heard = now
            self._quic.send_ping(0)
            self._flush(now)
        if now < self.deadline:
            return
        if self._fast.active:
            # Packets that bypassed aioquic were heard all the same.
            self._quic._close_at = max(self._quic._close_at or 0.0, self._heard + IDLE_SECONDS)
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
                        raise Lost(f"subscription refused with {lite05.plain_code(code):#x}")
                case events.ConnectionTerminated(error_code=code, reason_phrase=reason):
                    raise Lost(f"connection ended with {code:#x} {reason}")

    def _ask(self) -> None:
        """SETUP and one SUBSCRIBE per track; ids count from 0."""
        self._asked = True
        quic = self._quic
        stream = quic.get_next_available_stream_id(is_unidirectional=True)
        quic.send_stream_data(stream, lite05.setup(lite05.SUBSCRIBER), end_stream=True)
        for number, groups in self.groups.items():
            stream = quic.get_next_available_stream_id()
            self._waiting[stream] = number
            quic.send_stream_data(stream, lite05.subscribe(number, self._broadcast, groups.track))

    def _control(self, stream: int, content: bytes) -> None:
        if stream in self._waiting:
            del self._waiting[stream]
        elif stream & 3 == 1 and content[:1] == bytes((lite05.ANNOUNCE,)):
            self._quic.send_stream_data(stream, lite05.nothing_announced())

    # -- group streams ------------------------------------------------------------------------

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
            frames.append((stream, offset, at, at + size, kind & 1))
            at += size
        for stream, offset, start, stop, fin in frames:
            self._stream_frame(stream, offset, content, start, stop, fin)
        return True

    def _stream_frame(
        self, number: int, offset: int, content: bytes, start: int, stop: int, fin: int
    ) -> None:
        stream = self._streams.get(number)
        if stream is None:
            if number in self._finished:
                return
            stream = self._streams[number] = GroupStream(self.groups)
        if stream.take(offset, content, start, stop, bool(fin)):
            self._finish(number)

    def _finish(self, number: int) -> None:
        """Forget a stream, but for a while not that it was there: packets may come twice."""
        self._streams.pop(number, None)
        self._finished[number] = None
        if len(self._finished) > REMEMBERED:
            del self._finished[next(iter(self._finished))]

    def _hook(self, table: dict[int, tuple[Take, Any]]) -> None:
        """Take frames about group streams out of aioquic's hands, in packets that it opens."""
        hooks: dict[int, Hook] = dict.fromkeys(STREAM_FRAMES, self._slow_stream)
        hooks |= {RESET_STREAM: self._slow_reset, STREAM_DATA_BLOCKED: self._slow_blocked}
        for kind, hook in hooks.items():
            original, epochs = table[kind]
            table[kind] = (partial(self._divert, original, hook), epochs)

    def _divert(self, original: Take, hook: Hook, context: Any, kind: int, buffer: Buffer) -> None:
        start = buffer.tell()
        number = buffer.pull_uint_var()
        if number & 3 == SERVER_UNI:
            hook(number, kind, buffer)
        else:
            buffer.seek(start)
            original(context, kind, buffer)

    def _slow_stream(self, number: int, kind: int, buffer: Buffer) -> None:
        offset = buffer.pull_uint_var() if kind & 4 else 0
        size = buffer.pull_uint_var() if kind & 2 else buffer.capacity - buffer.tell()
        self._stream_frame(number, offset, buffer.pull_bytes(size), 0, size, kind & 1)

    def _slow_reset(self, number: int, _: int, buffer: Buffer) -> None:
        code, _ = buffer.pull_uint_var(), buffer.pull_uint_var()
        if number not in self._finished:
            stream = self._streams.get(number) or GroupStream(self.groups)
            stream.reset(lite05.plain_code(code))
            self._finish(number)

    def _slow_blocked(self, number: int, _: int, buffer: Buffer) -> None:
        del number
        buffer.pull_uint_var()


def _varint(source: bytes, at: int) -> tuple[int, int]:
    first = source[at]
    if first < 0x40:
        return first, at + 1
    size = 1 << (first >> 6)
    return int.from_bytes(source[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size
