"""Cause faults in a cluster of real relays, and see in a real Prometheus that the right alert fires
for each, and no other page; then see that none fires while all is well."""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from pathlib import Path

from tests.alarms.calm import NAME, Part, calm
from tests.alarms.fault import Seen
from tests.alarms.report import page
from tests.alarms.run import FAULTS, alone
from tests.chaos.run import end_tidily, keep_apart


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.alarms", description=__doc__)
    parser.add_argument("--only", type=lambda value: value.split(","), metavar="NAME,NAME…")
    parser.add_argument("--minutes", type=float, default=10.0, help="the quiet time; 0 for none")
    parser.add_argument(
        "--write", type=Path, help="a page like docs/alerts-seen.md; with --only, into its rows"
    )
    parser.add_argument("--jobs", type=int, default=1, help="so many worlds at a time")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    options = parser.parse_args(arguments)
    for name in options.only or []:
        if name not in FAULTS and name != NAME:
            parser.error(f"no fault {name!r}; --list says what there is")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when anything was broken."""
    end_tidily()
    options = parse(arguments)
    if options.list:
        for fault in FAULTS.values():
            print(f"{fault.name:36} {fault.alert:24} {fault.title}")
        print(f"{NAME:36} {'none':24} nothing, and then a rolling restart")
        return 0
    wanted = options.only or [*FAULTS, NAME]
    command = shlex.join(["python", "-m", "tests.alarms", *(arguments or sys.argv[1:])])
    faults: list[Seen] = []
    parts: list[Part] = []

    def show(*seen: Seen | Part) -> None:
        for one in seen:
            print(f"{one.line()} ({one.seconds:.0f} s)", flush=True)
            for problem in one.problems:
                print(f"    {problem}", flush=True)
        if options.write is not None:
            # Each time, so that a run that is cut off has written what it saw.
            before = options.write.read_text() if options.write.exists() else ""
            options.write.write_text(page(faults, parts, command, before))

    for seen in each([name for name in wanted if name in FAULTS], options.jobs):
        faults.append(seen)
        show(seen)
    if NAME in wanted and options.minutes:
        parts += asyncio.run(calm(options.minutes))
        show(*parts)
    outcomes: list[Seen | Part] = [*faults, *parts]
    broken = [one.name for one in outcomes if not one.held]
    print(f"{len(outcomes) - len(broken)} held, {len(broken)} broken {' '.join(broken)}")
    return 1 if broken else 0


def each(wanted: Sequence[str], jobs: int) -> Iterable[Seen]:
    """Every fault in a world of its own, in a process of its own; in the order given."""
    places = [f"[{number + 1}/{len(wanted)}]" for number in range(len(wanted))]
    context = get_context("spawn")
    shares = context.Queue()
    for share in range(jobs):
        shares.put(share)
    with ProcessPoolExecutor(jobs, context, keep_apart, (shares, jobs)) as workers:
        try:
            yield from workers.map(alone, places, wanted)
        except KeyboardInterrupt:
            for child in active_children():
                child.terminate()  # it takes that for Ctrl-C, and ends its world
            workers.shutdown(cancel_futures=True)
            raise


if __name__ == "__main__":
    sys.exit(main())
