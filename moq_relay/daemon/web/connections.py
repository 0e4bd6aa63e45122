"""The TCP connections of one listener: how many there may be, and which one goes for another."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web

from moq_relay.daemon.config.values import Address
from moq_relay.sessions.gate import Gate

GRACE_SECONDS = 0.25
"""In which a connection is not ended for another: a request is on its way for as long as that."""
STALLED_SECONDS = 30.0
"""In which a client has to take ``STEP`` of an answer, while more than that waits for it."""
STEP = 1 << 16

FULL = "too many connections by HTTP"
ADDRESS_FULL = "too many connections by HTTP of one address"
TOO_FAST = "too many connections by HTTP a second of one address"

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[], asyncio.Protocol]
"""Makes what serves one connection."""

log = logging.getLogger(__name__)


class Connections:
    """Who is connected to one listener.

    Where there is no room for a newcomer, the connection is ended that has asked for nothing for
    the longest time. The newcomer is refused while each has a request under way, or has come just
    now. Nobody who is trusted is ended for somebody who is not.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        most: int,
        per_address: int,
        reserved: int = 0,
        paced: bool = False,
        linger: float = 0.0,
        grace: float = GRACE_SECONDS,
        stalled: float = STALLED_SECONDS,
    ) -> None:
        """Begin with none.

        Args:
            gate: knows what is one address, and who is trusted.
            most: at a time.
            per_address: of one address at a time, unless it is trusted.
            reserved: how many of them nobody has who is not trusted.
            paced: whether one address may begin only so many a second.
            linger: seconds for which a body is read that nobody wanted, so that its client comes
                to read the answer. Whoever sends one without end is ended after that.
            grace: as ``GRACE_SECONDS``.
            stalled: as ``STALLED_SECONDS``.
        """
        self.most = most
        self._gate = gate
        self.per_address = per_address
        self.reserved = reserved
        self.paced = paced
        self.linger = linger
        self._grace = grace
        self._stalled = stalled
        self._all: dict[Connection, None] = {}
        """The one that has asked for nothing for the longest time is the first."""
        self._of: dict[str, dict[Connection, None]] = {}
        """The same by network, of those who are not trusted."""
        self._strangers = 0
        self._beginning: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._all)

    def take(self, accepted: socket.socket, address: Address, serve: Serve) -> None:
        """Begin a connection that was accepted, or close it, count it and log why."""
        refusal = self._refusal(address.host)
        if refusal is not None:
            accepted.close()
            reason, text = refusal
            self._gate.counters.sessions_refused[reason] += 1
            self._gate.refuse(str(address), text)
            return
        accepted.setblocking(False)
        network, trusted = self._gate.place(address.host)
        connection = Connection(self, serve(), None if trusted else network, self._stalled)
        self._enter(connection)
        task = asyncio.get_running_loop().create_task(_begin(accepted, connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def begun(self) -> None:
        """Wait for those that have just been taken; there is no task of theirs afterwards."""
        await asyncio.gather(*self._beginning)

    @web.middleware
    async def attend(self, request: web.Request, handler: Answering) -> web.StreamResponse:
        """Keep the connection of a request while that is under way."""
        protocol = None if request.transport is None else request.transport.get_protocol()
        if not isinstance(protocol, Connection):
            return await handler(request)
        protocol.asking = True
        try:
            return await handler(request)
        finally:
            protocol.asking = False
            if protocol in self._all:
                self.left(protocol)
                self._enter(protocol)

    def left(self, connection: "Connection") -> None:
        """It does not count any more. Harmless when it did not."""
        if connection not in self._all:
            return
        del self._all[connection]
        network = connection.network
        if network is not None:
            self._strangers -= 1
            del self._of[network][connection]
            if not self._of[network]:
                del self._of[network]

    def _enter(self, connection: "Connection") -> None:
        connection.since = asyncio.get_running_loop().time()
        self._all[connection] = None
        network = connection.network
        if network is not None:
            self._strangers += 1
            self._of.setdefault(network, {})[connection] = None

    def _refusal(self, host: str) -> tuple[str, str] | None:
        """Why somebody is refused, as a label and in words; None once there is room."""
        if self.paced and not self._gate.may_connect(host):
            return "http_rate", TOO_FAST
        network, trusted = self._gate.place(host)
        if trusted:
            full = len(self._all) >= self.most and not self._end_one(self._all)
            return ("http_connections", FULL) if full else None
        same = self._of.get(network, {})
        if len(same) >= self.per_address and not self._end_one(same):
            return "http_address", ADDRESS_FULL
        others = (one for one in self._all if one.network is not None)
        full = self._strangers >= self.most - self.reserved or len(self._all) >= self.most
        return ("http_connections", FULL) if full and not self._end_one(others) else None

    def _end_one(self, connections: Iterable["Connection"]) -> bool:
        """End the one that is idle for the longest time; False where none is for long enough."""
        found = next((one for one in connections if one.idle), None)
        if found is None or asyncio.get_running_loop().time() - found.since < self._grace:
            return False
        found.end()
        return True


class Connection(asyncio.Protocol):
    """Hands everything on to what serves it, and sees it begin, stall and end."""

    def __init__(
        self,
        connections: Connections,
        serving: asyncio.Protocol,
        network: str | None,
        stalled: float,
    ) -> None:
        """Stand before ``serving``; ``network`` is what it counts for, None of who is trusted."""
        self.network = network
        self.asking = False
        """Whether a request is under way."""
        self.since = 0.0
        """When it came, or its last request was answered, by the loop's clock."""
        self._connections = connections
        self._serving = serving
        self._transport: asyncio.Transport | None = None
        self._patience = stalled
        self._waiting = 0
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything on it."""
        return self._transport is not None and not self.asking

    def end(self) -> None:
        """End it at once, with what still waits in it."""
        self._connections.left(self)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        """It has begun."""
        self._transport = transport
        self._serving.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Some of a request came."""
        self._serving.data_received(data)

    def eof_received(self) -> bool | None:
        """The client says no more."""
        return self._serving.eof_received()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        self._watch()
        self._serving.pause_writing()

    def resume_writing(self) -> None:
        """It has read most of that."""
        self._reads()
        self._serving.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._reads()
        self._connections.left(self)
        self._serving.connection_lost(exc)

    def _watch(self) -> None:
        assert self._transport is not None, "it has begun"
        self._waiting = self._transport.get_write_buffer_size()
        self._stalled = asyncio.get_running_loop().call_later(self._patience, self._look)

    def _look(self) -> None:
        assert self._transport is not None, "it has begun"
        if self._waiting - self._transport.get_write_buffer_size() < STEP:
            self.end()
        else:
            self._watch()

    def _reads(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


async def _begin(accepted: socket.socket, connection: Connection) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_accepted_socket(lambda: connection, accepted)
    except OSError as error:
        # The client was gone at once.
        log.debug("connection not begun reason=%s", error)
        connection.end()
        accepted.close()
