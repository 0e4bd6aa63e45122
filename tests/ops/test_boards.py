"""Rules and dashboards: as their Python says, of metrics that exist, each panel with its words."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from moq_relay.daemon.metrics.families import CONSTANT_LABEL, FAMILIES, INFO_LABELS
from moq_relay.daemon.metrics.readings import H
from ops.prometheus.alerts import alerts
from ops.prometheus.files import rule_files
from ops.prometheus.rules import SHARED, recording
from ops.prometheus.windows import SECONDS, Windows, duration
from tests.conftest import require
from tests.ops.test_alerts import anchors

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
BOARDS = {path.stem: json.loads(path.read_text()) for path in OPS.glob("grafana/dashboards/*.json")}
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]
RECORDED = {rule.record: rule.expr for rule in recording(Windows())}
ALERTS = {alert.name: alert.expr for alert in alerts(Windows())}
TARGET_LABELS = {"cluster", "instance", "job"}
CHOSEN = {"$cluster": "compose", "$region": ".*", "$instance": ".*", "$__rate_interval": "1m"}


def plain(expr):
    """What Grafana asks Prometheus for."""
    for name, value in CHOSEN.items():
        expr = expr.replace(name, value)
    return expr


IN_PANELS = {
    f"{board}: {panel['title']} {target['refId']}": plain(target["expr"])
    for board, described in BOARDS.items()
    for panel in described["panels"]
    for target in panel.get("targets", [])
}
EXPRESSIONS = RECORDED | ALERTS | IN_PANELS


# --- as their Python says -------------------------------------------------------------------------


def test_the_committed_rules_are_those_that_their_source_writes():
    for name, text in rule_files().items():
        assert (OPS / "prometheus" / name).read_text() == text, "run python -m ops.generate"


def test_the_committed_dashboards_are_those_that_their_source_writes():
    done = subprocess.run(
        [sys.executable, "-m", "ops.generate", "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_rules_at_a_thirtieth_of_the_scale_differ_in_lengths_of_time_only(tmp_path):
    long = "".join(rule_files().values())
    short = "".join(rule_files(30).values())

    lengths = {duration(s) for s in SECONDS.values()} | {duration(s / 30) for s in SECONDS.values()}
    either = re.compile(rf"(?<=\[|\s)({'|'.join(sorted(lengths, key=len)[::-1])})(?=\]|\n)")
    assert long != short
    assert either.sub("TIME", long) == either.sub("TIME", short)
    assert "interval: 500ms" in short
    check(tmp_path, rule_files(30))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "500ms"), (90, "90s"), (300, "5m"), (7200, "2h"), (3600 / 7, "514286ms")],
)
def test_a_length_of_time_is_one_whole_number(seconds, text):
    assert duration(seconds) == text


# --- what Prometheus makes of them ----------------------------------------------------------------


def check(directory, files):
    for name, text in files.items():
        (directory / name).write_text(text)
    paths = [directory / name for name in files]
    done = subprocess.run(
        [require("promtool"), "check", "rules", *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_and_the_rules():
    done = subprocess.run(
        [require("promtool"), "check", "config", OPS / "prometheus/prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for name in rule_files():
        assert f"{name}\n  SUCCESS" in done.stdout


def test_prometheus_can_read_every_expression_of_a_panel(tmp_path):
    rules = [
        {"record": f"panel:{number}", "expr": expr}
        for number, expr in enumerate(IN_PANELS.values())
    ]
    assert len(rules) > 80
    check(tmp_path, {"panels.yml": json.dumps({"groups": [{"name": "panels", "rules": rules}]})})


# --- names ----------------------------------------------------------------------------------------


def exported():
    """Name of a sample -> its labels, of all that a relay tells."""
    found = {"up": set(), "moq_relay_info": set(INFO_LABELS)}
    for family in FAMILIES:
        labels = {*family.labels, CONSTANT_LABEL}
        if family.kind is H:
            found |= {f"{family.name}_{part}": labels for part in ("sum", "count")}
            found[f"{family.name}_bucket"] = labels | {"le"}
        else:
            found[family.sample_name] = labels
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    found |= {s.name: set() for metric in registry.collect() for s in metric.samples}
    return found


EXPORTED = exported()
WORDS = {"and", "or", "unless", "bool", "offset"}
GROUPING = r"\b(?:by|without|on|ignoring|group_left|group_right) ?\(([^)]*)\)"


def names(expr):
    """Of the metrics in an expression."""
    bare = re.sub(GROUPING, " ", re.sub(r"\[.*?\]|\{.*?\}", " ", expr))
    return {n for n in re.findall(r"[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", bare) if n not in WORDS}


def selectors(expr):
    """Metric and the labels that are asked of it."""
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\{(.*?)\}", expr):
        yield name, set(re.findall(r"(\w+)(?==)", re.sub(r'"[^"]*"', "", matchers)))


def labels_of(name):
    if name in EXPORTED:
        return EXPORTED[name] | TARGET_LABELS
    # One aggregation of another has the labels of both.
    groups = re.findall(r"\bby \(([^)]*)\)", RECORDED[name]) or [""]
    return set.intersection(*(set(re.split(", ?", grouped)) for grouped in groups))


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_an_expression_is_of_metrics_and_labels_that_relays_have(where):
    expr = EXPRESSIONS[where]

    used = names(expr)

    assert used - EXPORTED.keys() - RECORDED.keys() == set()
    assert used or expr == "vector(1)"
    for name, asked in selectors(expr):
        assert asked <= labels_of(name), name
    available = {label for name in used for label in (EXPORTED.get(name) or labels_of(name))}
    for grouped in re.findall(GROUPING, expr):
        assert {*re.split(", ?", grouped)} <= available | TARGET_LABELS


def test_names_are_found_wherever_they_stand():
    assert names('sum by (le, a) (rate(x_bucket{b="c"}[5m])) / on (d) m:e > 0 or vector(0)') == {
        "x_bucket",
        "m:e",
    }


SHARED_METRICS = [
    family.sample_name for family in FAMILIES if family.meaning.find("Shared by all") >= 0
]


def bare(expr):
    """Shared metrics of an expression that are not read by ``max by``, of all nodes or of some."""
    some = r"(\nunless on \([^)]*\) [^()]*)?"
    return [
        name
        for name in SHARED_METRICS
        if re.search(
            rf"(?<!\w){name}(?!\w)", re.sub(rf"max by \([^)]*\) \({name}{some}\)", "", expr)
        )
    ]


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_a_table_that_every_node_has_is_never_summed_over_nodes(where):
    assert bare(EXPRESSIONS[where]) == []
    assert where in SHARED or not [name for name in SHARED_METRICS if name in EXPRESSIONS[where]]


def test_a_sum_over_a_shared_table_would_be_noticed():
    assert SHARED_METRICS == ["moq_cluster_nodes", "moq_cluster_broadcasts"]
    assert bare("sum by (cluster) (moq_cluster_nodes)") == ["moq_cluster_nodes"]
    assert bare("max by (cluster) (moq_cluster_nodes) + moq_cluster_nodes") == ["moq_cluster_nodes"]
    assert bare('sum(moq_cluster_broadcasts{x="y"})') == ["moq_cluster_broadcasts"]


# --- what a panel says ----------------------------------------------------------------------------


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_a_unit_a_legend_and_a_word_on_what_it_shows(panel):
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"]) > 8
    assert panel["description"].endswith(".")
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["legendFormat"]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_with_a_threshold_says_what_to_do_beyond_it(panel):
    thresholds = panel["fieldConfig"]["defaults"].get("thresholds", {"steps": []})["steps"]

    runbooks = re.findall(r"(docs/operations/\w+\.md)#(\w+)", panel["description"])

    if len(thresholds) > 1:
        assert re.search(r"(Above|From|At) .*: .*\. See ", panel["description"])
        assert runbooks
    for page, anchor in runbooks:
        assert anchor in anchors(ROOT / page)


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_fits_the_grid_and_offers_the_same_choices(name):
    board = BOARDS[name]
    taken = set()

    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at.get("x", 0), at.get("x", 0) + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    choices = [variable["name"] for variable in board["templating"]["list"]]
    assert choices == ["datasource", "cluster", "region", "instance"]
    for choice in choices[1:]:
        assert f"${choice}" in json.dumps(board["panels"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_dashboards_are_those_three():
    assert sorted(BOARDS) == ["cluster", "experience", "node"]
