"""What a session serves and takes of tracks, groups, frames, fetches and datagrams, by version."""

import asyncio
import itertools

import pytest

from moq_relay.relay.feed import Demand
from moq_relay.relay.retention import CacheLimits
from moq_relay.wire import varint
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.frames import Datagram, FrameDecoder, encode_datagram
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.lite.versions import LITE_02, LITE_03, LITE_04, LITE_05, LITE_06, VERSIONS
from moq_relay.wire.version import Slot
from tests.support.node import Clock, node, until
from tests.support.station import Listening

NEW = [LITE_05, LITE_06]
OLD = [LITE_02, LITE_03, LITE_04]


def by_name(versions):
    return pytest.mark.parametrize("version", versions, ids=lambda version: version.name)


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request):
    return request.param


# --- TRACK ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"), list(itertools.product(NEW, NEW)), ids=lambda version: version.name
)
async def test_a_track_is_described_as_its_publisher_does(ours, theirs):
    async with node() as relay:
        publisher = await relay.publisher(theirs, "room/a")
        viewer = await relay.viewer(ours)

        stream = viewer.track("room/a/deep", "video")
        wanted = await publisher.describe(priority=9, max_age=1234, timescale=48_000)

        assert (wanted.broadcast, wanted.track) == ("room/a/deep", "video")
        info = await stream.read(Slot.TRACK_INFO)
        assert (info.priority, info.max_age, info.timescale) == (9, 1234, 48_000)
        await stream.ended()
        assert publisher.peer.requests(BiStream.SUBSCRIBE) == []


@by_name(NEW)
async def test_a_publisher_is_asked_once_for_a_description_however_many_want_it(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        viewers = [await relay.viewer(version) for _ in range(3)]

        streams = [viewer.track("a", "t") for viewer in viewers]
        await publisher.describe()
        for stream in streams:
            await stream.read(Slot.TRACK_INFO)
        await viewers[0].track("a", "t").read(Slot.TRACK_INFO)

        assert len(publisher.peer.requests(BiStream.TRACK)) == 1


@by_name(NEW)
async def test_a_request_is_not_finished_before_its_answer(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        viewer = await relay.viewer(version)
        viewer.track("a", "t")
        viewer.fetch("a", "t", 3)

        track = await publisher.peer.asked(BiStream.TRACK)
        fetch = await publisher.peer.asked(BiStream.FETCH)
        await publisher.peer.round_trip()
        assert not track.over
        assert not fetch.over

        track.write(wire.TrackInfo(priority=0, max_age=0, timescale=1), fin=True)
        fetch.raw(b"", fin=True)
        await publisher.peer.until(lambda: track.fin and fetch.fin)


@by_name(NEW)
async def test_a_description_that_cannot_be_had_says_why(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        viewer = await relay.viewer(version)

        assert await viewer.track("nowhere", "t").was_reset() == 0x36

        stream = viewer.track("a", "refused")
        (await publisher.peer.asked(BiStream.TRACK)).reset(0x33)
        assert await stream.was_reset() == 0x33

        stream = viewer.track("a", "silent")
        (await publisher.peer.asked(BiStream.TRACK)).finish()
        assert await stream.was_reset() == 0x12

        stream = viewer.track("a", "broken")
        asked = await publisher.peer.asked(BiStream.TRACK)
        asked.raw(b"\x01\x00")
        assert await stream.was_reset() == 0x12
        assert await asked.was_stopped() == 1

        stream = viewer.track("a", "gone")
        await publisher.peer.asked(BiStream.TRACK)
        publisher.peer.transport.close(0, "")
        assert await stream.was_reset() == 0


@by_name(NEW)
async def test_an_answer_that_came_whole_counts_though_its_stream_was_reset_behind_it(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        stream = (await relay.viewer(version)).track("a", "t")
        asked = await publisher.peer.asked(BiStream.TRACK)
        info = wire.TrackInfo(priority=1, max_age=5, timescale=7)

        session = relay.session(publisher.peer)
        session.stream_data(asked.number, publisher.version.encode(info), False)
        session.stream_reset(asked.number, 1)

        assert (await stream.read(Slot.TRACK_INFO)).timescale == 7


@by_name(OLD)
async def test_a_track_of_an_older_publisher_has_the_default_description(version):
    async with node() as relay:
        await relay.publisher(version, "a")

        info = await (await relay.viewer(LITE_05)).track("a", "t").read(Slot.TRACK_INFO)

        assert (info.timescale, info.max_age) == (1_000_000, 30_000)


@by_name(NEW)
@pytest.mark.parametrize("max_age", [0, 5_000, 60_000, varint.MAX])
async def test_a_track_is_described_by_its_publisher_whatever_the_cache_keeps(version, max_age):
    async with node(cache=CacheLimits(duration=7)) as relay:
        publisher = await relay.publisher(version, "a")
        stream = (await relay.viewer(version)).track("a", "t")
        await publisher.describe(max_age=max_age)

        assert (await stream.read(Slot.TRACK_INFO)).max_age == max_age


# --- groups between every two versions ------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"),
    list(itertools.product(VERSIONS, VERSIONS)),
    ids=lambda version: version.name,
)
async def test_frames_and_timestamps_go_from_any_version_to_any_other(theirs, ours):
    clock = Clock()
    async with node(clock=clock) as relay:
        publisher = await relay.publisher(theirs, "room/a")
        viewer = await relay.viewer(ours)

        watched = viewer.subscribe("room/a", "video", priority=7)
        sending = await publisher.accept(5)
        await watched.accepted()
        assert (sending.wanted.broadcast, sending.wanted.track) == ("room/a", "video")
        assert sending.wanted.priority == 7

        sending.group(5, (2500, b"one"), (1000, b""), (1000, b"three"))
        sending.group(6, (9000, b"x" * 70_000))
        groups = await watched.heard(5, 6)

        assert [group.payloads for group in groups] == [
            [b"one", b"", b"three"],
            [b"x" * 70_000],
        ]
        stamps = [stamp for group in groups for stamp, _ in group.frames]
        if not ours.features.timestamps:
            assert stamps == [None] * 4
        elif theirs.features.timestamps:
            assert stamps == [2500, 1000, 1000, 9000]
        else:
            assert stamps == [int(clock.now * 1_000_000)] * 4

        sending.end(7)
        replies = await watched.replies()
        expected = [wire.SubscribeStart(5), wire.SubscribeEnd(7)]
        assert replies == (expected if ours.features.subscribe_start else [])
        await publisher.peer.until(lambda: sending.stream.fin)


@by_name(NEW)
async def test_the_start_comes_before_any_group_and_only_when_it_is_known(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(version)
        watched = viewer.subscribe("a", "t")
        sending = await publisher.accept()
        await viewer.peer.round_trip()
        assert not watched.stream.data

        sending.start(3)
        sending.group(3, b"x", fin=False)

        assert await watched.stream.read(Slot.SUBSCRIBE_REPLY) == wire.SubscribeStart(3)
        start, group = watched.stream, (await watched.opened(3)).stream
        heard = list(viewer.peer.streams)
        assert heard.index(start.number) < heard.index(group.number)


@by_name(OLD)
async def test_an_older_viewer_is_accepted_at_once_and_refused_later(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(version)

        watched = viewer.subscribe("a", "t")
        await watched.accepted()
        (await publisher.peer.asked(BiStream.TRACK)).reset(0x33)

        assert await watched.stream.was_reset() == 0x33
        assert await viewer.subscribe("nowhere", "t").stream.was_reset() == 0x36


async def test_the_end_comes_after_the_last_group_has_arrived(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(version)
        watched = viewer.subscribe("a", "t")
        sending = await publisher.accept(0)
        open_group = sending.group(0, b"first", fin=False)
        await watched.opened(0)

        sending.end(1)
        await publisher.peer.round_trip()
        await viewer.peer.round_trip()
        assert not watched.stream.over

        open_group.finish()
        replies = await watched.replies()

        assert watched.whole == {0: [b"first"]}
        if version.features.subscribe_start:
            assert replies[-1] == wire.SubscribeEnd(1)


async def test_a_track_without_a_group_ends_too(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        watched = (await relay.viewer(version)).subscribe("a", "t")
        sending = await publisher.accept(0)

        sending.end(0)

        await watched.accepted()
        replies = await watched.replies()
        assert replies == ([wire.SubscribeEnd(0)] if version.features.subscribe_start else [])


@by_name(NEW)
async def test_a_track_may_end_far_behind_what_was_sent(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        watched = (await relay.viewer(version)).subscribe("a", "t")

        (await publisher.accept(9)).end(9)

        assert await watched.replies() == [wire.SubscribeEnd(9)]


async def test_a_start_is_a_floor_where_there_are_only_floors():
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "a")
        (await relay.viewer(LITE_05)).subscribe("a", "t", start=4)

        assert (await publisher.accept(4)).wanted.floor == 4


@by_name([v for v in VERSIONS if wire.SubscribeDrop in v.layouts])
async def test_a_drop_is_read_and_the_rest_goes_on(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        watched = (await relay.viewer(LITE_05)).subscribe("a", "t")
        sending = await publisher.accept(0)

        sending.group(0, b"zero")
        sending.stream.write(wire.SubscribeDrop(1, 3, 5))
        sending.group(4, b"four")

        await watched.heard(0, 4)


async def test_two_viewers_of_a_track_are_one_subscription_upstream(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        first = (await relay.viewer(LITE_05)).subscribe("a", "t", priority=3, max_age=100)
        sending = await publisher.accept(0)

        if version.features.start_floor:
            # Its start is known: from now on the age says only how long a group is wanted.
            await sending.stream.read(Slot.SUBSCRIBE_UPDATE)

        second = (await relay.viewer(LITE_05)).subscribe("a", "t", priority=9, max_age=200)
        if version.features.subscribe_update:
            update = await sending.stream.read(Slot.SUBSCRIBE_UPDATE)
            assert (update.priority, update.max_age) == (9, 200)
        sending.group(0, b"x")
        await first.heard(0)
        await second.heard(0)

        assert len(publisher.peer.requests(BiStream.SUBSCRIBE)) == 1
        first.stream.finish()
        await first.stream.was_over()
        assert not sending.stream.over
        second.stream.reset(1)
        assert await sending.stream.was_reset() == 1
        assert relay.counters.upstream == 0


# --- how a subscription ends ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["finish", "reset", "stop"])
async def test_a_viewer_that_leaves_gets_no_more(version, how):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(version)
        watched = viewer.subscribe("a", "t")
        sending = await publisher.accept(0)
        sending.group(0, b"x", fin=False)
        group = await watched.opened(0)

        match how:
            case "finish":
                watched.stream.finish()
            case "reset":
                watched.stream.reset(1)
            case "stop":
                watched.stream.stop(0)

        assert await group.stream.was_reset() == 1
        await viewer.peer.until(lambda: watched.stream.over)
        assert await sending.stream.was_reset() == 1
        await viewer.peer.round_trip()


@pytest.mark.parametrize(("code", "passed"), [(0, 0), (5, 5), (0x33, 0x33), (77, 77), (0x2F, 0)])
async def test_the_code_with_which_a_publisher_gives_up_is_passed_on(version, code, passed):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(version)
        watched = viewer.subscribe("a", "t")
        sending = await publisher.accept(0)
        given_up = sending.group(0, b"x", fin=False)
        sending.group(1, b"y")
        group = await watched.opened(0)
        await watched.heard(1)

        given_up.reset(code)
        assert await group.stream.was_reset() == passed
        assert not watched.stream.over

        sending.stream.reset(code)
        assert await watched.stream.was_reset() == passed


async def test_what_a_publisher_gives_up_with_is_told_in_words(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        reader = Listening(frames=1, size=1)
        relay.origin.subscribe("a", "t", reader, Demand())
        sending = await publisher.accept(0)

        given_up = sending.group(0, b"x", fin=False)
        await until(lambda: reader.first is not None)
        given_up.reset(5)
        await until(lambda: reader.faults)
        sending.stream.reset(0x33)
        await until(lambda: reader.over)

        assert [fault.partition(": ")[2] for fault in reader.faults] == [
            "the publisher says: the reader is too far behind (code 0x5)",
            "NotFound the publisher says: no such track or group (code 0x33)",
        ]


async def test_a_viewer_that_stops_one_group_gets_the_next(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(version)
        watched = viewer.subscribe("a", "t")
        sending = await publisher.accept(0)
        endless = sending.group(0, b"x", fin=False)
        group = await watched.opened(0)

        group.stream.stop(0)
        await viewer.peer.until(lambda: group.stream.over)
        endless.raw(publisher.peer.coded((5, b"more")))
        sending.group(1, b"y")

        await watched.heard(1)
        assert group.payloads == [b"x"]


async def test_a_viewer_may_stop_what_it_has_read(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(version)
        watched = viewer.subscribe("a", "t")
        sending = await publisher.accept(0)
        for sequence in range(3):
            sending.group(sequence, b"x")
            (group,) = await watched.heard(sequence)
            group.stream.stop(0)

        sending.end(3)

        await watched.accepted()
        await watched.replies()


# --- which groups ---------------------------------------------------------------------------------


async def cached(relay, *sequences, clock=None):
    """A publisher and a first viewer, with groups of one frame of which all know."""
    publisher = await relay.publisher(LITE_05, "a")
    watched = (await relay.viewer(LITE_05)).subscribe("a", "t")
    sending = await publisher.accept(sequences[0])
    for sequence in sequences:
        sending.group(sequence, b"%d" % sequence)
        await watched.heard(sequence)
        if clock is not None:
            clock.now += 1
    return sending


@by_name([LITE_02, LITE_03, LITE_04, LITE_05])
async def test_a_viewer_begins_at_the_latest_group(version):
    async with node() as relay:
        sending = await cached(relay, 3, 4, 5)

        watched = (await relay.viewer(version)).subscribe("a", "t")
        await watched.heard(5)
        sending.group(6, b"6")
        await watched.heard(6)

        assert list(watched.whole) == [5, 6]


@by_name([LITE_03, LITE_04, LITE_05])
async def test_a_viewer_begins_at_the_group_it_asks_for(version):
    async with node() as relay:
        await cached(relay, 3, 4, 5)

        watched = (await relay.viewer(version)).subscribe("a", "t", start=4)

        await watched.heard(4, 5)
        assert list(watched.whole) == [4, 5]


@pytest.mark.parametrize(
    ("max_age", "floor", "expected"),
    [
        (0, 0, {5}),
        (2_500, 0, {3, 4, 5}),
        (30_000, 0, {2, 3, 4, 5}),
        (30_000, 4, {4, 5}),
        (1_500, 2, {4, 5}),
    ],
)
async def test_a_floor_and_an_age_say_how_far_back_a_viewer_reaches(max_age, floor, expected):
    clock = Clock()
    async with node(clock=clock) as relay:
        await cached(relay, 2, 3, 4, 5, clock=clock)
        viewer = await relay.viewer(LITE_06)

        watched = viewer.subscribe("a", "t", max_age=max_age, floor=floor)

        start = await watched.stream.read(Slot.SUBSCRIBE_REPLY)
        assert start == wire.SubscribeStart(min(expected))
        await watched.heard(*expected)
        await viewer.peer.round_trip()
        assert set(watched.whole) == expected


async def test_a_floor_ahead_of_the_latest_group_is_waited_for():
    async with node() as relay:
        sending = await cached(relay, 2, 3)
        watched = (await relay.viewer(LITE_06)).subscribe("a", "t", floor=5)
        assert await watched.stream.read(Slot.SUBSCRIBE_REPLY) == wire.SubscribeStart(5)

        for sequence in (4, 5, 6):
            sending.group(sequence, b"x")

        await watched.heard(5, 6)
        assert set(watched.whole) == {5, 6}


@by_name([v for v in VERSIONS if v.features.subscribe_update])
async def test_an_end_is_a_cap_that_an_update_raises(version):
    async with node() as relay:
        sending = await cached(relay, 0)
        viewer = await relay.viewer(version)
        watched = viewer.subscribe("a", "t", end=1)
        await watched.heard(0)
        for sequence in (1, 2, 3):
            sending.group(sequence, b"x")
        await watched.heard(0, 1)
        await viewer.peer.round_trip()
        assert set(watched.whole) == {0, 1}
        assert not watched.stream.over

        watched.stream.write(wire.SubscribeUpdate(0, max_age=30_000, end=3))

        await watched.heard(2, 3)
        sending.group(4, b"x")
        await viewer.peer.round_trip()
        assert set(watched.whole) == {0, 1, 2, 3}


async def test_frames_of_the_first_and_the_last_group_may_be_left_out():
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        first = (await relay.viewer(LITE_05)).subscribe("a", "t")
        sending = await publisher.accept(4)
        for sequence in (4, 5, 6):
            sending.group(sequence, *((100 * n, b"%d" % n) for n in range(5)))
            await first.heard(sequence)

        watched = (await relay.viewer(LITE_06)).subscribe(
            "a", "t", floor=4, frame_start=2, end=6, frame_end=1
        )

        four, five, six = await watched.heard(4, 5, 6)
        assert four.header.frame_start == 2
        assert four.frames == [(200, b"2"), (300, b"3"), (400, b"4")]
        assert len(five.frames) == 5
        assert six.frames == [(0, b"0"), (100, b"1")]


async def test_a_live_group_may_begin_and_end_in_its_middle_too():
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(LITE_06)
        watched = viewer.subscribe("a", "t", floor=4, frame_start=1, end=4, frame_end=2)
        sending = await publisher.accept(4)

        live = sending.group(4, (0, b"0"), fin=False)
        group = await watched.opened(4)
        live.raw(publisher.peer.coded((7, b"1"))).raw(publisher.peer.coded((9, b"2")))
        await watched.heard(4)
        live.raw(publisher.peer.coded((9, b"3")))

        assert group.frames == [(7, b"1"), (16, b"2")]


@pytest.mark.parametrize("bounds", [(3, 1), (9, None), (9, 20)])
async def test_a_part_of_a_group_that_is_empty_is_an_empty_group(bounds):
    frame_start, frame_end = bounds
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        viewer = await relay.viewer(LITE_06)
        watched = viewer.subscribe(
            "a", "t", floor=4, frame_start=frame_start, end=4, frame_end=frame_end
        )
        sending = await publisher.accept(4)

        sending.group(4, *[b"x"] * 5)

        (group,) = await watched.heard(4)
        assert group.frames == []


async def test_a_part_of_a_group_that_is_cached_and_empty_is_an_empty_group():
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        first = (await relay.viewer(LITE_05)).subscribe("a", "t")
        sending = await publisher.accept(4)
        sending.group(4, *[b"x"] * 5)
        await first.heard(4)

        watched = (await relay.viewer(LITE_06)).subscribe(
            "a", "t", floor=4, frame_start=3, end=4, frame_end=1
        )

        (group,) = await watched.heard(4)
        assert group.frames == []


async def test_a_group_without_its_start_goes_only_to_those_who_can_be_told(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "a")
        viewer = await relay.viewer(version)
        watched = viewer.subscribe("a", "t")
        sending = await publisher.accept(0)

        sending.group(0, (200, b"2"), (300, b"3"), first=2)
        sending.group(1, b"whole")

        await watched.heard(1)
        if version is LITE_06:
            (group,) = await watched.heard(0)
            assert group.header.frame_start == 2
            assert group.frames == [(200, b"2"), (300, b"3")]
        else:
            await viewer.peer.round_trip()
            assert set(watched.whole) == {1}


# --- FETCH ----------------------------------------------------------------------------------------


def fetched(viewer, stream):
    """The frames that answered a fetch."""
    return FrameDecoder(viewer.version.features.timestamps, 1 << 20).feed(bytes(stream.data))


@by_name(NEW)
async def test_a_fetch_is_served_from_the_cache(version):
    async with node() as relay:
        sending = await cached(relay, 3, 4)
        viewer = await relay.viewer(version)

        stream = viewer.fetch("a", "t", 3)

        await viewer.peer.until(lambda: stream.over)
        assert stream.fin
        assert fetched(viewer, stream) == [(0, b"3")]
        assert sending.peer.requests(BiStream.FETCH) == []
        await viewer.peer.round_trip()


async def test_a_fetch_may_want_a_part():
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "a")
        first = (await relay.viewer(LITE_05)).subscribe("a", "t")
        sending = await publisher.accept(4)
        sending.group(4, *((100 * n, b"%d" % n) for n in range(5)))
        await first.heard(4)
        viewer = await relay.viewer(LITE_06)

        stream = viewer.fetch("a", "t", 4, frame_start=1, frame_end=2)

        await viewer.peer.until(lambda: stream.fin)
        assert fetched(viewer, stream) == [(100, b"1"), (200, b"2")]


@pytest.mark.parametrize(
    ("theirs", "ours"), list(itertools.product(NEW, NEW)), ids=lambda version: version.name
)
async def test_a_fetch_of_what_is_not_cached_is_asked_upstream(theirs, ours):
    async with node() as relay:
        publisher = await relay.publisher(theirs, "a")
        viewer = await relay.viewer(ours)

        stream = viewer.fetch("a", "t", 99)
        asked = await publisher.peer.asked(BiStream.FETCH)
        wanted = await asked.read(Slot.FETCH)
        asked.raw(publisher.peer.coded((5, b"a")))
        await viewer.peer.until(lambda: stream.data)
        asked.raw(publisher.peer.coded((1, b"b")), fin=True)

        await viewer.peer.until(lambda: stream.fin)
        assert (wanted.broadcast, wanted.track, wanted.group) == ("a", "t", 99)
        assert fetched(viewer, stream) == [(5, b"a"), (6, b"b")]


@by_name(NEW)
async def test_a_fetch_that_fails_says_why(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        await relay.publisher(LITE_04, "old", hop=12)
        viewer = await relay.viewer(version)
        assert await viewer.fetch("nowhere", "t", 1).was_reset() == 0x36
        assert await viewer.fetch("old", "t", 1).was_reset() == 0x33

        for answer, code in [
            (lambda asked: asked.reset(0x35), 0x35),
            (lambda asked: asked.raw(b"\x00\x05ab", fin=True), 0x37),
            (lambda asked: asked.raw(b"\x01\x00"), 0x12),
            (lambda asked: asked.raw(b"\x00\xbf\xff\xff\xff"), 0x38),
        ]:
            stream = viewer.fetch("a", "t", 1)
            answer(await publisher.peer.asked(BiStream.FETCH))
            assert await stream.was_reset() == code
        await publisher.peer.round_trip()


@by_name([LITE_03, LITE_04])
async def test_a_version_that_names_fetch_without_serving_it_is_refused(version):
    async with node() as relay:
        await cached(relay, 3)
        viewer = await relay.viewer(version)

        assert await viewer.fetch("a", "t", 3).was_reset() == 0x33
        await viewer.peer.round_trip()


@by_name(NEW)
async def test_a_fetch_whose_request_is_finished_is_served_all_the_same(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        viewer = await relay.viewer(version)

        stream = viewer.fetch("a", "t", 9)
        stream.finish()
        asked = await publisher.peer.asked(BiStream.FETCH)
        await viewer.peer.round_trip()
        asked.raw(publisher.peer.coded((5, b"a")), fin=True)

        await viewer.peer.until(lambda: stream.over)
        assert fetched(viewer, stream) == [(5, b"a")]


@by_name(NEW)
@pytest.mark.parametrize("how", ["reset", "stop"])
async def test_a_fetch_that_nobody_wants_any_more_is_given_up_upstream(version, how):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        viewer = await relay.viewer(version)
        stream = viewer.fetch("a", "t", 9)
        asked = await publisher.peer.asked(BiStream.FETCH)

        getattr(stream, how)(1)

        assert await asked.was_reset() == 1
        assert await asked.was_stopped() == 1
        await publisher.peer.round_trip()


# --- datagrams ------------------------------------------------------------------------------------


@by_name(NEW)
async def test_datagrams_go_to_whoever_can_take_them(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        newer = [(await relay.viewer(v)).subscribe("a", "t", id=7) for v in NEW]
        older = [(await relay.viewer(v)).subscribe("a", "t") for v in OLD]
        sending = await publisher.accept(0)
        for watched in older:
            await watched.accepted()

        publisher.peer.send_datagram(sending.wanted.id, 3, 12345, b"hello")

        for watched in newer:
            await watched.peer.until(lambda w=watched: w.peer.datagrams)
            assert watched.peer.datagrams == [encode_datagram(Datagram(7, 3, 12345, b"hello"))]
        for watched in older:
            await watched.peer.round_trip()
            assert watched.peer.datagrams == []
        counters = relay.counters
        assert (counters.datagrams_in, counters.datagrams_out) == (1, 2)
        assert counters.datagrams_dropped == {"version": 3}


@by_name(NEW)
async def test_a_datagram_that_is_too_large_for_a_viewer_is_counted(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        watched = (await relay.viewer(version)).subscribe("a", "t", id=2**40)
        sending = await publisher.accept(0)
        small = b"s" * (publisher.peer.transport.max_datagram_size - 3)

        publisher.peer.send_datagram(sending.wanted.id, 3, 1, small)
        publisher.peer.send_datagram(sending.wanted.id, 4, 1, b"fits")

        await watched.peer.until(lambda: watched.peer.datagrams)
        assert len(watched.peer.datagrams) == 1
        assert relay.counters.datagrams_dropped == {"size": 1}


# --- credit, and what is left ---------------------------------------------------------------------


async def test_streams_wait_for_credit_and_none_is_forgotten(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a", streams=3)
        viewers = [await relay.viewer(LITE_05) for _ in range(3)]
        watched = [viewers[n % 3].subscribe("a", f"t{n}") for n in range(9)]

        async with asyncio.timeout(5):
            for _ in watched:
                sending = await publisher.accept(0)
                sending.group(0, sending.wanted.track.encode())
                sending.end(1)
        for each in watched:
            await each.replies()

        assert [each.whole for each in watched] == [{0: [b"t%d" % n]} for n in range(9)]


@by_name([v for v in VERSIONS if not v.features.inband_setup])
async def test_those_who_gave_up_waiting_for_credit_wait_no_more(version):
    async with node() as relay:
        # The announce stream has the only credit there is.
        publisher = await relay.publisher(version, "a", streams=1)
        viewer = await relay.viewer(LITE_05)
        session = relay.session(publisher.peer)
        tasks = live(session)["tasks"]

        watched = [viewer.subscribe("a", f"t{n}") for n in range(20)]
        fetches = [viewer.fetch("a", "t", n) for n in range(20)]
        await viewer.peer.round_trip()
        for stream in (*(each.stream for each in watched), *fetches):
            stream.reset(1)
            await stream.was_over()

        await until(lambda: live(session)["tasks"] <= tasks)
        assert publisher.peer.requests(BiStream.SUBSCRIBE) == []
        assert not session.subscriber._pending
        assert not session.subscriber._fetches._asked


async def test_a_viewer_may_wait_for_ever(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        watched = (await relay.viewer(LITE_06)).subscribe("a", "t", max_age=2**62 - 1)
        sending = await publisher.accept(0, max_age=2**62 - 1)
        sending.group(0, b"x")

        await watched.heard(0)
        assert sending.wanted.max_age <= 2**31


async def test_subscriptions_that_come_and_go_leave_nothing_behind(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        viewer = await relay.viewer(version)
        peers = (viewer.peer, publisher.peer)
        sessions = [relay.session(peer) for peer in peers]
        await until(lambda: not any(session._deaf for session in sessions))
        before = [live(session) for session in sessions]

        for cycle in range(100):
            watched = viewer.subscribe("a", "t")
            sending = await (publisher.accept(0) if cycle == 0 else publisher.accept_described(0))
            group = sending.group(0, b"x", fin=cycle % 2 == 0)
            await watched.opened(0)
            watched.stream.reset(1)
            await sending.stream.was_reset()
            group.reset(1)

        await until(lambda: [live(session) for session in sessions] == before)
        assert relay.counters.viewers == relay.counters.upstream == 0


def live(session):
    """How much of everything a session keeps."""
    return {
        "requests": len(session._requests),
        "deaf": len(session._deaf),
        "group streams": len(session._uni),
        "viewers": len(session.publisher._tracks),
        "streams": len(session.publisher._line.owners),
        "upstream": len(session.subscriber._requests),
        "feeds": len(session._inlet.feeds),
        "waiting": len(session.scheduler),
        "tasks": len(session._tasks._tasks),
    }
