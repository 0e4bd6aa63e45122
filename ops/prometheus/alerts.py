"""Who is woken, and by what. A page is for what viewers notice now or soon; the rest can wait."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ops.prometheus.rules import FIRST_OBJECT_SECONDS, LATE_SHARE, SKIPPED_SHARE
from ops.prometheus.windows import Windows

RUNBOOK = "docs/operations/alerts.md"
JOB = "moq-relay"

FAST, SLOW = 14.4, 6
"""How many times faster than allowed an objective burns: a 30 days' budget gone in 2 or 5 days."""
ENOUGH = 10
"""Fewer events than this in a window say nothing about an objective."""
STALE_SECONDS = 15
FAR_FACTOR = 2
FAR_SECONDS = 0.020
LATE_LOOP_SECONDS = 0.050
FULL_SHARE = 0.80
MEMORY_SHARE = 0.80
SATURATED_SHARE = 0.85
CLOCK_SECONDS = 0.010
DAYS_TO_RENEW = 7
REFUSALS_PER_SECOND = 0.5
FLAPS = 4

Severity = Literal["page", "ticket", "none"]
NODE = "cluster, relay_region, instance"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. ``hold`` names the entry of the table for which it has to be true."""

    name: str
    severity: Severity
    hold: str
    expr: str
    summary: str

    @property
    def runbook(self) -> str:
        """Where it says what to do."""
        return f"{RUNBOOK}#{self.name.lower()}"


def alerts(w: Windows) -> Iterator[Alert]:
    """All of them."""
    yield from _cluster(w)
    yield from _viewers(w)
    yield from _registry(w)
    yield from _distance(w)
    yield from _node(w)
    yield Alert(
        "MoqWatchdog",
        "none",
        "at once",
        "vector(1)",
        "Always firing. Whoever does not get it has lost Prometheus or the way from it.",
    )


def _cluster(w: Windows) -> Iterator[Alert]:
    no_root = "moq:cluster_nodes_here:count > 0\nunless on (cluster) moq:roots:count"
    lost = (
        "moq:cluster_nodes_here:count\n"
        f"<= 0.5 * max_over_time(moq:cluster_nodes_here:count[{w['past']}])"
    )
    yield Alert(
        "MoqRelayDown",
        "page",
        "2 minutes",
        # Somebody is woken by what that means for the cluster, and looks at every relay then.
        f'up{{job="{JOB}"}} == 0\nunless on (cluster) ({no_root})\nunless on (cluster) ({lost})',
        "{{ $labels.instance }} does not answer.",
    )
    yield Alert(
        "MoqRootMissing",
        "page",
        "2 minutes",
        no_root,
        "No root of {{ $labels.cluster }} answers: new nodes can't join through one.",
    )
    yield Alert(
        "MoqNodesLost",
        "page",
        "2 minutes",
        f"{lost}\nunless on (cluster) ({no_root})",
        "{{ $labels.cluster }} has {{ $value }} nodes, at most half of what it had.",
    )
    yield Alert(
        "MoqNodeMissing",
        "ticket",
        "10 minutes",
        f"moq:cluster_nodes_here:count\n< max_over_time(moq:cluster_nodes_here:count[{w['past']}])",
        "{{ $labels.cluster }} has {{ $value }} nodes, fewer than it had.",
    )
    yield Alert(
        "MoqNodeFlapping",
        "ticket",
        "at once",
        # Not their sum: who starts registers too.
        "sum by (cluster, instance) "
        f"(increase(moq_cluster_registrations_total[{w['flapping']}])) > {FLAPS}\n"
        "or sum by (cluster, instance) "
        f'(changes(process_start_time_seconds{{job="{JOB}"}}[{w["flapping"]}])) > {FLAPS}',
        "{{ $labels.instance }} started or registered again and again.",
    )
    yield Alert(
        "MoqDrainStuck",
        "ticket",
        "10 minutes",
        "moq_relay_drain_sessions > 0",
        "{{ $labels.instance }} drains, and {{ $value }} sessions do not go.",
    )


def _viewers(w: Windows) -> Iterator[Alert]:
    now = f'sum by ({NODE}) (rate(moq_relay_bytes_total{{direction="in"}}[{w["rate"]}]))'
    before = f'sum by ({NODE}) (rate(moq_relay_bytes_total{{direction="in"}}[{w["lately"]}]))'
    yield Alert(
        "MoqBroadcastSilent",
        "page",
        "1 minute",
        f"sum by ({NODE}) (moq_relay_viewers) > 0\n"
        f"and sum by ({NODE}) (moq_relay_upstream_subscriptions) > 0\n"
        f"and {now} == 0\n"
        f"and {before} > 0",
        "{{ $value }} viewers at {{ $labels.instance }} wait, and nothing comes in any more.",
    )
    burns = (
        ("FirstFrameLate", "first_object_late", "first_object", LATE_SHARE),
        ("GroupsSkipped", "groups_skipped", "groups", SKIPPED_SHARE),
    )
    what = {
        "FirstFrameLate": "first frames in {{ $labels.relay_region }} came later than "
        f"{FIRST_OBJECT_SECONDS} s.",
        "GroupsSkipped": "groups in {{ $labels.relay_region }} were not given to viewers whole.",
    }
    speeds: tuple[tuple[str, Severity, float, tuple[str, str]], ...] = (
        ("", "page", FAST, ("1h", "5m")),
        ("Slowly", "ticket", SLOW, ("6h", "30m")),
    )
    for name, ratio, count, share in burns:
        for speed, severity, rate, windows in speeds:
            yield _burn(
                f"Moq{name}{speed}",
                severity,
                ratio=ratio,
                count=count,
                limit=rate * share,
                windows=windows,
                what=what[name],
            )


def _burn(
    name: str,
    severity: Severity,
    *,
    ratio: str,
    count: str,
    limit: float,
    windows: tuple[str, str],
    what: str,
) -> Alert:
    long, short = windows
    return Alert(
        name,
        severity,
        "1 minute",
        f"moq:{ratio}:ratio_{long} > {limit:g}\n"
        f"and moq:{ratio}:ratio_{short} > {limit:g}\n"
        f"and moq:{count}:count_{long} >= {ENOUGH}",
        f"{{{{ $value | humanizePercentage }}}} of the {what}",
    )


def _registry(w: Windows) -> Iterator[Alert]:
    yield Alert(
        "MoqRegistryLost",
        "page",
        "1 minute",
        "max by (cluster) (moq_cluster_connected) == 0\nand on (cluster) moq:roots:count",
        "No node of {{ $labels.cluster }} reaches the registry. What flows goes on.",
    )
    yield Alert(
        "MoqRegistryStale",
        "ticket",
        "2 minutes",
        f"moq_cluster_staleness_seconds > {STALE_SECONDS}",
        "{{ $labels.instance }} serves from a copy that is {{ $value | humanizeDuration }} old.",
    )
    yield Alert(
        "MoqRedisFault",
        "ticket",
        "5 minutes",
        "max by (cluster, check) (moq_cluster_redis_faults) > 0",
        "The Redis of {{ $labels.cluster }} is not set up as it should be: {{ $labels.check }}.",
    )
    yield Alert(
        "MoqRedisMemory",
        "ticket",
        "5 minutes",
        "max by (cluster) (moq_cluster_redis_memory_bytes\n"
        f"/ (moq_cluster_redis_memory_limit_bytes > 0)) > {MEMORY_SHARE}",
        "The Redis of {{ $labels.cluster }} has {{ $value | humanizePercentage }} of its memory "
        "in use.",
    )
    yield Alert(
        "MoqAuditRepaired",
        "ticket",
        "at once",
        "sum by (cluster, instance, kind) "
        f"(increase(moq_cluster_audit_repairs_total[{w['repairs']}])) > 0",
        "{{ $labels.instance }} repaired its claims in the registry: {{ $labels.kind }}.",
    )


def _distance(w: Windows) -> Iterator[Alert]:
    mean = "moq:peer_rtt_seconds:mean"
    least = f"min_over_time({mean}[{w['past']}])"
    yield Alert(
        "MoqRegionFar",
        "ticket",
        "5 minutes",
        f"{mean} > {FAR_FACTOR} * {least}\nand {mean} > {FAR_SECONDS} + {least}",
        "{{ $labels.peer_region }} is {{ $value | humanizeDuration }} from "
        "{{ $labels.relay_region }}, twice what it was.",
    )
    error = "moq:clock_error_seconds:known"
    yield Alert(
        "MoqClockUnsure",
        "ticket",
        "10 minutes",
        f"{error} > {CLOCK_SECONDS}\nand {error} > {FAR_FACTOR} * "
        f"min_over_time({error}[{w['past']}])",
        "{{ $labels.instance }} knows the clock to {{ $value | humanizeDuration }} only, and knew "
        "it better.",
    )


def _node(w: Windows) -> Iterator[Alert]:
    lag = "moq_relay_loop_lag_seconds_bucket"
    yield Alert(
        "MoqLoopLate",
        "ticket",
        "10 minutes",
        f"histogram_quantile(0.9, sum by ({NODE}, le) (rate({lag}[{w['pair']}])))\n"
        f"> {LATE_LOOP_SECONDS}",
        "{{ $labels.instance }} comes {{ $value | humanizeDuration }} late to what is due.",
    )
    yield Alert(
        "MoqSaturated",
        "ticket",
        "10 minutes",
        f"max by ({NODE}, resource) "
        '(moq_relay_saturation_ratio{resource!="fds"})\n'
        f"> {SATURATED_SHARE}",
        "{{ $labels.instance }} has {{ $value | humanizePercentage }} of its "
        "{{ $labels.resource }} in use.",
    )
    yield Alert(
        "MoqFilesShort",
        "ticket",
        "5 minutes",
        f'process_open_fds{{job="{JOB}"}}\n/ process_max_fds{{job="{JOB}"}} > {FULL_SHARE}',
        "{{ $labels.instance }} has {{ $value | humanizePercentage }} of its files open.",
    )
    expiry = "moq_relay_certificate_expiry_timestamp_seconds"
    ends: tuple[tuple[str, Severity, int], ...] = (
        ("MoqCertificateEndsToday", "page", 1),
        ("MoqCertificateEnds", "ticket", DAYS_TO_RENEW),
    )
    for name, severity, days in ends:
        yield Alert(
            name,
            severity,
            "5 minutes",
            f"{expiry} - time() < {days} * 86400\nand {expiry} > 0",
            "The certificate of {{ $labels.instance }} ends in {{ $value | humanizeDuration }}.",
        )
    yield Alert(
        "MoqCertificateRefused",
        "ticket",
        "5 minutes",
        "moq_relay_certificate_files_refused > 0",
        "New files of {{ $labels.instance }}'s certificates can't be used; the old ones go on.",
    )
    yield Alert(
        "MoqKeysStale",
        "ticket",
        "10 minutes",
        "moq_relay_keys_stale_seconds > 0",
        "{{ $labels.instance }} could not read its keys anew for {{ $value | humanizeDuration }}.",
    )
    yield Alert(
        "MoqAuthRefusals",
        "ticket",
        "5 minutes",
        f"sum by ({NODE}) "
        f'(rate(moq_relay_sessions_refused_total{{reason="unauthorized"}}[{w["refusals"]}]))\n'
        f"> {REFUSALS_PER_SECOND}",
        "{{ $labels.instance }} refuses {{ $value | humanize }} sessions a second.",
    )
