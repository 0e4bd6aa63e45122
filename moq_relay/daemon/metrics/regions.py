"""The metrics of distance: how far other regions and the registry are, and what that does."""

from collections.abc import Callable, Iterable, Sequence

from moq_relay.cluster.failovers import GAP_BOUNDS, REASONS
from moq_relay.cluster.regions import ByRegion
from moq_relay.cluster.resolver import BOUNDS, OUTCOMES
from moq_relay.cluster.roundtrips import METHODS
from moq_relay.cluster.timing import KINDS
from moq_relay.daemon.cluster import Cluster
from moq_relay.daemon.metrics.readings import C, Family, G, H, Readings, Sample, one
from moq_relay.relay.histogram import Histogram


def _listed(bounds: Sequence[float]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds)


def _clustered(
    read: Callable[[Cluster], Iterable[Sample]],
) -> Callable[[Readings], Iterable[Sample]]:
    """Nothing where there are no other regions."""
    return lambda node: () if node.cluster is None else read(node.cluster)


def _by_region(
    read: Callable[[Cluster], ByRegion[Histogram]],
) -> Callable[[Readings], Iterable[Sample]]:
    return _clustered(lambda cluster: [((label,), h) for label, h in read(cluster).items()])


def _round_trips(cluster: Cluster) -> list[Sample]:
    return [
        ((label, method), histogram)
        for method in METHODS
        for label, histogram in cluster.roundtrips.samples[method].items()
    ]


def _current(cluster: Cluster) -> list[Sample]:
    return [((label,), seconds) for label, seconds in cluster.roundtrips.current.items()]


def _failovers(cluster: Cluster) -> list[Sample]:
    return [
        ((label, reason), counted[reason])
        for label, counted in cluster.failovers.counts.items()
        for reason in REASONS
    ]


def _canary(node: Readings) -> list[Sample]:
    return one(Histogram() if node.cluster is None else node.cluster.canary.seconds)


def _calls(node: Readings) -> list[Sample]:
    calls = {} if node.cluster is None else node.cluster.road.calls
    return [((kind,), calls.get(kind, Histogram())) for kind in KINDS]


def _lookups(node: Readings) -> list[tuple[tuple[str, ...], Histogram]]:
    seconds = {} if node.cluster is None else node.cluster.discovery.resolver.seconds
    return [((outcome,), seconds.get(outcome, Histogram(BOUNDS))) for outcome in OUTCOMES]


REGIONAL: tuple[Family, ...] = (
    Family(
        "moq_relay_peer_rtt_seconds",
        H,
        "Round trips to other nodes, a sample of each session every 5 s: of those that carry "
        "something (`quic`), and of those that are kept to measure one node of each region "
        "(`probe`).",
        _clustered(_round_trips),
        ("peer_region", "method"),
    ),
    Family(
        "moq_relay_peer_rtt_current_seconds",
        G,
        "The last round trip that was measured, of the region's farthest node. A region to which "
        "none was measured yet is not there.",
        _clustered(_current),
        ("peer_region",),
        join=max,
    ),
    Family(
        "moq_cluster_announce_propagation_seconds",
        H,
        "From the moment at which the registry dates an announcement of a node of that region "
        "until it is known here, on Redis' clock. Not observed while this node knows that clock "
        "no better than to 10 ms.",
        _by_region(lambda cluster: cluster.news.seconds),
        ("peer_region",),
    ),
    Family(
        "moq_cluster_canary_seconds",
        H,
        "From a root through the registry back to it, by the way of every event; one each 10 s, "
        "on one clock. Only roots send any.",
        _canary,
    ),
    Family(
        "moq_cluster_redis_rtt_seconds",
        H,
        "Calls of this node to the registry that were answered: by Redis, or by the root through "
        "which the node comes.",
        _calls,
        ("op",),
    ),
    Family(
        "moq_relay_failovers",
        C,
        "Broadcasts with viewers here whose way through another node was left for another one, by "
        "the region of the node that was left: it was silent (`suspect`), it or its publisher was "
        "gone (`lost`), it said that it has no such path (`denied`), another was better (`moved`).",
        _clustered(_failovers),
        ("peer_region", "reason"),
    ),
    Family(
        "moq_relay_failover_gap_seconds",
        H,
        "How long nothing came of each of their tracks: from the last frame by the old way to the "
        f"first by the new. Bounds: {_listed(GAP_BOUNDS)}.",
        _by_region(lambda cluster: cluster.failovers.gaps),
        ("peer_region",),
    ),
    Family(
        "moq_relay_lookups",
        C,
        "Paths that nobody was known to have and that were asked for: the registry had it "
        "(`found`), it came by itself meanwhile (`known`), nobody has it (`unknown`), the registry "
        "could not be asked (`unavailable`).",
        lambda node: [(labels, found.count) for labels, found in _lookups(node)],
        ("outcome",),
    ),
    Family(
        "moq_relay_lookup_seconds",
        H,
        "How long that took; whoever waits for a path counts once with all others that do. "
        f"Bounds: {_listed(BOUNDS)}.",
        _lookups,
        ("outcome",),
    ),
)
