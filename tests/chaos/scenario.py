"""What a scenario is: a fault, what has to hold through it, and what it showed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.world import World

SLACK_SECONDS = 0.5
"""For sampling, and for a machine that does everything at once."""


@dataclass(slots=True)
class Bounds:
    """The most that a fault may cost; times in seconds."""

    lag: float
    """Until every node knows of an announcement."""
    ghost: float
    """Until every node has forgotten a broadcast whose publisher ended it."""
    dead_ghost: float
    """The same where its node died."""
    reaped: int = 0
    """Members taken for dead."""
    missed: int = 0
    """Groups that a viewer never got."""
    rejoined: int = 0
    """Times that a viewer had to join anew."""
    gap: float | None = None
    """Between two groups at a viewer; None: whatever the fault makes of it."""
    tolerance: float | None = 1.0
    """Between a publisher's log and ``since``; None: Redis' clock was turned."""
    more: dict[str, tuple[float, float]] = field(default_factory=dict)
    """What this fault alone has to show: its name, how much, and how much is allowed."""


Run = Callable[["World"], Awaitable[Bounds]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault, by name."""

    name: str
    title: str
    """What happens, as a sentence of the report."""
    run: Run
    numbers: str
    ci: bool
    """Whether every change has to pass it."""
    mixes: bool
    """Whether it leaves the world as it found it, so that others can follow."""
    servers: int
    sentinels: bool
    wired: bool
    aof: bool
    noisy: bool


@dataclass(slots=True)
class Outcome:
    """What one run of a scenario showed."""

    name: str
    title: str
    seed: int
    lease: float
    figures: dict[str, tuple[float, float | None]]
    """Each with the most that is allowed."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return not self.problems

    def line(self) -> str:
        """For a terminal."""
        shown = ", ".join(
            f"{name} {_number(value)}" + ("" if most is None else f" (≤ {_number(most)})")
            for name, (value, most) in self.figures.items()
            if value or most
        )
        return f"{'held' if self.held else 'BROKEN'} {self.name} seed {self.seed}: {shown}"


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    title: str,
    *,
    numbers: str = "",
    ci: bool = False,
    mixes: bool = True,
    servers: int = 1,
    sentinels: bool = False,
    wired: bool = False,
    aof: bool = False,
    noisy: bool = False,
) -> Callable[[Run], Run]:
    """Name a function as a scenario.

    Args:
        numbers: those of the design's list of faults.
        servers: Redis servers that can replicate; the first is in use.
        sentinels: whether all others are its replicas from the start, and nodes ask Sentinels
            which of them is the primary.
        wired: whether each node's ways to Redis and to the other nodes can be cut and slowed.
        aof: whether Redis keeps what it knows when it is killed.
        noisy: whether error lines in the relays' logs belong to it.
    """

    def named(run: Run) -> Run:
        name = run.__name__.replace("_", "-")
        assert name not in SCENARIOS, name
        SCENARIOS[name] = Scenario(
            name,
            title,
            run,
            numbers,
            ci=ci,
            mixes=mixes,
            servers=servers,
            sentinels=sentinels,
            wired=wired,
            aof=aof,
            noisy=noisy,
        )
        return run

    return named


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"
