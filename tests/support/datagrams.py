"""UDP sockets of what stands between clients and relays in tests."""

import socket
from collections.abc import Iterator

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Wanted for each socket: only what stands between may lose a datagram."""
LARGEST_DATAGRAM = 65_535

Address = tuple[str, int]


def opened(host: str = "127.0.0.1") -> socket.socket:
    """A socket that never waits, at a free port of ``host``, an address of either family."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind((host, 0))
    return sock


def drained(sock: socket.socket) -> Iterator[tuple[bytes, Address]]:
    """Every datagram that waits there, and who sent it."""
    while True:
        try:
            yield sock.recvfrom(LARGEST_DATAGRAM)
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            continue  # the ICMP answer to an earlier send: the other side's socket is gone
