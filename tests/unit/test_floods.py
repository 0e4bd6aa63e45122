"""docs/floods.md and its judge: each bound can fail, and every flood has its row."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.floods.judge import Round, Sample, Seen, Soak
from tests.floods.report import ROW, page
from tests.floods.world import KINDS, missing

PAGE = Path(__file__).parents[2] / "docs/floods.md"
QUICK, SLOW = {50: 99, 51: 1}, {50: 98, 103: 2}
ROUND = Round(
    seconds=10.0,
    tenths=QUICK,
    sent=100_000,
    sending=10.0,
    seen=500.0,
    newcomers=2.5,
    cpu=3.0,
    completed=40,
)
GOOD = Seen("handshakes", [ROUND], [replace(ROUND, cpu=0.5)], missed=0)
QUIET = [Sample(5.0 * n, 100.0 + (n % 2) / 100, 17) for n in range(400)]
SOAK = Soak(
    flood_seconds=600.0,
    warm_seconds=120.0,
    sent={"noise": 10_000},
    share=0.2,
    most_mib=110.0,
    descriptors_before=17,
    quiet=QUIET,
    missed=0,
)


def test_what_is_within_every_bound_holds():
    assert GOOD.problems == []
    assert (GOOD.share, GOOD.more_cpu, GOOD.p99, GOOD.ratio) == (0.25, 0.25, 5.1, 1.0)
    assert (GOOD.sent_rate, GOOD.seen_rate, GOOD.completed_rate) == (10_000, 50, 4)


@pytest.mark.parametrize(
    ("spoilt", "problem"),
    [
        (
            replace(GOOD, flooded=[ROUND, replace(ROUND, newcomers=2.6)]),
            "new connections took 26.0%",
        ),
        (replace(GOOD, flooded=[replace(ROUND, tenths=SLOW)]), "2.02 times"),
        (replace(GOOD, closed=[replace(ROUND, tenths={400: 1})]), "had other work: p99 40 ms"),
        (replace(GOOD, missed=1), "missed 1 groups"),
        (replace(GOOD, flooded=[replace(ROUND, sent=999)]), "a round without a flood"),
        (replace(GOOD, closed=[replace(ROUND, sent=0)]), "a round without a flood"),
        (replace(GOOD, flooded=[replace(ROUND, seen=0.0)]), "the relay saw nothing of it"),
        (replace(GOOD, flooded=[replace(ROUND, completed=0)]), "no handshake was completed"),
    ],
)
def test_a_flood_beyond_a_bound_is_told(spoilt, problem):
    [told] = spoilt.problems

    assert problem in told
    assert "BROKEN" in spoilt.line()


def test_a_relay_that_keeps_nothing_holds():
    assert SOAK.problems == []
    assert SOAK.kept[0].at == 120.0


def test_memory_is_judged_without_the_warm_up_alone():
    # Given memory that falls while connections are given up, and then grows a little
    falling = [Sample(one.at, 200.0 - one.at, 17) for one in QUIET[:24]]
    growing = [Sample(one.at, 80.0 + 0.6 * one.at / 3600, 17) for one in QUIET[24:]]

    [told] = replace(SOAK, quiet=falling + growing).problems

    assert "grew by 0.60 MiB/h" in told


@pytest.mark.parametrize(
    ("spoilt", "problem"),
    [
        (replace(SOAK, missed=2), "missed 2 groups"),
        (replace(SOAK, descriptors_before=16), "open files were 16, and then [17]"),
        (replace(SOAK, share=0.26), "took 26.0%"),
        (replace(SOAK, sent={"noise": 10_000, "tokens": 0}), "no flood: tokens"),
        (replace(SOAK, quiet=QUIET[:30]), "only 6 samples"),
    ],
)
def test_what_is_left_behind_is_told(spoilt, problem):
    [told] = spoilt.problems

    assert problem in told


def test_one_row_and_one_run_are_written_anew_and_the_others_stay():
    both = page(replace(GOOD, kind="noise"), "before", page(GOOD, "before", ""))
    once = page(SOAK, "before", both)

    again = page(replace(GOOD, missed=3), "again", once)

    assert [found[1] for line in again.splitlines() if (found := ROW.match(line))] == [
        "noise",
        "handshakes",
    ]
    assert again.count("BROKEN") == 1
    assert "- noise: " in again
    assert again.count("`again`") == 1
    assert again.count("| 600 | 10,000 |") == 1


def test_groups_that_any_viewer_missed_are_counted():
    report = {"viewers": [{"video": {"missing": 1}, "audio": {"missing": 2}}]}

    assert missing(report) == 3


def test_every_flood_has_its_row():
    text = PAGE.read_text()

    assert [found[1] for line in text.splitlines() if (found := ROW.match(line))] == list(KINDS)
