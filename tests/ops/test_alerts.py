"""Every alert fires when it should and keeps quiet when it should, as promtool works it out."""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ops.prometheus.alerts import Alert, alerts
from ops.prometheus.windows import Windows
from tests.conftest import require

ROOT = Path(__file__).parents[2]
RULES = ROOT / "ops/prometheus"
ALERTS = {alert.name: alert for alert in alerts(Windows())}

STEP = 15
"""Seconds between two samples. Whatever happens, happens after an hour."""
HOUR = 3600 // STEP
LONG = 4 * HOUR


def then(before, after):
    """A gauge that changes after an hour."""
    return f"{before}x{HOUR - 1} {after}x{LONG}"


def grows(before, after):
    """A counter, by what a step it grows in the first hour and afterwards."""
    return f"0+{before}x{HOUR - 1} {before * HOUR}+{after}x{LONG}"


def overdue(steps):
    """Seconds that pass, after an hour, for so many steps."""
    return f"0x{HOUR - 1} {STEP}+{STEP}x{steps} 0x{LONG}"


def always(value):
    """The same all the time."""
    return f"{value}x{LONG}"


def series(name, instance="a", region="us", **labels):
    """A sample's name, of a relay that Prometheus scrapes."""
    labels = {"cluster": "c", "instance": instance, "relay_region": region} | labels
    listed = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{listed}}}"


def up(instance):
    return f'up{{cluster="c",instance="{instance}",job="moq-relay"}}'


def process(name, instance="a"):
    return f'process_{name}{{cluster="c",instance="{instance}",job="moq-relay"}}'


NODES = {"a": "us", "b": "eu"}
"""Two that are scraped, of four that are members."""
MEMBERS = {
    series("moq_cluster_nodes", node, region, peer_region=peer, state="up"): always(2)
    for node, region in NODES.items()
    for peer in ("us", "eu")
}
FIRST = "moq_relay_first_object_seconds"
SKIPPED = series("moq_relay_groups_skipped_total", transport="quic", reason="old")
EXPIRY = series("moq_relay_certificate_expiry_timestamp_seconds")
FILES_REFUSED = series("moq_relay_certificate_files_refused")
KEYS_STALE = series("moq_relay_keys_stale_seconds")
DAY = 86400
RTT = "moq_relay_peer_rtt_seconds"
PAIR = {"peer_region": "eu", "method": "probe"}
LAG = "moq_relay_loop_lag_seconds_bucket"
ISOLATED = series("moq_cluster_isolated", "b", "eu")
MEMORY = series("moq_cluster_redis_memory_bytes")
MEMORY_LIMIT = series("moq_cluster_redis_memory_limit_bytes")


def members(count):
    """The same four, of which some in eu go after an hour."""
    gone = {name: then(2, count - 2) for name in MEMBERS if 'peer_region="eu"' in name}
    return MEMBERS | gone


def cut_off(count):
    """So many in eu are members no more; the one of them that is scraped still counts them all."""
    seen = {
        name: then(2, 2 - count)
        for name in MEMBERS
        if 'instance="a"' in name and 'peer_region="eu"' in name
    }
    return seen | {ISOLATED: then(0, 1)}


def draining(count):
    """The same four, of which some in eu drain after an hour."""
    drain = {
        name.replace('state="up"', 'state="draining"'): then(0, count)
        for name in MEMBERS
        if 'peer_region="eu"' in name
    }
    return members(count) | drain


def draining_one_after_the_other():
    """One in eu drains, and one of the two that are scraped hears of it a sample later."""
    changed = {}
    for name in MEMBERS:
        if 'peer_region="eu"' in name:
            later = 'instance="b"' in name
            changed[name] = f"2x{HOUR - 1 + later} 1x{LONG}"
            drain = name.replace('state="up"', 'state="draining"')
            changed[drain] = f"0x{HOUR - 1 + later} 1x{LONG}"
    return changed


def first_frames(late):
    """Ten a step, of which so many are late after an hour."""
    return {
        series(f"{FIRST}_bucket", path="local", peer_region="us", le="1.0"): grows(10, 10 - late),
        series(f"{FIRST}_count", path="local", peer_region="us"): grows(10, 10),
    }


def round_trips(before, after):
    """One a step, of so many milliseconds."""
    return {
        series(f"{RTT}_sum", **PAIR): grows(before / 1000, after / 1000),
        series(f"{RTT}_count", **PAIR): grows(1, 1),
    }


HEALTHY = (
    MEMBERS
    | first_frames(0)
    | round_trips(10, 10)
    | {up(node): always(1) for node in NODES}
    | {
        series("moq_cluster_canary_seconds_count", "a"): grows(1, 1),
        series("moq_cluster_canary_seconds_count", "b", "eu"): always(0),
        series("moq_cluster_connected", "a"): always(1),
        series("moq_cluster_connected", "b", "eu"): always(1),
        series("moq_cluster_staleness_seconds"): always(1),
        series("moq_cluster_isolated"): always(0),
        ISOLATED: always(0),
        series("moq_cluster_redis_faults", check="persistence"): always(0),
        MEMORY: always(50),
        MEMORY_LIMIT: always(100),
        # Comes through a root: it knows nothing of Redis.
        series("moq_cluster_redis_memory_bytes", "b", "eu"): always(0),
        series("moq_cluster_redis_memory_limit_bytes", "b", "eu"): always(0),
        series("moq_cluster_registrations_total"): always(1),
        series("moq_cluster_audit_repairs_total", kind="ghost"): always(0),
        series("moq_cluster_clock_error_seconds"): always(0.002),
        series("moq_relay_drain_sessions"): always(0),
        series("moq_relay_saturation_ratio", resource="loop"): always(0.4),
        series("moq_relay_viewers"): always(3),
        series("moq_relay_upstream_subscriptions"): always(2),
        series("moq_relay_bytes_total", direction="in"): grows(1000, 1000),
        series("moq_relay_groups_total", direction="out"): grows(10, 10),
        SKIPPED: always(0),
        series(LAG, le="0.05"): grows(100, 100),
        series(LAG, le="0.1"): grows(100, 100),
        series(LAG, le="+Inf"): grows(100, 100),
        EXPIRY: always(30 * DAY),
        FILES_REFUSED: always(0),
        KEYS_STALE: always(0),
        series("moq_relay_sessions_refused_total", reason="unauthorized"): always(0),
        series("moq_relay_sessions_refused_total", reason="limit"): always(0),
        process("start_time_seconds"): always(5),
        process("open_fds"): always(100),
        process("max_fds"): always(1000),
    }
)


@dataclass(frozen=True)
class Case:
    """What happens after an hour, and who is told how long after that."""

    changed: dict[str, str]
    minutes: int
    also: set[str] = field(default_factory=set)


SILENT = {series("moq_relay_bytes_total", direction="in"): grows(1000, 0)}
REPAIRS = series("moq_cluster_audit_repairs_total", kind="ghost")
REFUSED = "moq_relay_sessions_refused_total"
DRAINING = series("moq_relay_drain_sessions")
SATURATION = "moq_relay_saturation_ratio"
FAULTS = "moq_cluster_redis_faults"

FIRES = {
    "MoqRelayDown": [Case({up("b"): then(1, 0)}, 4)],
    "MoqRootMissing": [
        Case({series("moq_cluster_canary_seconds_count", "a"): f"0+1x{HOUR - 1} stale"} | more, 4)
        for more in (
            {},
            {up("a"): then(1, 0)},
            # All that is left came through it: what they know is from before.
            {up("a"): then(1, 0), ISOLATED: then(0, 1)}
            | {name: f"2x{HOUR - 1} stale" for name in MEMBERS if 'instance="a"' in name},
            # Who reaches Redis itself knows that the others are no members any more.
            {up("b"): then(1, 0)} | cut_off(2),
        )
    ],
    "MoqNodesLost": [
        *(Case(members(2) | down, 4) for down in ({}, {up("b"): then(1, 0)})),
        Case(cut_off(2), 4),
    ],
    "MoqNodeMissing": [Case(members(3), 12), Case(cut_off(1), 12)],
    "MoqNodeFlapping": [
        Case({series("moq_cluster_registrations_total"): f"1x{HOUR} 1+1x10 11x{LONG}"}, 6),
        Case({process("start_time_seconds"): f"5x{HOUR} 1+20x10 201x{LONG}"}, 6),
    ],
    "MoqDrainStuck": [Case({DRAINING: then(0, 1)}, 12)],
    "MoqBroadcastSilent": [Case(SILENT, 4)],
    "MoqFirstFrameLate": [Case(first_frames(10), 20, {"MoqFirstFrameLateSlowly"})],
    "MoqFirstFrameLateSlowly": [Case(first_frames(1), 120)],
    "MoqGroupsSkipped": [Case({SKIPPED: grows(0, 10)}, 30, {"MoqGroupsSkippedSlowly"})],
    "MoqGroupsSkippedSlowly": [Case({SKIPPED: grows(0, 1)}, 120)],
    "MoqRegistryLost": [
        Case({series("moq_cluster_connected", *node): then(1, 0) for node in NODES.items()}, 3)
    ],
    "MoqRegistryStale": [Case({series("moq_cluster_staleness_seconds"): then(1, 60)}, 4)],
    "MoqRedisFault": [
        Case({series(FAULTS, check=check): then(0, 1)}, 7)
        for check in ("persistence", "maxmemory_policy", "version")
    ],
    "MoqRedisMemory": [Case({MEMORY: then(50, 85)}, 7)],
    "MoqAuditRepaired": [Case({REPAIRS: then(0, 1)}, 3)],
    "MoqRegionFar": [Case(round_trips(10, 60), 15)],
    "MoqClockUnsure": [Case({series("moq_cluster_clock_error_seconds"): then(0.002, 0.02)}, 12)],
    "MoqLoopLate": [Case({series(LAG, le="0.05"): grows(100, 80)}, 16)],
    "MoqSaturated": [
        Case({series(SATURATION, resource=resource): then(0.4, 0.9)}, 12)
        for resource in ("loop", "sessions", "egress", "memory")
    ],
    "MoqFilesShort": [Case({process("open_fds"): then(100, 850)}, 7)],
    "MoqCertificateEnds": [Case({EXPIRY: always(6 * DAY)}, 0)],
    "MoqCertificateEndsToday": [Case({EXPIRY: always(DAY)}, 0, {"MoqCertificateEnds"})],
    "MoqCertificateRefused": [Case({FILES_REFUSED: then(0, 1)}, 7)],
    "MoqKeysStale": [Case({KEYS_STALE: overdue(LONG)}, 12)],
    "MoqAuthRefusals": [Case({series(REFUSED, reason="unauthorized"): grows(0, 15)}, 12)],
    "MoqWatchdog": [Case({}, 0)],
}
QUIET = {
    "MoqRelayDown": [Case({up("b"): then(1, 0)}, 1)],
    "MoqRootMissing": [
        Case(
            {
                series("moq_cluster_canary_seconds_count", "a"): f"0+1x{HOUR - 1} stale",
                series("moq_cluster_canary_seconds_count", "b", "eu"): grows(1, 1),
            },
            4,
        ),
        # A relay that stands alone has no members.
        Case(
            dict.fromkeys(MEMBERS, always(0))
            | {series("moq_cluster_canary_seconds_count", "a"): always(0)},
            4,
        ),
    ],
    "MoqNodesLost": [Case(members(3), 5), Case(draining(2), 5)],
    "MoqNodeMissing": [
        Case(members(3), 8),
        Case(dict.fromkeys(MEMBERS, always(1)), 12),
        Case(draining_one_after_the_other(), 12),
    ],
    "MoqNodeFlapping": [
        Case(
            {
                process("start_time_seconds"): f"5x{HOUR} 3700x40 4400x{LONG}",
                series("moq_cluster_registrations_total"): f"1x{HOUR} 0 1x40 0 1x{LONG}",
            },
            20,
        ),
        # Four times is not more than four, though each start is a registration as well.
        Case(
            {
                process("start_time_seconds"): f"5x{HOUR} 3700x15 3900x15 4100x15 4300x{LONG}",
                series("moq_cluster_registrations_total"): f"1x{HOUR} " + "0 1x14 " * 4,
            },
            16,
        ),
    ],
    "MoqDrainStuck": [Case({DRAINING: then(0, 1)}, 8)],
    "MoqBroadcastSilent": [
        Case(SILENT | {series("moq_relay_viewers"): then(3, 0)}, 4),
        Case(SILENT | {series("moq_relay_upstream_subscriptions"): then(2, 0)}, 4),
        # Nothing came for long: they wait for something that has not begun.
        Case(SILENT, 30),
    ],
    "MoqFirstFrameLate": [Case(first_frames(1), 20)],
    "MoqFirstFrameLateSlowly": [
        Case(first_frames(0.4), 120),
        # All of them late, but only a few.
        Case(
            {
                series(f"{FIRST}_bucket", path="local", peer_region="us", le="1.0"): always(0),
                series(f"{FIRST}_count", path="local", peer_region="us"): grows(0, 0.01),
            },
            120,
        ),
    ],
    "MoqGroupsSkipped": [Case({SKIPPED: grows(0, 1)}, 20)],
    "MoqGroupsSkippedSlowly": [Case({SKIPPED: grows(0, 0.4)}, 120)],
    "MoqRegistryLost": [Case({series("moq_cluster_connected", "b", "eu"): then(1, 0)}, 4)],
    "MoqRegistryStale": [
        Case({series("moq_cluster_staleness_seconds"): then(1, 60)}, 1),
        Case({series("moq_cluster_staleness_seconds"): then(1, 8)}, 10),
    ],
    "MoqRedisFault": [Case({series(FAULTS, check="persistence"): then(0, 1)}, 4)],
    "MoqRedisMemory": [
        Case({MEMORY: then(50, 79)}, 10),
        # Nobody knows how much there may be.
        Case({MEMORY: always(85), MEMORY_LIMIT: always(0)}, 10),
    ],
    "MoqAuditRepaired": [Case({REPAIRS: always(7)}, 10)],
    "MoqRegionFar": [Case(round_trips(10, 25), 15), Case(round_trips(50, 90), 15)],
    "MoqClockUnsure": [
        Case({series("moq_cluster_clock_error_seconds"): always(0.08)}, 12),
        # Before it has asked for the time it says 0, which is no bound.
        Case({series("moq_cluster_clock_error_seconds"): then(0, 0.08)}, 12),
    ],
    "MoqLoopLate": [Case({series(LAG, le="0.05"): grows(100, 95)}, 16)],
    "MoqSaturated": [
        Case({series(SATURATION, resource="loop"): then(0.4, 0.84)}, 20),
        Case({series(SATURATION, resource="loop"): then(0.4, 0.9)}, 8),
    ],
    "MoqFilesShort": [Case({process("open_fds"): then(100, 790)}, 10)],
    "MoqCertificateEnds": [Case({EXPIRY: always(8 * DAY)}, 0), Case({EXPIRY: always(0)}, 0)],
    "MoqCertificateEndsToday": [Case({EXPIRY: always(30 * DAY)}, 60)],
    "MoqCertificateRefused": [
        Case({FILES_REFUSED: then(0, 1)}, 4),
        # Put right before anybody was told.
        Case({FILES_REFUSED: f"0x{HOUR} 1x12 0x{LONG}"}, 6),
    ],
    "MoqKeysStale": [
        Case({KEYS_STALE: overdue(LONG)}, 9),
        # The server was away, and is back.
        Case({KEYS_STALE: overdue(30)}, 12),
    ],
    "MoqAuthRefusals": [
        Case({series(REFUSED, reason="limit"): grows(0, 15)}, 12),
        Case({series(REFUSED, reason="unauthorized"): grows(0, 5)}, 12),
    ],
}
"""What comes near, and tells nobody who is named here."""


def firing(tmp_path, case):
    """Who is told at that time."""
    values = HEALTHY | case.changed
    asked = 'count by (alertname) (ALERTS{alertstate="firing"})'
    text = {
        "rule_files": [str(RULES / name) for name in ("recording.yml", "alerts.yml")],
        "evaluation_interval": f"{STEP}s",
        "tests": [
            {
                "interval": f"{STEP}s",
                "input_series": [{"series": s, "values": v} for s, v in values.items()],
                "promql_expr_test": [
                    {"expr": asked, "eval_time": f"{60 + case.minutes}m", "exp_samples": []}
                ],
            }
        ],
    }
    path = tmp_path / "test.json"
    path.write_text(json.dumps(text))
    done = subprocess.run(
        [require("promtool"), "test", "rules", path], capture_output=True, text=True, check=False
    )
    got = re.search(r"got:(.*)", done.stdout + done.stderr, re.DOTALL)
    assert got, done.stdout + done.stderr
    return set(re.findall(r'alertname="(\w+)"', got[1]))


def listed(cases):
    return [
        pytest.param(name, case, id=f"{name}-{number}")
        for name, some in cases.items()
        for number, case in enumerate(some)
    ]


@pytest.mark.parametrize(("name", "case"), listed(FIRES))
def test_an_alert_fires_and_no_other(tmp_path, name, case):
    assert firing(tmp_path, case) == {name, "MoqWatchdog"} | case.also


@pytest.mark.parametrize(("name", "case"), listed(QUIET))
def test_an_alert_keeps_quiet_at_what_only_comes_near(tmp_path, name, case):
    assert name not in firing(tmp_path, case)


def test_nobody_is_told_of_a_healthy_cluster(tmp_path):
    assert firing(tmp_path, Case({}, 120)) == {"MoqWatchdog"}


def test_every_alert_is_seen_firing_and_quiet():
    assert FIRES.keys() == ALERTS.keys()
    assert QUIET.keys() == ALERTS.keys() - {"MoqWatchdog"}


def test_at_most_eight_alerts_wake_somebody():
    severities = [alert.severity for alert in ALERTS.values()]

    assert severities.count("page") <= 8
    assert [a.name for a in ALERTS.values() if a.severity == "none"] == ["MoqWatchdog"]


def anchors(document):
    """Of a page's headings, as a browser follows them."""
    heads = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_every_alert_has_a_place_that_says_what_to_do(alert: Alert):
    page, anchor = alert.runbook.split("#")

    assert anchor in anchors(ROOT / page)
