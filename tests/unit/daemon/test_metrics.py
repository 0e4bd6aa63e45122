"""Metrics: what is counted is what is told, and what can be known beforehand is told from zero."""

import re

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from moq_relay.daemon import docs, metrics
from moq_relay.daemon.readings import Lag, Readings
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits


def told(counters=None, **more):
    counters = counters or Counters()
    origin = Origin(1, Cache(CacheLimits(), counters), float, lambda _seconds, _call: None)
    registry = metrics.registry(Readings(counters, origin, **more))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_every_known_series_is_there_at_zero_before_anything_happened():
    samples = told()

    labels = (("transport", "quic"), ("version", "moq-lite-06"))
    assert samples["moq_relay_sessions", labels] == 0
    assert samples["moq_relay_sessions_opened_total", labels] == 0
    assert samples["moq_relay_bytes_total", (("direction", "in"),)] == 0
    assert samples["moq_relay_viewers", ()] == 0
    for direction in ("in", "out"):
        reset = (("direction", direction), ("reason", "too_far_behind"))
        assert samples["moq_relay_resets_total", reset] == 0
    assert samples["moq_cluster_audit_repairs_total", (("kind", "ghost"),)] == 0
    assert samples["moq_cluster_nodes", (("peer_region", ""), ("state", "up"))] == 0
    assert samples["moq_cluster_links", (("state", "suspect"),)] == 0
    assert len(samples) < 250


def test_what_was_counted_is_told():
    counters = Counters(bytes_in=5, bytes_out=7, viewers=2, violations=1)
    counters.sessions["webtransport", "moq-lite-05"] = 3
    counters.resets_out["TooFarBehind"] = 4
    counters.sessions_refused["odd"] = 6

    samples = told(counters)

    session = (("transport", "webtransport"), ("version", "moq-lite-05"))
    assert samples["moq_relay_sessions", session] == 3
    assert samples["moq_relay_bytes_total", (("direction", "in"),)] == 5
    assert samples["moq_relay_bytes_total", (("direction", "out"),)] == 7
    reset = (("direction", "out"), ("reason", "too_far_behind"))
    assert samples["moq_relay_resets_total", reset] == 4
    assert samples["moq_relay_sessions_refused_total", (("reason", "odd"),)] == 6
    assert samples["moq_relay_violations_total", ()] == 1


def test_lag_is_a_histogram():
    lag = Lag()
    for seconds in (0.0, 0.001, 0.03, 9.0):
        lag.observe(seconds)

    samples = told(lag=lag)

    assert samples["moq_relay_event_loop_lag_seconds_bucket", (("le", "0.001"),)] == 2
    assert samples["moq_relay_event_loop_lag_seconds_bucket", (("le", "0.05"),)] == 3
    assert samples["moq_relay_event_loop_lag_seconds_bucket", (("le", "+Inf"),)] == 4
    assert samples["moq_relay_event_loop_lag_seconds_count", ()] == 4
    assert samples["moq_relay_event_loop_lag_seconds_sum", ()] == 9.031


def test_the_page_about_metrics_has_every_name_that_is_told():
    page = docs.metric_table()
    names = {name for name, _ in told() if name.startswith("moq_")}

    documented = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))

    histogram = {f"{metrics.LAG}_{part}" for part in ("bucket", "count", "sum")}
    assert documented - {metrics.LAG} == names - histogram


def test_no_label_is_the_region_or_a_path():
    for family in metrics.FAMILIES:
        assert not {"region", "node", "path", "broadcast", "track"} & set(family.labels)


def test_stale_pages_are_found(tmp_path, capsys):
    assert docs.main([], tmp_path) == 0
    assert docs.main(["--check"], tmp_path) == 0
    (tmp_path / "metrics.md").write_text("old")

    assert docs.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == (
        "docs/metrics.md is stale; run python -m moq_relay.daemon.docs\n"
    )


def test_the_committed_pages_are_not_stale():
    assert docs.main(["--check"]) == 0
