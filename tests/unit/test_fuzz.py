"""What broke a parser once, and a few thousand cases of what ``make fuzz`` tries."""

import pytest

from tests.fuzz.__main__ import CRASHES, Crash, run
from tests.fuzz.branches import Branches
from tests.fuzz.targets import TARGETS, Target

CASES = 300
BY_NAME = {target.name: target for target in TARGETS}


@pytest.mark.parametrize("kept", sorted(CRASHES.glob("*-*")), ids=lambda kept: kept.name)
def test_what_broke_a_parser_once_does_not(kept):
    BY_NAME[kept.name.rpartition("-")[0]].call(kept.read_bytes())


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_parser_raises_nothing_but_what_it_may(target):
    assert run(target, CASES, seed=2).taken


def test_a_case_that_breaks_a_parser_is_found_by_way_of_its_branches():
    def parse(data):
        if data[:1] != b"m":
            return
        if data[1:2] != b"o":
            return
        if data[2:3] != b"q":
            return
        raise ZeroDivisionError

    with pytest.raises(Crash) as crash:
        run(Target("three", parse, [b"xyz"], [parse]), 200_000, seed=1)

    assert crash.value.data[:3] == b"moq"


def test_branches_are_counted_both_ways():
    def choose(number):
        return "more" if number > 1 else "less"

    branches = Branches([choose])
    assert (len(branches.all), branches.share) == (2, 0.0)

    # Python 3.13 tells nothing of a function's first run.
    assert [branches.watch(lambda: choose(1)) for _ in range(2)].count(True) == 1
    assert not branches.watch(lambda: choose(0))
    assert branches.share == 0.5
    assert len(branches.missing()) == 1
    assert branches.watch(lambda: choose(2))
    assert branches.share == 1.0
