"""docs/reliability.md: it speaks of every fault that is tested, and of no other."""

import re
from pathlib import Path

import pytest

from tests.chaos.report import BY_CHANCE, page, with_chance, with_rows
from tests.chaos.run import SCENARIOS
from tests.chaos.scenario import Outcome

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs/reliability.md", ROOT / "README.md"


def named(text: str) -> list[str]:
    return re.findall(r"\(`([a-z-]+)`\) \|", text)


@pytest.fixture
def outcomes():
    def some(*names: str) -> list[Outcome]:
        return [Outcome(name, SCENARIOS[name].title, 1, 8.0, {}) for name in names]

    return some


def test_every_fault_has_its_row_and_held_by_itself():
    # Given the page as it was generated
    every, _, by_chance = PAGE.read_text().partition(BY_CHANCE)

    # Then it has each scenario once, by its present title, and some that came by chance
    assert named(every) == list(SCENARIOS)
    assert all(f"| {one.title} (`{one.name}`) |" in every for one in SCENARIOS.values())
    assert len(named(by_chance)) > 1

    # And the README tells how many there are, and none was broken
    assert f"[{len(SCENARIOS)} faults]" in README.read_text()
    assert "BROKEN" not in every + by_chance


def test_faults_by_chance_take_the_place_of_those_that_were_there(outcomes):
    # Given a page with faults by chance
    first = page(
        outcomes("flushed", "redis-full"), "one", {"broadcasts": 1, "changes": 2, "groups": 3}
    )
    both = with_chance(first, outcomes("redis-killed"), "two")

    # When others are put there
    again = with_chance(both, outcomes("redis-full", "flushed"), "three")

    # Then the page has them, and what was there before
    assert named(both) == ["flushed", "redis-full", "redis-killed"]
    assert named(again) == ["flushed", "redis-full", "redis-full", "flushed"]
    assert again.startswith(first)


def test_a_fault_that_is_measured_anew_takes_the_row_that_it_had(outcomes):
    # Given a page on which one of two was broken
    broken, fine = outcomes("flushed", "redis-full")
    broken.problems.append("the relay did not start:\n\nits port was in use")
    constants = {"broadcasts": 1, "changes": 2, "groups": 3}
    before = with_chance(page([broken, fine], "one", constants), outcomes("redis-full"), "two")
    assert before.count("BROKEN") == 2

    # When it is measured anew, and again
    after = with_rows(before, outcomes("flushed"), "three")
    again = with_rows(after, outcomes("flushed"), "four")

    # Then the page says so in its place, and all else is as it was
    assert "BROKEN" not in after
    assert "its port" not in after
    assert named(after) == named(before)
    assert after.count("`flushed` was measured anew on") == 1
    assert after.partition(BY_CHANCE)[2] == before.partition(BY_CHANCE)[2]
    assert again.count("`flushed` was measured anew on") == again.count("`four`") == 1
    assert "\n\n\n" not in again
