"""One UDP socket in the event loop: drained per turn, sent from in batches.

It knows nothing of QUIC. An address is what the socket module calls one, of either family.
"""

import asyncio
import contextlib
import errno
import functools
import logging
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Address = Any
Datagram = tuple[bytes, Address]

MAX_SEGMENTS = 64
"""The kernel's UDP_MAX_SEGMENTS in all releases that have UDP_SEGMENT."""
MAX_BATCH_BYTES = 65_000
"""Below 64 KiB less the largest IP and UDP headers."""
READ_LIMIT = 128
"""Receive calls per turn of the loop, so that a flood leaves room for others."""
SOCKET_BUFFER = 4 * 1024 * 1024
"""Bytes that are asked for each way: some 20 ms of 1.6 Gb/s, while the loop does something else."""

_SOL_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104
_NO_SEGMENTS = frozenset({errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
"""What kernels and drivers answer that can't send segments."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class IoCounters:
    """What one socket did."""

    datagrams_received: int = 0
    datagrams_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    send_calls: int = 0
    send_errors: int = 0
    """Datagrams that the kernel refused; QUIC sends their contents again."""


class DatagramIO:
    """A non-blocking UDP socket that belongs to this object from now on.

    Args:
        sock: bound; closed by `close`.
        received: called once per turn with all that was readable, in order.
        writable: called when a full socket has taken what `send` kept.
        segments: whether to try UDP segmentation offload.
    """

    def __init__(
        self,
        sock: socket.socket,
        received: Callable[[list[Datagram]], None],
        writable: Callable[[], None],
        *,
        segments: bool = True,
    ) -> None:
        self.counters = IoCounters()
        self.segments = segments and hasattr(sock, "sendmsg")
        """Whether batches still go out as segments; the first refusal ends it for this socket."""
        self._socket = sock
        self._received = received
        self._writable = writable
        self._loop = asyncio.get_running_loop()
        self._kept: deque[tuple[list[bytes], Address]] = deque()
        self._closed = False
        sock.setblocking(False)
        _raise_buffers(sock)
        self._merged = _try_gro(sock)
        self._loop.add_reader(sock.fileno(), self._read)

    @property
    def address(self) -> Address:
        """Where the socket is bound."""
        return self._socket.getsockname()

    @property
    def blocked(self) -> bool:
        """Whether the socket is full; ``writable`` is called when that ends."""
        return bool(self._kept)

    def send(self, datagrams: Sequence[Datagram]) -> None:
        """Send in order, as few calls as the sizes allow; what does not fit now is kept."""
        if self._closed:
            return
        at, count = 0, len(datagrams)
        while at < count:
            batch, address = self._batch(datagrams, at)
            at += len(batch)
            if self._kept or not self._send_batch(batch, address):
                self._keep(batch, address)

    def close(self) -> None:
        """Close the socket; what was kept is lost."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._kept.clear()
        self._socket.close()

    # Sending.

    def _batch(self, datagrams: Sequence[Datagram], at: int) -> tuple[list[bytes], Address]:
        """Datagrams from ``at`` on that one call can carry: equal sizes, the last may be less."""
        first, address = datagrams[at]
        batch = [first]
        if not self.segments:
            return batch, address
        size = total = len(first)
        for data, other in datagrams[at + 1 : at + MAX_SEGMENTS]:
            length = len(data)
            total += length
            if not 0 < length <= size or total > MAX_BATCH_BYTES or other != address:
                break
            batch.append(data)
            if length < size:
                break
        return batch, address

    def _send_batch(self, batch: list[bytes], address: Address) -> bool:
        """Hand one batch to the kernel; False when the socket is full and all of it remains."""
        counters = self.counters
        counters.send_calls += 1
        try:
            if len(batch) == 1:
                self._socket.sendto(batch[0], address)
            else:
                segment = struct.pack("H", len(batch[0]))
                self._socket.sendmsg(batch, ((_SOL_UDP, _UDP_SEGMENT, segment),), 0, address)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if len(batch) > 1 and error.errno in _NO_SEGMENTS:
                self.segments = False
                log.info("udp segmentation is off reason=%s", error.strerror)
                return self._send_one_by_one(batch, address)
            counters.send_errors += len(batch)
            return True
        counters.datagrams_sent += len(batch)
        counters.bytes_sent += sum(map(len, batch))
        return True

    def _send_one_by_one(self, batch: list[bytes], address: Address) -> bool:
        for at, data in enumerate(batch):
            if not self._send_batch([data], address):
                del batch[:at]
                return False
        return True

    def _keep(self, batch: list[bytes], address: Address) -> None:
        if not self._kept:
            self._loop.add_writer(self._socket.fileno(), self._resume)
        self._kept.append((batch, address))

    def _resume(self) -> None:
        while self._kept:
            batch, address = self._kept[0]
            sent = (
                self._send_batch(batch, address)
                if self.segments or len(batch) == 1
                else self._send_one_by_one(batch, address)
            )
            if not sent:
                return
            self._kept.popleft()
        self._loop.remove_writer(self._socket.fileno())
        self._writable()

    # Receiving.

    def _read(self) -> None:
        datagrams: list[Datagram] = []
        receive = self._receive_merged if self._merged else self._receive_single
        for _ in range(READ_LIMIT):
            try:
                receive(datagrams)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # Linux reports an ICMP error of some earlier send here; it concerns no reader.
                continue
        if datagrams:
            counters = self.counters
            counters.datagrams_received += len(datagrams)
            counters.bytes_received += sum(len(data) for data, _ in datagrams)
            self._received(datagrams)

    def _receive_single(self, into: list[Datagram]) -> None:
        into.append(self._socket.recvfrom(65535))

    def _receive_merged(self, into: list[Datagram]) -> None:
        data, ancillary, _, address = self._socket.recvmsg(65535, 32)
        for level, kind, value in ancillary:
            if level == _SOL_UDP and kind == _UDP_GRO:
                size = int.from_bytes(value[:4], sys.byteorder)
                if 0 < size < len(data):
                    into.extend((data[at : at + size], address) for at in range(0, len(data), size))
                    return
        into.append((data, address))


def bind(family: int, address: Address) -> socket.socket:
    """A UDP socket at ``address``; an IPv6 one takes IPv4 peers as well.

    Raises:
        OSError: the address is taken, or not ours.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def readable(address: Address) -> str:
    """``host:port`` for logs, with brackets around IPv6 and without its mapping of IPv4."""
    host = str(address[0]).removeprefix("::ffff:")
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


def _raise_buffers(sock: socket.socket) -> None:
    """Ask for `SOCKET_BUFFER` each way, and warn once a process when the kernel gives less."""
    short = {}
    for option, limit in ((socket.SO_RCVBUF, "rmem_max"), (socket.SO_SNDBUF, "wmem_max")):
        # Linux gives what it allows; others refuse, and keep what there was.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        granted = sock.getsockopt(socket.SOL_SOCKET, option)
        if sys.platform == "linux":
            granted //= 2  # it counts its own bookkeeping in, and doubles what was asked for
        if granted < SOCKET_BUFFER:
            short[f"net.core.{limit}" if sys.platform == "linux" else "kern.ipc.maxsockbuf"] = (
                granted
            )
    if short:
        _warn_of_buffers(",".join(short), min(short.values()), SOCKET_BUFFER)


@functools.cache
def _warn_of_buffers(sysctl: str, granted: int, wanted: int) -> None:
    log.warning("udp buffers are small bytes=%d sysctl=%s wanted=%d", granted, sysctl, wanted)


def _try_gro(sock: socket.socket) -> bool:
    """Have the kernel merge equal datagrams of one peer; they cost a third to receive."""
    try:
        sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    except OSError:
        return False
    return hasattr(sock, "recvmsg")
