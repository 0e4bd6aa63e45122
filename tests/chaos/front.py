"""What stands before a node for all others: datagrams pass, unless its way to one of them is cut.

A node advertises the port of its front, so all that nodes say to each other goes through a front:
that of the one that was dialled. Who dialled is asked of the system, by the port that it dials
from; clients connect to the node itself.
"""

import asyncio
import math
import random
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BUFFER = 1 << 20
"""Bytes that the system may keep for a front that has no time."""


class Front:
    """One node's, on loopback."""

    def __init__(
        self,
        port: int,
        target: int,
        dialler: Callable[[int], str],
        chance: random.Random | None = None,
    ) -> None:
        """Nothing is open before the context is entered.

        Args:
            port: where it listens.
            target: the node's own port.
            dialler: by the port that it dials from, the name of who does.
            chance: for what varies.
        """
        self.delay = 0.0
        """Seconds that each datagram takes, either way."""
        self.jitter = 0.0
        """Seconds that one may take more or less; none overtakes another of its connection."""
        self.more: dict[str, float] = {}
        """Seconds more, each way, by who dialled."""
        self.dropped = 0
        """Datagrams that were not carried."""
        self._port = port
        self._target = target
        self._dialler = dialler
        self._chance = chance or random.Random()
        self._cut: set[tuple[str, str]] = set()
        self._flows: dict[Any, _Flow] = {}

    def cut(self, dialler: str, *directions: str) -> None:
        """Of what ``dialler`` dialled carry nothing ``there`` or ``back``, by default either."""
        self._cut |= {(dialler, direction) for direction in directions or ("there", "back")}

    def mend(self) -> None:
        """Carry everything again; what came meanwhile is lost."""
        self._cut.clear()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._doors = []
        # Where a name has two addresses, both are dialled.
        for *_, address in socket.getaddrinfo("localhost", self._port, type=socket.SOCK_DGRAM):
            door, _ = await loop.create_datagram_endpoint(
                lambda: _Door(self), local_addr=address[:2]
            )
            _widen(door)
            self._doors.append(door)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(flow.opening for flow in self._flows.values()))
        for transport in [*self._doors, *(flow.far for flow in self._flows.values() if flow.far)]:
            transport.close()
        await asyncio.sleep(0)  # they close in the loop's next turn

    def arrived(self, data: bytes, address: Any, door: asyncio.DatagramTransport) -> None:
        """From who dialled."""
        flow = self._flows.get(address)
        if flow is None:
            flow = self._flows[address] = _Flow(self, self._dialler(address[1]), address, door)
        flow.carry("there", data)

    def passes(self, dialler: str, direction: str) -> bool:
        """Whether that way is whole."""
        whole = (dialler, direction) not in self._cut
        self.dropped += not whole
        return whole

    def late(self, dialler: str) -> float:
        """How long the next datagram takes."""
        usual = self.delay + self.more.get(dialler, 0.0)
        return usual + self._chance.uniform(-self.jitter, self.jitter)

    @property
    def target(self) -> tuple[str, int]:
        """The node itself."""
        return "127.0.0.1", self._target


class _Door(asyncio.DatagramProtocol):
    """Where diallers arrive."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._front.arrived(data, addr, self._transport)


class _Flow(asyncio.DatagramProtocol):
    """One connection of a dialler, with a socket of its own towards the node."""

    def __init__(
        self, front: Front, dialler: str, address: Any, door: asyncio.DatagramTransport
    ) -> None:
        self.far: asyncio.DatagramTransport | None = None
        self._front = front
        self._dialler = dialler
        self._address = address
        self._door = door
        self._first: list[bytes] = []
        """What came before that socket was there."""
        self._due = {"there": 0.0, "back": 0.0}
        loop = asyncio.get_running_loop()
        self.opening = loop.create_task(self._open(loop))

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        await loop.create_datagram_endpoint(lambda: self, remote_addr=self._front.target)

    def connection_made(self, transport: Any) -> None:
        _widen(transport)
        self.far = transport
        for data in self._first:
            transport.sendto(data)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.carry("back", data)

    def error_received(self, exc: Exception) -> None:
        """The node is not there: what is sent to it is lost, as on any network."""

    def carry(self, direction: str, data: bytes) -> None:
        """To the other side, in time, if that way is whole when it sets out."""
        if not self._front.passes(self._dialler, direction):
            return
        loop = asyncio.get_running_loop()
        # Never the same instant twice: the loop's timers are not stable among equals.
        due = self._due[direction] = max(
            math.nextafter(self._due[direction], math.inf),
            loop.time() + self._front.late(self._dialler),
        )
        if due > loop.time():
            loop.call_at(due, self._deliver, direction, data)
        else:
            self._deliver(direction, data)

    def _deliver(self, direction: str, data: bytes) -> None:
        if direction == "back":
            if not self._door.is_closing():
                self._door.sendto(data, self._address)
        elif self.far is None:
            self._first.append(data)
        elif not self.far.is_closing():
            self.far.sendto(data)


def _widen(transport: asyncio.DatagramTransport) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)


def holder(port: int, processes: dict[int, str]) -> str:
    """Which of some processes (pid -> name) has a UDP socket at that port; "" for none of them."""
    sockets = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{words[9]}]")
    for pid, name in processes.items():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(descriptor.readlink()) in sockets:
                    return name
            except FileNotFoundError:
                continue  # it was closed meanwhile
    return ""
