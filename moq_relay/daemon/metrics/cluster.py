"""The metrics of a node's part in the cluster; all are there at zero while it stands alone."""

from collections import Counter
from collections.abc import Callable, Iterable

from moq_relay.cluster.status import RegistryStatus
from moq_relay.daemon.metrics.readings import (
    C,
    Family,
    G,
    Readings,
    Sample,
    by_label,
    from_zero,
    one,
)

STATES = ("up", "draining", "stale", "expired")
LINK_STATES = ("idle", "dialling", "up", "suspect", "down")
CHECKS = ("version", "maxmemory_policy", "persistence")


def _status(
    read: Callable[[RegistryStatus], float], alone: float = 0.0
) -> Callable[[Readings], list[Sample]]:
    """A number of the registry's; ``alone`` where there is none."""

    def samples(node: Readings) -> list[Sample]:
        return one(alone if node.cluster is None else read(node.cluster.registry.status))

    return samples


def _kinds(
    read: Callable[[RegistryStatus], dict[str, int]], known: Iterable[str]
) -> Callable[[Readings], list[Sample]]:
    def samples(node: Readings) -> list[Sample]:
        found = {} if node.cluster is None else read(node.cluster.registry.status)
        return by_label(found, known)

    return samples


def _nodes(node: Readings) -> list[Sample]:
    counted = Counter[tuple[str, str]]()
    regions = [node.region]
    if node.cluster is not None:
        for view in node.cluster.registry.members.values():
            counted[node.cluster.regions.label(view.member.region), view.state] += 1
        regions = node.cluster.regions.labels()
    known = [(region, state) for region in regions for state in STATES]
    return list(from_zero(counted, known).items())


def _links(node: Readings) -> list[Sample]:
    states = () if node.cluster is None else (link.state for link in node.cluster.links.all())
    return by_label(Counter[str](states), LINK_STATES)


def _dials(node: Readings) -> list[Sample]:
    return one(0 if node.cluster is None else node.cluster.dials)


def _taken(node: Readings) -> list[Sample]:
    links = () if node.cluster is None else node.cluster.links.all()
    return one(sum(link.subscriptions for link in links))


def _claims(node: Readings) -> list[Sample]:
    return one(0 if node.cluster is None else node.cluster.registry.table.size())


def _own_claims(node: Readings) -> list[Sample]:
    cluster = node.cluster
    return one(0 if cluster is None else cluster.registry.table.holdings(cluster.node))


CLUSTER: tuple[Family, ...] = (
    Family(
        "moq_cluster_connected",
        G,
        "1 while the registry can be reached: Redis, or a root that reaches it.",
        _status(lambda status: status.connected),
        join=min,
    ),
    Family(
        "moq_cluster_isolated",
        G,
        "1 while this node serves from its copy of the table and is no member in good standing.",
        _status(lambda status: status.isolated is not None),
        join=max,
    ),
    Family(
        "moq_cluster_staleness_seconds",
        G,
        "Since the copy of the table was last proven; more than twice `cluster.renew` is trouble.",
        _status(lambda status: status.staleness_seconds),
        join=max,
    ),
    Family(
        "moq_cluster_clock_error_seconds",
        G,
        "Bound of the error in this node's estimate of Redis' clock.",
        _status(lambda status: status.clock_error_seconds or 0.0),
        join=max,
    ),
    Family(
        "moq_cluster_redis_faults",
        G,
        "1 for what is wrong with the Redis: older than 7.0, may evict, keeps no append-only file. "
        "Only nodes that reach it themselves know.",
        _kinds(lambda status: dict.fromkeys(status.facts.faults, 1), CHECKS),
        ("check",),
        join=max,
    ),
    Family(
        "moq_cluster_redis_memory_bytes",
        G,
        "What Redis uses for its content. Only nodes that reach it themselves know; else 0.",
        _status(lambda status: status.facts.memory_bytes),
        join=max,
    ),
    Family(
        "moq_cluster_redis_memory_limit_bytes",
        G,
        "What it may use: its `maxmemory`, or all memory of its machine where that sets no limit.",
        _status(lambda status: status.facts.memory_limit_bytes),
        join=max,
    ),
    Family(
        "moq_cluster_nodes",
        G,
        "Members, as this node sees them. Shared by all: read it by `max by (cluster, …)`.",
        _nodes,
        ("peer_region", "state"),
        join=max,
    ),
    Family(
        "moq_cluster_broadcasts",
        G,
        "Paths in this node's copy of the table. Shared by all: read it by `max by (cluster)`.",
        _claims,
        join=max,
    ),
    Family(
        "moq_cluster_claims",
        G,
        "What this node has in the table.",
        _own_claims,
    ),
    Family(
        "moq_cluster_stale_routes",
        G,
        "Claims that are kept without proof, since the registry lost data.",
        _status(lambda status: status.stale_routes),
        join=max,
    ),
    Family(
        "moq_cluster_events",
        C,
        "Events of the registry that were applied.",
        _status(lambda status: status.events),
    ),
    Family(
        "moq_cluster_gaps",
        C,
        "Events that were missed and noticed.",
        _status(lambda status: status.gaps),
    ),
    Family(
        "moq_cluster_resyncs",
        C,
        "Feeds read anew: what was missed (delta), or everything (snapshot).",
        _kinds(
            lambda status: {"delta": status.deltas, "snapshot": status.snapshots},
            ("delta", "snapshot"),
        ),
        ("kind",),
    ),
    Family(
        "moq_cluster_epoch_changes",
        C,
        "Feeds whose history began anew: Redis lost data, or another server took over.",
        _status(lambda status: status.epoch_changes),
    ),
    Family(
        "moq_cluster_refused_writes",
        C,
        "Writes of this node that the registry refused, because a later one was there.",
        _status(lambda status: status.refused),
    ),
    Family(
        "moq_cluster_registrations",
        C,
        "Registrations of this node; one at the start, and one after each loss.",
        _status(lambda status: status.registrations),
    ),
    Family(
        "moq_cluster_fenced",
        C,
        "Renewals that found another process under this node's name.",
        _status(lambda status: status.fenced),
    ),
    Family(
        "moq_cluster_reasserted",
        C,
        "Claims written anew after the registry lost them.",
        _status(lambda status: status.reasserted),
    ),
    Family(
        "moq_cluster_audit_repairs",
        C,
        "Claims that a routine audit found missing, or left behind; always 0 when all is well.",
        _kinds(
            lambda status: {"missing": status.repaired_missing, "ghost": status.repaired_ghost},
            ("ghost", "missing"),
        ),
        ("kind",),
    ),
    Family(
        "moq_cluster_reaped_nodes",
        C,
        "Dead members that runs of this node took out of the registry.",
        _status(lambda status: status.reaped),
    ),
    Family(
        "moq_cluster_road_losses",
        C,
        "How often the way to the registry was lost.",
        _status(lambda status: status.lost),
    ),
    Family(
        "moq_cluster_unknown",
        C,
        "What was read in the registry and not understood: of a newer version, or of a hand.",
        _kinds(
            lambda status: {
                "lines": status.unknown_lines,
                "fields": status.unknown_fields,
                "malformed": status.malformed,
            },
            ("fields", "lines", "malformed"),
        ),
        ("kind",),
    ),
    Family(
        "moq_cluster_links",
        G,
        "Links to other nodes.",
        _links,
        ("state",),
    ),
    Family(
        "moq_cluster_link_dials",
        C,
        "Sessions to other nodes that were asked for.",
        _dials,
    ),
    Family(
        "moq_cluster_link_subscriptions",
        G,
        "Tracks that are taken from other nodes now.",
        _taken,
    ),
)
