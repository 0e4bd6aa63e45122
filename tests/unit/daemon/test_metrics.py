"""Metrics: what is counted is what is told, and what can be known beforehand is told from zero."""

import asyncio
import re
from contextlib import ExitStack

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from moq_relay.cluster.endpoint import Endpoint
from moq_relay.cluster.joining import Challenges
from moq_relay.cluster.records import Member
from moq_relay.cluster.roundtrips import METHODS, Way
from moq_relay.daemon import docs
from moq_relay.daemon.cluster import Cluster
from moq_relay.daemon.clustering import Part
from moq_relay.daemon.config.settings import Redis
from moq_relay.daemon.metrics import exposition, families
from moq_relay.daemon.metrics.readings import LAG_BUCKETS, C, Family, G, H, Readings
from moq_relay.relay.counters import Counters
from moq_relay.relay.histogram import Histogram
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits

SERIES = 2500
"""Of one node with twelve regions."""


def readings(counters=None, **more):
    counters = counters or Counters()
    origin = Origin(1, Cache(CacheLimits(), counters), float, lambda _seconds, _call: None)
    return Readings(counters, origin, **more)


def told(counters=None, **more):
    """Every sample, by its name and its labels but the one that all have."""
    samples = {}
    registry = families.registry(readings(counters, **more))
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            if sample.name.startswith("moq_"):
                assert labels.pop(families.CONSTANT_LABEL) == ""
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
    assert samples["moq_cluster_canary_seconds_count", ()] == 0
    for operation in ("renew", "write", "read", "other"):
        assert samples["moq_cluster_redis_rtt_seconds_count", (("op", operation),)] == 0
    for outcome in ("known", "found", "unknown", "unavailable"):
        assert samples["moq_relay_lookups_total", (("outcome", outcome),)] == 0


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


class Measured:
    """A session that answered a moment ago."""

    rtt_seconds = latest_rtt_seconds = 0.08
    silent_seconds = 0.0

    def ping(self):
        """It will answer again."""


def clustered(regions):
    """A node among nodes in so many regions, to each of which a round trip was measured."""
    counters = Counters()
    origin = Origin(1, Cache(CacheLimits(), counters), float, lambda _seconds, _call: None)
    part = Part(
        mode="direct",
        node="https://own/",
        region="r0",
        roots=("https://root/",),
        endpoint=Endpoint(addresses=(("localhost", 1),)),
    )
    cluster = Cluster(
        part, Redis(), origin=origin, dial=None, challenges=Challenges(), extensions={}
    )
    with ExitStack() as stack:
        for number in range(regions):
            name = f"https://n{number}/"
            member = Member(node=name, generation=1, instance="i", region=f"r{number}")
            cluster.registry.table.members_feed.put("", member)
            cluster.regions.members_changed(name)
            for method in METHODS:
                stack.enter_context(cluster.roundtrips.known(Way(name, method, Measured())))
        cluster.roundtrips.turn()
    return Readings(counters, origin, cluster=cluster)


def lines(here):
    text = generate_latest(families.registry(here)).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_the_page_about_metrics_has_every_name_that_is_told():
    page = docs.metric_table()
    names = {re.match(r"\w+", line)[0] for line in lines(clustered(1)) if line.startswith("moq_")}

    documented = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))

    histograms = [family.name for family in families.FAMILIES if family.kind is H]
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
    assert documented - set(histograms) == names - parts


def test_the_round_trip_to_a_region_is_told_by_how_it_was_measured():
    told = lines(clustered(2))

    for method in ("quic", "probe"):
        labels = f'{{method="{method}",peer_region="r1",relay_region="r0"}}'
        assert f"moq_relay_peer_rtt_seconds_sum{labels} 0.08" in told
        assert f"moq_relay_peer_rtt_seconds_count{labels} 1.0" in told
    assert 'moq_relay_peer_rtt_current_seconds{peer_region="r1",relay_region="r0"} 0.08' in told


def test_a_node_among_twelve_regions_has_no_more_series_than_it_may():
    assert len(lines(clustered(12))) <= SERIES


def test_no_label_is_the_region_or_a_broadcast():
    for family in families.FAMILIES:
        assert not {"region", "node", "broadcast", "track"} & set(family.labels)
    # This path is one of three kinds.
    with_path = [family.name for family in families.FAMILIES if "path" in family.labels]
    assert with_path == ["moq_relay_first_object_seconds"]


def test_several_processes_of_a_relay_are_told_as_one():
    def lag(*seconds):
        histogram = Histogram((1.0,))
        for one in seconds:
            histogram.observe(one)
        return histogram

    total = Family("a", C, "", lambda _: [(("x",), 1.0), (("y",), 2.0)], ("l",))
    ends = Family("b", G, "", lambda _: [((), 5.0)], join=min)
    late = Family("c", H, "", lambda _: [])

    assert total.merge([total.read(None), [(("y",), 3.0), (("z",), 4.0)]]) == [
        (("x",), 1.0),
        (("y",), 5.0),
        (("z",), 4.0),
    ]
    assert ends.merge([ends.read(None), [((), 4.0)], [((), 6.0)]]) == [((), 4.0)]
    mine, other = lag(0.5), lag(0.5, 3.0)
    ((_, both),) = late.merge([[((), mine)], [((), other)]])
    assert both.buckets() == [("1.0", 2.0), ("+Inf", 3.0)]
    assert both.total == 4.0
    assert (mine.count, other.count) == (1, 2), "what was merged is as it was"


def test_what_other_processes_sent_is_in_the_exposition():
    here = readings(Counters(viewers=2))
    other = Counters(viewers=3)
    relay = families.Relay(here, [lambda family: family.read(readings(other))])

    text = generate_latest(relay).decode()

    assert 'moq_relay_viewers{relay_region=""} 5.0' in text


def test_the_constant_label_is_the_region_of_the_relay_on_every_sample_of_its_own():
    text = generate_latest(families.registry(readings())).decode()

    samples = [line for line in text.splitlines() if line.startswith("moq_")]
    assert samples
    assert all('relay_region=""' in line for line in samples)


async def test_the_exposition_in_slices_is_that_of_the_library_and_lets_others_run(monkeypatch):
    registry = CollectorRegistry()
    registry.register(families.Relay(readings()))
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
        assert len(turns) >= max(len(families.FAMILIES), len(lines) / samples)


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


def test_saturation_and_lines_of_sessions_are_told_and_there_from_zero():
    name, lines = "moq_relay_saturation_ratio", "moq_relay_session_lines_total"
    nothing = told()
    some = told(saturation=lambda: {"loop": 0.5}, session_lines=lambda: (7, 3))

    for resource in ("loop", "sessions", "egress", "memory", "fds"):
        assert nothing[name, (("resource", resource),)] == 0
    assert some[name, (("resource", "loop"),)] == 0.5
    assert nothing[lines, (("outcome", "lost"),)] == 0
    assert some[lines, (("outcome", "written"),)] == 7
    assert some[lines, (("outcome", "lost"),)] == 3
