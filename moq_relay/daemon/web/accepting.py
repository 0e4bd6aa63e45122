"""Taking connections from listening sockets, also while the process has no descriptor left."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterable

from moq_relay.daemon.config.values import Address

AT_ONCE = 4
"""Connections of one socket in a turn of the loop.

Frames wait for no more, and what is ended for a newcomer has given back its descriptor before many
have come.
"""
PAUSE_SECONDS = 1.0
"""How long none is taken where the system has no room for one; they wait in the kernel's queue."""
SILENT_SECONDS = 60.0
"""Between two lines about that."""

Take = Callable[[socket.socket, Address], None]
"""Given a connection and where it is from; it owns the connection."""

log = logging.getLogger(__name__)


class Entrance:
    """The listening sockets of one listener, which it owns."""

    def __init__(
        self, listening: Iterable[socket.socket], take: Take, *, pause: float = PAUSE_SECONDS
    ) -> None:
        """Hand every connection to ``take`` from now on, until ``close``."""
        self._loop = asyncio.get_running_loop()
        self._take = take
        self._pause = pause
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._said = float("-inf")
        self._sockets = tuple(listening)
        for one in self._sockets:
            self._listen(one)

    def close(self) -> None:
        """Take no more."""
        for timer in self._pauses.values():
            timer.cancel()
        for one in self._sockets:
            self._loop.remove_reader(one)
            one.close()

    def _listen(self, one: socket.socket) -> None:
        self._pauses.pop(one, None)
        self._loop.add_reader(one, self._ready, one)

    def _ready(self, one: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                accepted, (host, port, *_) = one.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # It stays ready, so the loop would do nothing else.
                self._loop.remove_reader(one)
                self._pauses[one] = self._loop.call_later(self._pause, self._listen, one)
                self._say(error)
                return
            self._take(accepted, Address(host, port))

    def _say(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._said >= SILENT_SECONDS:
            self._said = now
            log.warning(
                "connections by HTTP have to wait: %s; raise the limit of open files "
                "(LimitNOFILE of the service)",
                error.strerror or error,
            )
