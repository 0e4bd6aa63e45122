"""How often something took at most so long: plain numbers that metrics read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

LATENCY = (
    *(0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.18),
    *(0.22, 0.27, 0.33, 0.4, 0.5, 0.75, 1.0, 2.5, 10.0),
)
"""Bounds in seconds for round trips and what is made of them, close where regions differ."""


class Histogram:
    """Counts by upper bound, and the sum."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float] = LATENCY) -> None:
        self.total = 0.0
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Count one more."""
        self.total += value
        self._counts[bisect_left(self._bounds, value)] += 1

    def add(self, other: Histogram) -> None:
        """Count all that ``other``, which has the same bounds, has counted."""
        self.total += other.total
        pairs = zip(self._counts, other._counts, strict=True)
        self._counts = [mine + theirs for mine, theirs in pairs]

    def empty(self) -> Histogram:
        """Another one with the same bounds that has counted nothing."""
        return Histogram(self._bounds)

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound and how many were not above it, as Prometheus counts."""
        running, found = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            running += count
            found.append((bound, float(running)))
        return found
