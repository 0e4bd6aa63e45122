"""Redis' clock as seen from here: it alone dates claims and leases."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from moq_relay.cluster.records import MICROSECONDS

SAMPLES = 8
"""Answers remembered; the quickest among them is believed."""


@dataclass(frozen=True, slots=True)
class _Sample:
    offset: float
    error: float


class RedisClock:
    """An estimate: this node's monotonic clock and an offset, with its bound."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)

    def sample(self, sent: float, received: float, now_us: int) -> None:
        """An answer that left Redis at ``now_us`` came in between."""
        offset = now_us / MICROSECONDS - (sent + received) / 2
        error = (received - sent) / 2
        if self._samples and abs(offset - self._best().offset) > error + self._best().error + 1.0:
            self._samples.clear()  # the clock jumped, or it is another server's
        self._samples.append(_Sample(offset, error))

    def now(self) -> float:
        """Seconds on Redis' clock; 0 before the first answer."""
        return self._clock() + self._best().offset if self._samples else 0.0

    @property
    def error_seconds(self) -> float | None:
        """How far off it can be; None before the first answer."""
        return self._best().error if self._samples else None

    def _best(self) -> _Sample:
        return min(self._samples, key=lambda sample: sample.error)
