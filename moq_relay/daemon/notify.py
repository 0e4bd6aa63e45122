"""What systemd is told: that the relay is ready, that it stops, and that it still turns.

sd_notify(3) is one datagram, so it is written here; the libraries for it are C, or not kept up.
Without a manager that asks, everything here does nothing.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Manager:
    """The service manager that started this process, if one did."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_seconds: float | None = None
        """It wants to hear that the relay turns at least so often; None: it does not ask."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if self._address and meant and microseconds.isdigit() and int(microseconds):
            self.watchdog_seconds = int(microseconds) / 1e6

    def ready(self, status: str) -> None:
        """The relay serves from now on."""
        self._tell(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """It has begun to leave."""
        self._tell("STOPPING=1\nSTATUS=leaving")

    async def watch(self) -> None:
        """Say that the loop turns, twice as often as the manager wants to hear it; for ever."""
        while self.watchdog_seconds is not None:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        # An address that begins with @ is in the abstract namespace (unix(7)).
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), address)
        except OSError as error:
            log.warning("the service manager is not told at=%s reason=%s", self._address, error)
            self._address = ""
