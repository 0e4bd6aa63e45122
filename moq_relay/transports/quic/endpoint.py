"""A UDP socket shared by connections: datagrams to the right one, all flushed once per turn."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from socket import socket

from aioquic.quic.configuration import QuicConfiguration

from moq_relay.sessions.loopshare import LoopShare
from moq_relay.transports.quic.connection_ids import ID_BYTES
from moq_relay.transports.quic.datagram_io import Address, Datagram, DatagramIO, IoCounters
from moq_relay.transports.quic.door import Door
from moq_relay.transports.quic.driver import Bind, Connection
from moq_relay.transports.quic.engine import Engine

DATAGRAM_FRAME_BYTES = 65536
"""Largest DATAGRAM frame that we take; a limit of the extension, not of ours."""

SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one peer may cost."""

    handshake_seconds: float = 10.0
    """From the first packet to a session."""
    idle_seconds: float = 30.0
    keep_alive_seconds: float = 5.0
    """Silence after which the peer is asked whether it is there."""
    streams: int = 4096
    """Streams of either kind that the peer may have open at once."""
    connection_bytes: int = 64 * 1024 * 1024
    """Flow control for all streams of a connection; aioquic doubles it as it is used."""
    stream_bytes: int = 16 * 1024 * 1024
    datagram_bytes: int = 1200
    """UDP payload that every path carries; larger is faster where it arrives."""


def configuration(limits: Limits, alpns: list[str], *, is_client: bool) -> QuicConfiguration:
    """What aioquic is told about connections under ``limits``."""
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=alpns,
        connection_id_length=ID_BYTES,
        idle_timeout=limits.idle_seconds,
        max_data=limits.connection_bytes,
        max_stream_data=limits.stream_bytes,
        max_datagram_size=limits.datagram_bytes,
        max_datagram_frame_size=DATAGRAM_FRAME_BYTES,
    )


@dataclass(slots=True)
class EndpointCounters:
    """What happened at one socket."""

    connections: int = 0
    """Handshakes begun."""
    established: int = 0
    handshake_failures: int = 0
    unroutable: int = 0
    """Datagrams that belong to no connection: junk, or left over from one."""
    datagrams_dropped: int = 0
    """DATAGRAM frames that made way for newer ones, of connections that are gone."""
    io: IoCounters = field(default_factory=IoCounters)


@dataclass(frozen=True, slots=True)
class Census:
    """What is alive; all zero when nothing leaks."""

    connections: int
    streams: int
    senders: int
    """Streams of ours that have not finished sending."""
    h3_objects: int
    """Streams that HTTP/3 keeps an object for: control streams and requests, never sessions'."""


class Endpoint:
    """Runs connections over one socket until it is closed; owns no task.

    ``unrouted`` gets the datagrams that belong to no connection.
    """

    def __init__(
        self,
        sock: socket,
        limits: Limits,
        *,
        unrouted: Callable[[bytes, Address, float], None] | None = None,
        failed: Callable[[str], None] | None = None,
        ended: Callable[[int, str], None] | None = None,
        share: LoopShare | None = None,
        strangers: socket | None = None,
    ) -> None:
        """Serve ``sock``, which the endpoint owns from now on, and ``strangers``.

        Args:
            failed: called with the reason of each handshake that came to nothing.
            ended: called with code and reason when a connection begins to end.
            share: of the loop, for what belongs to no connection and for new ones; None: all.
            strangers: another socket at the address, at which the first of that comes.
        """
        self.limits = limits
        self.counters = EndpointCounters()
        self.connections: dict[Connection, None] = {}
        self._unrouted = unrouted
        self._failed = failed
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._routes: dict[bytes, Connection] = {}
        self._dirty: dict[Connection, None] = {}
        self._flushing: asyncio.Handle | None = None
        self._closed = False
        self._unfinished = 0
        self._io = DatagramIO(sock, self._received, self._flush_soon)
        self.counters.io = self._io.counters
        self._share = share or LoopShare(None)
        self._door: Door | None = None
        if strangers is not None:
            self._door = Door(strangers, self._share, self._route, self._flush_now)
        self._sweeping = self._loop.call_later(self._sweep_seconds, self._sweep)

    @property
    def address(self) -> Address:
        """Where the socket is bound."""
        return self._io.address

    @property
    def unfinished(self) -> int:
        """Connections whose handshake is not over."""
        return self._unfinished

    def add(self, engine: Engine, bind: Bind, address: Address, *route: bytes) -> Connection:
        """Run ``engine`` here; datagrams with a connection id in ``route`` are for it."""
        connection = Connection(engine, self, bind, address)
        self.connections[connection] = None
        self.counters.connections += 1
        self._unfinished += 1
        for connection_id in (engine.host_cid, *route):
            self.routed(connection, connection_id)
        return connection

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram that belongs to no connection; dropped when the socket is full."""
        if not self._io.blocked:
            self._io.send([(data, address)])

    def close(self, code: int = 0, reason: str = "") -> None:
        """End every connection, tell its session, and close the socket."""
        if self._closed:
            return
        for connection in list(self.connections):
            connection.leave(code, reason)
        self._flush()
        self._closed = True
        self._sweeping.cancel()
        if self._flushing is not None:
            self._flushing.cancel()
        for connection in list(self.connections):
            self.gone(connection)
        self._io.close()
        if self._door is not None:
            self._door.close()

    def live(self) -> Census:
        """Count what is alive."""
        engines = [connection.engine for connection in self.connections]
        return Census(
            connections=len(engines),
            streams=sum(engine.stream_count for engine in engines),
            senders=sum(engine.ledger.senders for engine in engines),
            h3_objects=sum(
                connection.binding.h3_objects
                for connection in self.connections
                if connection.binding is not None
            ),
        )

    # For connections.

    def touched(self, connection: Connection) -> None:
        self._dirty[connection] = None
        if self._flushing is None and not self._io.blocked:
            self._flush_soon()

    def routed(self, connection: Connection, connection_id: bytes) -> None:
        self._routes[connection_id] = connection
        connection.connection_ids.add(connection_id)

    def unrouted(self, connection_id: bytes) -> None:
        connection = self._routes.pop(connection_id, None)
        if connection is not None:
            connection.connection_ids.discard(connection_id)

    def established(self, connection: Connection) -> None:
        self.counters.established += 1
        self._unfinished -= 1

    def ended(self, connection: Connection, code: int, reason: str) -> None:
        if self._ended is not None:
            self._ended(code, reason)
        self.counters.datagrams_dropped += connection.engine.datagrams_dropped
        if connection.is_established:
            return
        self.counters.handshake_failures += 1
        if self._failed is not None:
            self._failed(reason)

    def gone(self, connection: Connection) -> None:
        if connection not in self.connections:
            return
        del self.connections[connection]
        self._unfinished -= not connection.is_established
        self._dirty.pop(connection, None)
        connection.drop()
        connection.engine.forget()
        for connection_id in list(connection.connection_ids):
            self.unrouted(connection_id)

    # Turns.

    def _received(self, datagrams: list[Datagram]) -> None:
        now = time.monotonic()
        routes = self._routes
        for data, address in datagrams:
            if len(data) < 1 + ID_BYTES:
                self.counters.unroutable += 1
                continue
            if data[0] & 0x80:
                connection = routes.get(data[6 : 6 + data[5]])
            else:
                connection = routes.get(data[1 : 1 + ID_BYTES])
            if connection is not None and not connection.is_new:
                connection.receive(data, address, now)
            elif connection is not None or self._share.is_left():
                begun = time.perf_counter()
                self._route(data, address, now)
                self._share.spend(time.perf_counter() - begun)
            else:
                self.counters.unroutable += 1
        self._flush_now()

    def _route(self, data: bytes, address: Address, now: float) -> None:
        """One datagram of a new connection, or of none."""
        connection = None
        if len(data) > ID_BYTES:
            at = 6 if data[0] & 0x80 else 1
            connection = self._routes.get(data[at : at + (data[5] if at == 6 else ID_BYTES)])
        if connection is not None:
            connection.receive(data, address, now)
        elif self._unrouted is not None and not self._closed:
            self._unrouted(data, address, now)
        else:
            self.counters.unroutable += 1

    def _flush_now(self) -> None:
        if self._flushing is not None:
            # Now and not at the end of the turn: another turn costs as much as the flush.
            self._flushing.cancel()
            self._flush()

    def _flush_soon(self) -> None:
        if self._flushing is None and self._dirty:
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Let each connection that was touched send once; a full socket ends the turn."""
        self._flushing = None
        now = time.monotonic()
        turn, self._dirty = self._dirty, {}
        waiting = iter(turn)
        while not self._io.blocked:
            connection = next(waiting, None)
            if connection is None:
                return
            if connection.is_new:
                self._flush_new(connection, now)
                continue
            datagrams = connection.flush(now)
            if datagrams:
                self._io.send(datagrams)
        # Those who had no turn go first when the socket has room again.
        self._dirty = dict.fromkeys(waiting) | self._dirty

    def _flush_new(self, connection: Connection, now: float) -> None:
        begun = time.perf_counter()
        datagrams = connection.flush(now)
        if datagrams:
            self._io.send(datagrams)
        connection.is_new = not connection.is_established
        self._share.spend(time.perf_counter() - begun)

    @property
    def _sweep_seconds(self) -> float:
        limits = self.limits
        return min(SWEEP_SECONDS, limits.handshake_seconds / 4, limits.keep_alive_seconds / 4)

    def _sweep(self) -> None:
        now = time.monotonic()
        limits = self.limits
        for connection in list(self.connections):
            connection.sweep(now, limits.handshake_seconds, limits.keep_alive_seconds)
        self._sweeping = self._loop.call_later(self._sweep_seconds, self._sweep)
