"""The rules as the files that Prometheus reads."""

import json
from collections.abc import Iterator

from ops.prometheus.alerts import Alert, alerts
from ops.prometheus.rules import Rule, recording
from ops.prometheus.windows import SECONDS, Windows

WRITTEN = "# Written by `python -m ops.generate`: change ops/prometheus/*.py, not this file.\n"


def rule_files(scale: float = 1) -> dict[str, str]:
    """Name -> text; all lengths of time are divided by ``scale``."""
    w = Windows(scale)
    return {
        "recording.yml": _file("recorded", w, (_recorded(rule) for rule in recording(w))),
        "alerts.yml": _file("alerts", w, (_alert(alert, w) for alert in alerts(w))),
    }


def _file(group: str, w: Windows, rules: Iterator[str]) -> str:
    head = f"groups:\n  - name: moq_{group}\n    interval: {w['evaluation']}\n    rules:\n"
    return WRITTEN + head + "".join(rules)


def _block(expr: str) -> str:
    lines = "".join(f"          {line}\n" for line in expr.splitlines())
    return f"        expr: |-\n{lines}"


def _recorded(rule: Rule) -> str:
    return f"      - record: {rule.record}\n{_block(rule.expr)}"


def _alert(alert: Alert, w: Windows) -> str:
    # A string of JSON is one of YAML.
    hold = f"        for: {w[alert.hold]}\n" if SECONDS[alert.hold] else ""
    return (
        f"      - alert: {alert.name}\n{_block(alert.expr)}{hold}"
        f"        labels:\n          severity: {json.dumps(alert.severity)}\n"
        f"        annotations:\n          summary: {json.dumps(alert.summary)}\n"
        f"          runbook: {json.dumps(alert.runbook)}\n"
    )
