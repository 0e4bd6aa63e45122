"""The demo source, over a real origin and a clock that the test moves."""

import json
import math

import pytest

from moq_relay.daemon.demo import INFO, PATH, RATE, Demo
from moq_relay.daemon.pendulums import COUNT, GRAVITY, SECONDS, Pendulums
from moq_relay.errors import NotFound
from moq_relay.relay.counters import Counters
from moq_relay.relay.feed import Demand
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.relay.route import Route

START = 1_790_000_000.0


class Reader:
    """Keeps the groups that it is told of."""

    def __init__(self):
        self.groups = []
        self.error = None

    def started(self, first):
        pass

    def opened(self, group):
        self.groups.append(group)

    def datagram(self, sequence, timestamp, payload):
        raise AssertionError("the demo sends no datagrams")

    def ended(self, error, final):
        self.error = error


class Stage:
    """A demo in an origin, and its time."""

    def __init__(self):
        self.now = START
        self.frames = 0
        self.away = 0
        self.demo = Demo(lambda: 3, lambda: self.now)
        self.origin = Origin(
            1, Cache(CacheLimits(), Counters()), lambda: self.now, lambda _seconds, _call: None
        )
        self.origin.announce(PATH, Route(self.demo))

    def watch(self, track):
        reader = Reader()
        followed = self.origin.subscribe(PATH, track, reader, Demand(max_age=math.inf))
        return reader, lambda: followed.leave(reader)

    def play(self, frames):
        for _ in range(frames):
            self.demo.tick()
            self.frames += 1
            self.now = START + self.away + self.frames / RATE + 0.0001


@pytest.fixture
def stage():
    return Stage()


def test_a_second_of_the_scene_is_a_group_of_its_frames(stage):
    reader, _ = stage.watch("scene")

    stage.play(2 * RATE + 1)

    assert [group.sequence for group in reader.groups] == [START, START + 1, START + 2]
    assert [len(group.frames) for group in reader.groups] == [RATE, RATE, 1]
    assert [group.finished for group in reader.groups] == [True, True, False]
    assert reader.groups[0].frames[0].timestamp == START * 1_000_000


def test_the_clock_tells_the_time_once_a_second(stage):
    reader, _ = stage.watch("clock")

    stage.play(RATE + 1)

    told = [[json.loads(frame.payload) for frame in group.frames] for group in reader.groups]
    assert [[facts["time"] for facts in group] for group in told] == [
        ["2026-09-21T14:13:20Z"],
        ["2026-09-21T14:13:21Z"],
    ]
    assert told[0][0]["sessions"] == 3


def test_who_comes_in_the_middle_of_a_second_gets_it_from_its_start(stage):
    stage.watch("scene")
    stage.play(RATE // 2)

    late, _ = stage.watch("clock")
    stage.play(1)

    assert [group.sequence for group in late.groups] == [START]
    assert len(late.groups[0].frames) == 1


def test_time_stands_still_while_nobody_watches_and_nothing_stale_is_sent_after(stage):
    reader, leave = stage.watch("scene")
    stage.play(3)
    leave()
    stage.away = 100
    stage.now += 100

    again, _ = stage.watch("scene")
    stage.play(2)

    assert [group.sequence for group in again.groups][-1] == START + 100
    assert len(again.groups[-1].frames) == 2
    assert len(reader.groups) == 1


def test_a_track_that_is_not_there_is_refused(stage):
    reader, _ = stage.watch("video")

    assert isinstance(reader.error, NotFound)


def test_the_past_is_in_the_cache_or_nowhere(stage):
    stage.watch("scene")
    stage.play(RATE)

    assert stage.origin.fetch(PATH, "scene", int(START)).frames
    assert isinstance(stage.origin.fetch(PATH, "scene", 5).error, NotFound)


async def test_the_description_is_the_same_for_both_tracks(stage):
    for name in ("clock", "scene"):
        assert await stage.origin.track(PATH, name).described_or_ended() == INFO


def energy(state):
    upper, lower, fast, slow = state
    return (
        fast * fast
        + slow * slow / 2
        + fast * slow * math.cos(upper - lower)
        - GRAVITY * (2 * math.cos(upper) + math.cos(lower))
    )


def test_the_pendulums_keep_their_energy_and_lose_their_order():
    pendulums = Pendulums()
    before = [energy(state) for state in pendulums._states]

    for _ in range(20 * RATE):
        pendulums.advance(1 / RATE)

    after = [energy(state) for state in pendulums._states]
    assert max(abs(one - other) for one, other in zip(before, after, strict=True)) < 0.2
    angles = [lower for _, lower, _, _ in pendulums._states]
    assert max(angles) - min(angles) > 1


def test_a_frame_has_two_angles_for_each_and_says_which_release_it_is():
    pendulums = Pendulums()
    first = pendulums.frame()

    pendulums.advance(SECONDS)

    assert len(first) == 2 + 4 * COUNT
    assert first[:2] == bytes((0, COUNT))
    assert pendulums.frame()[:2] == bytes((1, COUNT))
