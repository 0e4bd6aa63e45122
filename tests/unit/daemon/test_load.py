"""What ``moq-relay bench`` concludes from what it measured, and how its viewers speak."""

import asyncio
import json
import math
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from moq_relay.daemon.cli import main
from moq_relay.daemon.load import dialect, machine
from moq_relay.daemon.load.command import as_json, as_text, measure, warnings
from moq_relay.daemon.load.estimate import MOST_STEPS, TRIES, estimate, following, usable
from moq_relay.daemon.load.processes import Failed
from moq_relay.daemon.load.publisher import LiveSource
from moq_relay.daemon.load.stage import Point, percentile
from moq_relay.daemon.load.window import Window
from moq_relay.daemon.load.workload import AUDIO, VIDEO, Workload
from moq_relay.errors import WireError
from moq_relay.relay.counters import Counters
from moq_relay.relay.group import Group
from moq_relay.relay.retention import Cache, CacheLimits
from tests.support import lite05
from tests.support.own_client import until
from tests.support.sink import LITE05

GOOD = Point(
    viewers=2,
    core_share=0.06,
    delivered=1.0,
    mbits=4.2,
    p50_ms=1.0,
    p99_ms=3.0,
    resident_mb=80.2,
    load_share=0.04,
    machine_share=0.2,
)


class Relay:
    """A stage whose relay costs ``fixed`` of a core, and ``each`` more for a viewer."""

    def __init__(self, fixed=0.0475, each=0.005, *, room=math.inf):
        self.fixed, self.each, self.room = fixed, each, room
        self.asked = []

    def grow(self, viewers):
        self.asked.append(viewers)
        if viewers > self.room:
            raise Failed("the viewers: the relay is full")

    def measure(self, _seconds):
        viewers = self.asked[-1]
        return replace(
            GOOD,
            viewers=viewers,
            core_share=self.fixed + self.each * viewers,
            resident_mb=80 + 0.1 * viewers,
        )


def measured(relay):
    return measure(relay, 1.0, lambda _line: None)


def test_the_steps_end_just_beyond_the_number_that_they_find():
    relay = Relay()

    found = estimate(measured(relay))

    assert relay.asked == [2, 10, 20, 40, 80, 137]
    assert found.viewers == 130
    assert not found.extrapolated
    assert found.viewer_share == pytest.approx(0.005)
    assert found.fixed_share == pytest.approx(0.0475)
    assert found.viewer_mb == pytest.approx(0.1)


@pytest.mark.parametrize("each", [0.4, 0.15, 0.05, 0.001, 0.000013])
def test_dear_and_cheap_viewers_are_both_found_in_few_steps(each):
    relay = Relay(each=each)

    found = estimate(measured(relay))

    assert found.viewers == math.floor((0.7 - 0.0475) / each)
    assert 2 <= len(relay.asked) <= MOST_STEPS


def test_no_further_step_follows_one_that_the_load_could_not_keep_up_with():
    first = [replace(GOOD, viewers=n, core_share=0.0475 + 0.005 * n) for n in (2, 10, 20)]

    for bad in ({"load_share": 0.9}, {"delivered": 0.97}):
        assert following([*first, replace(GOOD, viewers=40, core_share=0.1, **bad)]) is None
    assert following([*first, replace(GOOD, viewers=40, core_share=0.25)]) == 80


def test_a_step_in_which_the_machine_had_no_time_is_tried_again_and_not_for_ever():
    first = [replace(GOOD, viewers=n, core_share=0.0475 + 0.005 * n) for n in (2, 10, 20)]
    crowded = replace(GOOD, viewers=40, core_share=0.1, machine_share=0.99)
    good = replace(GOOD, viewers=40, core_share=0.2475)

    assert following([*first, *[crowded] * (TRIES - 1)]) == 40
    assert following([*first, *[crowded] * TRIES]) is None
    assert following([crowded]) == 40
    assert following([*first, crowded, good]) == 80
    points = [*first, crowded, good]
    assert estimate(points).viewers == 130
    assert "had no time left at 40 viewers" in warnings(points, estimate(points), 8)[0]


def test_steps_that_went_wrong_are_named_and_not_in_the_number():
    points = [replace(GOOD, viewers=n, core_share=0.0475 + 0.005 * n) for n in (2, 10, 20)]
    points.append(replace(GOOD, viewers=40, core_share=0.1, load_share=0.9, delivered=0.97))

    found = estimate(points)
    said = "\n".join(warnings(points, found, 8))

    assert found.viewers == 130
    assert found.extrapolated
    assert "at 40 viewers those who make the load were the bottleneck" in said
    assert "at 40 viewers only 97.0% of the frames" in said
    assert "not in the number" in said
    assert "130 viewers were not measured, only 20" in said


def test_a_number_without_two_good_steps_is_called_meaningless():
    points = [replace(GOOD, viewers=n, core_share=0.3 * n, delivered=0.5) for n in (2, 3)]

    assert "means nothing" in "\n".join(warnings(points, estimate(points), 8))
    assert usable(points) == points


def test_few_cores_are_warned_of_and_many_are_not():
    points = measured(Relay())
    found = estimate(points)

    assert "2 cores carry the relay and all that loads it" in warnings(points, found, 2)[0]
    assert warnings(points, found, 8) == []


def test_a_relay_that_takes_no_more_ends_the_steps_and_costs_none():
    points = measured(Relay(room=20))

    assert [point.viewers for point in points] == [2, 10, 20]
    assert estimate(points).extrapolated
    with pytest.raises(Failed, match="full"):
        measured(Relay(room=2))


def test_people_and_programs_are_told_the_same():
    points = measured(Relay())
    found, facts = estimate(points), machine.facts()

    text = as_text(Workload(), facts, points, found, ["few cores"])
    facts = json.loads(json.dumps(as_json(Workload(), facts, points, found, ["few cores"])))

    assert "130 viewers at 70% of one core (between the steps above)" in text
    assert "a viewer costs 0.50% of a core and 0.10 MB, beside 4.8% of a core" in text
    assert "warning: few cores" in text
    assert facts["viewers"] == 130
    assert facts["extrapolated"] is False
    assert facts["at"]["viewers"] == 137
    assert len(facts["points"]) == 6
    assert facts["warnings"] == ["few cores"]


def test_a_percentile_is_of_all_processes_frames_together():
    tenths = {10: 98, 55: 1, 900: 1}

    assert percentile(tenths, 0.5) == 1.0
    assert percentile(tenths, 0.98) == 5.5
    assert percentile(tenths, 0.99) == 90.0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "--capacity"),
        (["--capacity", "--bitrate", "0"], "--bitrate is"),
        (["--capacity", "--bitrate", "nan"], "--bitrate is"),
        (["--capacity", "--bitrate=fast"], "--bitrate: invalid float value: 'fast'"),
        (["--capacity", "--seconds", "0.1"], "--seconds is"),
        (["--capacity", "--viewers", "3"], "unrecognized arguments: --viewers 3"),
    ],
)
def test_options_that_can_not_be_measured_cost_one_line(words, why, capsys):
    assert main(["bench", *words]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert why in said.err


def test_viewers_say_what_an_independent_codec_says():
    ours = dialect.product()

    assert ours.alpn == LITE05.alpn
    assert ours.setup == LITE05.setup
    assert ours.announce == LITE05.announce
    assert ours.nothing == LITE05.nothing
    assert ours.subscribe(1, "a/b", "video") == LITE05.subscribe(1, "a/b", "video")


@pytest.mark.parametrize("sequence", [0, 63, 64, 70_000])
def test_viewers_read_what_an_independent_codec_wrote(sequence):
    ours = dialect.product()
    header = lite05.group_header(3, sequence)
    frame = lite05.varint(900) + lite05.varint(8333)

    for size in range(len(header)):
        assert ours.group_header(header[:size]) is None
    assert ours.group_header(header + b"more") == (3, sequence, len(header))
    for size in range(len(frame)):
        assert ours.frame_header(frame[:size], 0) is None
    assert ours.frame_header(b"xx" + frame, 2) == (8333, 2 + len(frame))
    with pytest.raises(WireError):
        ours.group_header(b"\x07\x02\x01\x01")


class Feed:
    """A feed that keeps its groups, and has a track's name."""

    def __init__(self, name):
        self.track = SimpleNamespace(name=name)
        self.cache = Cache(CacheLimits(), Counters())
        self.groups, self.over = [], []

    def open_group(self, sequence):
        self.groups.append(Group(sequence, self.cache, now=0.0))
        return self.groups[-1]

    def group_ended(self, group):
        self.over.append(group)


async def test_the_live_stream_is_whole_groups_of_stamped_frames_in_time():
    window, audio, video = Window(), Feed(AUDIO), Feed(VIDEO)
    source = LiveSource(Workload(video_mbits=1.2), window)
    began = time.monotonic_ns()
    window.schedule(began, began + 10**12)
    source.subscribe(audio)
    source.subscribe(video)

    running = asyncio.get_running_loop().create_task(source.run())
    await until(lambda: len(audio.groups) >= 4)
    running.cancel()

    assert audio.over == audio.groups
    assert all(group.finished for group in audio.groups)
    assert [group.sequence for group in audio.groups] == list(range(len(audio.groups)))
    frames = [frame for group in audio.groups for frame in group.frames]
    assert [frame.timestamp for frame in frames] == [20_000 * n for n in range(len(frames))]
    stamps = [int.from_bytes(frame.payload[:8], "big") for frame in frames]
    assert began < stamps[0] < stamps[-1] < time.monotonic_ns()
    assert stamps[3] - began >= 60_000_000
    assert {len(frame.payload) for frame in frames} == {160}
    (picture,) = video.groups
    assert picture.open
    assert {len(frame.payload) for frame in picture.frames} == {5000}
    counts = {AUDIO: len(frames), VIDEO: len(picture.frames)}
    assert window.report()["frames"] == counts
