"""One QUIC connection at work: datagrams in, events to its binding, one flush per turn, one end."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from aioquic.quic import events as quic_events

from moq_relay.transports.quic.codes import NO_ERROR
from moq_relay.transports.quic.datagram_io import Address, Datagram, readable
from moq_relay.transports.quic.engine import Engine

TIMER_SLACK = 0.0005
"""Seconds that a timer may come late: loops round to milliseconds, and early ones fire in vain."""

REASON_BYTES = 256

INTERNAL_ERROR = 1
"""Session close code for what is nobody's fault but ours."""

log = logging.getLogger(__name__)


class Binding(Protocol):
    """What runs on top of a connection: streams as they are, or HTTP/3 with WebTransport."""

    @property
    def has_session(self) -> bool:
        """Whether a session exists, so that the connection may stay."""

    @property
    def h3_objects(self) -> int:
        """Streams that HTTP/3 keeps an object for."""

    def established(self) -> None:
        """The handshake is over."""

    def event(self, event: quic_events.QuicEvent) -> None:
        """Something happened on a stream, or a datagram came."""

    def flushed(self) -> None:
        """What could leave has left: time to look at the water and at the credit."""

    def leave(self, code: int, reason: str) -> None:
        """End the session, and the connection with it."""

    def ended(self, code: int, reason: str, *, by_application: bool) -> None:
        """The connection is over. Called once; nothing follows."""


class Host(Protocol):
    """What a connection needs of the endpoint whose socket it shares."""

    def touched(self, connection: "Connection") -> None:
        """It wants to be flushed at the end of this turn."""

    def routed(self, connection: "Connection", connection_id: bytes) -> None:
        """Datagrams with ``connection_id`` are for it from now on."""

    def unrouted(self, connection_id: bytes) -> None:
        """Nobody answers to ``connection_id`` any more."""

    def established(self, connection: "Connection") -> None:
        """Its handshake is over."""

    def ended(self, connection: "Connection", code: int, reason: str) -> None:
        """It began to end; it stays, silent, until it is `gone`."""

    def gone(self, connection: "Connection") -> None:
        """Forget it."""


Bind = Callable[["Connection", str | None], Binding]
"""Chooses what runs on a connection by the ALPN that was agreed on."""


class Connection:
    """Owns one engine. Whatever its binding raises costs this connection and nothing else."""

    def __init__(self, engine: Engine, host: Host, bind: Bind, address: Address) -> None:
        """Drive ``engine``, whose peer is at ``address``."""
        self.engine = engine
        self.binding: Binding | None = None
        self.peer = readable(address)
        self.bytes_sent = 0
        self.bytes_received = 0
        self.started_at = self.heard_at = time.monotonic()
        """Monotonic seconds of the start, and of the last datagram."""
        self.is_established = False
        self.is_new = True
        """Whether its work is that of a new connection; the endpoint says when that is over."""
        self.connection_ids: set[bytes] = set()
        self._host = host
        self._bind = bind
        self._loop = asyncio.get_running_loop()
        self._dirty = False
        self._told = False
        self._closing: tuple[int, str] | None = None
        self._close_sent = False
        self._leave_at: float | None = None
        self._farewell: list[Datagram] = []
        self._strays = 0
        self._say_again = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # Calls of the endpoint.

    def receive(self, data: bytes, address: Address, now: float) -> None:
        """One UDP datagram for this connection."""
        self.bytes_received += len(data)
        self.heard_at = now
        if self._farewell:
            # The peer may have missed our close; it is said again ever more rarely
            # (RFC 9000 section 10.2.1).
            self._strays += 1
            if self._strays & (self._strays - 1) == 0:
                self._say_again = True
                self.touch()
            return
        try:
            self.engine.receive_datagram(data, address, now)
        except Exception as failure:
            self._give_up(failure)
            return
        self._drain()
        self.touch()

    def flush(self, now: float) -> list[Datagram]:
        """The datagrams that are to leave now; called once per turn in which it was touched."""
        self._dirty = False
        if self._told and not self.engine.has_last_words:
            self._arm(now)
            again, self._say_again = self._say_again, False
            return self._farewell if again else []
        engine = self.engine
        wanted = engine.wants_to_send(now)
        if not (wanted or self._closing or self._timer is None or engine.deadline_neared):
            # Nothing but an ACK came, as nearly always.
            if self.binding is not None:
                self._guarded(self.binding.flushed)
            return []
        try:
            out = self._transmit(now) if wanted or self._closing else []
        except Exception as failure:
            self._give_up(failure)
            return []
        self._drain()
        if self.binding is not None and not self._told:
            self._guarded(self.binding.flushed)
        for datagram in out:
            self.bytes_sent += len(datagram[0])
        if self._timer is None or self._told or not engine.may_wait(now, self._timer_at):
            self._arm(now)
        return out

    def sweep(self, now: float, handshake_seconds: float, keep_alive_seconds: float) -> None:
        """Look at the slow clocks: a peer that says nothing, or has not said what it wants."""
        if self._told:
            return
        if self._leave_at is not None:
            if now >= self._leave_at:
                self.close(NO_ERROR, "")
        elif self.binding is None or not self.binding.has_session:
            if now - self.started_at >= handshake_seconds:
                self.close(NO_ERROR, "handshake timeout")
        elif now - self.heard_at >= keep_alive_seconds:
            self.ping()

    def leave(self, code: int, reason: str) -> None:
        """End the session, if there is one, and the connection at once."""
        if self.binding is not None:
            self._guarded(self.binding.leave, code, reason)
        self.close(code, reason)

    def drop(self) -> None:
        """Let go of the timer; nothing is sent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Calls of the binding.

    def touch(self) -> None:
        """Have the connection flushed at the end of this turn."""
        if not self._dirty:
            self._dirty = True
            self._host.touched(self)

    def ping(self) -> None:
        """Make the peer answer, which also takes a round trip time."""
        self.engine.send_ping(0)
        self.touch()

    def close(self, code: int, reason: str) -> None:
        """End the connection with an application code, after what may still leave."""
        if self._closing is None:
            # It has to fit in one packet with the rest of the frame.
            text = reason.encode()[:REASON_BYTES].decode(errors="ignore")
            self._closing = (code, text)
            self.touch()

    def linger(self, seconds: float) -> None:
        """End the connection in a while, so that the peer may read the last words and end it."""
        self._leave_at = time.monotonic() + seconds

    # Inside.

    def _transmit(self, now: float) -> list[Datagram]:
        engine = self.engine
        ending = engine.has_last_words
        out = engine.transmit(now)
        if ending:
            self._farewell = out
        elif self._closing is not None and not self._close_sent:
            self._close_sent = True
            code, reason = self._closing
            engine.close(error_code=code, reason_phrase=reason)
            self._farewell = engine.transmit(now)
            out = [*out, *self._farewell]
        return out

    def _give_up(self, failure: Exception) -> None:
        """The engine itself failed: nothing more can be done with it, not even a close."""
        log.error("engine failed peer=%s", self.peer, exc_info=failure)
        self.drop()
        if not self._told:
            self._told = True
            self._host.ended(self, INTERNAL_ERROR, "internal error")
            if self.binding is not None:
                self._guarded(
                    self.binding.ended, INTERNAL_ERROR, "internal error", by_application=False
                )
        self._host.gone(self)

    def _drain(self) -> None:
        engine = self.engine
        while (event := engine.next_event()) is not None:
            match event:
                case quic_events.ConnectionIdIssued(connection_id):
                    self._host.routed(self, connection_id)
                case quic_events.ConnectionIdRetired(connection_id):
                    self._host.unrouted(connection_id)
                case quic_events.ProtocolNegotiated(alpn):
                    self._guarded(self._choose, alpn)
                case quic_events.HandshakeCompleted():
                    self.is_established = True
                    self._host.established(self)
                    if self.binding is not None:
                        self._guarded(self.binding.established)
                case quic_events.ConnectionTerminated() | quic_events.PingAcknowledged():
                    pass
                case _ if self.binding is not None and self._closing is None:
                    self._guarded(self.binding.event, event)
                case _:
                    pass
        self._tell()

    def _choose(self, alpn: str | None) -> None:
        self.binding = self._bind(self, alpn)

    def _guarded(self, call: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Keep what the binding, or a session above it, raises from the other connections."""
        try:
            call(*args, **kwargs)
        except Exception:
            log.exception("connection failed peer=%s", self.peer)
            self.close(INTERNAL_ERROR, "internal error")

    def _tell(self) -> None:
        """Say once that the end has begun; aioquic itself says so only after three timeouts."""
        verdict = self.engine.verdict
        if verdict is None or self._told or (self._closing and not self._close_sent):
            return
        self._told = True
        self._host.ended(self, verdict.error_code, verdict.reason_phrase)
        if self.binding is not None:
            by_application = verdict.frame_type is None
            self._guarded(
                self.binding.ended,
                verdict.error_code,
                verdict.reason_phrase,
                by_application=by_application,
            )

    def _arm(self, now: float) -> None:
        """Have a timer run by the engine's deadline; one that runs earlier is left to run."""
        if self.engine.is_terminated:
            self._host.gone(self)
            return
        at = self.engine.get_timer()
        if at is None:
            return
        if self._timer is not None:
            if self._timer_at <= at + TIMER_SLACK:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.0, at - now) + TIMER_SLACK, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = time.monotonic()
        at = self.engine.get_timer()
        if at is None or at > now:
            self._arm(now)
            return
        try:
            self.engine.handle_timer(now)
        except Exception as failure:
            self._give_up(failure)
            return
        self._drain()
        self.touch()
