"""Break a cluster of real relays over a real Redis, and ask whether every node that is left agrees
with every publisher that is left."""

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Sequence

from tests.chaos.run import SCENARIOS, run
from tests.chaos.scenario import Outcome


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", type=lambda value: value.split(","), metavar="NAME,NAME…")
    parser.add_argument("--seed", type=int, help="the same faults at the same chances again")
    parser.add_argument("--lease", type=float, default=8.0, help="seconds; the default is 8")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    options = parser.parse_args(arguments)
    for name in options.only or []:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name!r}; --list says what there is")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when anything was broken."""
    options = parse(arguments)
    if options.list:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:32} {scenario.title}")
        return 0
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    names = options.only or list(SCENARIOS)
    outcomes: list[Outcome] = []
    for number, name in enumerate(names):
        print(f"[{number + 1}/{len(names)}] {name}, seed {seed}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        outcome = asyncio.run(run(SCENARIOS[name], seed=seed, lease=options.lease))
        outcomes.append(outcome)
        print(f"{outcome.line()} ({time.monotonic() - begun:.0f} s)", flush=True)
        for problem in outcome.problems:
            print(f"    {problem}", flush=True)
    broken = [one.name for one in outcomes if not one.held]
    print(f"{len(outcomes) - len(broken)} held, {len(broken)} broken {' '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
