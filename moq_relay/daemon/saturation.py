"""How near a relay is to what it can bear, each as a share from 0 to 1."""

import contextlib
import errno
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from moq_relay.daemon.config.settings import Settings
from moq_relay.relay.counters import Counters

LOOP, SESSIONS, EGRESS, MEMORY, FDS = RESOURCES = ("loop", "sessions", "egress", "memory", "fds")
WINDOW = 5
"""Turns, a second each, over which the loop's share and the egress are taken."""

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
DESCRIPTORS = Path("/proc/self/fd")
STATM = Path("/proc/self/statm")
UNLIMITED = 1 << 60
"""Bytes; what the older cgroups say when there is no limit is more."""


class Saturation:
    """Made, and called once a second, in the thread whose loop it watches."""

    def __init__(
        self,
        *,
        sessions: Callable[[], int],
        sessions_limit: int,
        sent: Callable[[], int],
        egress_limit: int | None,
    ) -> None:
        """Take the limits, and where to read what is used of them.

        Args:
            sent: bytes sent since the start.
            egress_limit: bytes a second; None when nobody said what the relay can send.
        """
        self._sessions = sessions
        self._sessions_limit = sessions_limit
        self._sent = sent
        self._egress_limit = egress_limit
        self._memory_limit = memory_limit()
        self._turns: deque[tuple[float, float, int]] = deque(maxlen=WINDOW + 1)
        self.turn()

    @classmethod
    def of(
        cls, settings: Settings, sessions: Collection[object], counters: Counters
    ) -> "Saturation":
        """That of the relay with these ``sessions`` and ``counters``."""
        return cls(
            sessions=lambda: len(sessions),
            sessions_limit=settings.limits.sessions,
            sent=lambda: counters.bytes_out + counters.fetch_bytes,
            egress_limit=settings.limits.egress,
        )

    def turn(self) -> None:
        """Note what the loop's thread has used, and what was sent."""
        self._turns.append((time.monotonic(), time.thread_time(), self._sent()))

    def shortest(self, share: float) -> str | None:
        """What is used to ``share`` or above, the most used first; sessions have their own limit.

        None while there is enough of everything.
        """
        used = {name: ratio for name, ratio in self.ratios().items() if name != SESSIONS}
        worst = max(used, key=used.__getitem__)
        return worst if used[worst] >= share else None

    def ratios(self) -> Mapping[str, float]:
        """Each of ``RESOURCES``; 0 where there is no limit, or none that can be read here."""
        (begun, cpu_then, sent_then), (now, cpu_now, sent_now) = self._turns[0], self._turns[-1]
        seconds = now - begun
        loop = (cpu_now - cpu_then) / seconds if seconds > 0 else 0.0
        rate = (sent_now - sent_then) / seconds if seconds > 0 else 0.0
        found = {
            LOOP: loop,
            SESSIONS: self._sessions() / self._sessions_limit,
            EGRESS: rate / self._egress_limit if self._egress_limit else 0.0,
            MEMORY: resident() / self._memory_limit if self._memory_limit else 0.0,
            FDS: _descriptors(),
        }
        return {resource: min(max(share, 0.0), 1.0) for resource, share in found.items()}


def resident() -> int:
    """Bytes of this process in memory; 0 where that cannot be read."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def memory_limit(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """Bytes that this process may have: the least of its cgroups' limits and the machine's memory.

    None where neither can be read.
    """
    limits = [limit for place in _groups(root, membership) if (limit := _limit(place)) is not None]
    with contextlib.suppress(AttributeError, OSError, ValueError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=None)


def _groups(root: Path, membership: Path) -> list[Path]:
    """Files that may say a limit: of each cgroup that this process is in, up to the root."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        inside = path.strip("/").split("/") if path.strip("/") else []
        # A container may see its own group as the root, and the path as the host has it.
        found += [base.joinpath(*inside[:depth], name) for depth in range(len(inside) + 1)]
    return found


def _limit(place: Path) -> int | None:
    try:
        limit = int(place.read_text())
    except (OSError, ValueError):
        return None
    return limit if 0 < limit < UNLIMITED else None


def descriptor_limit() -> int | None:
    """Files that this process may have open; None where there is no limit, or none to be read."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 — there is none for Windows

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit in {resource.RLIM_INFINITY, 0} else limit


def _descriptors() -> float:
    """Open files as a share of what the process may have open."""
    limit = descriptor_limit()
    if limit is None:
        return 0.0
    try:
        return sum(1 for _ in DESCRIPTORS.iterdir()) / limit
    except OSError as error:
        # To count them takes one more.
        return 1.0 if error.errno == errno.EMFILE else 0.0
