"""``moq-relay bench --capacity``: how many viewers a relay on this machine serves."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NoReturn

from moq_relay.daemon.commands.asking import Parser
from moq_relay.daemon.load import machine
from moq_relay.daemon.load.estimate import (
    TARGET,
    Estimate,
    estimate,
    following,
    is_good,
    usable,
)
from moq_relay.daemon.load.processes import Failed
from moq_relay.daemon.load.stage import Point, Stage, stage
from moq_relay.daemon.load.workload import VIDEO_MBITS, Workload
from moq_relay.errors import ConfigError, MoqError

COMMANDS = ("bench",)
SECONDS = 5.0
LEAST_SECONDS, MOST_SECONDS = 1.0, 600.0
LEAST_MBITS, MOST_MBITS = 0.01, 1000.0
ENOUGH_CORES = 4
"""The relay, the publisher, viewers, and the system with whatever else runs there."""
HEADINGS = ("viewers", "of a core", "out Mb/s", "p50 ms", "p99 ms", "delivered", "load's CPU")


class NoFigure(MoqError):
    """Nothing could be measured; the text says why."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Measure, and print what was found; the exit code.

    Raises:
        ConfigError: the arguments ask for nothing that can be measured.
        NoFigure: it failed, or this system does not count what is needed.
    """
    del environment  # the relay that is measured has settings of its own
    asked = _parse(arguments)
    if sys.platform != "linux":
        raise NoFigure("bench needs Linux: it reads CPU times in /proc, and sets UDP_GRO")
    workload = Workload(asked.bitrate)
    with _ending_in_order():
        try:
            with stage(workload) as set_up:
                points = measure(set_up, asked.seconds, _progress)
        except Failed as error:
            raise NoFigure(f"nothing was measured: {error}") from error
        except OSError as error:
            raise NoFigure(f"nothing was measured: {error.strerror or error}") from error
    facts, found = machine.facts(), estimate(points)
    said = warnings(points, found, machine.cores())
    if asked.json:
        sys.stdout.write(json.dumps(as_json(workload, facts, points, found, said), indent=1) + "\n")
    else:
        sys.stdout.write(as_text(workload, facts, points, found, said))
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="moq-relay", add_help=False, allow_abbrev=False)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--capacity", action="store_true")
    parser.add_argument("--bitrate", metavar="MBITS", type=float, default=VIDEO_MBITS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(list(arguments))
    if not asked.capacity:
        raise ConfigError("bench needs to know what to measure: --capacity")
    if not LEAST_MBITS <= asked.bitrate <= MOST_MBITS:
        raise ConfigError(
            f"--bitrate is 10^6 bits of video a second, {LEAST_MBITS:g} to {MOST_MBITS:g}"
        )
    if not LEAST_SECONDS <= asked.seconds <= MOST_SECONDS:
        raise ConfigError(
            f"--seconds is how long each step is measured, {LEAST_SECONDS:g} to {MOST_SECONDS:g}"
        )
    return asked


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Leave nothing behind on SIGTERM and SIGHUP either, which end a program at once."""

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = {n: signal.signal(n, leave) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def measure(set_up: Stage, seconds: float, progress: Callable[[str], None]) -> list[Point]:
    """Points with more and more viewers, at least two.

    What a relay does that can take no more ends it, and costs no point that was measured before.

    Raises:
        Failed: there are not two points.
    """
    points: list[Point] = []
    while (viewers := following(points)) is not None:
        progress(f"{viewers} viewers …")
        try:
            set_up.grow(viewers)
            points.append(set_up.measure(seconds))
        except Failed as error:
            if len(points) < 2:
                raise
            progress(f"  {error}; that was the end")
            break
        last = points[-1]
        busy = "; the machine has no time left" if last.crowded else ""
        progress(f"  {last.core_share:.0%} of a core, p99 {last.p99_ms:.1f} ms{busy}")
    return points


def _progress(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def nearest(points: Sequence[Point], found: Estimate) -> Point:
    """The point that was measured nearest to what was found, by viewers."""
    return min(usable(points), key=lambda point: abs(point.viewers - found.viewers))


def warnings(points: Sequence[Point], found: Estimate, cores: int) -> list[str]:
    """Why the figure may not be trusted, a line each."""
    said = []
    if cores < ENOUGH_CORES:
        said.append(
            f"{cores} cores carry the relay and all that loads it, and {ENOUGH_CORES} would do: "
            "they take time and caches from each other, so expect more from a machine with more"
        )
    said += [
        f"at {point.viewers} viewers those who make the load were the bottleneck: "
        f"one of them took {point.load_share:.0%} of a core"
        for point in points
        if point.strained
    ]
    crowded = [str(point.viewers) for point in points if point.crowded]
    if crowded:
        said.append(
            f"the machine had no time left at {', '.join(crowded)} viewers: "
            "measure when nothing else runs there"
        )
    said += [
        f"at {point.viewers} viewers only {point.delivered:.1%} of the frames came in time"
        for point in points
        if not point.complete
    ]
    bad = sum(not is_good(point) for point in points)
    if len(points) - bad < 2:
        said.append("fewer than two steps went well: the number means nothing")
    elif bad:
        said.append("steps that did not go well are not in the number")
    if found.extrapolated:
        said.append(
            f"{found.viewers} viewers were not measured, only {found.most_measured}: "
            "the number is on a line through the points above"
        )
    return said


def as_json(
    workload: Workload,
    facts: Mapping[str, object],
    points: Sequence[Point],
    found: Estimate,
    said: Sequence[str],
) -> dict[str, Any]:
    """All that was measured and concluded."""
    at = nearest(points, found)
    return {
        "machine": dict(facts),
        "method": "user and system time of the relay's process, from /proc/PID/stat",
        "workload": {"video_mbits": workload.video_mbits, "text": str(workload)},
        "points": [asdict(point) for point in points],
        "core_share": TARGET,
        **asdict(found),
        "extrapolated": found.extrapolated,
        "at": {"viewers": at.viewers, "mbits": at.mbits, "p99_ms": at.p99_ms},
        "warnings": list(said),
    }


def as_text(
    workload: Workload,
    facts: Mapping[str, object],
    points: Sequence[Point],
    found: Estimate,
    said: Sequence[str],
) -> str:
    """The same for people."""
    at = nearest(points, found)
    rows = [HEADINGS, *(_row(point) for point in points)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    table = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    how = "extrapolated" if found.extrapolated else "between the steps above"
    lines = [
        (
            f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
            f"Python {facts['python']}, moq-relay {facts['moq_relay']}, aioquic {facts['aioquic']}"
        ),
        f"each viewer: {workload}",
        "",
        *table,
        "",
        f"{found.viewers} viewers at {TARGET:.0%} of one core ({how})",
        (
            f"a viewer costs {found.viewer_share:.2%} of a core and {found.viewer_mb:.2f} MB, "
            f"beside {found.fixed_share:.1%} of a core for the publisher and the rest"
        ),
        (
            f"with {at.viewers} viewers: {at.mbits:.0f} Mb/s out, p99 {at.p99_ms:.1f} ms "
            "from the publisher to a viewer"
        ),
        "CPU is user and system time of the relay's process, from /proc/PID/stat.",
        *(f"warning: {one}" for one in said),
    ]
    return "\n".join(lines) + "\n"


def _row(point: Point) -> tuple[str, ...]:
    return (
        str(point.viewers),
        f"{point.core_share:.1%}",
        f"{point.mbits:.0f}",
        f"{point.p50_ms:.1f}",
        f"{point.p99_ms:.1f}",
        f"{point.delivered:.1%}",
        f"{point.load_share:.0%}",
    )
