"""Every metric of the relay: its name, what it counts, and where the number is read.

Nothing is counted here. The hot path adds to plain numbers, live objects know their own size, and a
scrape reads both.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from moq_relay import __version__
from moq_relay.daemon.metrics.cluster import CLUSTER
from moq_relay.daemon.metrics.readings import (
    C,
    Family,
    G,
    H,
    Readings,
    Sample,
    by_label,
    from_zero,
    one,
)
from moq_relay.daemon.metrics.regions import REGIONAL
from moq_relay.daemon.metrics.tokens import TOKENS
from moq_relay.daemon.metrics.trust import TRUST
from moq_relay.daemon.metrics.viewers import TRANSPORTS, VIEWERS
from moq_relay.daemon.saturation import RESOURCES, WINDOW
from moq_relay.errors import RequestError
from moq_relay.relay.histogram import Histogram
from moq_relay.wire.lite.versions import VERSIONS

DIRECTIONS = ("in", "out")
LINES = (("written",), ("lost",))
SESSIONS_REFUSED = (
    "address",
    "draining",
    "http_address",
    "http_connections",
    "http_rate",
    "limit",
    "saturation",
    "tenant",
    "unauthorized",
    "version",
)
LISTENERS = ("internal", "web.http")
"""Of HTTP."""
HANDSHAKES_REFUSED = ("address", "rate", "token")
REQUESTS_REFUSED = ("fetches", "rate", "requests", "subscriptions", "tenant", "tracks")
ANNOUNCES_REFUSED = ("rate", "rights", "session", "tenant")
SATURATION = (
    f"`loop`: CPU that the event loop's thread used in the last {WINDOW} s, of one core; "
    "`sessions`: of `limits.sessions`; "
    f"`egress`: `moq_relay_bytes_total` out and `moq_relay_fetch_bytes_total` in the last {WINDOW} "
    "s, of `limits.egress`; "
    "`memory`: resident, of the least limit of its cgroups and the machine's memory; `fds`: open "
    "files, of RLIMIT_NOFILE. What has no limit, or none that can be read, is 0"
)


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


def _draining(node: Readings) -> list[Sample]:
    return one(0 if node.drain is None else node.drain.state != "serving")


def _to_go(node: Readings) -> list[Sample]:
    return one(0 if node.drain is None else node.drain.sessions)


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
        "Peers that got no session: `limit` is `limits.sessions`, `address` is "
        "`limits.sessions_per_address`, `tenant` is `limits.tenant.sessions`, and `saturation` is "
        "`limits.shed`; the last two also for `/fetch`. Connections by HTTP that were closed at "
        "once: `http_connections` and `http_address` are those beyond what the listener or one "
        "address may have, `http_rate` those beyond twice `limits.http_requests_per_address`.",
        lambda node: by_label(node.counters.sessions_refused, SESSIONS_REFUSED),
        ("reason",),
    ),
    Family(
        "moq_relay_handshake_failures",
        C,
        "Handshakes that came to nothing.",
        lambda node: by_label(
            node.counters.handshake_failures, ("certificate", "other", "protocol", "timeout")
        ),
        ("reason",),
    ),
    Family(
        "moq_relay_requests_refused",
        C,
        "Requests beyond a limit: `limits.requests_per_session`, "
        "`limits.subscriptions_per_session`, `limits.tracks_per_session`, or "
        "`limits.tenant.egress`; by HTTP `rate` is `limits.http_requests_per_address`, and "
        "`fetches` the 256 at a time.",
        lambda node: by_label(node.counters.requests_refused, REQUESTS_REFUSED),
        ("reason",),
    ),
    Family(
        "moq_relay_announces_refused",
        C,
        "Announcements beyond a limit: of the `session` (`limits.announces_per_session`), of the "
        "`tenant` (`limits.tenant.announces`), of the `rate` (`limits.announces_per_second`, which "
        "ends the session); `rights`: where the peer may not publish.",
        lambda node: by_label(node.counters.announces_refused, ANNOUNCES_REFUSED),
        ("reason",),
    ),
    Family(
        "moq_relay_handshakes_refused",
        C,
        "Handshakes that were not begun: for their `address`, which has as many sessions as "
        "`limits.sessions_per_address`, and for a Retry `token` that is not ours; those beyond the "
        "`rate` of `limits.handshakes` were put off, and come again by themselves.",
        lambda node: by_label(node.counters.handshakes_refused, HANDSHAKES_REFUSED),
        ("reason",),
    ),
    Family(
        "moq_relay_retries",
        C,
        "Clients that had to prove their address first, because many handshakes were unfinished.",
        lambda node: one(node.counters.retries),
    ),
    Family(
        "moq_relay_newcomer_seconds",
        C,
        "Time of the event loop that went to datagrams of no connection, and to handshakes; a "
        "second gains no more than `limits.handshakes_share`.",
        lambda node: one(node.newcomers()),
    ),
    Family(
        "moq_relay_newcomer_datagrams",
        C,
        "UDP datagrams that belonged to no connection and were looked at. What the system drops "
        "because nobody had time to look is not here.",
        lambda node: one(node.counters.strangers),
    ),
    Family(
        "moq_relay_violations",
        C,
        "Sessions ended because the peer broke the protocol.",
        lambda node: one(node.counters.violations),
    ),
    Family(
        "moq_relay_publishers_silent",
        G,
        "Publishers that have said nothing for 6 s, though they were asked to: whoever else has "
        "their broadcasts is preferred until they are heard again.",
        lambda node: one(node.silent_publishers()),
    ),
    Family(
        "moq_relay_draining", G, "1 while the relay drains, or is drained.", _draining, join=max
    ),
    Family(
        "moq_relay_drain_sessions",
        G,
        "Sessions that have to go before the relay is drained: clients, and links of other relays "
        "that still take something; 0 while it does not drain.",
        _to_go,
    ),
    Family("moq_relay_connections", G, "QUIC connections now.", _alive("connections")),
    Family(
        "moq_relay_http_connections",
        G,
        "TCP connections now, of `web.http.listen` and `internal.listen`.",
        lambda node: by_label({name: len(all_) for name, all_ in node.http.items()}, LISTENERS),
        ("listener",),
    ),
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
        "moq_relay_fetch_bytes",
        C,
        "Payload that `/fetch` sent; it is no part of `moq_relay_bytes_total`.",
        lambda node: one(node.counters.fetch_bytes),
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
        "Groups that left the cache for their age, for want of room, or because their `tenant` has "
        "more than `limits.tenant.cache`.",
        lambda node: by_label(node.counters.evictions, ("age", "capacity", "tenant")),
        ("reason",),
    ),
    Family(
        "moq_relay_loop_lag_seconds",
        H,
        "How late the event loop comes to what is due: above 0.05 the process is overloaded.",
        lambda node: one(node.lag),
    ),
    Family(
        "moq_relay_saturation_ratio",
        G,
        f"Share of a resource that is in use, 0 to 1. {SATURATION}",
        lambda node: by_label(node.saturation(), RESOURCES),
        ("resource",),
        join=max,
    ),
    Family(
        "moq_relay_session_lines",
        C,
        "Lines of `log.sessions`: those that were `written`, and those that are `lost`, because "
        "the file could not be written to, or not as fast as they came.",
        lambda node: list(zip(LINES, node.session_lines(), strict=True)),
        ("outcome",),
    ),
)

FAMILIES = (*RELAY, *TRUST, *TOKENS, *VIEWERS, *CLUSTER, *REGIONAL)

CONSTANT_LABEL = "relay_region"
"""On every sample: the ``cluster.region`` of the relay itself."""
INFO_MEANING = "Always 1; its labels say what runs here."
INFO_LABELS = ("version", "node", CONSTANT_LABEL)

Process = Callable[[Family], Iterable[Sample]]
"""What one process of a relay has of a family."""


class Relay(Collector):
    """Reads one relay when it is scraped: this process, and what others of it sent here."""

    def __init__(self, readings: Readings, others: Sequence[Process] = ()) -> None:
        self._here = readings
        self._others = others

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        here = self._here
        for family in FAMILIES:
            labels = (*family.labels, CONSTANT_LABEL)
            metric = family.kind(family.name, family.meaning, labels=labels)
            parts = [family.read(here), *(other(family) for other in self._others)]
            for values, value in family.merge(parts):
                _add(metric, (*values, here.region), value)
            yield metric
        facts = dict(zip(INFO_LABELS, (__version__, here.node, here.region), strict=True))
        yield InfoMetricFamily("moq_relay", INFO_MEANING, value=facts)


def _add(metric: Metric, labels: tuple[str, ...], value: float | Histogram) -> None:
    if isinstance(value, Histogram):
        assert isinstance(metric, HistogramMetricFamily)
        metric.add_metric(labels, buckets=value.buckets(), sum_value=value.total)
    else:
        assert isinstance(metric, GaugeMetricFamily | CounterMetricFamily)
        metric.add_metric(labels, value)


def registry(readings: Readings) -> CollectorRegistry:
    """A registry of its own for one node and its process."""
    found = CollectorRegistry()
    found.register(Relay(readings))
    ProcessCollector(registry=found)
    return found
