"""How late each region is, and where; who is a member; how the registry is."""

from ops.grafana.panels import Limit, Query, Row, board, heat, lines, matrix, number
from ops.grafana.queries import CLUSTER, NODE, PAIR, RECORDED, mean, metric, quantile, rate
from ops.prometheus.alerts import CLOCK_SECONDS, MEMORY_SHARE, STALE_SECONDS

REGION = "{{relay_region}}"
BETWEEN = "{{relay_region}} from {{peer_region}}"
WHERE = "{{relay_region}} {{instance}}"
PUBLISHERS = 'role=~"publisher|both"'
WATCHERS = 'role=~"viewer|both"'
RTT = "moq_relay_client_rtt_seconds"

LATE = Row(
    "How late is each region, and where",
    [
        lines(
            "Ingest",
            "s",
            "Half the mean round trip of publishers: what the way to their relay takes.",
            Query(f"({mean(RTT, 'relay_region', PUBLISHERS)}) / 2", REGION),
        ),
        lines(
            "Forward",
            "s",
            "How long a group's first frame stays in a relay before it is handed on; the mean.",
            Query(mean("moq_relay_residence_seconds", "relay_region"), REGION),
            limit=Limit(
                0.02,
                "Above 20 ms",
                "a relay there has too much to do; move viewers to another or add one.",
                "MoqLoopLate",
            ),
        ),
        lines(
            "Link",
            "s",
            "Half the mean round trip between relays of two regions, over five minutes. Where it "
            "doubled, the network between them changed.",
            Query(f"moq:peer_rtt_seconds:mean{{{RECORDED}}} / 2", BETWEEN),
        ),
        lines(
            "Last mile",
            "s",
            "Half the mean round trip of viewers: what the way from their relay takes.",
            Query(f"({mean(RTT, 'relay_region', WATCHERS)}) / 2", REGION),
        ),
        lines(
            "Delivery, whole",
            "s",
            "From the end of a group at its publisher's relay until a viewer has it, the mean of "
            "five minutes, by the viewer's region and the publisher's. Not measured where the "
            "clocks are known to less than 10 ms.",
            Query(f"moq:delivery_latency_seconds:mean{{{RECORDED}}}", BETWEEN),
        ),
    ],
)

MATRIX = Row(
    "Region by region",
    [
        matrix(
            "Round trip now",
            "s",
            "The last round trip from a relay of the row's region to the farthest of the column's.",
            f"max by ({PAIR}) ({metric('moq_relay_peer_rtt_current_seconds')})",
            Limit(
                0.3,
                "Above 300 ms",
                "look for a detour between the two regions.",
                "MoqRegionFar",
            ),
        ),
        matrix(
            "Delivery, mean of 5 minutes",
            "s",
            "How late viewers in the row's region get what is published in the column's.",
            f"moq:delivery_latency_seconds:mean{{{RECORDED}}}",
        ),
    ],
)

MEMBERS = Row(
    "Members",
    [
        lines(
            "Nodes by region and state",
            "short",
            "What the nodes agree on, each region and state that has any. `stale` and `expired` "
            "pass within a lease; where they stay, Redis stands still.",
            Query(f"moq:cluster_nodes:max{{{CLUSTER}}} > 0", "{{peer_region}} {{state}}"),
        ),
        number(
            "Broadcasts",
            "short",
            "Paths in the cluster's table.",
            Query(f"moq:cluster_broadcasts:max{{{CLUSTER}}}", "paths"),
        ),
        number(
            "Nodes that do not answer",
            "short",
            "Scrape targets that Prometheus can't reach.",
            Query(f'count(up{{job="moq-relay", {CLUSTER}}} == 0) or vector(0)', "nodes"),
            Limit(1, "From 1 on", "see what became of it.", "MoqRelayDown"),
        ),
        number(
            "Roots",
            "short",
            "Relays that have sent a word through the registry and got it back.",
            Query(f"moq:roots:count{{{CLUSTER}}}", "roots"),
        ),
        lines(
            "Links by state",
            "short",
            "Sessions to other nodes. `suspect` has been silent for too long, and what came over "
            "it comes by another way where there is one.",
            Query(f"sum by (state) ({metric('moq_cluster_links')})", "{{state}}"),
        ),
        lines(
            "Failovers",
            "ops",
            "Broadcasts with viewers whose way through another node was left, a second, by the "
            "region that was left and why. 0 when all is well.",
            Query(f"moq:failovers:rate{{{RECORDED}}}", f"{BETWEEN}: {{{{reason}}}}"),
        ),
        number(
            "Draining",
            "short",
            "Relays that drain, or are drained and wait for their end or for `uncordon`.",
            Query(f"sum(max by ({NODE}) ({metric('moq_relay_draining')})) or vector(0)", "relays"),
        ),
        lines(
            "Link dials",
            "ops",
            "Sessions to other nodes that were asked for, a second. Steady dialling is a node that "
            "can't be reached at its cluster.node.",
            Query(rate("moq_cluster_link_dials_total", "relay_region"), REGION),
        ),
        lines(
            "Tracks over links",
            "short",
            "Tracks that relays take from other nodes.",
            Query(f"sum by (relay_region) ({metric('moq_cluster_link_subscriptions')})", REGION),
        ),
    ],
)

NEWS = Row(
    "How fast news travels",
    [
        heat(
            "Propagation of announcements",
            "From the moment at which the registry dates an announcement until the chosen relays "
            "know it. Empty while nothing is announced.",
            f"sum by (le) (moq:announce_propagation_seconds:bucket_rate{{{RECORDED}}})",
        ),
        lines(
            "Propagation by pair, 90 %",
            "s",
            "By the region that learned it and the one that announced. As fine as its bucket.",
            Query(
                "histogram_quantile(0.9, "
                f"moq:announce_propagation_seconds:bucket_rate{{{RECORDED}}}) >= 0",
                BETWEEN,
            ),
        ),
        lines(
            "Canary",
            "s",
            "From a root through the registry back to it, on one clock; the mean.",
            Query(mean("moq_cluster_canary_seconds", "relay_region"), REGION),
            limit=Limit(
                0.5, "Above 0.5 s", "the registry is slow or far away.", "MoqRegistryStale"
            ),
        ),
    ],
)

REGISTRY = Row(
    "The registry",
    [
        number(
            "Nodes without the registry",
            "short",
            "Relays that reach neither Redis nor a root that does. What flows goes on.",
            Query(f"count({metric('moq_cluster_connected')} == 0) or vector(0)", "nodes"),
            Limit(1, "From 1 on", "look for Redis, then for the root.", "MoqRegistryLost"),
        ),
        lines(
            "Staleness",
            "s",
            "Since a relay's copy of the table was last proven.",
            Query(f"max by ({NODE}) ({metric('moq_cluster_staleness_seconds')})", WHERE),
            limit=Limit(
                STALE_SECONDS,
                f"Above {STALE_SECONDS} s",
                "the relay does not reach the registry.",
                "MoqRegistryStale",
            ),
        ),
        lines(
            "Round trip of calls",
            "s",
            "Calls to the registry that were answered, the mean by kind: a root and a direct node "
            "ask Redis, the others ask their root.",
            Query(
                mean("moq_cluster_redis_rtt_seconds", "relay_region, op"), f"{REGION} {{{{op}}}}"
            ),
        ),
        lines(
            "Bound of the clock's error",
            "s",
            "How well a relay knows Redis' clock: half its fastest round trip.",
            Query(f"max by ({NODE}) ({metric('moq_cluster_clock_error_seconds')})", WHERE),
            limit=Limit(
                CLOCK_SECONDS,
                "Above 10 ms",
                "deliveries to and from it are not measured; a relay that is farther than that "
                "from Redis can't do better.",
                "MoqClockUnsure",
            ),
        ),
        lines(
            "What is wrong with Redis",
            "short",
            "1 for each check that fails: older than 7.0, may evict, keeps no append-only file.",
            Query(f"max by (check) ({metric('moq_cluster_redis_faults')})", "{{check}}"),
            limit=Limit(1, "At 1", "change that setting of Redis.", "MoqRedisFault"),
        ),
        lines(
            "Memory of Redis",
            "percentunit",
            "What Redis uses, of its maxmemory or else of its machine's memory.",
            Query(
                f"max({metric('moq_cluster_redis_memory_bytes')}\n"
                f"/ ({metric('moq_cluster_redis_memory_limit_bytes')} > 0))",
                "in use",
            ),
            limit=Limit(MEMORY_SHARE, "Above 80 %", "give Redis more.", "MoqRedisMemory"),
            whole=1,
        ),
        lines(
            "Lost and found",
            "ops",
            "A second: ways to the registry that were lost, events that were missed and noticed, "
            "feeds that were read anew, histories that began anew. 0 when all is well.",
            Query(rate("moq_cluster_road_losses_total", "relay_region"), f"{REGION} way lost"),
            Query(rate("moq_cluster_gaps_total", "relay_region"), f"{REGION} gap"),
            Query(
                rate("moq_cluster_resyncs_total", "relay_region, kind"), f"{REGION} {{{{kind}}}}"
            ),
            Query(rate("moq_cluster_epoch_changes_total", "relay_region"), f"{REGION} epoch"),
        ),
        lines(
            "Claims",
            "ops",
            "A second: writes that the registry refused, claims that were written anew after it "
            "lost them, repairs of an audit. 0 when all is well.",
            Query(rate("moq_cluster_refused_writes_total", "relay_region"), f"{REGION} refused"),
            Query(rate("moq_cluster_reasserted_total", "relay_region"), f"{REGION} again"),
            Query(
                rate("moq_cluster_audit_repairs_total", "relay_region, kind"),
                f"{REGION} {{{{kind}}}}",
            ),
            limit=Limit(
                0.1,
                "Above 0.1",
                "either the registry just lost data, or somebody else writes there.",
                "MoqAuditRepaired",
            ),
        ),
        lines(
            "Stale routes",
            "short",
            "Claims that are kept without proof since the registry lost data; gone within seconds.",
            Query(f"max by ({NODE}) ({metric('moq_cluster_stale_routes')})", WHERE),
        ),
        lines(
            "Events",
            "ops",
            "Changes of the table that relays applied, a second.",
            Query(rate("moq_cluster_events_total", "relay_region"), REGION),
        ),
        lines(
            "Registrations",
            "ops",
            "Of nodes, a second, and renewals that found another process under the node's name.",
            Query(rate("moq_cluster_registrations_total", "relay_region"), f"{REGION} registered"),
            Query(rate("moq_cluster_fenced_total", "relay_region"), f"{REGION} fenced"),
        ),
        lines(
            "Lookups",
            "ops",
            "Paths that nobody was known to have and that were asked for, a second, by outcome.",
            Query(rate("moq_relay_lookups_total", "outcome"), "{{outcome}}"),
        ),
        lines(
            "Lookup time, 90 %",
            "s",
            "How long they took, as fine as the bucket.",
            Query(quantile(0.9, "moq_relay_lookup_seconds", "outcome"), "{{outcome}}"),
        ),
    ],
)

BOARD = board(
    "Cluster",
    "moq-cluster",
    "How late each region is and where it is lost, who is a member, and how the registry is.",
    [LATE, MATRIX, MEMBERS, NEWS, REGISTRY],
)
