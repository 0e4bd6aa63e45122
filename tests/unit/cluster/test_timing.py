"""A timed road, what it tells of the events that pass, and how old the news are."""

import asyncio

import pytest

from moq_relay.cluster import timing
from moq_relay.cluster.canary import Canary
from moq_relay.cluster.clock import RedisClock
from moq_relay.cluster.news import CLOCK_ERROR_SECONDS, NEWS_SECONDS, News
from moq_relay.cluster.records import Claim
from moq_relay.cluster.regions import Regions
from moq_relay.cluster.road import Connected, Lost, Message
from moq_relay.cluster.scripts import SCRIPTS
from moq_relay.cluster.timing import TimedRoad
from moq_relay.errors import RegistryUnavailable
from tests.unit.cluster.fakes import NOW, FakeRegistry

A, B, OWN = "https://a.example/", "https://b.example/", "https://self.example/"


class Road:
    """Answers as late as a test says, and delivers what it is told."""

    straight = True

    def __init__(self):
        self.now = 100.0
        self.takes = 0.0
        self.answer = ["OK"]
        self.events = []
        self.calls = []

    async def run(self, deliver):
        for event in self.events:
            deliver(event)

    async def call(self, script, shard, args):
        self.calls.append((script, shard, list(args)))
        self.now += self.takes
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def inner():
    return Road()


@pytest.fixture
def road(inner):
    return TimedRoad(inner, lambda: inner.now)


async def test_what_goes_through_is_unchanged(inner, road):
    inner.events = [Connected(4), Message(3, "e 7 + room n 1 2 -"), Lost("gone")]
    heard = []

    await road.run(heard.append)

    assert heard == inner.events
    assert await road.call("lookup", 3, ["room"]) == ["OK"]
    assert inner.calls == [("lookup", 3, ["room"])]
    assert road.straight is True


@pytest.mark.parametrize(
    ("kind", "scripts"),
    [
        ("renew", {"renew"}),
        ("write", {"write", "drop"}),
        ("read", {"snapshot", "lookup", "audit", "delta"}),
        ("other", {"attach", "register", "unregister", "reap", "canary"}),
    ],
)
async def test_answers_are_timed_by_what_was_asked(inner, road, kind, scripts):
    inner.takes, inner.answer = 0.03, ["EPOCH"]

    for script in SCRIPTS:
        if script in scripts:
            await road.call(script, None, [])

    counted = {kind: histogram.count for kind, histogram in road.calls.items()}
    assert counted == dict.fromkeys(timing.KINDS, 0) | {kind: len(scripts)}
    assert road.calls[kind].total == pytest.approx(0.03 * len(scripts))


async def test_a_call_without_an_answer_is_not_timed(inner, road):
    inner.answer = RegistryUnavailable("down")

    with pytest.raises(RegistryUnavailable):
        await road.call("renew", None, [])

    assert road.calls["renew"].count == 0


@pytest.mark.parametrize("missed", [True, False])
async def test_claims_are_told_whether_their_message_came_or_was_missed(inner, road, missed):
    claims, marks = [], []
    road.on_claim, road.on_mark = claims.append, marks.append
    lines = "+ a%20b https://a.example/ 3 1790000000000000 5,6 later\n- x n 1\n+ nonsense\nA w.1"

    if missed:
        inner.answer = ["OK", "e", 9, [lines]]
        await road.call("delta", 3, ["e", "8"])
    else:
        inner.events = [Message(3, f"e 9 {lines}"), Message(3, "e 10 A"), Message(3, "")]
        await road.run(lambda _event: None)

    assert claims == [Claim("a b", A, 3, 1_790_000_000_000_000, (5, 6))]
    assert marks == ["w.1"]


# News.


class Told:
    """A node that hears of claims; its clock is as good as a test says."""

    def __init__(self, error=0.001):
        self.registry = FakeRegistry(OWN)
        self.registry.redis_clock = RedisClock(lambda: 0.0)
        self.registry.redis_clock.sample(-error, error, 0)
        for node, region in ((A, "eu"), (OWN, "own")):
            self.registry.join(node, region=region)
        members = {node: view.member for node, view in self.registry.members.items()}
        regions = Regions("own", members.get)
        for node in members:
            regions.members_changed(node)
        self.news = News(self.registry, regions)

    def hear(self, *, age, node=A, path="room"):
        self.news.heard(Claim(path, node, 1, round((NOW - age) * 1e6)))
        return {region: h.count for region, h in self.news.seconds.items() if h.count}


def test_a_new_claim_is_news_as_old_as_its_moment():
    told = Told()

    assert told.hear(age=0.25) == {"eu": 1}
    assert dict(told.news.seconds.items())["eu"].total == pytest.approx(0.25)


def test_a_claim_that_is_dated_after_now_is_as_new_as_can_be():
    told = Told()

    assert told.hear(age=-0.005) == {"eu": 1}
    assert dict(told.news.seconds.items())["eu"].total == 0.0


@pytest.mark.parametrize("error", [None, CLOCK_ERROR_SECONDS * 1.01])
def test_nothing_is_measured_by_a_clock_that_is_not_known(error):
    told = Told(error or 0.0)
    if error is None:
        told.registry.redis_clock = RedisClock(lambda: 0.0)

    assert told.hear(age=0.25) == {}


@pytest.mark.parametrize("age", [NEWS_SECONDS, 86400])
def test_a_claim_that_is_written_anew_is_no_news(age):
    assert Told().hear(age=age) == {}


def test_neither_is_one_of_its_own_nor_of_a_stranger():
    assert Told().hear(age=0.25, node=OWN) == {}
    assert Told().hear(age=0.25, node=B) == {}


def test_a_known_claim_is_no_news_but_a_newer_publisher_is():
    told = Told()
    told.registry.put("room", A, NOW - 0.25)

    assert told.hear(age=0.25) == {}
    assert told.hear(age=0.5) == {}, "an older publisher came back to be the newest"
    assert told.hear(age=0.125) == {"eu": 1}


# Canaries.


async def test_a_canary_is_timed_from_its_call_to_its_event(inner, road):
    canary = Canary(road, lambda: 2, lambda: inner.now)
    inner.takes = 0.01

    await canary.turn()
    await canary.turn()

    (_, first, (word,)), (_, second, (other,)) = inner.calls
    assert {first, second} == {0, 1}, "each shard has its turn"
    assert word != other
    inner.now += 0.02
    inner.events = [Message(second, f"e 1 A {w}") for w in ("strange", word, other, other)]
    await road.run(lambda _event: None)
    assert canary.seconds.count == 1, "what was overtaken, or comes twice, is not counted"
    assert canary.seconds.total == pytest.approx(0.03)


async def test_without_a_registry_nothing_happens(inner, road):
    canary = Canary(road, lambda: 2, lambda: inner.now)
    inner.answer = RegistryUnavailable("down")

    await canary.turn()

    assert canary.seconds.count == 0


async def test_canaries_are_sent_for_ever(inner, road, monkeypatch):
    monkeypatch.setattr("moq_relay.cluster.canary.CANARY_SECONDS", 0.001)
    canary = Canary(road, lambda: 2)

    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(canary.run())
        while len(inner.calls) < 3:
            await asyncio.sleep(0)
        running.cancel()
