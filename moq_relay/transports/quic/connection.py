"""A QUIC connection as a `Transport`, and the binding for sessions without HTTP/3."""

import time
from collections.abc import Callable

from aioquic.quic import events as quic_events

from moq_relay.sessions.transport import (
    Accept,
    Arrival,
    Buffer,
    Events,
    Refused,
    TransportStats,
)
from moq_relay.transports.quic.codes import from_stream, maps_codes, to_http3
from moq_relay.transports.quic.driver import INTERNAL_ERROR, Connection
from moq_relay.transports.quic.proof import names_shown

HIGH_WATER = 96 * 1024
"""Unsent bytes of a connection above which no more should come: 0.15 s at 5 Mbit/s."""
LOW_WATER = HIGH_WATER // 2


class Nobody:
    """Receives the events of a transport that has no session yet, or never gets one."""

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None: ...
    def stream_reset(self, stream: int, code: int) -> None: ...
    def stream_stopped(self, stream: int, code: int) -> None: ...
    def stream_finished(self, stream: int) -> None: ...
    def datagram(self, data: bytes) -> None: ...
    def transport_writable(self) -> None: ...
    def closed(self, code: int, reason: str) -> None: ...


class QuicTransport:
    """Streams of one connection as a session sees them, on either binding.

    The bindings differ in what goes before a stream's or a datagram's first byte, in whether codes
    are mapped, and in how a session ends: all of it is told here once.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        binding: str,
        mapped: bool,
        end: Callable[[int, str], None],
        bi_prefix: bytes = b"",
        uni_prefix: bytes = b"",
        datagram_prefix: bytes = b"",
        opened: Callable[[int], None] | None = None,
    ) -> None:
        """Speak for a session on ``connection``.

        Args:
            end: what `close` comes down to.
            opened: told of each bidirectional stream of ours, whose answers the binding must know.
        """
        self.events: Events = Nobody()
        self.binding = binding
        self.peer = connection.peer
        self.maps_codes = mapped
        """Whether stream codes are sent as HTTP/3 ones."""
        self._connection = connection
        self._engine = connection.engine
        self._ledger = connection.engine.ledger
        self._end = end
        self._bi_prefix = bi_prefix
        self._uni_prefix = uni_prefix
        self._datagram_prefix = datagram_prefix
        self._opened = opened
        self._over = False
        """Closed by either side: calls down do nothing, and only ``closed`` goes up."""
        self._told = False
        self._clogged = False
        self._starved = False

    # Down.

    @property
    def peer_names(self) -> tuple[str, ...]:
        return names_shown(self._engine.tls)

    @property
    def max_datagram_size(self) -> int:
        if self._over:
            return 0
        return max(0, self._engine.datagram_limit - len(self._datagram_prefix))

    def can_open_bi(self) -> bool:
        return self._can_open(unidirectional=False)

    def can_open_uni(self) -> bool:
        return self._can_open(unidirectional=True)

    def open_bi(self) -> int:
        return self._open(self._bi_prefix, unidirectional=False)

    def open_uni(self) -> int:
        return self._open(self._uni_prefix, unidirectional=True)

    def send(
        self,
        stream: int,
        data: Buffer,
        start: int = 0,
        stop: int | None = None,
        *,
        fin: bool = False,
    ) -> None:
        if self._over:
            return
        self._engine.send_slice(stream, data, start, len(data) if stop is None else stop, fin=fin)
        self._connection.touch()

    def reset(self, stream: int, code: int) -> None:
        if not self._over:
            self._engine.reset_stream(stream, to_http3(code) if self.maps_codes else code)
            self._connection.touch()

    def stop(self, stream: int, code: int) -> None:
        if not self._over:
            self._engine.stop_stream(stream, to_http3(code) if self.maps_codes else code)
            self._connection.touch()

    def send_datagram(self, data: bytes) -> bool:
        if len(data) > self.max_datagram_size or self._over:
            return False
        self._engine.send_datagram_frame(self._datagram_prefix + data)
        self._connection.touch()
        return True

    def writable(self) -> bool:
        if self._ledger.unsent >= HIGH_WATER:
            self._clogged = True
        return not (self._clogged or self._over)

    def unacknowledged(self) -> int:
        return 0 if self._over else self._ledger.unacknowledged

    def close(self, code: int, reason: str) -> None:
        if not self._over:
            self._over = True
            self._end(code, reason)

    def stats(self) -> TransportStats:
        connection = self._connection
        return TransportStats(
            rtt_seconds=self._engine.rtt_seconds,
            bytes_sent=connection.bytes_sent,
            bytes_received=connection.bytes_received,
            streams=self._engine.stream_count,
            latest_rtt_seconds=self._engine.latest_rtt_seconds,
        )

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self._connection.heard_at

    def ping(self) -> None:
        if not self._over:
            self._connection.ping()

    # Up; called by the binding.

    def arrived(self, stream: int, data: bytes, *, fin: bool) -> None:
        """Pass on bytes of a stream."""
        if not self._over:
            self.events.stream_data(stream, data, fin)

    def was_reset(self, stream: int, code: int) -> None:
        """Pass on that the peer gave up sending."""
        if not self._over:
            self.events.stream_reset(stream, code)

    def was_stopped(self, stream: int, code: int) -> None:
        """Pass on that the peer gave up reading."""
        if not self._over:
            self.events.stream_stopped(stream, code)

    def datagram(self, data: bytes) -> None:
        """Pass on a datagram."""
        if not self._over:
            self.events.datagram(data)

    def flushed(self) -> None:
        """Say what was acknowledged, and that there is room again if there was none."""
        if self._ledger.finished:
            finished, self._ledger.finished = self._ledger.finished, []
            for stream in finished:
                if not self._over:
                    self.events.stream_finished(stream)
        notify = False
        if self._clogged and self._ledger.unsent < LOW_WATER:
            self._clogged = False
            notify = True
        if self._engine.credit_grew:
            self._engine.credit_grew = False
            notify = notify or self._starved
            self._starved = False
        if notify and not self._over:
            self.events.transport_writable()

    def ended(self, code: int, reason: str) -> None:
        """Say once that it is over."""
        self._over = True
        if not self._told:
            self._told = True
            events, self.events = self.events, Nobody()
            events.closed(code, reason)

    def _can_open(self, *, unidirectional: bool) -> bool:
        if self._over:
            return False
        if self._engine.can_open(unidirectional=unidirectional):
            return True
        self._starved = True
        return False

    def _open(self, prefix: bytes, *, unidirectional: bool) -> int:
        if self._over:
            return self._engine.get_next_available_stream_id(is_unidirectional=unidirectional)
        if not self._engine.can_open(unidirectional=unidirectional):
            raise RuntimeError("a stream was opened without credit")
        stream = self._engine.open(unidirectional=unidirectional)
        if prefix:
            self._engine.send_slice(stream, prefix, 0, len(prefix), fin=False)
        if self._opened is not None and not unidirectional:
            self._opened(stream)
        return stream


class RawBinding:
    """One session that owns the whole connection; its version is the ALPN."""

    def __init__(self, connection: Connection, protocol: str | None, accept: Accept) -> None:
        """Wait for the handshake to end before ``accept`` is asked."""
        self.transport = QuicTransport(
            connection, binding="quic", mapped=maps_codes(protocol), end=connection.close
        )
        self._connection = connection
        self._protocol = protocol
        self._accept = accept
        self.has_session = False

    def established(self) -> None:
        arrival = Arrival("quic", self._connection.peer, self._protocol, None)
        try:
            self.transport.events = self._accept(arrival, self.transport)
        except Refused as refusal:
            self.transport.close(refusal.code, refusal.reason)
        else:
            self.has_session = True

    def event(self, event: quic_events.QuicEvent) -> None:
        match event:
            case quic_events.StreamDataReceived(data, fin, stream):
                self.transport.arrived(stream, data, fin=fin)
            case quic_events.StreamReset(code, stream):
                self.transport.was_reset(stream, from_stream(code))
            case quic_events.StopSendingReceived(code, stream):
                self.transport.was_stopped(stream, from_stream(code))
            case quic_events.DatagramFrameReceived(data):
                self.transport.datagram(data)
            case _:
                pass

    def flushed(self) -> None:
        self.transport.flushed()

    @property
    def h3_objects(self) -> int:
        return 0

    def leave(self, code: int, reason: str) -> None:
        self.transport.close(code, reason)

    def ended(self, code: int, reason: str, *, by_application: bool) -> None:
        self.transport.ended(from_stream(code) if by_application else INTERNAL_ERROR, reason)
