"""Break a cluster of real relays over a real Redis, and ask whether every node that is left agrees
with every publisher that is left."""

import argparse
import asyncio
import random
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

from tests.bench.cluster.beacon import PER_SECOND
from tests.chaos.report import page, with_chance, with_rows
from tests.chaos.run import SCENARIOS, alone, end_tidily, failed, keep_apart, say
from tests.chaos.scenario import Outcome, Scenario
from tests.chaos.store import process
from tests.chaos.world import BROADCASTS, CHANGES_PER_SECOND, World, world_of


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", type=lambda value: value.split(","), metavar="NAME,NAME…")
    parser.add_argument("--minutes", type=float, help="instead: one world, faults at random")
    parser.add_argument("--seed", type=int, help="the same faults at the same chances again")
    parser.add_argument("--jobs", type=int, default=1, help="so many worlds at a time")
    parser.add_argument("--lease", type=float, default=8.0, help="seconds; the default is 8")
    parser.add_argument(
        "--write",
        type=Path,
        help="a page like docs/reliability.md; with --only, into its rows; at random, to its end",
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    options = parser.parse_args(arguments)
    for name in options.only or []:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name!r}; --list says what there is")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when anything was broken."""
    end_tidily()
    options = parse(arguments)
    if options.list:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:32} {scenario.title}")
        return 0
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    scenarios = [SCENARIOS[name] for name in options.only or SCENARIOS]
    outcomes = []
    runs = (
        each(scenarios, seed, options.lease, options.jobs)
        if options.minutes is None
        else at_random(scenarios, seed, options.lease, options.minutes)
    )
    for outcome in runs:
        outcomes.append(outcome)
        print(f"{outcome.line()} ({outcome.seconds:.0f} s)", flush=True)
        for problem in outcome.problems:
            print(f"    {problem}", flush=True)
    broken = [one.name for one in outcomes if not one.held]
    print(f"{len(outcomes) - len(broken)} held, {len(broken)} broken {' '.join(broken)}")
    if options.write is not None:
        command = shlex.join(["python", "-m", "tests.chaos", *(arguments or sys.argv[1:])])
        constants = {
            "broadcasts": BROADCASTS,
            "changes": CHANGES_PER_SECOND,
            "groups": PER_SECOND,
        }
        if options.minutes is not None:
            text = with_chance(options.write.read_text(), outcomes, command)
        elif options.only and options.write.exists():
            text = with_rows(options.write.read_text(), outcomes, command)
        else:
            text = page(outcomes, command, constants)
        options.write.write_text(text)
    return 1 if broken else 0


def each(scenarios: Sequence[Scenario], seed: int, lease: float, jobs: int) -> Iterable[Outcome]:
    """Every fault in a world of its own, in a process of its own; outcomes in the order given."""
    places = [f"[{number + 1}/{len(scenarios)}]" for number in range(len(scenarios))]
    names = [one.name for one in scenarios]
    context = get_context("spawn")
    shares = context.Queue()
    for share in range(jobs):
        shares.put(share)
    with ProcessPoolExecutor(jobs, context, keep_apart, (shares, jobs)) as workers:
        yield from workers.map(alone, places, names, repeat(seed), repeat(lease))


def at_random(
    scenarios: Sequence[Scenario], seed: int, lease: float, minutes: float
) -> Iterable[Outcome]:
    """One world, and one fault after another, by chance."""
    chance = random.Random(seed)
    fitting = [one for one in scenarios if one.mixes and one.servers == 1]
    world = replace(
        fitting[0],
        wired=any(one.wired for one in fitting),
        noisy=any(one.noisy for one in fitting),
    )
    until = time.monotonic() + 60 * minutes
    outcomes: list[Outcome] = []

    async def live() -> None:
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            async with world_of(Path(folder), world, process, seed, lease) as living:
                while time.monotonic() < until and all(one.held for one in outcomes):
                    scenario = chance.choice(fitting)
                    say(f"{until - time.monotonic():.0f} s left: {scenario.name}")
                    outcomes.append(await suffer(living, scenario))

    try:
        asyncio.run(live())
    except (AssertionError, OSError, ExceptionGroup) as error:
        outcomes.append(failed(world, seed, lease, error))
    return outcomes


async def suffer(world: World, scenario: Scenario) -> Outcome:
    """One more fault in a world that has seen some."""
    await world.members()
    world.forget_figures()
    outcome = await world.settle(await scenario.run(world))
    outcome.name, outcome.title = scenario.name, scenario.title
    return outcome


if __name__ == "__main__":
    sys.exit(main())
