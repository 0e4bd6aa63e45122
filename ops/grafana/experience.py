"""What viewers notice: the first frame, how late the rest is, and what they miss."""

from ops.grafana.panels import Limit, Query, Row, board, heat, lines
from ops.grafana.queries import RECORDED, mean, quantile, rate
from ops.prometheus.alerts import FAST
from ops.prometheus.rules import FIRST_OBJECT_SECONDS, LATE_SHARE, SKIPPED_SHARE

REGION = "{{relay_region}}"
BETWEEN = "{{relay_region}} from {{peer_region}}"
FIRST = "moq_relay_first_object_seconds"
DELIVERY = "moq:delivery_latency_seconds"
GAP = "moq:failover_gap_seconds"


def _recorded(share: float, name: str) -> str:
    found = f"sum by (relay_region, peer_region, le) ({name}:bucket_rate{{{RECORDED}}})"
    return f"histogram_quantile({share}, {found}) >= 0"


START = Row(
    "The first frame",
    [
        lines(
            "First frame, half and 90 %",
            "s",
            "From a viewer's SUBSCRIBE to its first frame: of a group that was here (`cached`), "
            "or that came later from a publisher of this relay (`local`) or over a link "
            "(`remote`). As fine as the bucket.",
            Query(quantile(0.5, FIRST, "relay_region, path"), f"{REGION} {{{{path}}}} half"),
            Query(quantile(0.9, FIRST, "relay_region, path"), f"{REGION} {{{{path}}}} 90 %"),
        ),
        lines(
            f"First frames later than {FIRST_OBJECT_SECONDS} s",
            "percentunit",
            f"Their share in an hour; the objective is {LATE_SHARE:.0%}.",
            Query(f"moq:first_object_late:ratio_1h{{{RECORDED}}}", f"{REGION} 1 h"),
            Query(f"moq:first_object_late:ratio_5m{{{RECORDED}}}", f"{REGION} 5 min"),
            limit=Limit(
                FAST * LATE_SHARE,
                f"Above {FAST * LATE_SHARE:.1%}",
                "see whether one path of `first frame` is slow, or all.",
                "MoqFirstFrameLate",
            ),
        ),
        heat(
            "First frame",
            "How long it took, of the chosen relays.",
            rate(f"{FIRST}_bucket", "le"),
        ),
        lines(
            "Subscriptions that got a frame",
            "ops",
            "A second, by where it came from.",
            Query(rate(f"{FIRST}_count", "relay_region, path"), f"{REGION} {{{{path}}}}"),
        ),
    ],
)

DELIVERED = Row(
    "How late the rest is",
    [
        lines(
            "Delivery, mean of 5 minutes",
            "s",
            "From the end of a group at its publisher's relay until a viewer has acknowledged it, "
            "less half its round trip; by the viewer's region and the publisher's.",
            Query(f"{DELIVERY}:mean{{{RECORDED}}}", BETWEEN),
        ),
        lines(
            "Delivery, 95 %",
            "s",
            "The same, as fine as the bucket.",
            Query(_recorded(0.95, DELIVERY), BETWEEN),
        ),
        heat(
            "Delivery",
            "How late groups were, in the chosen regions.",
            f"sum by (le) ({DELIVERY}:bucket_rate{{{RECORDED}}})",
        ),
        lines(
            "Round trip of viewers and publishers",
            "s",
            "A sample of each session every 10 s; the mean by transport and role.",
            Query(
                mean("moq_relay_client_rtt_seconds", "relay_region, transport, role"),
                f"{REGION} {{{{transport}}}} {{{{role}}}}",
            ),
        ),
        lines(
            "Age of groups, 95 %",
            "s",
            "How long a newer group had been there when the last byte of a group was handed over; "
            "0 for viewers that keep up.",
            Query(
                quantile(0.95, "moq_relay_group_age_seconds", "relay_region, transport"),
                f"{REGION} {{{{transport}}}}",
            ),
        ),
    ],
)

MISSED = Row(
    "What is missed",
    [
        lines(
            "Groups skipped",
            "percentunit",
            f"Their share in an hour; the objective is {SKIPPED_SHARE:.0%}.",
            Query(f"moq:groups_skipped:ratio_1h{{{RECORDED}}}", f"{REGION} 1 h"),
            Query(f"moq:groups_skipped:ratio_5m{{{RECORDED}}}", f"{REGION} 5 min"),
            limit=Limit(
                FAST * SKIPPED_SHARE,
                f"Above {FAST * SKIPPED_SHARE:.1%}",
                "see by reason and transport whether viewers or the relay can't keep up.",
                "MoqGroupsSkipped",
            ),
        ),
        lines(
            "Skips by reason",
            "ops",
            "A second. `old` and `too_far_behind` are viewers that can't keep up, `evicted` is a "
            "cache that is too small.",
            Query(
                rate("moq_relay_groups_skipped_total", "transport, reason"),
                "{{transport}} {{reason}}",
            ),
        ),
        lines(
            "Failover gap by pair, mean of 5 minutes",
            "s",
            "What viewers of a track missed when its way was left for another one, by their region "
            "and the one of the node that was left. Empty while none is.",
            Query(f"{GAP}:mean{{{RECORDED}}}", BETWEEN),
        ),
        lines(
            "Failover gap by pair, 90 %",
            "s",
            "The same, as fine as the bucket. Empty while none is.",
            Query(_recorded(0.9, GAP), BETWEEN),
        ),
        lines(
            "Failovers",
            "ops",
            "A second, by pair. 0 when all is well.",
            Query(
                f"sum by (relay_region, peer_region) (moq:failovers:rate{{{RECORDED}}})", BETWEEN
            ),
        ),
    ],
)

BOARD = board(
    "Experience",
    "moq-experience",
    "What viewers notice: the first frame, how late the rest is, and what they miss.",
    [START, DELIVERED, MISSED],
)
