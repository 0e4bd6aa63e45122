"""One feed, by hand: what it does with messages and answers in every order."""

import asyncio

import pytest

from moq_relay.cluster.cursor import PENDING, Feed, FeedCounters
from moq_relay.cluster.records import Oddities

RECORD = "n 5 100 -"


class Registry:
    """Answers what a test wants, and waits when a test wants it to."""

    def __init__(self) -> None:
        self.answers = {}
        self.calls = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def call(self, script, _shard, _args):
        self.calls.append(script)
        answer = self.answers[script]
        await self.gate.wait()
        return answer

    def holds(self, epoch, sequence, table=(), ends=()):
        self.answers = {
            "attach": ["OK", epoch, sequence, 16, 0],
            "delta": ["RESYNC", epoch, sequence],
            "snapshot": ["OK", epoch, sequence, list(table), list(ends)],
        }


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def changes():
    return []


@pytest.fixture
def feed(now, changes):
    def changed(path, _node, before, record):
        changes.append((path, before is not None, record is not None))

    return Feed(3, changed, FeedCounters(), Oddities(), retention=9.0, clock=lambda: now[0])


@pytest.fixture
async def registry(feed):
    registry = Registry()
    registry.holds("e1", 10, ["p", RECORD])
    await feed.resync(registry.call)
    registry.calls.clear()
    return registry


async def test_what_follows_on_is_applied_and_what_is_old_is_dropped(feed, registry):
    feed.message("e1 11 + q n 5 101 -")
    feed.message("e1 11 - q n 5")
    feed.message("e1 3 - p n 5")

    assert set(feed.records) == {"p", "q"}
    assert not feed.wanted


async def test_a_gap_is_wanted_and_what_comes_meanwhile_is_kept(feed, registry):
    feed.message("e1 12 + r n 5 102 -")
    feed.message("e1 13 + s n 5 103 -")
    assert feed.wanted
    registry.answers["delta"] = ["OK", "e1", 12, ["+ q n 5 101 -", "+ r n 5 102 -"]]
    registry.gate.clear()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feed.resync(registry.call))
        while "delta" not in registry.calls:
            await asyncio.sleep(0)
        feed.message("e1 13 + s n 5 103 -")
        registry.gate.set()

    assert set(feed.records) == {"p", "q", "r", "s"}
    assert feed.sequence == 13
    assert "snapshot" not in registry.calls


async def test_a_message_of_a_history_that_is_over_is_not_asked_about_for_ever(feed, registry):
    feed.message("e0 999 + ghost n 5 1 -")
    registry.answers["delta"] = ["OK", "e1", 10, []]

    for _ in range(3):
        if feed.wanted:
            await feed.resync(registry.call)

    assert not feed.wanted
    assert registry.calls == ["delta"]
    assert "ghost" not in feed.records


async def test_an_older_answer_does_not_undo_what_was_heard_since(feed, registry):
    registry.answers["delta"] = ["OK", "e1", 11, ["+ q n 5 101 -"]]
    registry.gate.clear()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feed.poll(registry.call))
        await asyncio.sleep(0)
        feed.message("e1 11 + q n 5 101 -")
        feed.message("e1 12 - q n 5")
        registry.gate.set()

    assert feed.sequence == 12
    assert set(feed.records) == {"p"}


async def test_a_poll_finds_the_last_message_before_silence(feed, registry):
    registry.answers["delta"] = ["OK", "e1", 11, ["+ q n 5 101 -"]]

    await feed.poll(registry.call)

    assert set(feed.records) == {"p", "q"}


async def test_what_a_new_history_lacks_is_kept_as_stale(feed, registry, changes):
    registry.holds("e2", 1)
    changes.clear()

    assert await feed.resync(registry.call) is True

    assert feed.stale == {("p", "n"): 9.0}
    assert changes == [("p", True, True)]


async def test_a_second_snapshot_of_the_same_history_keeps_what_still_waits(feed, registry):
    registry.holds("e2", 1)
    await feed.resync(registry.call)
    registry.holds("e2", 2000)

    await feed.resync(registry.call)

    assert ("p", "n") in feed.stale


async def test_what_a_snapshot_of_the_same_history_lacks_is_gone(feed, registry):
    registry.holds("e1", 2000)

    await feed.resync(registry.call)

    assert feed.records == {}


async def test_whose_owner_is_done_in_the_new_history_is_gone(feed, registry):
    registry.holds("e2", 1, ends=["n", "e2 5"])

    await feed.resync(registry.call)

    assert feed.records == {}


async def test_an_end_of_another_history_proves_nothing(feed, registry):
    registry.holds("e2", 1, ends=["n", "e1 5"])

    await feed.resync(registry.call)

    assert ("p", "n") in feed.stale


async def test_an_end_takes_what_the_owner_did_not_announce_again(feed, registry):
    registry.holds("e2", 1)
    await feed.resync(registry.call)

    feed.message("e2 2 + q n 6 101 -\nE n 6")

    assert set(feed.records) == {"q"}
    assert feed.stale == {}


async def test_stale_records_go_when_their_time_is_over_unless_kept(feed, registry, now):
    registry.holds("e2", 1)
    await feed.resync(registry.call)

    feed.sweep(8.9, lambda _node: False)
    assert "p" in feed.records
    feed.sweep(99.0, lambda node: node == "n")
    assert "p" in feed.records
    feed.sweep(99.0, lambda _node: False)
    assert feed.records == {}


async def test_a_flushed_registry_is_attached_to_anew(feed, registry):
    registry.answers["delta"] = ["EPOCH"]
    registry.answers["snapshot"] = ["OK", "e2", 1, [], []]

    await feed.resync(registry.call)

    assert registry.calls == ["delta", "attach", "snapshot"]
    assert feed.epoch == "e2"


async def test_more_than_can_be_kept_is_read_anew(feed, registry):
    feed.message("e1 12 + r n 5 102 -")
    for number in range(PENDING + 5):
        feed.message(f"e1 {13 + number} + x n 5 1 -")

    assert len(feed._pending) <= PENDING


async def test_a_drop_leaves_a_later_generation_alone(feed, registry):
    feed.message("e1 11 + q n 6 101 -")

    feed.message("e1 12 D n 5")

    assert set(feed.records) == {"q"}
