"""docs/alerts-seen.md: it has every fault that is caused on purpose, and every page was seen."""

from pathlib import Path

import pytest

from tests.alarms.calm import Part
from tests.alarms.fault import ALERTS, FAULTS, PAGES, Seen
from tests.alarms.report import ROW, page
from tests.alarms.run import names, where

PAGE = Path(__file__).parents[2] / "docs/alerts-seen.md"


def rows(text: str) -> list[str]:
    return [found[1] for line in text.splitlines() if (found := ROW.match(line))]


def test_every_page_and_at_least_twelve_alerts_are_caused_on_purpose():
    caused = {fault.alert for fault in FAULTS.values()}

    assert caused >= PAGES
    assert len(caused) >= 12
    assert caused <= ALERTS.keys()


def test_every_fault_has_its_row_and_held():
    text = PAGE.read_text()

    assert rows(text) == [*FAULTS, "quiet", "rolling"]
    assert all(f"| {one.title} (`{one.name}`) |" in text for one in FAULTS.values())
    assert "BROKEN" not in text


@pytest.mark.parametrize("again", ["redis-killed", "relay-killed"])
def test_a_fault_that_is_caused_anew_takes_the_row_that_it_had(again):
    # Given a page on which one was broken
    broken = Seen("redis-killed", 10.0, problems=["MoqRelayDown fired too:\nall of them | at once"])
    fine = Seen("relay-killed", 10.0, fired=4.4, others={"MoqNodeMissing"})
    quiet = Part("quiet", "nothing", seconds=600.0)
    before = page([broken, fine], [quiet], "one", "")
    assert before.count("BROKEN") == 1

    # When one of them is caused anew
    after = page([Seen(again, 10.0, fired=1.0)], [], "two", before)

    # Then the others are as they were
    assert rows(after) == rows(before) == ["redis-killed", "relay-killed", "quiet"]
    assert ("BROKEN" in after) == (again == "relay-killed")
    assert ("MoqNodeMissing" in after) == (again == "redis-killed")
    assert "`one`" not in after


def test_what_fired_is_told_with_its_place():
    labels = {"alertname": "MoqRelayDown", "severity": "page", "instance": "a:1", "cluster": "c"}
    firing = {frozenset(labels.items()): [1.0]}

    assert names(firing) == {"MoqRelayDown"}
    assert where(firing, "MoqRelayDown") == "instance a:1"
