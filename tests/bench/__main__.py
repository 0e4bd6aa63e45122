"""``make bench``: what relays cost per gigabyte on the same work, side by side, in turns."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import peers
from tests.bench.measure import Row, measure
from tests.bench.report import as_json, ratios, table, verdicts


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--viewers", type=_numbers, default=[1, 12, 40, 80], metavar="N,N…")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a window")
    parser.add_argument(
        "--peers",
        type=lambda value: value.split(","),
        default=peers.DEFAULT,
        metavar="NAME,NAME…",
        help=f"of {', '.join(peers.PEERS)}",
    )
    parser.add_argument(
        "--ack-every",
        type=int,
        default=0,
        help="packets per ACK of our sink; 0: one per wake-up of its socket",
    )
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args(arguments)
    for name in options.peers:
        if name not in peers.PEERS:
            parser.error(f"no peer {name!r}, there are {', '.join(peers.PEERS)}")
    return options


def _numbers(value: str) -> list[int]:
    return [int(part) for part in value.split(",")]


def run(options: argparse.Namespace) -> list[Row]:
    """Each round visits every relay in turn, so that a noisy hour hits them all."""
    rows: list[Row] = []
    total = len(options.viewers) * options.rounds * len(options.peers)
    for viewers in options.viewers:
        for number in range(1, options.rounds + 1):
            for name in options.peers:
                started = time.monotonic()
                row = measure(
                    peers.PEERS[name], viewers, number, options.seconds, options.ack_every
                )
                rows.append(row)
                took = time.monotonic() - started
                print(
                    f"[{len(rows)}/{total}] {name} viewers={viewers} round={number}"
                    f" took={took:.1f}s {_outcome(row)}",
                    file=sys.stderr,
                    flush=True,
                )
    return rows


def _outcome(row: Row) -> str:
    if row.cpu_per_gb is None:
        return f"refused: {row.refused}"
    refused = f" refused: {row.refused}" if row.refused else ""
    return f"cpu_s_per_gb={row.cpu_per_gb:.1f} p50_ms={row.p50_ms:.1f}{refused}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 2 when a relay is not there."""
    options = parse(arguments)
    for name in options.peers:
        if reason := peers.missing(name):
            print(f"{name} can't run: {reason}", file=sys.stderr)
            return 2
    command = shlex.join(["python", "-m", "tests.bench", *(arguments or sys.argv[1:])])
    rows = run(options)
    print(f"`{command}`\n\n{table(rows)}\n")
    for section in (ratios(rows), verdicts(rows)):
        if section:
            print(f"{section}\n")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(as_json(rows, command), indent=1) + "\n")
    print(f"{options.json} holds every measurement", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
