"""The feeds together: whose claims count, and who is told."""

import pytest

from moq_relay.cluster.table import Table

PATH = "room/alice"


@pytest.fixture
def table():
    table = Table(1, retention=9.0, clock=lambda: 0.0, redis_now=lambda: 100.0)
    for feed in table.feeds():
        feed._load("e", 0, [], [])
        feed.wanted = False
    return table


def tell(table: Table, feed: int | None, lines: str) -> None:
    found = table.feed(feed)
    assert found is not None
    found.message(f"e {found.sequence + 1} {lines}")
    table.changes.tell()


def member(generation: int, instance: str = "i", state: str = "up") -> str:
    return f"M n {generation} {instance} {state} eu 1 - 1 1"


def test_a_claim_of_an_older_generation_does_not_count_even_if_it_comes_late(table):
    tell(table, None, member(10))

    tell(table, 0, f"+ {PATH} n 9 5 -")

    assert table.claims(PATH) == []
    assert list(table.paths()) == []


def test_a_claim_counts_as_soon_as_its_member_is_known(table):
    tell(table, 0, f"+ {PATH} n 10 5 -")
    assert table.claims(PATH) == []

    tell(table, None, member(10))

    assert [view.state for view in table.claims(PATH)] == ["live"]


def test_another_process_of_the_name_has_nothing_of_the_first(table):
    tell(table, None, member(10))
    tell(table, 0, f"+ {PATH} n 10 5 -")

    tell(table, None, member(11, "another"))

    assert table.claims(PATH) == []


def test_the_same_process_registered_anew_keeps_what_it_had_until_it_spoke(table):
    tell(table, None, member(10))
    tell(table, 0, f"+ {PATH} n 10 5 -\n+ room/bob n 10 6 -")

    tell(table, None, member(11))
    assert [view.state for view in table.claims(PATH)] == ["stale"]
    tell(table, 0, f"+ {PATH} n 11 5 -\nE n 11")

    assert [view.state for view in table.claims(PATH)] == ["live"]
    assert table.claims("room/bob") == []


def test_who_has_said_all_is_known_by_registration_and_listeners_are_told(table):
    told = []

    class Listener:
        def claims_changed(self, path: str) -> None: ...

        def members_changed(self, node: str) -> None:
            told.append(table.said_all(node, PATH))

    table.changes.watch(Listener())
    tell(table, None, member(10))
    tell(table, 0, "E n 10")
    tell(table, None, member(11))
    found = table.feed(0)
    found._load("e", found.sequence, [], ["n", "e 11"])
    table.changes.tell()
    tell(table, None, "X n 11")

    assert told == [False, True, False, True, False]


def test_a_death_is_one_event_and_a_late_claim_of_the_dead_does_not_count(table):
    tell(table, None, member(10))
    tell(table, 0, f"+ {PATH} n 10 5 -")

    tell(table, None, "X n 10")
    tell(table, 0, "+ room/bob n 10 6 -")

    assert table.claims(PATH) == table.claims("room/bob") == []
    assert table.members() == {}


def test_a_late_death_of_an_older_registration_ends_nothing(table):
    tell(table, None, member(11))
    tell(table, 0, f"+ {PATH} n 11 5 -")

    tell(table, None, "X n 10")

    assert [view.claim.generation for view in table.claims(PATH)] == [11]


def test_the_newest_publisher_is_first_and_equals_are_in_one_order_everywhere(table):
    tell(table, None, f"{member(10)}\nM m 10 j up eu 1 - 1 1\nM k 10 j up eu 1 - 1 1")
    tell(table, 0, f"+ {PATH} n 10 5 -\n+ {PATH} m 10 7 -\n+ {PATH} k 10 7 -")

    assert [view.claim.node for view in table.claims(PATH)] == ["m", "k", "n"]


def test_every_listener_is_told_after_the_change_and_one_that_fails_harms_nobody(table, caplog):
    told = []

    class Broken:
        def claims_changed(self, path: str) -> None:
            raise ValueError(path)

        def members_changed(self, node: str) -> None:
            raise ValueError(node)

    class Listener:
        def claims_changed(self, path: str) -> None:
            told.append((path, len(table.claims(path))))

        def members_changed(self, node: str) -> None:
            told.append((node, node in table.members()))

    table.changes.watch(Broken())
    table.changes.watch(Listener())
    tell(table, None, member(10))
    tell(table, 0, f"+ {PATH} n 10 5 -")
    tell(table, None, "X n 10")

    assert told == [("n", True), (PATH, 1), ("n", False), (PATH, 0)]
    assert "a listener failed" in caplog.text


def test_another_count_of_shards_keeps_what_is_known_without_proof(table):
    tell(table, None, member(10))
    tell(table, 0, f"+ {PATH} n 10 5 -")

    table.reshape(4)

    assert len(table.shards) == 4
    assert [view.state for view in table.claims(PATH)] == ["stale"]
