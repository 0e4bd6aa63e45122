"""What a fault is here: something that is really done, and the alert that has to come of it."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops.prometheus.alerts import Alert, alerts
from ops.prometheus.windows import SECONDS, Windows

if TYPE_CHECKING:
    from tests.alarms.world import World

SCALE = 30
"""A minute of the rules is two seconds here."""
MARGIN_SECONDS = 6.0
"""For scrapes and evaluations, each twice a second, and a machine that does everything at once."""
ALERTS: dict[str, Alert] = {alert.name: alert for alert in alerts(Windows(SCALE))}
PAGES = {name for name, alert in ALERTS.items() if alert.severity == "page"}

Run = Callable[["World"], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The relays of a world, a region each, by how they reach the registry."""

    roots: tuple[str, ...] = ("us", "west")
    through: tuple[str, ...] = ("eu",)
    direct: tuple[str, ...] = ("asia",)
    toml: str = ""
    """More settings of every relay."""

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.roots, *self.through, *self.direct)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, by name."""

    name: str
    title: str
    """What is done, as a sentence of the page."""
    run: Run
    """Does it, and goes on with it until cancelled where it has to be kept up."""
    alert: str
    labels: dict[str, str]
    """What the alert has to say of where it is."""
    regions: frozenset[str]
    """Of what regions it may say so; empty where that does not matter."""
    within: float
    """Seconds until it has to fire: of the rules, of the relays, and the margin."""
    plan: Plan
    check: Run | None
    """Looks at what else Prometheus has to say once the alert has fired."""


@dataclass(slots=True)
class Seen:
    """What one fault showed."""

    name: str
    within: float
    fired: float | None = None
    """Seconds from the fault until its alert fired."""
    others: set[str] = field(default_factory=set)
    """Alerts that fired beside it."""
    seconds: float = 0.0
    """Of the whole run."""
    problems: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return not self.problems

    def line(self) -> str:
        """For a terminal."""
        alert = FAULTS[self.name].alert
        fired = "never" if self.fired is None else f"after {self.fired:.1f} s"
        others = f"; also {', '.join(sorted(self.others))}" if self.others else ""
        verdict = "held" if self.held else "BROKEN"
        return f"{verdict} {self.name}: {alert} {fired} (≤ {self.within:.0f}){others}"


FAULTS: dict[str, Fault] = {}


def fault(
    title: str,
    alert: str,
    *,
    windows: tuple[str, ...] = (),
    relays: float = 0.0,
    labels: dict[str, str] | None = None,
    regions: tuple[str, ...] = (),
    plan: Plan | None = None,
    check: Run | None = None,
) -> Callable[[Run], Run]:
    """Name a function as a fault.

    Args:
        title: what is done.
        alert: the one that has to fire; its own `for` always counts.
        windows: entries of the table of windows that have to fill before it is true.
        relays: seconds that pass before the relays themselves say so, which no scale makes less.
        labels: some that the alert has to have.
        regions: those of which alone it may speak, where its labels have any.
        plan: the relays, where they are not the usual four.
        check: asks Prometheus for more, once the alert has fired.
    """

    def named(run: Run) -> Run:
        name = run.__name__.replace("_", "-")
        assert name not in FAULTS, name
        rules = sum(SECONDS[entry] for entry in (ALERTS[alert].hold, *windows)) / SCALE
        within = rules + relays + MARGIN_SECONDS
        FAULTS[name] = Fault(
            name,
            title,
            run,
            alert,
            labels or {},
            frozenset(regions),
            within,
            plan or Plan(),
            check,
        )
        return run

    return named
