"""Flood a real relay with noise, first packets, forged Retry tokens and handshakes, beside a viewer
that has to miss nothing; or with all of them together, and then see what memory is left behind."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.chaos.run import end_tidily
from tests.floods.judge import Seen, Soak
from tests.floods.report import page
from tests.floods.rounds import seen
from tests.floods.soak import soak
from tests.floods.world import KINDS, world


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.floods", description=__doc__)
    parser.add_argument("--only", type=lambda value: value.split(","), metavar="NAME,NAME…")
    parser.add_argument("--rounds", type=int, default=3, help="of each flood, and at a closed port")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round")
    parser.add_argument("--soak", action="store_true", help="all floods together, then quiet")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak's floods")
    parser.add_argument("--warm", type=float, default=120.0, help="seconds after them, not counted")
    parser.add_argument("--quiet", type=float, default=30.0, help="minutes after those")
    parser.add_argument(
        "--write", type=Path, help="a page like docs/floods.md; what is not measured now stays"
    )
    options = parser.parse_args(arguments)
    for name in options.only or []:
        if name not in KINDS:
            parser.error(f"no flood {name!r}; there are {', '.join(KINDS)}")
    return options


def say(line: str) -> None:
    print(f"    {line}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when a bound did not hold."""
    end_tidily()
    options = parse(arguments)
    wanted = options.only or KINDS
    command = shlex.join(["python", "-m", "tests.floods", *(arguments or sys.argv[1:])])
    broken = []

    def write(one: Seen | Soak) -> None:
        # Each time, so that a run that is cut off has written what it saw.
        if options.write is not None:
            before = options.write.read_text() if options.write.exists() else ""
            options.write.write_text(page(one, command, before))

    for one in measured(options, wanted, write):
        print(f"{one.line()}", flush=True)
        for problem in one.problems:
            say(problem)
        if one.problems:
            broken.append(one.kind)
    return 1 if broken else 0


def measured(
    options: argparse.Namespace, wanted: Sequence[str], write: Callable[[Seen | Soak], None]
) -> list[Seen | Soak]:
    """What was asked for. The relay has ended in order, and its log has no trace in it.

    Raises:
        AssertionError: it has not.
    """
    found: list[Seen | Soak] = []
    with (
        tempfile.TemporaryDirectory(prefix="floods-") as folder,
        world(Path(folder), wanted) as here,
    ):
        if options.soak:
            times = (60 * options.minutes, options.warm, 60 * options.quiet)
            found.append(soak(here, wanted, *times, say, write))
            write(found[-1])
            return found
        for kind in wanted:
            found.append(seen(here, kind, options.rounds, options.seconds, say))
            say(found[-1].line())
            write(found[-1])
    return found


if __name__ == "__main__":
    sys.exit(main())
