"""What a metric is made of: where the numbers of a node are, and how a family reads them."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from moq_relay.daemon.cluster import Cluster
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin

LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

T = TypeVar("T")
Sample = tuple[tuple[str, ...], float]
G, C = GaugeMetricFamily, CounterMetricFamily


class Census(Protocol):
    """What is alive at one socket."""

    @property
    def connections(self) -> int:
        """QUIC connections."""

    @property
    def streams(self) -> int:
        """Streams that QUIC keeps state for."""

    @property
    def h3_objects(self) -> int:
        """Streams that HTTP/3 keeps state for."""


class Lag:
    """How late the event loop calls back: a histogram in seconds."""

    def __init__(self) -> None:
        self.total = 0.0
        self._counts = [0] * (len(LAG_BUCKETS) + 1)

    def observe(self, seconds: float) -> None:
        """One call came this late."""
        self.total += seconds
        self._counts[bisect_left(LAG_BUCKETS, seconds)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound and how many came no later, as Prometheus counts."""
        running, found = 0, []
        for bound, count in zip((*map(str, LAG_BUCKETS), "+Inf"), self._counts, strict=True):
            running += count
            found.append((bound, float(running)))
        return found


@dataclass(frozen=True, slots=True)
class Readings:
    """Where the numbers of one node are."""

    counters: Counters
    origin: Origin
    lag: Lag = field(default_factory=Lag)
    census: Callable[[], Sequence[Census]] = tuple
    """What is alive at each socket."""
    expiry: Callable[[], float] = float
    """When the certificate ends, seconds since 1970."""
    cluster: Cluster | None = None
    """Its part in one; None while it stands alone."""

    @property
    def node(self) -> str:
        """What the node calls itself; empty while it stands alone."""
        return "" if self.cluster is None else self.cluster.node

    @property
    def region(self) -> str:
        """Where it is."""
        return "" if self.cluster is None else self.cluster.part.region


@dataclass(frozen=True, slots=True)
class Family:
    """One metric."""

    name: str
    kind: type[GaugeMetricFamily | CounterMetricFamily]
    meaning: str
    read: Callable[[Readings], Iterable[Sample]]
    labels: tuple[str, ...] = ()

    @property
    def sample_name(self) -> str:
        """The name in a query."""
        return self.name + ("_total" if self.kind is CounterMetricFamily else "")


def one(value: float) -> list[Sample]:
    """The sample of a family without labels."""
    return [((), value)]


def by_label(counted: Counter[str], known: Iterable[str] = ()) -> list[Sample]:
    """A sample for each value of the one label; those that are known are there from zero."""
    return [((reason,), value) for reason, value in from_zero(counted, known).items()]


def from_zero(counted: Counter[T], known: Iterable[T]) -> dict[T, float]:
    """What was counted, and zero for what is known and was not."""
    return dict.fromkeys(known, 0.0) | dict(counted)
