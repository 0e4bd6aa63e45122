"""Which groups are timed: one of 16 of a track, at least one a second, alike on every node."""

from __future__ import annotations

import math
from collections.abc import Callable

STRIDE = 16
"""A power of two, so that the groups of a wider stride are among those of a narrower one."""
LONGEST_SECONDS = 1.0
"""Between two timed groups of a track, unless its groups come further apart."""


class Times:
    """When one group came, by the clock of this node; None until it did."""

    __slots__ = ("clock", "first", "whole")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.first: float | None = None
        """The last byte of its first frame, here."""
        self.whole: float | None = None
        """Its end, at the node that its publisher is connected to."""


class Sampling:
    """Chooses among the groups of one track by sequence, as many as its pace makes one a second.

    Nodes that see the same groups choose the same ones, or the wider choice is part of the other.
    """

    __slots__ = ("_clock", "_mask", "_sequence", "_since")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._mask = 0
        self._sequence = -1
        """The newest timed group, and when it began."""
        self._since = -math.inf

    def begin(self, sequence: int, now: float) -> Times | None:
        """A group begins ``now``; what its times are kept in, or None."""
        seconds = now - self._since
        if sequence & self._mask and seconds < LONGEST_SECONDS:
            return None
        newer = sequence - self._sequence
        if newer > 0:
            self._mask = _stride(newer, seconds) - 1
        if newer > 0 or seconds >= LONGEST_SECONDS:
            # A sequence that went back belongs to a publisher that began anew, or came late.
            self._sequence, self._since = sequence, now
        return Times(self._clock)


def _stride(groups: int, seconds: float) -> int:
    """The largest that takes no longer than ``LONGEST_SECONDS`` at this pace."""
    stride = 1
    while stride < STRIDE and 2 * stride * seconds <= groups * LONGEST_SECONDS:
        stride *= 2
    return stride
