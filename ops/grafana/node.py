"""What single relays carry, and what it costs them."""

from ops.grafana.panels import Limit, Query, Row, board, lines, number
from ops.grafana.queries import NODE, metric, quantile, rate
from ops.prometheus.alerts import (
    DAYS_TO_RENEW,
    FULL_SHARE,
    LATE_LOOP_SECONDS,
    REFUSALS_PER_SECOND,
    SATURATED_SHARE,
)

WHERE = "{{instance}}"
PROCESS = 'job="moq-relay", cluster="$cluster", instance=~"$instance"'
EXPIRY = "moq_relay_certificate_expiry_timestamp_seconds"

TRAFFIC = Row(
    "Traffic",
    [
        lines(
            "Payload out",
            "Bps",
            "Payload of frames and datagrams to viewers and other relays.",
            Query(rate("moq_relay_bytes_total", NODE, 'direction="out"'), WHERE),
        ),
        lines(
            "Payload in",
            "Bps",
            "Payload of frames and datagrams from publishers and other relays.",
            Query(rate("moq_relay_bytes_total", NODE, 'direction="in"'), WHERE),
        ),
        lines(
            "Groups begun",
            "ops",
            "A second, from publishers and to viewers.",
            Query(
                rate("moq_relay_groups_total", f"{NODE}, direction"), f"{WHERE} {{{{direction}}}}"
            ),
        ),
        lines(
            "Datagrams",
            "ops",
            "Groups sent as a datagram, a second, and those that were not passed on.",
            Query(
                rate("moq_relay_datagrams_total", f"{NODE}, direction"),
                f"{WHERE} {{{{direction}}}}",
            ),
            Query(
                rate("moq_relay_datagrams_dropped_total", f"{NODE}, reason"),
                f"{WHERE} {{{{reason}}}}",
            ),
        ),
    ],
)

BY_REASON = f"{NODE}, reason"
REFUSED = {
    "handshakes": "handshakes {{reason}}",
    "requests": "requests {{reason}}",
    "announces": "announcements {{reason}}",
}

PEOPLE = Row(
    "Viewers and sessions",
    [
        lines(
            "Viewers",
            "short",
            "Subscriptions that viewers hold.",
            Query(f"sum by ({NODE}) ({metric('moq_relay_viewers')})", WHERE),
        ),
        lines(
            "Sessions by transport and version",
            "short",
            "Open sessions of the chosen relays.",
            Query(
                f"sum by (transport, version) ({metric('moq_relay_sessions')}) > 0",
                "{{transport}} {{version}}",
            ),
        ),
        lines(
            "Sessions opened",
            "ops",
            "A second.",
            Query(rate("moq_relay_sessions_opened_total", NODE), WHERE),
        ),
        lines(
            "Sessions refused",
            "ops",
            "Peers that got no session, and handshakes that came to nothing, a second.",
            Query(
                rate("moq_relay_sessions_refused_total", "instance, reason"),
                f"{WHERE} {{{{reason}}}}",
            ),
            Query(
                rate("moq_relay_handshake_failures_total", "instance, reason"),
                f"{WHERE} handshake {{{{reason}}}}",
            ),
            limit=Limit(
                REFUSALS_PER_SECOND,
                f"Above {REFUSALS_PER_SECOND}",
                "read the log for who is refused and why: an old token, a wrong path, or somebody "
                "who tries.",
                "MoqAuthRefusals",
            ),
        ),
        lines(
            "HTTP connections",
            "short",
            "Open ones, of web.http.listen and of internal.listen.",
            Query(
                f"sum by (instance, listener) ({metric('moq_relay_http_connections')})",
                f"{WHERE} {{{{listener}}}}",
            ),
        ),
        lines(
            "Tokens that ended",
            "ops",
            "Sessions that were ended because their token expired, or was taken back, a second.",
            Query(
                rate("moq_relay_sessions_ended_total", "instance, reason"),
                f"{WHERE} {{{{reason}}}}",
            ),
        ),
        lines(
            "Tokens taken back",
            "short",
            "Entries that a relay knows, the same on all, and those that the registry may not have "
            "yet: 0 but for moments, and while a relay is out of touch.",
            Query(f"max by ({NODE}) ({metric('moq_relay_revocations')})", f"{WHERE} known"),
            Query(
                f"max by ({NODE}) ({metric('moq_relay_revocations_pending')})", f"{WHERE} untold"
            ),
        ),
        lines(
            "Broadcasts and tracks",
            "short",
            "What a relay can reach, and what it has in hand.",
            Query(f"sum by ({NODE}) ({metric('moq_relay_broadcasts')})", f"{WHERE} broadcasts"),
            Query(f"sum by ({NODE}) ({metric('moq_relay_tracks')})", f"{WHERE} tracks"),
            Query(f"sum by ({NODE}) ({metric('moq_cluster_claims')})", f"{WHERE} claims"),
        ),
        lines(
            "Upstream subscriptions",
            "short",
            "One a track, however many viewers it has.",
            Query(f"sum by ({NODE}) ({metric('moq_relay_upstream_subscriptions')})", WHERE),
        ),
        lines(
            "Sessions that have to go",
            "short",
            "While a relay drains: clients, and links of other relays that still take something. "
            "0 while it does not.",
            Query(f"max by ({NODE}) ({metric('moq_relay_drain_sessions')})", WHERE),
        ),
        lines(
            "Broken rules",
            "ops",
            "A second: sessions that broke the protocol; handshakes, requests and announcements "
            "beyond limits (rate: those that were put off; rights: where nobody may publish).",
            Query(rate("moq_relay_violations_total", NODE), f"{WHERE} protocol"),
            *(
                Query(rate(f"moq_relay_{what}_refused_total", BY_REASON), f"{WHERE} {label}")
                for what, label in REFUSED.items()
            ),
        ),
    ],
)

KEPT = Row(
    "Cache, skips and backlog",
    [
        lines(
            "Cache",
            "bytes",
            "Payload of the groups that are kept, and what the cache may hold.",
            Query(f"sum by ({NODE}) ({metric('moq_relay_cache_bytes')})", WHERE),
            Query(f"sum by ({NODE}) ({metric('moq_relay_cache_capacity_bytes')})", f"{WHERE} may"),
        ),
        lines(
            "Groups kept",
            "short",
            "In the cache.",
            Query(f"sum by ({NODE}) ({metric('moq_relay_cache_groups')})", WHERE),
        ),
        lines(
            "Evictions",
            "ops",
            "Groups that left the cache, a second. `capacity` is want of room: a larger "
            "cache.capacity keeps them longer.",
            Query(
                rate("moq_relay_cache_evictions_total", "instance, reason"),
                f"{WHERE} {{{{reason}}}}",
            ),
        ),
        lines(
            "Groups skipped",
            "ops",
            "Groups that viewers or other relays were not given whole, a second. `too_far_behind` "
            "and `old` are viewers that can't keep up. 0 when all is well.",
            Query(
                rate("moq_relay_groups_skipped_total", "instance, reason"),
                f"{WHERE} {{{{reason}}}}",
            ),
        ),
        lines(
            "Backlog",
            "short",
            "Groups that wait for room in their sessions.",
            Query(f"sum by ({NODE}) ({metric('moq_relay_backlog_groups')})", WHERE),
        ),
        lines(
            "Resets",
            "ops",
            "Groups that were given up, a second.",
            Query(
                f"{rate('moq_relay_resets_total', 'instance, direction, reason')} > 0 or "
                f"{rate('moq_relay_resets_total', 'instance, direction')}",
                f"{WHERE} {{{{direction}}}} {{{{reason}}}}",
            ),
        ),
    ],
)

MACHINE = Row(
    "What it costs",
    [
        lines(
            "Saturation",
            "percentunit",
            "Share of each resource that is in use: the loop's thread of one core, sessions and "
            "payload out of their limits, memory, open files. 0 where there is no limit.",
            Query(
                f"max by ({NODE}, resource) ({metric('moq_relay_saturation_ratio')})",
                f"{WHERE} {{{{resource}}}}",
            ),
            limit=Limit(
                SATURATED_SHARE,
                f"Above {SATURATED_SHARE:.0%}",
                "add a relay and send new viewers there.",
                "MoqSaturated",
            ),
            whole=1,
        ),
        lines(
            "Loop lag, 90 %",
            "s",
            "How late the event loop comes to what is due.",
            Query(quantile(0.9, "moq_relay_loop_lag_seconds", NODE), WHERE),
            limit=Limit(
                LATE_LOOP_SECONDS,
                "Above 50 ms",
                "the process has too much to do; move viewers to another relay or add one.",
                "MoqLoopLate",
            ),
        ),
        lines(
            "CPU",
            "percentunit",
            "Share of one core. A relay is one process and can't use more than one.",
            Query(
                "sum by (instance) "
                f"(rate(process_cpu_seconds_total{{{PROCESS}}}[$__rate_interval]))",
                WHERE,
            ),
            limit=Limit(0.7, "Above 70 %", "add a relay before it fills up.", "MoqSaturated"),
        ),
        lines(
            "Memory",
            "bytes",
            "Resident memory.",
            Query(f"sum by (instance) (process_resident_memory_bytes{{{PROCESS}}})", WHERE),
        ),
        lines(
            "Files",
            "percentunit",
            "Open files, of those that the process may have.",
            Query(
                f"sum by (instance) (process_open_fds{{{PROCESS}}}) "
                f"/ sum by (instance) (process_max_fds{{{PROCESS}}})",
                WHERE,
            ),
            limit=Limit(
                FULL_SHARE, "Above 80 %", "raise the limit of the service.", "MoqFilesShort"
            ),
            whole=1,
        ),
        lines(
            "QUIC",
            "short",
            "Connections and streams that have state.",
            Query(f"sum by ({NODE}) ({metric('moq_relay_connections')})", f"{WHERE} connections"),
            Query(f"sum by ({NODE}) ({metric('moq_relay_streams')})", f"{WHERE} streams"),
            Query(f"sum by ({NODE}) ({metric('moq_relay_h3_objects')})", f"{WHERE} HTTP/3"),
        ),
        number(
            "Up for",
            "s",
            "Since the process started.",
            Query(f"time() - max by (instance) (process_start_time_seconds{{{PROCESS}}})", WHERE),
        ),
        number(
            "Days until the certificate ends",
            "d",
            f"At less than {DAYS_TO_RENEW} days there is a ticket, at less than one a page: renew "
            "it. See docs/operations/alerts.md#moqcertificateends.",
            Query(f"(min by ({NODE}) ({metric(EXPIRY)} > 0) - time()) / 86400", WHERE),
        ),
        number(
            "Versions",
            "short",
            "How many relays run which.",
            Query(f"count by (version) ({metric('moq_relay_info')})", "{{version}}"),
        ),
    ],
)

BOARD = board(
    "Node",
    "moq-node",
    "What single relays carry, and what it costs them.",
    [TRAFFIC, PEOPLE, KEPT, MACHINE],
)
