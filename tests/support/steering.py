"""A UDP forwarder on loopback: one address for many relays, each QUIC connection sent to one.

A client that dials again may do so from the address that it has, so what tells connections apart is
their connection IDs (RFC 9000, 5.2): a new one begins with an Initial to an ID that nobody has yet,
and what a relay sends names the IDs by which it is reached from then on.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

from moq_relay.transports.quic.connection_ids import ID_BYTES
from tests.support.datagrams import Address, drained, opened

LONG = 0x80
KIND = 0x30
INITIAL = 0x00


class Header(NamedTuple):
    """What a datagram's first packet says to everybody."""

    initial: bool
    destination: bytes
    source: bytes
    """Empty where the header is short."""


def header(data: bytes) -> Header:
    """The header of a client's datagram, or of a relay's where it is long (RFC 9000, 17)."""
    if not data[0] & LONG:
        # A short header does not say how long it is.
        return Header(False, data[1 : 1 + ID_BYTES], b"")
    at = 6 + data[5]
    return Header(data[0] & KIND == INITIAL, data[6:at], data[at + 1 : at + 1 + data[at]])


@dataclass(eq=False)
class Flow:
    """One connection."""

    client: Address
    relay: Address
    upstream: socket.socket


class Steering:
    """Sends each new connection where ``choose`` says, and keeps it there.

    Must be entered in the event loop that carries it.
    """

    def __init__(self, choose: Callable[[], Address]) -> None:
        """``choose`` is called for each new connection."""
        self.flows: list[Flow] = []
        """Every connection so far, in the order in which they began."""
        self.strays = 0
        """Datagrams of clients that belong to no connection."""
        self._choose = choose
        self._by_id: dict[tuple[Address, bytes], Flow] = {}

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._front = opened()
        self.port: int = self._front.getsockname()[1]
        self._loop.add_reader(self._front, self._from_clients)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sock in (self._front, *(flow.upstream for flow in self.flows)):
            self._loop.remove_reader(sock)
            sock.close()

    def _from_clients(self) -> None:
        for data, client in drained(self._front):
            said = header(data)
            flow = self._by_id.get((client, said.destination))
            if flow is None:
                if not said.initial:
                    self.strays += 1
                    continue
                flow = self._begin(client, said.destination)
            flow.upstream.sendto(data, flow.relay)

    def _begin(self, client: Address, destination: bytes) -> Flow:
        flow = Flow(client, self._choose(), opened())
        self.flows.append(flow)
        self._by_id[client, destination] = flow
        self._loop.add_reader(flow.upstream, self._from_relay, flow)
        return flow

    def _from_relay(self, flow: Flow) -> None:
        for data, _ in drained(flow.upstream):
            if data[0] & LONG:
                self._by_id[flow.client, header(data).source] = flow
            self._front.sendto(data, flow.client)
