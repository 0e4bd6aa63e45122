"""What Prometheus works out beforehand: shared tables read once, and rates by pair of regions."""

from collections.abc import Iterator
from dataclasses import dataclass

from ops.prometheus.windows import BURNS, Windows

PAIR = "cluster, relay_region, peer_region"
HERE = "cluster, relay_region"

FIRST_OBJECT_SECONDS = 1
"""The objective: so soon after its SUBSCRIBE a viewer has the first frame."""
LATE_SHARE = 0.01
"""How many of the first frames may come later."""
SKIPPED_SHARE = 0.01
"""How many of the groups may be skipped."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A series that is recorded."""

    record: str
    expr: str


NODES = "max by (cluster, instance, peer_region, state) (moq_cluster_nodes"
SHARED = {
    # Who is cut off still has itself in its copy. Where all are, theirs is the last that is known.
    "moq:cluster_nodes:seen": (
        f"{NODES}\nunless on (cluster, instance) moq_cluster_isolated == 1)\n"
        f"or on (cluster) {NODES})"
    ),
    "moq:cluster_broadcasts:max": "max by (cluster) (moq_cluster_broadcasts)",
}
"""Every node has a copy of these tables, so that a sum over nodes would count them many times."""

BY_PAIR = {
    "moq:peer_rtt_seconds": "moq_relay_peer_rtt_seconds",
    "moq:delivery_latency_seconds": "moq_relay_delivery_latency_seconds",
    "moq:announce_propagation_seconds": "moq_cluster_announce_propagation_seconds",
    "moq:failover_gap_seconds": "moq_relay_failover_gap_seconds",
}
"""Histograms that tell two regions apart: recorded -> measured."""


def recording(w: Windows) -> Iterator[Rule]:
    """All recorded series, in an order in which each needs only those before it."""
    for name, expr in SHARED.items():
        yield Rule(name, expr)
    yield Rule(
        "moq:cluster_nodes:max", "max by (cluster, peer_region, state) (moq:cluster_nodes:seen)"
    )
    # Who drains is not lost, though it goes. Each copy by itself: two of them may have a member in
    # two states, and it would count twice.
    yield Rule(
        "moq:cluster_nodes_here:count",
        "max by (cluster) (sum by (cluster, instance) "
        '(moq:cluster_nodes:seen{state=~"up|draining"}))',
    )
    yield Rule("moq:roots:count", "count by (cluster) (moq_cluster_canary_seconds_count > 0)")
    for recorded, measured in BY_PAIR.items():
        yield Rule(
            f"{recorded}:bucket_rate",
            f"sum by ({PAIR}, le) (rate({measured}_bucket[{w['rate']}]))",
        )
        yield Rule(
            f"{recorded}:mean",
            f"sum by ({PAIR}) (rate({measured}_sum[{w['pair']}]))\n"
            f"/ (sum by ({PAIR}) (rate({measured}_count[{w['pair']}])) > 0)",
        )
    yield Rule(
        "moq:failovers:rate",
        f"sum by ({PAIR}, reason) (rate(moq_relay_failovers_total[{w['rate']}]))",
    )
    # Until a node has asked Redis for the time there is no bound, and it says 0.
    yield Rule("moq:clock_error_seconds:known", "moq_cluster_clock_error_seconds > 0")
    for window in BURNS:
        yield from _burns(window, w[window])


def _burns(window: str, length: str) -> Iterator[Rule]:
    """The share of what failed its objective within a window, where there was anything."""
    first = "moq_relay_first_object_seconds"
    count = f"sum by ({HERE}) (increase({first}_count[{length}]))"
    # Prometheus 3 writes whole bounds with a point, as the relay does; others might not.
    bound = rf'{first}_bucket{{le=~"{FIRST_OBJECT_SECONDS}(\\.0)?"}}'
    yield Rule(f"moq:first_object:count_{window}", count)
    yield Rule(
        f"moq:first_object_late:ratio_{window}",
        f"1 - sum by ({HERE}) (increase({bound}[{length}]))\n"
        f"/ (moq:first_object:count_{window} > 0)",
    )
    skipped = f"sum by ({HERE}) (increase(moq_relay_groups_skipped_total[{length}]))"
    out = f'sum by ({HERE}) (increase(moq_relay_groups_total{{direction="out"}}[{length}]))'
    yield Rule(f"moq:groups:count_{window}", f"{skipped} + {out}")
    yield Rule(
        f"moq:groups_skipped:ratio_{window}",
        f"{skipped}\n/ (moq:groups:count_{window} > 0)",
    )
