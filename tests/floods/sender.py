"""Sends what was recorded, as fast as it can: ``python -m tests.floods.sender``.

``send KIND PORT SECONDS`` on standard input floods 127.0.0.1, and is answered with an object of
JSON on one line: how many datagrams left in how many seconds. It ends with its input. It sends to
loopback alone, from sockets at addresses of loopback, and never longer than `MOST_SECONDS`.
"""

import ctypes
import errno
import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence

from moq_relay.wire.lite.versions import LITE_06
from tests.floods import recorded

SOURCES = 500
"""Addresses, each with a port of its own."""
A_CALL = 64
"""Datagrams that one call of the kernel takes."""
RECORDED = 6_400
MOST_SECONDS = 900.0
SEED = 7

KINDS: dict[str, Callable[[], list[bytes]]] = {
    "noise": lambda: recorded.noise(RECORDED, SEED),
    "initials": lambda: recorded.initials(RECORDED, LITE_06.alpn),
    "tokens": lambda: recorded.forged(RECORDED, LITE_06.alpn, SEED),
}

_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Entry(ctypes.Structure):
    _fields_ = (("message", _Message), ("length", ctypes.c_uint))


class Batch:
    """Datagrams that go to one place by one call."""

    def __init__(self, datagrams: Sequence[bytes], to: ctypes.Array[ctypes.c_char]) -> None:
        self._kept = [ctypes.create_string_buffer(one, len(one)) for one in datagrams]
        self._vectors = (_Vector * len(datagrams))()
        self._entries = (_Entry * len(datagrams))()
        self._to = to
        for entry, vector, one in zip(self._entries, self._vectors, self._kept, strict=True):
            vector.base, vector.length = ctypes.addressof(one), len(one)
            entry.message.name, entry.message.name_length = ctypes.addressof(to), len(to)
            entry.message.vectors = ctypes.pointer(vector)
            entry.message.vector_count = 1

    def send(self, number: int) -> int:
        """Send all by the socket ``number``; how many left."""
        sent: int = _libc.sendmmsg(number, self._entries, len(self._entries), 0)
        if sent < 0:
            error = ctypes.get_errno()
            if error not in {errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED, errno.EINTR}:
                raise OSError(error, "sendmmsg")
            return 0
        return sent


def sources(count: int) -> list[socket.socket]:
    """Sockets at addresses of loopback that nobody else has; what comes back is not read."""
    made = []
    for number in range(count):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        one.bind((f"127.1.{number // 250}.{1 + number % 250}", 0))
        one.setblocking(False)
        made.append(one)
    return made


def place(port: int) -> ctypes.Array[ctypes.c_char]:
    """A port of 127.0.0.1 as the kernel wants it."""
    raw = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, b"\x7f\x00\x00\x01")
    return ctypes.create_string_buffer(raw, len(raw))


def flood(datagrams: Sequence[bytes], port: int, seconds: float, numbers: Sequence[int]) -> int:
    """Send them over and over, each batch from the next address; how many left."""
    to = place(port)
    batches = [Batch(datagrams[at : at + A_CALL], to) for at in range(0, len(datagrams), A_CALL)]
    sent = turn = 0
    until = time.monotonic() + min(seconds, MOST_SECONDS)
    while time.monotonic() < until:
        for _ in range(8):
            sent += batches[turn % len(batches)].send(numbers[turn % len(numbers)])
            turn += 1
    return sent


def main() -> int:
    """Obey until the input ends."""
    recordings: dict[str, list[bytes]] = {}
    sockets = sources(SOURCES)
    for line in sys.stdin:
        word, kind, port, seconds = line.split()
        if word == "record" or kind not in recordings:
            recordings[kind] = KINDS[kind]()
        begun, sent = time.monotonic(), 0
        if word == "send":
            sent = flood(
                recordings[kind], int(port), float(seconds), [one.fileno() for one in sockets]
            )
        print(json.dumps({"sent": sent, "seconds": time.monotonic() - begun}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
