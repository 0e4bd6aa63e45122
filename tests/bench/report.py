"""Rows as a table in Markdown, with ratios between relays and the goals that were set."""

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from statistics import median

from moq_relay.daemon.load.machine import facts
from tests.bench.measure import Row

OURS, SCRAPED = "ours", "ours-scraped"
GOALS = (
    ("CPU-s/GB at 12, of naive-asyncio", 12, "naive-asyncio", 0.65),
    ("CPU-s/GB at 12, of naive-uvloop", 12, "naive-uvloop", 1.0),
)
"""What, viewers, whom it is compared with, the highest ratio."""
LATENCY_GOALS = ((1, 2.0), (12, 6.0))
"""Viewers and the highest median latency, milliseconds."""
SCRAPE_GOAL = 2.0
"""Milliseconds by which p99 may be higher while the metrics are read every second."""
HEADINGS = (
    "relay | viewers | rounds | CPU-s/GB (min to max) | of a core | delivered | video fps"
    " | audio fps | p50 ms | p99 ms | RSS MB | viewers' CPU-s/GB"
)


def table(rows: Sequence[Row]) -> str:
    """One line per relay and number of viewers: medians over rounds, cost with its range."""
    lines = [f"| {HEADINGS} |", "|" + "---|" * (HEADINGS.count("|") + 1)]
    lines += [_line(group) for group in _groups(rows)]
    return "\n".join(lines)


def ratios(rows: Sequence[Row]) -> str:
    """Our cost as a share of each rival's, medians of complete rows only."""
    lines = []
    for viewers in sorted({row.viewers for row in rows}):
        ours = cost(rows, OURS, viewers)
        for peer in dict.fromkeys(row.peer for row in rows):
            theirs = cost(rows, peer, viewers)
            if peer != OURS and ours is not None and theirs is not None:
                share = f"{ours / theirs:.2f} of {peer}"
                lines.append(f"- {viewers} viewers: ours costs {share} ({ours:.1f} / {theirs:.1f})")
    return "\n".join(lines)


def verdicts(rows: Sequence[Row]) -> str:
    """Each goal that these rows can judge, and whether it is met."""
    lines = []
    for what, viewers, rival, most in GOALS:
        ours, theirs = cost(rows, OURS, viewers), cost(rows, rival, viewers)
        if ours is not None and theirs is not None:
            lines.append(_verdict(what, ours / theirs, most))
    for viewers, most in LATENCY_GOALS:
        latency = _median(_complete(rows, OURS, viewers), lambda row: row.p50_ms)
        if latency is not None:
            lines.append(_verdict(f"latency p50 ms at {viewers}", latency, most))
    for viewers in sorted({row.viewers for row in rows}):
        alone, read = (
            _median(_complete(rows, peer, viewers), lambda row: row.p99_ms)
            for peer in (OURS, SCRAPED)
        )
        if alone is not None and read is not None:
            what = f"p99 ms more at {viewers} while scraped"
            lines.append(_verdict(what, read - alone, SCRAPE_GOAL))
    return "\n".join(lines)


def cost(rows: Iterable[Row], peer: str, viewers: int) -> float | None:
    """Median cost of a relay at a number of viewers; None where most rounds were not complete."""
    return _median(_complete(rows, peer, viewers), lambda row: row.cpu_per_gb)


def as_json(rows: Sequence[Row], command: str) -> dict[str, object]:
    """Everything that was measured, and where."""
    return {
        "command": command,
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": facts(),
        "rows": [asdict(row) for row in rows],
    }


def _groups(rows: Iterable[Row]) -> list[list[Row]]:
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.viewers, row.peer), []).append(row)
    return list(groups.values())


def _line(group: Sequence[Row]) -> str:
    first = group[0]
    whole = [row for row in group if row.refused is None]
    head = f"| {first.peer} | {first.viewers} "
    if not whole:
        return f"{head}| 0 of {len(group)} | refused: {first.refused} |" + " |" * 8
    costs = [row.cpu_per_gb for row in whole if row.cpu_per_gb is not None]
    spread = f"**{median(costs):.1f}** ({min(costs):.1f} to {max(costs):.1f})"
    rounds = str(len(whole)) if len(whole) == len(group) else f"{len(whole)} of {len(group)}"
    cells = (
        rounds,
        spread,
        _cell(whole, lambda row: row.core_share, "{:.0%}"),
        _cell(whole, lambda row: row.delivered, "{:.1%}"),
        _cell(whole, lambda row: row.video_fps, "{:.1f}"),
        _cell(whole, lambda row: row.audio_fps, "{:.1f}"),
        _cell(whole, lambda row: row.p50_ms, "{:.1f}"),
        _cell(whole, lambda row: row.p99_ms, "{:.1f}"),
        _cell(whole, lambda row: row.rss_mb, "{:.0f}"),
        _cell(whole, lambda row: row.viewers_cpu_per_gb, "{:.1f}"),
    )
    return f"{head}| {' | '.join(cells)} |"


def _cell(rows: Iterable[Row], field: Callable[[Row], float | None], form: str) -> str:
    value = _median(rows, field)
    return "" if value is None else form.format(value)


def _complete(rows: Iterable[Row], peer: str, viewers: int) -> list[Row]:
    """Complete rounds; none when they are the lesser part, which luck would have chosen."""
    rounds = [row for row in rows if row.peer == peer and row.viewers == viewers]
    complete = [row for row in rounds if row.refused is None]
    return complete if 2 * len(complete) > len(rounds) else []


def _median(rows: Iterable[Row], field: Callable[[Row], float | None]) -> float | None:
    values = [value for row in rows if (value := field(row)) is not None]
    return median(values) if values else None


def _verdict(what: str, value: float, most: float) -> str:
    return f"- {what}: {value:.2f}, goal at most {most:g}: {'met' if value <= most else 'MISSED'}"
