"""A second socket at the same port, for what is for none of our connections.

The kernel sorts datagrams by their connection id (`connection_ids`), so that a flood of others
fills the buffer of the door and not that of the connections, and costs the relay nothing until it
looks there. How often it looks is a share of the loop's time.
"""

import asyncio
import ctypes
import logging
import socket
import struct
import sys
import time
from collections.abc import Callable

from moq_relay.sessions.loopshare import LoopShare
from moq_relay.transports.quic.connection_ids import Instruction, sorting
from moq_relay.transports.quic.datagram_io import Address

TURN_SECONDS = 0.001
"""Of one turn of the loop: then those have theirs who are here."""
LEAST_WAIT_SECONDS = 0.005
"""Between two looks when the share is used up: a timer and two calls of the kernel for each."""
BUFFER_BYTES = 1024 * 1024
"""Some 400 first packets: more would only wait longer."""

_ATTACH_REUSEPORT_CBPF = 51
_STRANGERS, _OURS = 0, 1
"""The order in which the sockets are bound."""

log = logging.getLogger(__name__)


class Door:
    """Reads one datagram after the other, while there is time for them."""

    def __init__(
        self,
        sock: socket.socket,
        share: LoopShare,
        knocked: Callable[[bytes, Address, float], None],
        flush: Callable[[], None],
    ) -> None:
        """Own ``sock`` from now on.

        Args:
            share: of the loop, for all doors together; what is done here is paid for.
            knocked: called for each datagram.
            flush: called after each turn: what was answered is to leave.
        """
        self._socket = sock
        self._share = share
        self._knocked = knocked
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.TimerHandle | None = None
        self._closed = False
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._loop.add_reader(sock.fileno(), self._read)

    def close(self) -> None:
        """Look no more."""
        if self._closed:
            return
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _read(self) -> None:
        share, knocked, receive = self._share, self._knocked, self._socket.recvfrom
        begun = at = time.perf_counter()
        now = time.monotonic()
        while at - begun < TURN_SECONDS and share.is_left():
            try:
                data, address = receive(65535)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue  # an error of some earlier send, which concerns nobody here
            knocked(data, address, now)
            if self._closed:
                return
            after = time.perf_counter()
            share.spend(after - at)
            at = after
        self._flush()
        share.spend(time.perf_counter() - at)
        if not share.is_left():
            self._loop.remove_reader(self._socket.fileno())
            wait = max(LEAST_WAIT_SECONDS, share.wait())
            self._waiting = self._loop.call_later(wait, self._again)

    def _again(self) -> None:
        self._waiting = None
        self._loop.add_reader(self._socket.fileno(), self._read)


def beside(stranger: socket.socket) -> socket.socket | None:
    """A socket at the address of ``stranger``, for what is for our connections.

    From then on ``stranger`` gets the rest. None where the kernel cannot sort; then nothing is
    changed, and ``stranger`` gets everything.
    """
    if sys.platform != "linux":
        return None
    ours = socket.socket(stranger.family, socket.SOCK_DGRAM)
    try:
        # Only after the first was bound: so another process's socket at the address is found.
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if stranger.family == socket.AF_INET6:
            ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        ours.bind(stranger.getsockname())
        _attach(ours, sorting(_STRANGERS, _OURS))
    except OSError as error:
        ours.close()
        log.warning("datagrams are not sorted reason=%s", error.strerror)
        return None
    return ours


def _attach(sock: socket.socket, program: list[Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *one) for one in program)
    kept = ctypes.create_string_buffer(code, len(code))
    filtering = struct.pack("@HP", len(program), ctypes.addressof(kept))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_REUSEPORT_CBPF, filtering)
