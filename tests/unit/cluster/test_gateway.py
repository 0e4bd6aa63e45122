"""What a root does for nodes that come through it: what it runs, and in whose name."""

import asyncio

import pytest

from moq_relay.cluster import gateway as module
from moq_relay.cluster.channel import ROAD, open_channel
from moq_relay.cluster.memory import MemoryRoad
from moq_relay.cluster.records import encode
from moq_relay.cluster.road import Connected, Lost, Message, ServerFacts
from moq_relay.errors import RegistryError, RegistryUnavailable, RequestError
from tests.support.node import until
from tests.support.street import street

ROOT, NODE, OTHER = "https://root.example/", "https://node.example/", "https://other.example/"


@pytest.fixture
async def town():
    async with street() as town:
        yield town


class OpenRoad:
    """A road that a test plays: what was called, what is answered, what comes."""

    straight = True

    def __init__(self):
        self.calls = []
        self.answer = ["OK"]
        self.deliver = None

    async def run(self, deliver):
        self.deliver = deliver
        deliver(Connected(16, ServerFacts("valkey", "9.1", warnings=("a warning",))))
        await asyncio.Event().wait()

    async def call(self, script, shard, args):
        self.calls.append((script, shard, list(args)))
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def road():
    return OpenRoad()


@pytest.fixture
async def root(town, road):
    root = await town.root(ROOT, lambda: road, timeout=0.1)
    await until(lambda: root.junction.connected)
    return root


@pytest.fixture
async def way(town, root):
    """A node's channel to the root, after the first words."""
    house = await town.build(NODE)
    async with town.joiner(house).road(ROOT) as channel:
        channel.send(road=1)
        assert await channel.receive() == {"road": 1}
        yield channel


async def heard(channel, key):
    """The next message with ``key``."""
    async with asyncio.timeout(5):
        while key not in (words := await channel.receive()):
            pass
    return words


async def called(channel, script, shard, args, number=1):
    channel.send(call=number, script=script, shard=shard, args=args)
    return await heard(channel, "answer")


async def test_a_node_hears_how_the_road_stands_and_what_comes_along_it(way, road):
    (_, connected) = (None, await heard(way, "connected"))
    assert connected["connected"] == 16
    assert connected["facts"]["name"] == "valkey"

    for shard, text in [(3, "e 1 + a \ud800 é 漢 ☃ \x00"), (None, "e 2 M a")]:
        road.deliver(Message(shard, text))
        assert await heard(way, "message") == {"message": [shard, text]}
    road.deliver(Lost("gone"))
    assert await heard(way, "lost") == {"lost": "gone"}
    road.deliver(Connected(4))
    assert (await heard(way, "connected"))["connected"] == 4


@pytest.mark.parametrize("answer", [["OK", "e", 1, [], ["a", ["b", 2]]], ["é\n\ud800", 1 << 60]])
async def test_a_call_is_run_at_once_and_its_answer_comes_back_as_it_is(way, road, answer):
    road.answer = answer

    assert await called(way, "snapshot", 3, []) == {"answer": 1, "value": answer}
    assert road.calls == [("snapshot", 3, [])]


@pytest.mark.parametrize(
    ("script", "shard"),
    [
        ("register", None),
        ("renew", None),
        ("unregister", None),
        ("write", 15),
        ("drop", 0),
        ("audit", 1),
    ],
)
async def test_what_works_for_a_node_works_for_the_one_that_asks(way, road, script, shard):
    await called(way, script, shard, [encode(OTHER), "1", "2"])

    assert road.calls == [(script, shard, [encode(NODE), "1", "2"])]


@pytest.mark.parametrize(
    ("script", "shard", "args"),
    [
        ("attach", None, ["0"]),
        ("attach", 3, ["17"]),
        ("delta", None, ["e", "1"]),
        ("delta", 3, ["e", "1"]),
        ("snapshot", None, []),
        ("lookup", 3, ["room"]),
    ],
)
async def test_what_works_for_nobody_is_passed_on_as_it_is(way, road, script, shard, args):
    await called(way, script, shard, args)

    assert road.calls == [(script, shard, args)]


@pytest.mark.parametrize(
    ("script", "shard", "args"),
    [
        ("reap", None, ["8000", "100"]),
        ("FLUSHALL", None, []),
        (None, None, []),
        (1, None, []),
        ("snapshot", 16, []),
        ("snapshot", -1, []),
        ("snapshot", True, []),
        ("snapshot", "1", []),
        ("register", 3, [NODE]),
        ("write", None, [NODE]),
        ("lookup", None, [""]),
        ("write", 1, [NODE] * 400),
        ("write", 1, [NODE, 1]),
        ("write", 1, None),
        ("attach", None, []),
        ("attach", None, ["0", "id", "epoch", "16"]),
        ("attach", None, ["-1"]),
        ("attach", None, ["x"]),
    ],
)
async def test_what_no_node_needs_is_refused_and_not_run(way, road, script, shard, args):
    assert "refused" in await called(way, script, shard, args)
    assert road.calls == []
    assert "value" in await called(way, "snapshot", None, [], number=2)


async def test_a_refusal_and_an_outage_are_told_apart(way, road):
    road.answer = RegistryError("no")
    assert await called(way, "delta", 1, [], 1) == {"answer": 1, "refused": "no"}
    road.answer = RegistryUnavailable("gone")
    assert await called(way, "delta", 1, [], 2) == {"answer": 2, "unavailable": "gone"}


async def test_a_call_that_takes_too_long_fails(way, road):
    road.answer = None

    assert await called(way, "delta", 1, []) == {
        "answer": 1,
        "unavailable": "no answer within 0.1 s",
    }


async def test_without_a_registry_nothing_is_queued(way, road):
    road.deliver(Lost("gone"))

    answer = await called(way, "delta", 1, [])

    assert answer == {"answer": 1, "unavailable": "the root has no registry: gone"}
    assert road.calls == []


async def test_only_so_many_calls_are_under_way(way, road, monkeypatch):
    monkeypatch.setattr(module, "CALLS", 3)
    road.answer = None

    for number in range(5):
        way.send(call=number, script="delta", shard=1, args=[])

    refused = [await heard(way, "answer") for _ in range(2)]
    assert [one["unavailable"] for one in refused] == ["too many calls at a time"] * 2
    assert len(road.calls) == 3


async def test_a_ping_is_answered(way):
    way.send(ping=7)

    assert await heard(way, "pong") == {"pong": 7}


async def test_words_of_a_later_version_are_ignored(way):
    way.send(mood="good")
    way.send(ping=1, mood="better")

    assert await heard(way, "pong") == {"pong": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01x",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x02\xff\xff",
        b'\x00\x00\x00\x0c{"call":"1"}',
        b"\x00\x00\x00\x00",
    ],
)
async def test_nonsense_costs_the_stream_and_nothing_else(way, root, raw):
    way._request.write_bytes(raw)

    with pytest.raises(RequestError):
        await heard(way, "what never comes")
    assert not way._session.over
    assert root.gateway.nodes == {}
    assert root.admission.nodes() == {NODE}


async def test_two_calls_with_one_number_are_nonsense(way, road):
    road.answer = None
    for _ in range(2):
        way.send(call=1, script="delta", shard=1, args=[])

    with pytest.raises(RequestError):
        await heard(way, "answer")


@pytest.mark.parametrize("words", [{}, {"road": 0}, {"road": "1"}, {"ping": 1}])
async def test_a_road_begins_with_its_version(town, root, words):
    house = await town.build(NODE)
    async with town.joiner(house).road(ROOT) as channel:
        channel.send(**words)
        with pytest.raises(RequestError):
            await channel.receive()


async def test_a_later_version_is_told_what_this_one_speaks(town, root):
    house = await town.build(NODE)
    async with town.joiner(house).road(ROOT) as channel:
        channel.send(road=9)
        assert await channel.receive() == {"road": 1}


async def test_without_joining_there_is_no_road(town, root):
    house = await town.build(NODE)
    async with town.joiner(house).joined(ROOT) as found:
        root.admission._joined.clear()
        channel = await open_channel(found.session, ROAD)
        channel.send(road=1)
        with pytest.raises(RequestError):
            await channel.receive()
        root.admission._joined[next(iter(town.houses[ROOT].host.sessions))] = NODE


async def test_a_node_that_does_not_read_has_to_begin_anew(town, root, way, road, monkeypatch):
    monkeypatch.setattr(module, "BACKLOG", 10_000)
    await heard(way, "connected")
    (transport,) = town.houses[ROOT].transports
    transport.hold()

    for number in range(100):
        road.deliver(Message(1, f"e {number} + {'x' * 1000}"))
    assert transport.unacknowledged() < 20_000
    await until(lambda: root.gateway.nodes == {})
    transport.release()

    with pytest.raises(RequestError):
        await heard(way, "what never comes")


async def test_who_comes_through_is_known_until_it_leaves(town, root):
    house = await town.build(NODE)
    async with town.joiner(house).road(ROOT) as channel:
        channel.send(road=1)
        await until(lambda: root.gateway.nodes == {NODE: 1})
    await until(lambda: root.gateway.nodes == {})
    assert root.junction._listeners == []


async def test_a_call_that_outlives_its_node_harms_nobody(town, root, road):
    road.answer = None
    house = await town.build(NODE)
    async with town.joiner(house).road(ROOT) as channel:
        channel.send(road=1)
        channel.send(call=1, script="delta", shard=1, args=[])
        await until(lambda: road.calls)
    await until(lambda: not town.houses[ROOT].host.sessions)


async def test_what_a_node_claims_is_in_the_registry_under_its_name(town):
    await town.root(ROOT, lambda: MemoryRoad(town.store))
    house = await town.build(NODE)
    async with town.joiner(house).road(ROOT) as channel:
        channel.send(road=1)
        await heard(channel, "connected")
        epoch = (await called(channel, "attach", 1, ["0"], 1))["value"][1]
        said = [encode(OTHER), epoch, "5", "1", "+", "room", "token", "0", "", "-"]
        assert (await called(channel, "write", 1, said, 2))["value"][0] == "OK"

    assert town.store._feeds[1].table["room"].startswith(f"{encode(NODE)} 5 ")
