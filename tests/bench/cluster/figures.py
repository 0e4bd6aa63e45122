"""A figure beside its goal, and all of them as a table in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured."""

    part: str
    what: str
    value: float
    unit: str
    goal: float | None = None
    """The highest value that meets it; None where none was set."""
    samples: int = 1
    below: bool = False
    """Whether the goal itself is too much already."""

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        if self.goal is None:
            return None
        return self.value < self.goal if self.below else self.value <= self.goal


def share(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of ``values`` do not exceed."""
    if len(values) < 2:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def spread(
    part: str, what: str, seconds: Sequence[float], p50: float | None, p99: float | None
) -> list[Figure]:
    """Median and 99th percentile of latencies, in milliseconds."""
    return [
        Figure(part, f"{what}, p{n}", 1000 * share(seconds, n), "ms", goal, len(seconds), True)
        for n, goal in ((50, p50), (99, p99))
    ]


def table(figures: Sequence[Figure]) -> str:
    """A line per figure."""
    lines = ["| part | figure | measured | goal | | samples |", "|---|---|---|---|---|---|"]
    for one in figures:
        goal = "" if one.goal is None else f"{'<' if one.below else '≤'} {one.goal:g} {one.unit}"
        verdict = {None: "", True: "met", False: "MISSED"}[one.met]
        lines.append(
            f"| {one.part} | {one.what} | {_number(one.value)} {one.unit} | {goal.strip()} "
            f"| {verdict} | {one.samples} |"
        )
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:.3g}"
