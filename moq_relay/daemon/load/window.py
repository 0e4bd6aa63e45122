"""Frames counted by when they were published: how many arrived, and how late."""

import time
from collections import Counter

NEVER = 1 << 63
TENTH = 100_000
"""Nanoseconds in a tenth of a millisecond."""
GRACE_SECONDS = 0.6
"""How long after a window's end its last frames may still arrive before they count as lost."""
OLDEST_STAMP = 120 * 1_000_000_000
"""A first field further in the past than this is no timestamp of ours, nanoseconds."""


class Window:
    """Counts the frames published between two instants of the monotonic clock, per track.

    A frame starts with that clock in nanoseconds, 8 bytes, big-endian; the clock is the same in
    every process of a machine. A frame without such a stamp counts by its arrival.
    """

    def __init__(self) -> None:
        self.opens = NEVER
        self.closes = NEVER
        self.frames: dict[str, int] = {}
        self.payload_bytes = 0
        self.latencies: list[int] = []

    def schedule(self, opens: int, closes: int) -> None:
        """Forget what was counted and count between two instants, nanoseconds."""
        self.opens, self.closes = opens, closes
        self.frames.clear()
        self.payload_bytes = 0
        self.latencies.clear()

    def follow(self, line: str) -> float:
        """Obey ``window OPENS CLOSES``; returns the monotonic second at which to report."""
        word, opens, closes = line.split()
        if word != "window":
            raise ValueError(f"expected a window, got {line!r}")
        self.schedule(int(opens), int(closes))
        return self.closes / 1e9 + GRACE_SECONDS

    def seen(self, track: str, stamp: int, size: int) -> None:
        """One whole frame has arrived now."""
        now = time.monotonic_ns()
        age = now - stamp
        stamped = 0 <= age < OLDEST_STAMP
        if self.opens <= (stamp if stamped else now) < self.closes:
            self.frames[track] = self.frames.get(track, 0) + 1
            self.payload_bytes += size
            if stamped:
                self.latencies.append(age)

    def report(self) -> dict[str, object]:
        """The counts for JSON; latencies in milliseconds, None where no frame had a stamp."""
        self.latencies.sort()
        return {
            "frames": dict(self.frames),
            "payload_bytes": self.payload_bytes,
            "p50_ms": self._latency_ms(0.50),
            "p99_ms": self._latency_ms(0.99),
        }

    def tenths(self) -> dict[int, int]:
        """How many frames were so many tenths of a millisecond late, rounded down.

        Those of several processes can be added up, which percentiles cannot.
        """
        return dict(Counter(latency // TENTH for latency in self.latencies))

    def _latency_ms(self, share: float) -> float | None:
        if not self.latencies:
            return None
        at = min(len(self.latencies) - 1, int(len(self.latencies) * share))
        return self.latencies[at] / 1e6


def stamp() -> bytes:
    """The first bytes of a frame that is published now."""
    return time.monotonic_ns().to_bytes(8, "big")
