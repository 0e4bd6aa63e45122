"""WebTransport over HTTP/3: one session per connection, as a server and as a client.

aioquic's H3 does SETTINGS, QPACK and the CONNECT stream. The streams of the session never reach
it: they are told apart by their first bytes and go straight to the transport, so that they cost
what raw ones do and leave nothing behind.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aioquic.h3.connection import FrameType, H3Connection, ProtocolError, StreamType
from aioquic.h3.events import DataReceived, H3Event, Headers, HeadersReceived
from aioquic.quic import events as quic_events

from moq_relay.sessions.transport import UNI, Accept, Arrival, Refused
from moq_relay.transports.quic import codes
from moq_relay.transports.quic.capsules import (
    CLOSE_SESSION,
    CapsuleReader,
    close_capsule,
    offered_protocols,
    parse_close,
    protocol_list,
)
from moq_relay.transports.quic.connection import QuicTransport
from moq_relay.transports.quic.driver import INTERNAL_ERROR, Connection
from moq_relay.transports.quic.engine import h3_streams
from moq_relay.wire import varint

LINGER_SECONDS = 1.0
"""How long the connection of a session that ended is left for the peer to end."""
EARLY_BYTES = 64 * 1024
"""Stream data kept for a session that does not exist yet: packets overtake each other."""
EARLY_STREAMS = 64


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    authority: str
    path: str
    protocols: Sequence[str]
    refused: Callable[[int], None]
    """Called with the HTTP status that is not 200."""


class WebTransportBinding:
    """HTTP/3 on one connection. A server gets ``protocols``, best first; a client ``request``."""

    def __init__(
        self,
        connection: Connection,
        accept: Accept,
        *,
        protocols: Sequence[str] = (),
        request: Request | None = None,
    ) -> None:
        """Send SETTINGS; a client sends its request once it has the server's."""
        self._connection = connection
        self._engine = connection.engine
        self._accept = accept
        self._protocols = protocols
        self._request = request
        first = self._engine.get_next_available_stream_id(is_unidirectional=True)
        self._h3 = H3Connection(self._engine, enable_webtransport=True)
        self._ours = frozenset((first, first + 4, first + 8))
        """Control and QPACK streams; H3Connection opens them when it is made."""
        self._session: int | None = None
        """The CONNECT stream; on a server also of a session that was refused."""
        self._asked = False
        self._transport: QuicTransport | None = None
        self._capsules = CapsuleReader()
        self._said: tuple[int, str] | None = None
        """The close that we sent, until its ``closed`` is told."""
        self._finished = False
        self._inbound: set[int] = set()
        """Streams of the session that the peer may still send on."""
        self._http: set[int] = set()
        """The peer's streams that are HTTP/3's."""
        self._refused: set[int] = set()
        """Streams that were stopped, until the peer gives up sending on them."""
        self._early: dict[int, tuple[bytes, bool]] = {}
        """Streams that can't be placed yet, from their first byte."""

    @property
    def has_session(self) -> bool:
        return self._transport is not None

    @property
    def h3_objects(self) -> int:
        return h3_streams(self._h3)

    # The driver's calls.

    def established(self) -> None:
        """Nothing waits for it: a server's SETTINGS are long on their way."""

    def event(self, event: quic_events.QuicEvent) -> None:
        match event:
            case quic_events.StreamDataReceived(data, fin, stream):
                if stream in self._inbound:
                    self._arrived(stream, data, fin=fin)
                elif stream in self._http or stream == self._session:
                    self._to_http(event)
                elif stream not in self._refused:
                    self._place(stream, data, fin=fin)
                elif fin:
                    self._refused.discard(stream)
            case quic_events.StreamReset(code, stream):
                self._was_reset(event, stream, code)
            case quic_events.StopSendingReceived(code, stream):
                if stream == self._session or stream in self._ours or stream in self._http:
                    self._to_http(event)
                    if stream == self._session:
                        self._over(0, "session stream stopped")
                elif self._transport is not None:
                    self._transport.was_stopped(stream, codes.from_http3(code))
            case quic_events.DatagramFrameReceived(data):
                self._datagram(data)
            case _:
                pass

    def flushed(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._said is not None:
            transport.ended(*self._said)
            self._said = None
        else:
            transport.flushed()

    def leave(self, code: int, reason: str) -> None:
        if self._transport is not None:
            self._transport.close(code, reason)
        self._connection.close(codes.NO_ERROR, reason)

    def ended(self, code: int, reason: str, *, by_application: bool) -> None:
        if self._transport is None:
            return
        if self._said is not None:
            code, reason = self._said
        elif not by_application or 0x100 < code < 0x300:
            code = INTERNAL_ERROR
        else:
            code = codes.from_http3(code)
        self._transport.ended(code, reason)

    # Streams.

    def _place(self, stream: int, data: bytes, *, fin: bool) -> None:
        """Give a stream that is new to us to the session or to HTTP/3, once its head says whose."""
        kept, _ = self._early.pop(stream, (b"", False))
        data = kept + data
        ours = StreamType.WEBTRANSPORT if stream & UNI else FrameType.WEBTRANSPORT_STREAM
        kind = varint.decode(data, 0)
        if kind is not None and kind[0] != ours:
            self._http.add(stream)
            self._to_http(quic_events.StreamDataReceived(data, fin, stream))
            return
        session = None if kind is None else varint.decode(data, kind[1])
        if session is None or self._transport is None:
            self._keep(stream, data, fin=fin)
        elif session[0] != self._session:
            self._refuse(stream)
        else:
            self._inbound.add(stream)
            self._arrived(stream, data[session[1] :], fin=fin)

    def _keep(self, stream: int, data: bytes, *, fin: bool) -> None:
        if fin and self._transport is not None:
            return  # it ended within its head: nobody will ever know what it was for
        held = sum(len(data) for data, _ in self._early.values())
        if len(self._early) >= EARLY_STREAMS or held + len(data) > EARLY_BYTES:
            self._refuse(stream)
        else:
            self._early[stream] = (data, fin)

    def _refuse(self, stream: int) -> None:
        self._refused.add(stream)
        self._engine.stop_stream(stream, codes.REFUSED_STREAM)
        if not stream & UNI:
            self._engine.reset_stream(stream, codes.REFUSED_STREAM)

    def _arrived(self, stream: int, data: bytes, *, fin: bool) -> None:
        if fin:
            self._inbound.discard(stream)
        if self._transport is not None and (data or fin):
            self._transport.arrived(stream, data, fin=fin)

    def _was_reset(self, event: quic_events.QuicEvent, stream: int, code: int) -> None:
        if stream in self._inbound:
            self._inbound.discard(stream)
            if self._transport is not None:
                self._transport.was_reset(stream, codes.from_http3(code))
        elif stream in self._refused:
            self._refused.discard(stream)
        elif self._early.pop(stream, None) is None:
            self._http.discard(stream)
            self._to_http(event)
            if stream == self._session:
                self._over(0, "session stream reset")

    def _datagram(self, data: bytes) -> None:
        quarter = varint.decode(data, 0)
        if quarter is None or self._transport is None or quarter[0] * 4 != self._session:
            return
        self._transport.datagram(data[quarter[1] :])

    # HTTP/3.

    def _to_http(self, event: quic_events.QuicEvent) -> None:
        for h3_event in self._h3.handle_event(event):
            self._http_event(h3_event)
        self._connection.touch()
        if isinstance(event, quic_events.StreamDataReceived) and event.end_stream:
            self._http.discard(event.stream_id)
        if self._request is not None and not self._asked and self._h3.received_settings is not None:
            self._asked = True
            self._ask(self._request)

    def _http_event(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            if self._request is not None:
                self._answered(self._request, event)
            elif event.stream_id != self._session:
                self._requested(event.stream_id, event.headers)
            if event.stream_ended and event.stream_id == self._session:
                self._over(0, "")
        elif isinstance(event, DataReceived) and event.stream_id == self._session:
            for kind, value in self._capsules.feed(event.data):
                if kind == CLOSE_SESSION:
                    self._over(*parse_close(value))
            if event.stream_ended:
                self._over(0, "")

    def _requested(self, stream: int, headers: Headers) -> None:
        fields = dict(headers)
        method, kind = fields.get(b":method"), fields.get(b":protocol", b"")
        if method != b"CONNECT" or not kind.startswith(b"webtransport"):
            self._respond(stream, 404, end=True)
            return
        if self._session is not None:
            self._respond(stream, 429, end=True)
            return
        self._session = stream
        offers = offered_protocols(v for k, v in headers if k == b"wt-available-protocols")
        protocol = next((name for name in self._protocols if name in offers), None)
        target = fields.get(b":path", b"/").decode(errors="replace")
        try:
            self._open_session(stream, protocol, target)
        except Refused as refusal:
            self._respond(stream, refusal.status, end=True)
            self._connection.linger(LINGER_SECONDS)
            return
        chosen = [] if protocol is None else [(b"wt-protocol", f'"{protocol}"'.encode())]
        self._respond(stream, 200, *chosen)
        self._place_early()

    def _respond(
        self, stream: int, status: int, *fields: tuple[bytes, bytes], end: bool = False
    ) -> None:
        headers = [(b":status", str(status).encode()), *fields]
        self._h3.send_headers(stream, headers, end_stream=end)

    def _ask(self, request: Request) -> None:
        self._session = self._engine.get_next_available_stream_id()
        headers = [
            (b":method", b"CONNECT"),
            (b":protocol", b"webtransport"),
            (b":scheme", b"https"),
            (b":authority", request.authority.encode()),
            (b":path", request.path.encode()),
        ]
        if request.protocols:
            headers.append((b"wt-available-protocols", protocol_list(request.protocols)))
        self._h3.send_headers(self._session, headers)

    def _answered(self, request: Request, event: HeadersReceived) -> None:
        if event.stream_id != self._session or self._transport is not None:
            return
        fields = dict(event.headers)
        status = int(fields[b":status"])
        if not 200 <= status < 300:
            request.refused(status)
            self._connection.close(codes.NO_ERROR, "")
            return
        chosen = offered_protocols([fields.get(b"wt-protocol", b"")])
        self._open_session(event.stream_id, chosen[0] if chosen else None, None)
        self._place_early()

    # The session.

    def _open_session(self, stream: int, protocol: str | None, target: str | None) -> None:
        number = varint.encode(stream)
        transport = QuicTransport(
            self._connection,
            binding="webtransport",
            mapped=True,
            end=self._close,
            bi_prefix=varint.encode(FrameType.WEBTRANSPORT_STREAM) + number,
            uni_prefix=varint.encode(StreamType.WEBTRANSPORT) + number,
            datagram_prefix=varint.encode(stream // 4),
            opened=self._inbound.add,
        )
        arrival = Arrival("webtransport", self._connection.peer, protocol, target)
        transport.events = self._accept(arrival, transport)
        self._transport = transport

    def _place_early(self) -> None:
        early, self._early = self._early, {}
        for stream, (data, fin) in early.items():
            self._place(stream, data, fin=fin)

    def _close(self, code: int, reason: str) -> None:
        """Our side ends the session: say so on the CONNECT stream, and leave the rest in peace."""
        if self._session is None or self._finished:
            return
        self._finished = True
        self._said = (code, reason)
        self._finish(self._session, close_capsule(code, reason))
        self._connection.linger(LINGER_SECONDS)

    def _finish(self, stream: int, data: bytes) -> None:
        # The peer may have stopped the CONNECT stream: then HTTP/3 lets nothing be said any more.
        with contextlib.suppress(ProtocolError):
            self._h3.send_data(stream, data, end_stream=True)
        self._connection.touch()

    def _over(self, code: int, reason: str) -> None:
        """The peer ended the session, or answers our end of it."""
        if self._finished:
            # A browser that loses its connection now may forget that it was told why.
            return
        self._finished = True
        if self._transport is not None and self._session is not None:
            self._finish(self._session, b"")
            self._transport.ended(code, reason)
        if self._request is not None:
            self._connection.close(codes.NO_ERROR, "")
        else:
            self._connection.linger(LINGER_SECONDS)
