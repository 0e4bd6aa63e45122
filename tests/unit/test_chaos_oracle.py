"""The judge of the chaos tests, judged: each wrong table is noticed, and a right one is not."""

import pytest

from tests.chaos.journal import Journal
from tests.chaos.oracle import Judged, Sampler, differences, pairs

EAST, WEST = "https://east/", "https://west/"
ROOM = ("room", EAST)


class Answers:
    """A node that says what it is told to; ``since`` of each pair in seconds."""

    def __init__(self, name: str, *said: tuple[str, str, float]) -> None:
        self.name = name
        self.said = said

    def __repr__(self) -> str:
        return self.name

    def facts(self, _path: str) -> dict[str, object]:
        return {
            "origins": [
                {"path": path, "claims": [{"node": node, "since": since}]}
                for path, node, since in self.said
            ]
        }


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so; wall clock and monotonic are the same here."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

        time = monotonic

    clock = Clock()
    monkeypatch.setattr("tests.chaos.journal.time", clock)
    monkeypatch.setattr("tests.chaos.oracle.time", clock)
    return clock


@pytest.fixture
def journal(clock):
    journal = Journal()
    journal.announced(*ROOM)
    return journal


@pytest.fixture
def sampler(journal, clock):
    sampler = Sampler(Answers("west"), journal, Judged())

    def sees(*pairs):
        """A sample now, which took no time."""
        sampler._judge(clock.now, clock.now, set(pairs))

    sampler.sees = sees
    return sampler


def test_a_table_that_is_right_is_no_fault(sampler, clock):
    for _ in range(3):
        clock.now += 0.1
        sampler.sees(ROOM)

    assert sampler.judged == Judged(samples=3)


def test_a_known_route_of_a_live_owner_that_is_missing_once_has_vanished(sampler, clock):
    clock.now += 0.1
    sampler.sees(ROOM)
    clock.now += 0.1
    sampler.sees()
    clock.now += 0.1
    sampler.sees(ROOM)

    assert len(sampler.judged.vanished) == 1
    assert "room" in sampler.judged.vanished[0]


def test_a_route_that_its_publisher_ended_has_not_vanished(sampler, journal, clock):
    clock.now += 0.1
    sampler.sees(ROOM)
    clock.now += 0.1
    journal.withdrew(*ROOM)
    clock.now += 0.1
    sampler.sees()

    assert sampler.judged.vanished == []


def test_one_that_ended_and_came_back_between_two_samples_may_be_missing_for_a_while(
    sampler, journal, clock
):
    clock.now += 0.1
    sampler.sees(ROOM)
    journal.withdrew(*ROOM)
    clock.now += 0.05
    journal.announced(*ROOM)
    clock.now += 0.05
    sampler.sees()

    assert sampler.judged.vanished == []
    assert sampler.judged.longest_lag == pytest.approx(0.05)


def test_what_is_not_known_yet_is_late_by_its_age(sampler, clock):
    for _ in range(4):
        clock.now += 0.5
        sampler.sees()

    assert sampler.judged.longest_lag == pytest.approx(2.0)
    assert sampler.judged.vanished == []


@pytest.mark.parametrize("died", [False, True])
def test_what_is_over_and_still_known_is_a_ghost_of_that_age(sampler, journal, clock, died):
    sampler.sees(ROOM)
    journal.withdrew(*ROOM, died=died)
    clock.now += 3.0
    sampler.sees(ROOM)

    judged = sampler.judged
    assert (judged.longest_ghost, judged.longest_dead_ghost) == ((0.0, 3.0) if died else (3.0, 0.0))


def test_who_was_away_is_late_only_since_its_return(sampler, journal, clock):
    lobby = ("lobby", EAST)
    journal.announced(*lobby)
    sampler.sees(ROOM, lobby)
    journal.withdrew(*ROOM)
    journal.announced("room", WEST)
    clock.now += 5.0
    sampler.returns(anew=False)
    clock.now += 0.2
    sampler.sees(ROOM, lobby)

    judged = sampler.judged
    assert judged.longest_ghost == pytest.approx(0.2)
    assert judged.longest_lag == pytest.approx(0.2)
    assert judged.vanished == []


@pytest.mark.parametrize(("anew", "vanished"), [(False, 1), (True, 0)])
def test_who_was_away_still_knows_what_it_knew_unless_it_was_started_anew(
    sampler, clock, anew, vanished
):
    clock.now += 0.1
    sampler.sees(ROOM)
    clock.now += 5.0
    sampler.returns(anew=anew)
    sampler.sees()

    assert len(sampler.judged.vanished) == vanished


def test_what_nobody_announced_was_invented(sampler):
    sampler.sees(ROOM, ("room", WEST))

    assert sampler.judged.invented == [f"west {('room', WEST)}"]


def test_all_that_a_node_had_ends_with_it(journal, clock):
    journal.announced("lobby", EAST)
    journal.announced("room", WEST)
    clock.now += 1.0
    journal.lost(EAST)

    assert list(journal.truth()) == [("room", WEST)]
    assert journal.last(ROOM).died


@pytest.mark.parametrize(("before", "died"), [(0.4, True), (0.6, False)])
def test_what_ended_just_before_its_node_may_last_as_long_as_that(journal, clock, before, died):
    journal.withdrew(*ROOM)
    clock.now += before
    journal.lost(EAST)

    assert journal.last(ROOM).died is died
    assert journal.last(ROOM).gone == 100.0


def test_what_returns_with_its_node_is_as_old_as_before(journal, clock):
    clock.now += 1.0
    journal.withdrew(*ROOM)
    journal.announced("lobby", EAST)
    clock.now += 1.0
    journal.lost(EAST)
    clock.now += 1.0
    journal.returned(EAST)

    assert list(journal.truth()) == [("lobby", EAST)]
    assert journal.truth()["lobby", EAST].born == clock.now
    assert journal.truth()["lobby", EAST].wall == clock.now - 2.0


def test_tables_that_all_say_the_log_differ_in_nothing(journal):
    nodes = [Answers(name, ("room", EAST, 100.2)) for name in "ab"]

    assert differences(nodes, journal, 0.5) == []
    assert pairs(nodes[0].facts("")) == {ROOM}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ((), "a: 1 wrong"),
        ((("room", WEST, 100.0),), "a: 2 wrong"),
        ((("room", EAST, 100.0), ("lobby", EAST, 100.0)), "a: 1 wrong"),
        ((("room", EAST, 101.0),), "+1.00 s from its log"),
        ((("room", EAST, 99.0),), "-1.00 s from its log"),
    ],
)
def test_a_table_that_differs_from_the_log_is_named(journal, said, found):
    differing = differences([Answers("a", *said)], journal, 0.5)

    assert len(differing) == 1
    assert found in differing[0]


def test_tables_that_differ_in_since_are_named_even_where_no_clock_can_be_trusted(journal):
    nodes = [Answers("a", ("room", EAST, 7.0)), Answers("b", ("room", EAST, 8.0))]

    assert differences(nodes, journal, None) == [f"b: {ROOM} since 8.0, elsewhere 7.0"]
