"""The seam between sessions and engines: a dozen calls down, six up, nothing awaited.

An engine is whatever passes ``tests/contract/test_transport.py``. Stream ids are QUIC's (RFC 9000
section 2.1). Codes are plain application codes on both sides of the seam; a binding that maps them
on the wire (WebTransport, and moq-lite over raw QUIC) does so below it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from moq_relay.errors import MoqError

UNI = 2
"""The bit of a stream id that says unidirectional (RFC 9000 section 2.1)."""

Buffer = bytes | bytearray


@dataclass(frozen=True, slots=True)
class TransportStats:
    """What one connection measured of itself."""

    rtt_seconds: float | None
    """Smoothed round trip; None before the first sample."""
    bytes_sent: int
    """UDP payload bytes, 0 where there is no UDP."""
    bytes_received: int
    streams: int
    """Streams that the engine still keeps state for."""
    latest_rtt_seconds: float | None = None
    """The last sample of the round trip by itself; None before the first."""


class Events(Protocol):
    """Up, in arrival order; implemented by a session. None of them may be called re-entrantly."""

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        """In-order bytes of ``stream``; its first call also says that the stream exists."""

    def stream_reset(self, stream: int, code: int) -> None:
        """The peer gave up sending on ``stream``: nothing more will come."""

    def stream_stopped(self, stream: int, code: int) -> None:
        """The peer no longer reads ``stream``; what is sent on it is dropped from now on."""

    def stream_finished(self, stream: int) -> None:
        """All that was sent on ``stream`` was acknowledged, its FIN or its reset included."""

    def datagram(self, data: bytes) -> None:
        """One unreliable datagram."""

    def transport_writable(self) -> None:
        """``writable`` became true again, or the peer granted more streams."""

    def closed(self, code: int, reason: str) -> None:
        """The transport is gone, by whichever side. Called once; nothing follows."""


class Transport(Protocol):
    """Down: returns at once, queues, and does nothing after ``close``."""

    events: Events
    binding: str
    """``quic``, ``webtransport`` or ``memory``; a metric label."""
    peer: str
    """Address of the far end, for logs."""

    @property
    def peer_names(self) -> tuple[str, ...]:
        """DNS names of the peer's certificate, which was verified; none when it showed none."""

    @property
    def max_datagram_size(self) -> int:
        """Largest datagram ``send_datagram`` can carry, bytes; 0 when there are none."""

    def can_open_bi(self) -> bool:
        """Whether the peer's stream credit allows a bidirectional stream now."""

    def can_open_uni(self) -> bool:
        """Whether the peer's stream credit allows a unidirectional stream now."""

    def open_bi(self) -> int:
        """A new bidirectional stream. Only while ``can_open_bi``."""

    def open_uni(self) -> int:
        """A new unidirectional stream. Only while ``can_open_uni``.

        aioquic resets a stream that still waits for credit in a way that ends the connection
        (STREAM_LIMIT_ERROR), so a stream without credit is never opened.
        """

    def send(
        self,
        stream: int,
        data: Buffer,
        start: int = 0,
        stop: int | None = None,
        *,
        fin: bool = False,
    ) -> None:
        """Queue ``data[start:stop]``.

        A ``bytearray`` is shared: the engine keeps a reference and reads the slice when it makes
        packets. The caller may append to it, and changes nothing before its end.
        """

    def reset(self, stream: int, code: int) -> None:
        """Give up sending on ``stream``; unsent bytes are forgotten. Harmless when finished."""

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to give up sending on ``stream``. Harmless when finished."""

    def send_datagram(self, data: bytes) -> bool:
        """Queue one datagram; False when it is larger than ``max_datagram_size``."""

    def writable(self) -> bool:
        """Whether little enough is unsent that more would still leave soon."""

    def unacknowledged(self) -> int:
        """Bytes that were handed over by ``send`` and that the peer has not acknowledged."""

    def close(self, code: int, reason: str) -> None:
        """End the transport; ``Events.closed`` follows. What was queued before may be lost."""

    def stats(self) -> TransportStats:
        """A reading for metrics."""

    @property
    def silent_seconds(self) -> float:
        """How long nothing came from the peer."""

    def ping(self) -> None:
        """Make the peer answer, so that ``silent_seconds`` means something."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A peer that asks for a session: all that it said before its first stream."""

    binding: str
    peer: str
    protocol: str | None
    """The version that ALPN or ``wt-protocol`` settled on; None: it is negotiated in band."""
    target: str | None
    """``/path?query`` of the CONNECT request; None on raw QUIC, where SETUP may carry it."""


class Refused(MoqError):
    """The peer gets no session."""

    def __init__(self, status: int, code: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        """HTTP status that answers a CONNECT request."""
        self.code = code
        """Session close code that ends a raw QUIC connection."""
        self.reason = reason


Accept = Callable[[Arrival, Transport], Events]
"""Called once per arrival, before any stream data; raises ``Refused`` to turn the peer away."""
