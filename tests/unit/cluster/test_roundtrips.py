"""Round trips: every session with a node is sampled, and pinged for the next sample."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from moq_relay.cluster import roundtrips
from moq_relay.cluster.records import Member
from moq_relay.cluster.regions import KEPT_SECONDS, Regions
from moq_relay.cluster.roundtrips import RoundTrips, Way
from moq_relay.sessions.context import Use

MEMBERS = {"a": "eu", "b": "eu", "c": "us"}


class Session:
    """A session that has measured something."""

    def __init__(self, rtt, *, silent=0.1):
        self.rtt_seconds = self.latest_rtt_seconds = rtt
        self.silent_seconds = silent
        self.pings = 0

    def ping(self):
        self.pings += 1


class World:
    def __init__(self):
        self.now = 0.0
        self.members = {
            node: Member(node=node, generation=1, instance="i", region=region)
            for node, region in MEMBERS.items()
        }
        self.regions = Regions("own", self.members.get, lambda: self.now)
        for node in MEMBERS:
            self.regions.members_changed(node)
        self.came = []
        self.trips = RoundTrips(self.regions, came=lambda: self.came, clock=lambda: self.now)

    def has(self, node, method, *sessions):
        self.came += [Way(node, method, session) for session in sessions]

    def turn(self, seconds=5.0):
        self.now += seconds
        self.trips.turn()

    def counted(self, method, region):
        histogram = dict(self.trips.samples[method].items())[region]
        return histogram.count, pytest.approx(histogram.total)


@pytest.fixture
def world():
    return World()


def test_every_session_is_sampled_by_the_region_of_its_node(world):
    world.has("a", "quic", Session(0.01))
    world.has("b", "probe", Session(0.02))
    world.has("c", "quic", Session(0.08))

    world.turn()
    world.turn()

    assert world.counted("quic", "eu") == (2, 0.02)
    assert world.counted("probe", "eu") == (2, 0.04)
    assert world.counted("quic", "us") == (2, 0.16)
    assert world.counted("probe", "us") == (0, 0.0)
    assert world.counted("quic", "own") == (0, 0.0)


def test_the_current_value_is_that_of_the_farthest_node_now(world):
    near, far = Session(0.01), Session(0.02)
    world.has("a", "quic", near)
    world.has("b", "quic", far)
    world.turn()
    assert world.trips.current == {"eu": 0.02}

    near.latest_rtt_seconds = 0.005
    far.latest_rtt_seconds = 0.003
    world.turn()

    assert world.trips.current == {"eu": 0.005}


def test_what_did_not_answer_since_the_last_time_is_not_counted_again(world):
    session = Session(0.01)
    world.has("a", "quic", session)
    world.turn()

    session.silent_seconds = 5.0
    world.turn()
    assert world.counted("quic", "eu") == (1, 0.01)
    assert world.trips.current == {"eu": 0.01}, "what was measured last stays"

    # A turn that came late is no silence of the other side.
    world.turn(5.5)
    assert world.counted("quic", "eu") == (2, 0.02)


def test_every_session_is_pinged_whether_it_answers_or_not(world):
    sessions = [Session(0.01), Session(None), Session(0.01, silent=99.0)]
    world.has("a", "quic", *sessions)
    world.has("stranger", "quic", sessions[0])

    world.turn()

    assert [session.pings for session in sessions] == [2, 1, 1]


def test_a_session_without_a_sample_and_one_to_a_stranger_count_for_nothing(world):
    world.has("a", "quic", Session(None))
    world.has("stranger", "quic", Session(0.01))

    world.turn()

    assert world.trips.current == {}
    assert world.counted("quic", "eu") == (0, 0.0)


def test_a_region_that_is_gone_has_no_current_value(world):
    world.has("c", "quic", Session(0.08))
    world.turn()
    assert world.trips.current == {"us": 0.08}

    del world.members["c"]
    world.came.clear()
    world.turn(KEPT_SECONDS - 6)
    assert world.trips.current == {"us": 0.08}
    world.turn(6)

    assert world.trips.current == {}


async def test_what_is_dialled_is_a_way_for_as_long_as_the_session_lasts(world):
    class Transport:
        def stats(self):
            return Session(0.5)

    class Dialled:
        transport, subscriber = Transport(), None

    @asynccontextmanager
    async def dial(url, target, use, *, address=None):
        assert (target, address) == ("/x", "192.0.2.1")
        yield Dialled()

    measured = world.trips.measured(dial, "probe")
    async with measured("c", "/x", Use(), address="192.0.2.1"):
        ((node, method, session),) = world.trips.ways()
        assert (node, method, session.latest_rtt_seconds) == ("c", "probe", 0.5)
    assert world.trips.ways() == []

    with pytest.raises(ZeroDivisionError):
        async with measured("c", "/x", Use(), address="192.0.2.1"):
            raise ZeroDivisionError
    assert world.trips.ways() == []


async def test_it_looks_again_and_again(world, monkeypatch):
    monkeypatch.setattr(roundtrips, "SAMPLE_SECONDS", 0.01)
    session = Session(0.01)
    world.has("a", "quic", session)

    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(world.trips.run())
        while session.pings < 3:
            await asyncio.sleep(0)
        running.cancel()
