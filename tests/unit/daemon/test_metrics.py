"""Metrics: what is counted is what is told, and what can be known beforehand is told from zero."""

import asyncio
import re

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from moq_relay.daemon import docs, exposition, metrics
from moq_relay.daemon.readings import LAG_BUCKETS, C, Family, G, H, Readings
from moq_relay.relay.counters import Counters
from moq_relay.relay.histogram import Histogram
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits


def readings(counters=None, **more):
    counters = counters or Counters()
    origin = Origin(1, Cache(CacheLimits(), counters), float, lambda _seconds, _call: None)
    return Readings(counters, origin, **more)


def told(counters=None, **more):
    """Every sample, by its name and its labels but the one that all have."""
    samples = {}
    registry = metrics.registry(readings(counters, **more))
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            if sample.name.startswith("moq_"):
                assert labels.pop(metrics.CONSTANT_LABEL) == ""
            samples[sample.name, tuple(sorted(labels.items()))] = sample.value
    return samples


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
    lag = Histogram(LAG_BUCKETS)
    for seconds in (0.0, 0.001, 0.03, 9.0):
        lag.observe(seconds)

    samples = told(lag=lag)

    assert samples["moq_relay_loop_lag_seconds_bucket", (("le", "0.001"),)] == 2
    assert samples["moq_relay_loop_lag_seconds_bucket", (("le", "0.05"),)] == 3
    assert samples["moq_relay_loop_lag_seconds_bucket", (("le", "+Inf"),)] == 4
    assert samples["moq_relay_loop_lag_seconds_count", ()] == 4
    assert samples["moq_relay_loop_lag_seconds_sum", ()] == 9.031


def test_the_page_about_metrics_has_every_name_that_is_told():
    page = docs.metric_table()
    names = {name for name, _ in told() if name.startswith("moq_")}

    documented = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))

    histograms = [family.name for family in metrics.FAMILIES if family.kind is H]
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
    assert documented - set(histograms) == names - parts


def test_no_label_is_the_region_or_a_path():
    for family in metrics.FAMILIES:
        assert not {"region", "node", "path", "broadcast", "track"} & set(family.labels)


def test_several_processes_of_a_relay_are_told_as_one():
    def lag(*seconds):
        histogram = Histogram((1.0,))
        for one in seconds:
            histogram.observe(one)
        return histogram

    total = Family("a", C, "", lambda _: [(("x",), 1.0), (("y",), 2.0)], ("l",))
    ends = Family("b", G, "", lambda _: [((), 5.0)], join=min)
    late = Family("c", H, "", lambda _: [((), lag(0.5))])

    assert total.merge([total.read(None), [(("y",), 3.0), (("z",), 4.0)]]) == [
        (("x",), 1.0),
        (("y",), 5.0),
        (("z",), 4.0),
    ]
    assert ends.merge([ends.read(None), [((), 4.0)], [((), 6.0)]]) == [((), 4.0)]
    other = lag(0.5, 3.0)
    ((_, both),) = late.merge([late.read(None), [((), other)]])
    assert both.buckets() == [("1.0", 2.0), ("+Inf", 3.0)]
    assert both.total == 4.0
    assert other.count == 2, "what was merged is as it was"


def test_what_other_processes_sent_is_in_the_exposition():
    here = readings(Counters(viewers=2))
    other = Counters(viewers=3)
    relay = metrics.Relay(here, [lambda family: family.read(readings(other))])

    text = generate_latest(relay).decode()

    assert 'moq_relay_viewers{relay_region=""} 5.0' in text


def test_the_constant_label_is_the_region_of_the_relay_on_every_sample_of_its_own():
    text = generate_latest(metrics.registry(readings())).decode()

    samples = [line for line in text.splitlines() if line.startswith("moq_")]
    assert samples
    assert all('relay_region=""' in line for line in samples)


async def test_the_exposition_in_slices_is_that_of_the_library_and_lets_others_run(monkeypatch):
    registry = CollectorRegistry()
    registry.register(metrics.Relay(readings()))
    turns = []

    async def count():
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    for samples in (1, 3, exposition.SAMPLES):
        monkeypatch.setattr(exposition, "SAMPLES", samples)
        turns.clear()
        async with asyncio.TaskGroup() as tasks:
            counting = tasks.create_task(count())
            sliced = await exposition.text(registry)
            counting.cancel()
        assert sliced == generate_latest(registry)
        lines = [line for line in sliced.decode().splitlines() if not line.startswith("#")]
        assert len(turns) >= max(len(metrics.FAMILIES), len(lines) / samples)


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
