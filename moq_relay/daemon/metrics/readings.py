"""What a metric is made of: where the numbers of a node are, and how a family reads them."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from moq_relay.daemon.cluster import Cluster
from moq_relay.daemon.drain import Drain
from moq_relay.daemon.tokens.keys import Keyring
from moq_relay.daemon.tokens.standing import Standing
from moq_relay.relay.counters import Counters
from moq_relay.relay.histogram import Histogram
from moq_relay.relay.origin import Origin
from moq_relay.sessions.experience import Experience
from moq_relay.sessions.lite.session import LiteSession

LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

T = TypeVar("T")
Sample = tuple[tuple[str, ...], float | Histogram]
G, C, H = GaugeMetricFamily, CounterMetricFamily, HistogramMetricFamily


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


@dataclass(frozen=True, slots=True)
class Readings:
    """Where the numbers of one node are."""

    counters: Counters
    origin: Origin
    lag: Histogram = field(default_factory=lambda: Histogram(LAG_BUCKETS))
    """How late the event loop calls back, seconds."""
    census: Callable[[], Sequence[Census]] = tuple
    """What is alive at each socket."""
    expiry: Callable[[], float] = float
    """When the certificate ends, seconds since 1970."""
    reloads: Mapping[str, float] = field(default_factory=dict)
    """New files of certificates, by what became of them."""
    files_refused: Callable[[], int] = int
    """Settings of certificates whose files cannot be used as they are now."""
    keys: Keyring | None = None
    """Which verify tokens; None: there are none."""
    cluster: Cluster | None = None
    """Its part in one; None while it stands alone."""
    experience: Experience = field(default_factory=Experience)
    sessions: Callable[[], Iterable[LiteSession]] = tuple
    """Those that are open now."""
    saturation: Callable[[], Mapping[str, float]] = dict
    """Share of each resource that is in use."""
    newcomers: Callable[[], float] = float
    """Seconds of the loop that went to new connections."""
    session_lines: Callable[[], tuple[int, int]] = lambda: (0, 0)
    """Lines of sessions that were written, and lost."""
    drain: Drain | None = None
    http: Mapping[str, Sized] = field(default_factory=dict)
    """Connections by the listener."""
    standing: Standing | None = None
    silent_publishers: Callable[[], int] = int

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
    kind: type[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily]
    meaning: str
    read: Callable[[Readings], Iterable[Sample]]
    labels: tuple[str, ...] = ()
    join: Callable[[Iterable[float]], float] = sum
    """What the samples of several processes make together; of histograms always the sum."""

    @property
    def sample_name(self) -> str:
        """The name in a query; a histogram's without what tells its parts apart."""
        return self.name + ("_total" if self.kind is CounterMetricFamily else "")

    def merge(self, parts: Iterable[Iterable[Sample]]) -> list[Sample]:
        """The samples of several processes as those of one."""
        found: dict[tuple[str, ...], list[float | Histogram]] = {}
        for part in parts:
            for labels, value in part:
                found.setdefault(labels, []).append(value)
        return [(labels, self._joined(values)) for labels, values in found.items()]

    def _joined(self, values: list[float | Histogram]) -> float | Histogram:
        if len(values) == 1:
            return values[0]
        whole = values[0].empty() if isinstance(values[0], Histogram) else None
        if whole is None:
            return self.join(value for value in values if not isinstance(value, Histogram))
        for value in values:
            if isinstance(value, Histogram):
                whole.add(value)
        return whole


def one(value: float | Histogram) -> list[Sample]:
    """The sample of a family without labels."""
    return [((), value)]


def by_label(counted: Mapping[str, float], known: Iterable[str] = ()) -> list[Sample]:
    """A sample for each value of the one label; those that are known are there from zero."""
    return [((reason,), value) for reason, value in from_zero(counted, known).items()]


def from_zero(counted: Mapping[T, float], known: Iterable[T]) -> dict[T, float]:
    """What was counted, and zero for what is known and was not."""
    return dict.fromkeys(known, 0.0) | dict(counted)
