"""Every metric of the relay: its name, what it counts, and where the number is read.

Nothing is counted here. The hot path adds to plain numbers, live objects know their own size, and a
scrape reads both.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from moq_relay import __version__
from moq_relay.daemon.cluster_metrics import CLUSTER
from moq_relay.daemon.readings import C, Family, G, Readings, Sample, by_label, from_zero, one
from moq_relay.errors import RequestError
from moq_relay.wire.lite.versions import VERSIONS

TRANSPORTS = ("quic", "webtransport")
DIRECTIONS = ("in", "out")


def label(error_name: str) -> str:
    """The reason of a reset as a label: TooFarBehind is ``too_far_behind``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", error_name).lower()


REASONS = tuple(sorted(label(error.__name__) for error in RequestError.__subclasses__()))
SESSIONS = tuple((binding, version.name) for binding in TRANSPORTS for version in VERSIONS)


def _both_ways(entered: float, left: float) -> list[Sample]:
    return [(("in",), entered), (("out",), left)]


def _sessions(counted: Counter[tuple[str, str]]) -> list[Sample]:
    return list(from_zero(counted, SESSIONS).items())


def _resets(node: Readings) -> Iterator[Sample]:
    both = zip(DIRECTIONS, (node.counters.resets_in, node.counters.resets_out), strict=True)
    for direction, counted in both:
        named = Counter[str]()
        for reason, count in counted.items():
            named[label(reason)] += count
        for reason, value in from_zero(named, REASONS).items():
            yield (direction, reason), value


def _alive(name: str) -> Callable[[Readings], list[Sample]]:
    return lambda node: one(sum(getattr(census, name) for census in node.census()))


RELAY: tuple[Family, ...] = (
    Family(
        "moq_relay_sessions",
        G,
        "Sessions now.",
        lambda node: _sessions(node.counters.sessions),
        ("transport", "version"),
    ),
    Family(
        "moq_relay_sessions_opened",
        C,
        "Sessions that were opened.",
        lambda node: _sessions(node.counters.sessions_total),
        ("transport", "version"),
    ),
    Family(
        "moq_relay_sessions_refused",
        C,
        "Peers that got no session.",
        lambda node: by_label(node.counters.sessions_refused, ("limit", "unauthorized", "version")),
        ("reason",),
    ),
    Family(
        "moq_relay_handshake_failures",
        C,
        "Handshakes that came to nothing.",
        lambda node: by_label(node.counters.handshake_failures, ("other", "protocol", "timeout")),
        ("reason",),
    ),
    Family(
        "moq_relay_requests_refused",
        C,
        "Requests beyond `limits.requests_per_session`.",
        lambda node: one(node.counters.requests_refused),
    ),
    Family(
        "moq_relay_announces_refused",
        C,
        "Announcements beyond `limits.announces_per_session`, or where the peer may not publish.",
        lambda node: one(node.counters.announces_refused),
    ),
    Family(
        "moq_relay_violations",
        C,
        "Sessions ended because the peer broke the protocol.",
        lambda node: one(node.counters.violations),
    ),
    Family("moq_relay_connections", G, "QUIC connections now.", _alive("connections")),
    Family("moq_relay_streams", G, "QUIC streams that have state now.", _alive("streams")),
    Family("moq_relay_h3_objects", G, "HTTP/3 streams that have state now.", _alive("h3_objects")),
    Family(
        "moq_relay_broadcasts",
        G,
        "Broadcasts that this node can reach now.",
        lambda node: one(len(node.origin.broadcasts)),
    ),
    Family(
        "moq_relay_tracks",
        G,
        "Tracks that are known now, because somebody reads them or their groups are still kept.",
        lambda node: one(sum(len(b.tracks) for b in node.origin.broadcasts.values())),
    ),
    Family(
        "moq_relay_viewers",
        G,
        "Subscriptions that viewers hold now.",
        lambda node: one(node.counters.viewers),
    ),
    Family(
        "moq_relay_upstream_subscriptions",
        G,
        "Subscriptions that this node holds at publishers now; one a track, however many viewers.",
        lambda node: one(node.counters.upstream),
    ),
    Family(
        "moq_relay_bytes",
        C,
        "Payload of frames and datagrams: in from publishers, out to viewers.",
        lambda node: _both_ways(node.counters.bytes_in, node.counters.bytes_out),
        ("direction",),
    ),
    Family(
        "moq_relay_frames",
        C,
        "Frames.",
        lambda node: _both_ways(node.counters.frames_in, node.counters.frames_out),
        ("direction",),
    ),
    Family(
        "moq_relay_groups",
        C,
        "Groups begun.",
        lambda node: _both_ways(node.counters.groups_in, node.counters.groups_out),
        ("direction",),
    ),
    Family(
        "moq_relay_datagrams",
        C,
        "Groups sent as a datagram.",
        lambda node: _both_ways(node.counters.datagrams_in, node.counters.datagrams_out),
        ("direction",),
    ),
    Family(
        "moq_relay_datagrams_dropped",
        C,
        "Datagrams not passed on: the viewer's version has none, too large, not understood.",
        lambda node: by_label(
            node.counters.datagrams_dropped, ("malformed", "size", "unknown", "version")
        ),
        ("reason",),
    ),
    Family(
        "moq_relay_resets",
        C,
        "Groups given up: in by their publisher, out towards a viewer (too_far_behind and old are "
        "viewers that cannot keep up).",
        _resets,
        ("direction", "reason"),
    ),
    Family(
        "moq_relay_cache_bytes",
        G,
        "Payload of the groups kept now.",
        lambda node: one(node.origin.cache.size),
    ),
    Family(
        "moq_relay_cache_capacity_bytes",
        G,
        "What the cache may hold.",
        lambda node: one(node.origin.cache.limits.capacity),
    ),
    Family(
        "moq_relay_cache_groups",
        G,
        "Groups kept now.",
        lambda node: one(len(node.origin.cache)),
    ),
    Family(
        "moq_relay_cache_evictions",
        C,
        "Groups that left the cache for their age, or for want of room.",
        lambda node: by_label(node.counters.evictions, ("age", "capacity")),
        ("reason",),
    ),
    Family(
        "moq_relay_certificate_expiry_timestamp_seconds",
        G,
        "When the certificate ends, seconds since 1970.",
        lambda node: one(node.expiry()),
    ),
)

FAMILIES = (*RELAY, *CLUSTER)

LAG = "moq_relay_event_loop_lag_seconds"
LAG_MEANING = "How late the event loop comes to what is due: above 0.05 the process is overloaded."
INFO_MEANING = "Always 1; its labels say what runs here."
INFO_LABELS = ("version", "node", "relay_region")


class Node(Collector):
    """Reads one node when it is scraped."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        for family in FAMILIES:
            metric = family.kind(family.name, family.meaning, labels=family.labels)
            for labels, value in family.read(self._readings):
                metric.add_metric(labels, value)
            yield metric
        lag = self._readings.lag
        yield HistogramMetricFamily(LAG, LAG_MEANING, buckets=lag.buckets(), sum_value=lag.total)
        here = self._readings
        facts = dict(zip(INFO_LABELS, (__version__, here.node, here.region), strict=True))
        yield InfoMetricFamily("moq_relay", INFO_MEANING, value=facts)


def registry(readings: Readings) -> CollectorRegistry:
    """A registry of its own for one node and its process."""
    found = CollectorRegistry()
    found.register(Node(readings))
    ProcessCollector(registry=found)
    return found
