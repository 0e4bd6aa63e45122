"""A bad network for tests: a UDP proxy on loopback that loses, delays and reorders datagrams."""

import asyncio
import math
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.support.datagrams import drained, opened


@dataclass(frozen=True)
class Weather:
    """What one direction does to a datagram; probabilities from 0 to 1, times in seconds."""

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    """Up to so much more delay, without changing the order."""
    reorder: float = 0.0
    """How many datagrams are held back while later ones overtake them."""
    held: float = 0.01


CLEAR = Weather()


@dataclass
class Direction:
    """One direction's dice and what they did."""

    weather: Weather
    dice: random.Random
    passed: int = 0
    lost: int = 0
    reordered: int = 0
    _last_due: float = field(default=0.0, repr=False)

    def carry(self, loop: asyncio.AbstractEventLoop, send: Callable[[bytes], None], data: bytes):
        """Send it now, later or never."""
        if self.dice.random() < self.weather.loss:
            self.lost += 1
            return
        self.passed += 1
        due = loop.time() + self.weather.delay + self.dice.random() * self.weather.jitter
        if self.dice.random() < self.weather.reorder:
            self.reordered += 1
            due += self.weather.held
        else:
            # Never the same instant twice: the loop's timers are not stable among equals.
            due = self._last_due = max(due, math.nextafter(self._last_due, math.inf))
        if due <= loop.time():
            send(data)
        else:
            loop.call_at(due, send, data)


class LossyLink:
    """Stands between clients and a relay's UDP port; each client gets a socket of its own.

    Must be entered in the event loop that carries it. With the same seed the dice fall the same
    way, though which datagram meets which throw depends on the programs at both ends.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        to_server: Weather = CLEAR,
        to_client: Weather = CLEAR,
        seed: int = 1,
    ) -> None:
        self._target = target
        self.to_server = Direction(to_server, random.Random(seed))
        self.to_client = Direction(to_client, random.Random(seed + 1))
        self._clients: dict[tuple[str, int], socket.socket] = {}

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
        for sock in (self._front, *self._clients.values()):
            self._loop.remove_reader(sock)
            sock.close()

    def __str__(self) -> str:
        up, down = self.to_server, self.to_client
        return (
            f"to the server {up.passed} passed, {up.lost} lost, {up.reordered} reordered; "
            f"to clients {down.passed} passed, {down.lost} lost, {down.reordered} reordered"
        )

    def _from_clients(self) -> None:
        for data, client in drained(self._front):
            if client not in self._clients:
                self._clients[client] = self._towards_server(client)
            upstream = self._clients[client]
            self.to_server.carry(self._loop, self._sender(upstream, self._target), data)

    def _towards_server(self, client: tuple[str, int]) -> socket.socket:
        upstream = opened()
        back = self._sender(self._front, client)

        def from_server() -> None:
            for data, _ in drained(upstream):
                self.to_client.carry(self._loop, back, data)

        self._loop.add_reader(upstream, from_server)
        return upstream

    @staticmethod
    def _sender(sock: socket.socket, address: tuple[str, int]) -> Callable[[bytes], None]:
        def send(data: bytes) -> None:
            # A delayed datagram may find the link closed or the peer gone: a lost one, then.
            if sock.fileno() >= 0:
                try:
                    sock.sendto(data, address)
                except (BlockingIOError, ConnectionRefusedError):
                    return

        return send
