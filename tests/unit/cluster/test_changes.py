"""Who is told what changed: a few things at once, a crowd of them in several turns."""

import asyncio
from collections import Counter

import pytest

from moq_relay.cluster.changes import AT_ONCE, Changes


class Heard:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.nodes: list[str] = []

    def claims_changed(self, path: str) -> None:
        self.paths.append(path)

    def members_changed(self, node: str) -> None:
        assert not self.paths, "a path was told before the member that changed"
        self.nodes.append(node)


@pytest.fixture
def turns():
    """Calls for the next turn of the loop."""
    return []


@pytest.fixture
def changes(turns):
    return Changes(turns.append)


@pytest.fixture
def heard(changes):
    heard = Heard()
    changes.watch(heard)
    return heard


def say(changes: Changes, count: int) -> list[str]:
    paths = [f"room/{number}" for number in range(count)]
    for path in paths:
        changes.of_path(path)
    return paths


def test_a_few_changes_are_told_at_once_and_in_order(changes, heard, turns):
    paths = say(changes, AT_ONCE)
    changes.of_node("n")

    changes.tell()

    assert (heard.nodes, heard.paths) == (["n"], paths)
    assert turns == []


def test_a_crowd_is_told_in_several_turns_and_each_path_once(changes, heard, turns):
    paths = say(changes, 3 * AT_ONCE)
    changes.tell()
    assert len(heard.paths) == AT_ONCE

    # Whatever else is told meanwhile does not double the turns.
    changes.tell()
    assert len(turns) == 1
    turns.pop()()

    assert Counter(heard.paths) == Counter(paths)
    assert turns == []


def test_what_comes_alone_does_not_wait_behind_a_crowd(changes, heard, turns):
    say(changes, 10 * AT_ONCE)
    changes.tell()

    changes.of_path("lobby")
    changes.tell()

    assert "lobby" in heard.paths
    assert len(heard.paths) == 2 * AT_ONCE


def test_what_changes_again_while_it_waits_is_told_once(changes, heard, turns):
    paths = say(changes, 2 * AT_ONCE)
    changes.tell()
    waiting = set(paths) - set(heard.paths)

    changes.of_path(min(waiting))
    turns.pop()()

    assert Counter(heard.paths) == Counter(paths)


def test_what_a_listener_changes_is_told_in_another_turn(changes, turns):
    class Changer(Heard):
        def claims_changed(self, path: str) -> None:
            super().claims_changed(path)
            if path == "room/0":
                changes.of_path("lobby")

    heard = Changer()
    changes.watch(heard)
    say(changes, 1)

    changes.tell()
    assert heard.paths == ["room/0"]
    turns.pop()()

    assert heard.paths == ["room/0", "lobby"]


async def test_others_have_their_turn_while_a_crowd_is_told():
    changes, heard, between = Changes(), Heard(), []
    changes.watch(heard)
    say(changes, 4 * AT_ONCE)

    changes.tell()
    while len(heard.paths) < 4 * AT_ONCE:
        between.append(len(heard.paths))
        await asyncio.sleep(0)

    assert between == [AT_ONCE, 2 * AT_ONCE, 3 * AT_ONCE]
