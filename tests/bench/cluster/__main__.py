"""What a cluster takes, on one machine with real relays and a real Redis, beside its goals."""

import argparse
import asyncio
import json
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from moq_relay.daemon.load import machine
from tests.bench.cluster import announcing, deaths, frames, scale
from tests.bench.cluster.figures import Figure, table
from tests.bench.cluster.stage import say

Part = Callable[[], Awaitable[list[Figure]]]


def parts(options: argparse.Namespace) -> dict[str, Part]:
    """Every part by its name, as the options want it."""
    return {
        "announce": lambda: announcing.measure(options.seconds),
        "first-frame": frames.first_frame,
        "hop": lambda: frames.hop(options.seconds),
        "move": deaths.move,
        "failover": lambda: deaths.failover(options.runs),
        "ghosts": deaths.ghosts,
        "root": deaths.root_death,
        "scale": lambda: scale.measure(options.members, options.tables, options.broadcasts),
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cluster", description=__doc__)
    parser.add_argument("--only", type=lambda value: value.split(","), metavar="NAME,NAME…")
    parser.add_argument("--seconds", type=float, default=20.0, help="of steady traffic")
    parser.add_argument("--runs", type=int, default=5, help="of failover; 50 for the record")
    parser.add_argument("--members", type=int, default=300)
    parser.add_argument("--tables", type=int, default=8, help="members that hold the table")
    parser.add_argument("--broadcasts", type=int, default=20_000, help="100000 for the record")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = parts(options)
    for name in options.only or []:
        if name not in known:
            parser.error(f"no part {name!r}, there are {', '.join(known)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when a part failed, which is worse than a goal that is missed."""
    options = parse(arguments)
    figures: list[Figure] = []
    failed: dict[str, str] = {}
    for name, part in parts(options).items():
        if options.only and name not in options.only:
            continue
        begun = time.monotonic()
        try:
            figures += asyncio.run(_alone(part))
        except (AssertionError, OSError, ExceptionGroup) as error:
            failed[name] = _first(error)
            say(f"{name} FAILED: {failed[name]}")
        say(f"{name} took {time.monotonic() - begun:.0f} s")
    where = machine.facts()
    command = shlex.join(["python", "-m", "tests.bench.cluster", *(arguments or sys.argv[1:])])
    print(f"`{command}`: {where['cores']} cores of {where['cpu']}, load {where['load']:.1f}\n")
    print(table(figures))
    for name, why in failed.items():
        print(f"\n{name} FAILED: {why}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        facts = {
            "command": command,
            "machine": where,
            "figures": [asdict(one) | {"met": one.met} for one in figures],
            "failed": failed,
        }
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 1 if failed else 0


async def _alone(part: Part) -> list[Figure]:
    return await part()


def _first(error: BaseException) -> str:
    """The first line of what failed inside."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
