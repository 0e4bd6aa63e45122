"""Redis' clock as seen from here: it alone dates claims and leases."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from moq_relay.cluster.records import MICROSECONDS

SAMPLES = 8
"""Answers remembered; the one with the smallest error is believed."""
DRIFT = 1e-4
"""Seconds that two clocks part in a second at most: twice what crystals are sold for."""


class Reading(NamedTuple):
    """How Redis' clock and this node's stand to each other."""

    offset: float
    """Seconds to add to this node's clock."""
    error: float
    """How far off that can be, seconds."""


class _Sample(NamedTuple):
    offset: float
    error: float
    at: float

    def bound(self, now: float) -> float:
        return self.error + DRIFT * (now - self.at)


class RedisClock:
    """An estimate: this node's monotonic clock and an offset, with its bound."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)

    def sample(self, sent: float, received: float, now_us: int) -> None:
        """An answer that left Redis at ``now_us`` came in between."""
        offset = now_us / MICROSECONDS - (sent + received) / 2
        error = (received - sent) / 2
        known = self.reading
        if known is not None and abs(offset - known.offset) > error + known.error + 1.0:
            self._samples.clear()  # the clock jumped, or it is another server's
        self._samples.append(_Sample(offset, error, received))

    def now(self) -> float:
        """Seconds on Redis' clock; 0 before the first answer."""
        reading = self.reading
        return 0.0 if reading is None else self._clock() + reading.offset

    @property
    def error_seconds(self) -> float | None:
        """How far off it can be; None before the first answer."""
        reading = self.reading
        return None if reading is None else reading.error

    @property
    def reading(self) -> Reading | None:
        """The estimate; None before the first answer. Its error grows until the next one."""
        if not self._samples:
            return None
        now = self._clock()
        best = min(self._samples, key=lambda sample: sample.bound(now))
        return Reading(best.offset, best.bound(now))
