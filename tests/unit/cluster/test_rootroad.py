"""The road through roots: which one is used, when it is given up, and what that costs."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from moq_relay.cluster.gateway import Junction
from moq_relay.cluster.memory import MemoryRoad
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.road import Connected, Lost, Message, ServerFacts
from moq_relay.cluster.rootroad import RootRoad
from moq_relay.cluster.status import RegistrySettings
from moq_relay.errors import (
    RegistryError,
    RegistryUnavailable,
    SessionClosed,
    WireError,
)
from tests.support.node import until
from tests.support.street import street

ONE, TWO, NODE = "https://one.example/", "https://two.example/", "https://node.example/"
QUICK = RegistrySettings(renew=0.2, command_timeout=0.2, lease=2.0)


@pytest.fixture
async def town():
    async with street() as town:
        yield town


class FakeRoot:
    """One end of a channel, played by a test."""

    def __init__(self):
        self.said = []
        self.words = asyncio.Queue()
        self.visits = 0

    def send(self, **words):
        self.said.append(words)

    async def receive(self):
        words = await self.words.get()
        if isinstance(words, Exception):
            raise words
        return words

    def says(self, **words):
        self.words.put_nowait(words)

    def fails(self, error):
        self.words.put_nowait(error)


class Drive:
    """A road over fake roots, and what it delivered."""

    def __init__(self, roots, **options):
        self.roots = roots
        self.heard = []
        options = {"timeout": 0.2, "silence": 0.2, "max_backoff": 0.001} | options
        self.road = RootRoad(list(roots), self.connect, **options)

    @asynccontextmanager
    async def connect(self, root):
        found = self.roots[root]
        if isinstance(found, Exception):
            raise found
        found.visits += 1
        yield found

    @asynccontextmanager
    async def running(self):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.road.run(self.heard.append))
            try:
                yield self
            finally:
                task.cancel()


async def test_a_root_is_used_once_it_has_a_registry():
    root = FakeRoot()
    async with Drive({ONE: root}).running() as drive:
        await until(lambda: root.said)
        assert root.said[0] == {"road": 1}
        root.says(road=1)
        with pytest.raises(RegistryUnavailable):
            await drive.road.call("delta", None, [])

        root.says(connected=4, facts={"name": "redis", "version": "7.0", "persistent": True})
        root.says(message=[3, "e 1 A"])
        root.says(message=[None, "e 1 A"])
        await until(lambda: len(drive.heard) == 3)

        facts = ServerFacts("redis", "7.0", persistent=True)
        assert drive.heard == [Connected(4, facts), Message(3, "e 1 A"), Message(None, "e 1 A")]
        assert drive.road.root == ONE
    assert drive.heard[-1] == Lost("stopped")
    assert not drive.road.straight


async def connected(drive, root):
    root.says(connected=16, facts=None)
    await until(lambda: drive.road.root is not None)


async def test_answers_go_to_whoever_asked():
    root = FakeRoot()
    async with Drive({ONE: root}).running() as drive, asyncio.TaskGroup() as tasks:
        await connected(drive, root)
        calls = [tasks.create_task(drive.road.call("delta", n, ["e", "1"])) for n in range(3)]
        refused = tasks.create_task(fails(drive.road.call("delta", 3, []), RegistryError))
        lost = tasks.create_task(fails(drive.road.call("delta", 4, []), RegistryUnavailable))
        await until(lambda: len(root.said) == 6)
        asked = {words["shard"]: words for words in root.said if "call" in words}
        assert asked[2] == {
            "call": asked[2]["call"], "script": "delta", "shard": 2, "args": ["e", "1"]
        }  # fmt: skip

        for shard in (2, 0, 1):
            root.says(answer=asked[shard]["call"], value=[shard])
        root.says(answer=asked[3]["call"], refused="no")
        root.says(answer=asked[4]["call"], unavailable="gone")
        root.says(answer=999, value=[])

        assert [await call for call in calls] == [[0], [1], [2]]
        assert [await refused, await lost] == ["no", "gone"]
        assert drive.road._calls == {}


async def fails(call, kind):
    with pytest.raises(kind) as caught:
        await call
    return str(caught.value)


async def test_a_call_without_an_answer_fails_and_a_late_answer_is_nobodys():
    root = FakeRoot()
    async with Drive({ONE: root}, timeout=0.05, silence=5.0).running() as drive:
        await connected(drive, root)
        assert await fails(drive.road.call("delta", 1, []), RegistryUnavailable) == (
            "no answer within 0.05 s"
        )
        root.says(answer=1, value=[])
        root.says(message=[1, "after"])
        await until(lambda: Message(1, "after") in drive.heard)


async def test_calls_under_way_fail_at_once_when_the_root_is_lost():
    root = FakeRoot()
    async with (
        Drive({ONE: root}, timeout=60.0).running() as drive,
        asyncio.TaskGroup() as tasks,
    ):
        await connected(drive, root)
        call = tasks.create_task(fails(drive.road.call("delta", 1, []), RegistryUnavailable))
        await until(lambda: len(root.said) == 2)

        root.fails(SessionClosed("it restarts"))

        assert await call == "it restarts"
        assert Lost("it restarts") in drive.heard


async def test_a_silent_root_is_given_up_for_the_next():
    silent, other = FakeRoot(), FakeRoot()
    async with Drive({ONE: silent, TWO: other}).running() as drive:
        await connected(drive, silent)
        started = asyncio.get_running_loop().time()

        other.says(connected=16)
        await until(lambda: drive.road.root == TWO)

        assert 0.15 < asyncio.get_running_loop().time() - started < 2.0
        assert Lost("it said nothing for 0.2 s") in drive.heard
        assert {"ping": 1} in silent.said


async def test_a_root_that_answers_pings_is_kept():
    root = FakeRoot()

    class Polite(FakeRoot):
        def send(self, **words):
            super().send(**words)
            if "ping" in words:
                self.says(pong=1)

    root = Polite()
    async with Drive({ONE: root}, silence=0.5).running() as drive:
        await connected(drive, root)
        await until(lambda: root.said.count({"ping": 1}) > 6)
        assert drive.road.root == ONE
        assert root.visits == 1


@pytest.mark.parametrize("others", [True, False])
async def test_a_root_without_a_registry_is_left_only_where_there_are_others(others):
    class Polite(FakeRoot):
        def send(self, **words):
            super().send(**words)
            if "ping" in words:
                self.says(pong=1)

    first, second = Polite(), Polite()
    roots = {ONE: first, TWO: second} if others else {ONE: first}
    async with Drive(roots, silence=0.1).running() as drive:
        await connected(drive, first)
        first.says(lost="redis is gone")
        await until(lambda: Lost("redis is gone") in drive.heard)
        assert await fails(drive.road.call("delta", 1, []), RegistryUnavailable) == "redis is gone"

        await until(lambda: first.said.count({"ping": 1}) > 5 or second.visits)

        assert (second.visits > 0) is others
        if not others:
            first.says(connected=16)
            await until(lambda: drive.road.root == ONE)


@pytest.mark.parametrize("error", [SessionClosed("no route"), WireError("nonsense")])
async def test_a_root_that_cannot_be_had_is_tried_again_for_ever(error):
    roots = {ONE: error, TWO: FakeRoot()}
    async with Drive(roots, silence=0.02).running() as drive:
        await until(lambda: roots[TWO].visits > 3)
        roots[ONE] = FakeRoot()
        roots[ONE].says(connected=16)
        await until(lambda: drive.road.root == ONE)


async def test_a_root_that_stays_away_for_one_reason_is_one_line(caplog):
    roots = {ONE: SessionClosed("no route")}
    drive = Drive(roots)
    async with drive.running():
        await until(lambda: drive.heard.count(Lost("no route")) > 5)
        roots[ONE] = SessionClosed("no port")
        await until(lambda: drive.heard.count(Lost("no port")) > 5)

    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"no way through root={ONE} reason=no {what}" for what in ("route", "port")]


@pytest.mark.parametrize(
    "words",
    [
        {"connected": 0},
        {"connected": "16"},
        {"message": [1]},
        {"message": [1, 2]},
        {"message": ["1", "e 1 A"]},
        {"lost": None},
        {"answer": "1"},
        {"road": 2},
    ],
)
async def test_a_root_that_talks_nonsense_is_given_up(words):
    root, other = FakeRoot(), FakeRoot()
    async with Drive({ONE: root, TWO: other}, silence=5.0).running():
        root.says(**words)
        await until(lambda: other.visits)


async def test_an_answer_that_says_nothing_is_nonsense():
    root = FakeRoot()
    async with Drive({ONE: root}, silence=5.0, timeout=5.0).running() as drive:
        await connected(drive, root)
        root.says(answer=1)
        assert await fails(drive.road.call("delta", 1, []), RegistryUnavailable) == (
            "an answer that says nothing"
        )


async def test_words_of_a_later_version_are_ignored():
    root = FakeRoot()
    async with Drive({ONE: root}).running() as drive:
        root.says(road=1, mood="good")
        root.says(mood="better")
        await connected(drive, root)


# --- over sessions --------------------------------------------------------------------------------


async def test_a_node_goes_from_root_to_root_without_reading_anything_anew(town):
    roots = [await town.root(url, lambda: MemoryRoad(town.store)) for url in (ONE, TWO)]
    house = await town.build(NODE)
    road = RootRoad([ONE, TWO], town.joiner(house).road, silence=0.5, max_backoff=0.01)
    registry = Registry(road, node=NODE, settings=QUICK)
    other = Registry(
        Junction(MemoryRoad(town.store)), node="https://other.example/", settings=QUICK
    )

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one.run()) for one in (registry, other)]
        registry.claim("room/a", 0.0)
        other.claim("room/b", 0.0)
        await until(lambda: sorted(registry.paths()) == ["room/a", "room/b"])
        await until(lambda: sorted(other.paths()) == ["room/a", "room/b"])
        snapshots, registrations = registry.status.snapshots, registry.status.registrations
        assert road.root == ONE
        assert roots[0].gateway.nodes == {NODE: 1}

        town.houses[ONE].reachable = False
        town.houses[ONE].host.close(0, "killed")
        await until(lambda: road.root == TWO)
        other.claim("room/c", 0.0)
        registry.claim("room/d", 0.0)
        await until(lambda: len(list(registry.paths())) == len(list(other.paths())) == 4)

        assert registry.status.snapshots == snapshots
        assert registry.status.registrations == registrations
        assert registry.status.lost == 1
        for task in running:
            task.cancel()
    assert town.store._feeds[None].table == {}


async def test_a_root_that_restarts_loses_no_node(town):
    await town.root(ONE)
    house = await town.build(NODE)
    road = RootRoad([ONE], town.joiner(house).road, silence=0.5, max_backoff=0.01)
    registry = Registry(road, node=NODE, settings=QUICK)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(registry.run())
        await until(lambda: registry.status.isolated is None)
        generation = registry.status.generation
        for _ in range(3):
            town.houses[ONE].host.close(0, "restart")
            await until(lambda: registry.status.isolated)
            await until(lambda: registry.status.isolated is None)
        assert registry.status.generation == generation
        assert registry.members[NODE].member.node == NODE
        running.cancel()
