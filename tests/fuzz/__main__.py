"""``make fuzz``: as many cases as asked for at every parser that sees bytes from outside.

A mutation of a case that took a new branch is kept and mutated further. Where atheris is installed,
libFuzzer goes on from there for all but the first part of the cases. Ends with 1 when a parser
raised what it must not, or when less than ``SHARE`` of its branches were taken; what did it is kept
in tests/fuzz/crashes, where the unit tests try it again.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random

from tests.fuzz.branches import Branches
from tests.fuzz.targets import TARGETS, Target
from tests.support.junk import mutate

CASES = 10_000_000
SHARE = 0.95
WATCHED = 20_000
"""Cases at the beginning whose branches are looked at; after them one in `RARELY`."""
RARELY = 500
LONGEST = 4_000
"""Bytes of a case; the first datagram of a connection has 1,200."""
PART = 10
"""One in so many cases is made by way of branches before libFuzzer goes on."""
TELL_SECONDS = 30.0
CRASHES = Path(__file__).with_name("crashes")


class Crash(Exception):
    """A parser raised what it must not."""

    def __init__(self, target: Target, data: bytes) -> None:
        super().__init__(f"{target.name}: {data[:60].hex()}")
        self.data = data


def mixed(dice: Random, corpus: Sequence[bytes]) -> bytes:
    """A case made of what was of use before."""
    data = dice.choice(corpus)
    if dice.random() < 0.2:
        other = dice.choice(corpus)
        data = data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other) + 1) :]
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        data = mutate(dice, data)
    return data[:LONGEST]


def run(
    target: Target,
    cases: int,
    seed: int,
    *,
    tell: bool = False,
    corpus: list[bytes] | None = None,
) -> Branches:
    """Feed ``target`` its corpus and ``cases`` more; what was of use is in ``corpus`` afterwards.

    Raises:
        Crash: the case that did it; the cause is what the parser raised.
    """
    branches, dice, told = Branches(target.functions), Random(f"{target.name}/{seed}"), time.time()
    corpus = [] if corpus is None else corpus

    def feed(data: bytes, *, watched: bool) -> None:
        try:
            if not watched:
                target.call(data)
            elif branches.watch(lambda: target.call(data)):
                corpus.append(data)
        except Exception as error:
            raise Crash(target, data) from error

    for data in (b"", *target.corpus):
        feed(data, watched=True)
    corpus.extend(target.corpus)
    for number in range(cases):
        feed(mixed(dice, corpus), watched=number < WATCHED or number % RARELY == 0)
        if tell and time.time() - told > TELL_SECONDS:
            told = time.time()
            print(f"  {target.name}: {number} cases, {branches.share:.1%}", flush=True)
    return branches


def run_led(
    target: Target, cases: int, seed: int, corpus: Sequence[bytes], branches: Branches
) -> None:
    """Feed it ``cases`` of libFuzzer's, made of ``corpus``; what they took is in ``branches``.

    Raises:
        Crash: the case that did it.
        RuntimeError: libFuzzer itself did not run to its end.
    """
    with tempfile.TemporaryDirectory() as directory:
        kept, found = Path(directory, "kept"), Path(directory, "found")
        kept.mkdir()
        found.mkdir()
        for number, data in enumerate(corpus):
            Path(kept, f"seed{number}").write_bytes(data)
        command = [sys.executable, "-m", "tests.fuzz.led", target.name, str(kept)]
        limits = [f"-runs={cases}", f"-seed={seed}", f"-max_len={LONGEST}", "-timeout=10"]
        log = Path(directory, "log")
        with log.open("w") as errors:
            done = subprocess.run(
                [*command, *limits, f"-artifact_prefix={found}/"], stderr=errors, check=False
            )
        for artifact in found.iterdir():
            raise Crash(target, artifact.read_bytes()) from RuntimeError(
                f"{artifact.name}, as above"
            )
        if done.returncode:
            raise RuntimeError(
                f"{target.name}: libFuzzer ended with {done.returncode}\n{_why(log)}"
            )
        for case in sorted(kept.iterdir()):
            branches.watch(lambda case=case: target.call(case.read_bytes()))


def _why(log: Path) -> str:
    """What was raised, out of what libFuzzer wrote."""
    lines = log.read_text(errors="replace").splitlines()
    told = [line for line in lines if not line.startswith(("#", "INFO", '"'))]
    return "\n".join(told[-20:])


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--cases", type=int, default=CASES, help="a parser")
    parser.add_argument("--only", help="one parser, by its name")
    parser.add_argument("--seed", type=int, default=1)
    led = find_spec("atheris") is not None
    parser.add_argument("--own", action="store_true", help="without atheris, though it is here")
    asked = parser.parse_args()
    chosen = [target for target in TARGETS if asked.only in {None, target.name}]
    if not chosen:
        parser.error(f"there are {', '.join(target.name for target in TARGETS)}")
    failed = False
    for target in chosen:
        begun = time.monotonic()
        try:
            corpus: list[bytes] = []
            first = asked.cases // PART if led and not asked.own else asked.cases
            branches = run(target, first, asked.seed, tell=True, corpus=corpus)
            if first < asked.cases:
                run_led(target, asked.cases - first, asked.seed, corpus, branches)
        except Crash as crash:
            failed = True
            kept = CRASHES / f"{target.name}-{hashlib.sha256(crash.data).hexdigest()[:12]}"
            kept.write_bytes(crash.data)
            print(f"{target.name}: {crash.__cause__!r}; kept as {kept.name}", flush=True)
            continue
        seconds = time.monotonic() - begun
        print(
            f"{target.name}: {asked.cases} cases in {seconds:.0f} s, nothing wrong; "
            f"{len(branches.taken)} of {len(branches.all)} branches, {branches.share:.1%}",
            flush=True,
        )
        if branches.share < SHARE:
            failed = True
            print("  not taken:", *branches.missing(), sep="\n    ", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
