"""Makers of connected pairs of transports, one per engine, and what the contract asks them with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from moq_relay.sessions.transport import Arrival, Transport
from moq_relay.transports import memory, tls
from moq_relay.transports.quic.dialer import Trust, dial
from moq_relay.transports.quic.endpoint import Limits
from moq_relay.transports.quic.engine import Engine
from moq_relay.transports.quic.listener import Listener, listen
from tests.support.own_client import PATIENCE

CREDENTIALS = tls.Credentials(tls.generate(["localhost", "127.0.0.1", "::1"]))
PROTOCOLS = ("moq-lite-05", "moq-lite-04")


class Recorder:
    """A session that writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.data: dict[int, bytes] = {}
        self.fins: set[int] = set()
        self.datagrams: list[bytes] = []
        self.finished: list[int] = []

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        assert stream not in self.fins
        self.data[stream] = self.data.get(stream, b"") + data
        if fin:
            self.fins.add(stream)

    def stream_reset(self, stream: int, code: int) -> None:
        self.calls.append(("reset", stream, code))

    def stream_stopped(self, stream: int, code: int) -> None:
        self.calls.append(("stopped", stream, code))

    def stream_finished(self, stream: int) -> None:
        self.finished.append(stream)

    def datagram(self, data: bytes) -> None:
        self.datagrams.append(data)

    def transport_writable(self) -> None:
        self.calls.append(("writable",))

    def closed(self, code: int, reason: str) -> None:
        self.calls.append(("closed", code, reason))


class Wire(asyncio.DatagramProtocol):
    """A UDP wire between one client and a server, which can be held and can lose datagrams."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.client: Any = None
        self.held: list[tuple[bytes, Any]] | None = None
        self.lose: Callable[[int], bool] = lambda _: False
        self.count = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if address != self.server:
            self.client = address
        to = self.client if address == self.server else self.server
        self.count += 1
        if self.lose(self.count):
            return
        if self.held is not None:
            self.held.append((data, to))
        else:
            self.transport.sendto(data, to)

    def hold(self) -> None:
        self.held = []

    def release(self) -> None:
        held, self.held = self.held, None
        for data, to in held or ():
            self.transport.sendto(data, to)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])


@dataclass
class Pair:
    """Two ends that talk to each other, and what happens between them."""

    client: Transport
    server: Transport
    hold: Callable[[], None]
    release: Callable[[], None]
    live: Callable[[], tuple[int, int]]
    """Streams and unfinished senders at the server, beyond those of an idle connection."""
    wire: Wire | None = None
    heard: dict[str, Recorder] = field(default_factory=dict)

    @property
    def at_client(self) -> Recorder:
        return self.client.events  # type: ignore[return-value]

    @property
    def at_server(self) -> Recorder:
        return self.server.events  # type: ignore[return-value]


async def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Let the loop turn until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


def keep(into: list[Transport]) -> Callable[[Arrival, Transport], Recorder]:
    def accept(arrival: Arrival, transport: Transport) -> Recorder:
        into.append(transport)
        return Recorder()

    return accept


@asynccontextmanager
async def memory_pair(streams: int = 100) -> AsyncIterator[Pair]:
    client, server = memory.pair(streams=streams)
    client.events, server.events = Recorder(), Recorder()
    yield Pair(client, server, client.hold, client.release, lambda: (server.stats().streams, 0))
    client.close(0, "")


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[tuple[Listener, list[Transport]]]:
    served: list[Transport] = []
    settings: dict[str, Any] = {
        "credentials": CREDENTIALS,
        "accept": keep(served),
        "protocols": PROTOCOLS,
    }
    async with await listen("127.0.0.1", 0, **settings | options) as listener:
        yield listener, served


@asynccontextmanager
async def wired(port: int) -> AsyncIterator[Wire]:
    transport, wire = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Wire(("127.0.0.1", port)), local_addr=("127.0.0.1", 0)
    )
    with contextlib.closing(transport):
        yield wire


@asynccontextmanager
async def udp_pair(path: str | None, streams: int = 1024) -> AsyncIterator[Pair]:
    limits = Limits(streams=streams)
    async with AsyncExitStack() as stack:
        listener, served = await stack.enter_async_context(listening(limits=limits))
        wire = await stack.enter_async_context(wired(listener.port))
        dialled = dial(
            "127.0.0.1",
            wire.port,
            accept=keep([]),
            protocols=PROTOCOLS,
            path=path,
            trust=Trust(verify=False),
            limits=limits,
        )
        client = await stack.enter_async_context(dialled)
        await until(lambda: served)
        base = listener.live()

        def live() -> tuple[int, int]:
            now = listener.live()
            return now.streams - base.streams, now.senders - base.senders

        await until(
            lambda: all(n == 0 for n in (client.unacknowledged(), served[0].unacknowledged()))
        )
        base = listener.live()
        yield Pair(client, served[0], wire.hold, wire.release, live, wire)


@asynccontextmanager
async def slow_pair(path: str | None, **options: Any) -> AsyncIterator[Pair]:
    """A pair whose packets are all written by aioquic."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "takes_over", False)
        async with udp_pair(path, **options) as pair:
            yield pair


MAKERS: dict[str, Callable[..., Any]] = {
    "memory": memory_pair,
    "quic": lambda **options: udp_pair(None, **options),
    "webtransport": lambda **options: udp_pair("/room?jwt=x", **options),
    "quic, slow writer": lambda **options: slow_pair(None, **options),
    "webtransport, slow writer": lambda **options: slow_pair("/room?jwt=x", **options),
}
