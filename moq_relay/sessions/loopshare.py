"""A share of the event loop's time, for those who have no claim to more."""

from __future__ import annotations

import time
from collections.abc import Callable

BURST_SECONDS = 0.1
"""What is there after a rest: a few dozen clients that come at once wait for nobody."""


class LoopShare:
    """Gains ``share`` of a second each second, up to `BURST_SECONDS`; what is done is paid after.

    In any ``t`` seconds at most ``BURST_SECONDS + share * t`` are spent, and the last that was
    begun: whoever asks `is_left` before each piece of work overdraws by one piece.
    """

    __slots__ = ("_at", "_clock", "_left", "_share", "spent")

    def __init__(self, share: float | None, clock: Callable[[], float] = time.perf_counter) -> None:
        """Be full; None for any time at all."""
        self.spent = 0.0
        """Seconds since the start."""
        self._share = share
        self._clock = clock
        self._left = BURST_SECONDS
        self._at = clock()

    def is_left(self) -> bool:
        """Whether anything may be begun now."""
        return self._share is None or self._grown() > 0

    def wait(self) -> float:
        """Seconds until something may be begun."""
        if self._share is None:
            return 0.0
        return max(0.0, -self._grown() / self._share)

    def spend(self, seconds: float) -> None:
        """Pay for what was done."""
        self.spent += seconds
        if self._share is not None:
            self._left = self._grown() - seconds

    def _grown(self) -> float:
        assert self._share is not None
        now = self._clock()
        self._left = min(BURST_SECONDS, self._left + (now - self._at) * self._share)
        self._at = now
        return self._left
