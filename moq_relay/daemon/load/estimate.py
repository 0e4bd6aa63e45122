"""How many viewers a share of one core serves, from a few points that were measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moq_relay.daemon.load.stage import Point

TARGET = 0.70
"""Of one core. A relay is one process on one core, and what is left is for peaks and joins."""
FIRST, SECOND = 2, 10
MOST_STEPS = 10
TRIES = 3
"""Of a step in which the machine had no time left: other work may pass."""
BEYOND = 1.04
"""How far beyond the number that is expected the last point lies: the number is between points."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A line through the points: what is spent without a viewer, and what each costs."""

    fixed_share: float
    """Of one core: housekeeping, and what the publisher costs."""
    viewer_share: float
    """Of one core, for each viewer."""
    viewer_mb: float
    """Resident memory for each viewer."""
    viewers: int
    """At ``TARGET``."""
    most_measured: int

    @property
    def extrapolated(self) -> bool:
        """Whether no point was measured with so many viewers."""
        return self.viewers > self.most_measured


def usable(points: Sequence[Point]) -> list[Point]:
    """Those that say what the relay costs: complete, and not held up by what runs beside the relay.

    The first two are always among them, or there would be no line.
    """
    good = [point for point in points if is_good(point)]
    return good if len(good) >= 2 else list(points[:2])


def is_good(point: Point) -> bool:
    """Whether it says what the relay costs and nothing else."""
    return point.complete and not point.strained and not point.crowded


def estimate(points: Sequence[Point]) -> Estimate:
    """The line of least squares through the ``usable`` points, of which there are two or more."""
    good = usable(points)
    fixed, each = line([(point.viewers, point.core_share) for point in good])
    _, memory = line([(point.viewers, point.resident_mb) for point in good])
    viewers = max(0, math.floor((TARGET - fixed) / each)) if each > 0 else 0
    return Estimate(fixed, each, memory, viewers, max(point.viewers for point in good))


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least squares: the value at 0, and by how much it grows for 1."""
    count = len(points)
    x, y = (sum(values) / count for values in zip(*points, strict=True))
    spread = sum((a - x) ** 2 for a, _ in points)
    slope = sum((a - x) * (b - y) for a, b in points) / spread if spread else 0.0
    return y - slope * x, slope


def following(points: Sequence[Point]) -> int | None:
    """How many viewers to measure next; None when enough is known, or more can't be had here."""
    if not points:
        return FIRST
    last = points[-1]
    steps = [point.viewers for point in points]
    if last.crowded and steps.count(last.viewers) < TRIES:
        return last.viewers
    if len(set(steps)) == 1:
        # So few cost little; where they do not, in small steps, or down.
        if last.core_share >= TARGET:
            return FIRST - 1
        fits = int(FIRST * TARGET / max(last.core_share, 0.001))
        return max(FIRST + 1, min(SECOND, fits))
    if not is_good(last) or last.core_share >= TARGET or len(set(steps)) >= MOST_STEPS:
        return None
    expected, most = estimate(points).viewers, max(steps)
    return None if expected < most else min(math.ceil(expected * BEYOND) + 1, 2 * most)
