"""Who goes next when a viewer is slow, what is given up for it, and that nobody else waits."""

import asyncio

import pytest

from moq_relay.errors import TooFarBehind
from moq_relay.sessions.scheduler import Scheduler
from moq_relay.sessions.transport import UNI
from moq_relay.transports.memory import HIGH_WATER
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.versions import LITE_04, LITE_05, LITE_06
from tests.support.node import Clock, far_end, node, until

KB = 1024


class Road:
    """As much of a transport as a scheduler sees."""

    def __init__(self):
        self.room = 0
        """How many more sends it takes before it has no room."""
        self.credit = 1_000_000
        self.outstanding = 0

    def writable(self):
        return self.room > 0

    def can_open_uni(self):
        return self.credit > 0

    def unacknowledged(self):
        return self.outstanding


class Waiter:
    """A group that sends itself whole when it is its turn."""

    def __init__(self, road, sent, *, priority=0, newest=0.0, sequence=0, opened=True):
        self.road = road
        self.sent = sent
        self.rank = priority, newest, sequence
        self.opened = opened
        self.errors = []

    @property
    def age(self):
        return self.rank[1:]

    def pump(self):
        if not self.opened:
            self.road.credit -= 1
            self.opened = True
        self.road.room -= 1
        self.sent.append(self)

    def give_up(self, error):
        self.errors.append(error)


class Queue:
    """A scheduler over a road, and waiters in it."""

    def __init__(self, limit=1000):
        self.road = Road()
        self.sent = []
        self.scheduler = Scheduler(self.road, limit)

    def wait(self, size=1, **about):
        waiter = Waiter(self.road, self.sent, **about)
        self.scheduler.wait(waiter, size)
        return waiter

    def run(self, room=100):
        self.road.room = room
        self.scheduler.resume()


# --- order ----------------------------------------------------------------------------------------


def test_priority_goes_first_and_then_the_newest_group():
    queue = Queue()
    a = queue.wait(priority=1, newest=5.0, sequence=1)
    b = queue.wait(priority=2, newest=1.0, sequence=9)
    c = queue.wait(priority=2, newest=3.0, sequence=2)
    d = queue.wait(priority=2, newest=3.0, sequence=4)

    queue.run()

    assert queue.sent == [d, c, b, a]
    assert len(queue.scheduler) == 0
    assert queue.scheduler.waiting_bytes == 0


def test_nobody_goes_without_room_and_all_go_on_when_it_returns():
    queue = Queue()
    waiters = [queue.wait(newest=float(n)) for n in range(5)]

    queue.run(room=2)
    assert queue.sent == waiters[:2:-1]
    queue.run(room=2)
    assert queue.sent == waiters[:0:-1]


def test_a_changed_priority_changes_the_order():
    queue = Queue()
    low, high = queue.wait(priority=1), queue.wait(priority=2)
    low.rank = (3, 0.0, 0)

    queue.scheduler.reorder()
    queue.run()

    assert queue.sent == [low, high]


def test_without_stream_credit_only_those_go_that_have_a_stream():
    queue = Queue()
    new = queue.wait(priority=9, opened=False)
    old = queue.wait(priority=1)
    queue.road.credit = 0

    queue.run()
    assert queue.sent == [old]
    queue.road.credit = 1
    queue.run()
    assert queue.sent == [old, new]


def test_who_waits_again_is_asked_again():
    queue = Queue()

    class Twice(Waiter):
        def pump(self):
            super().pump()
            if self.sent.count(self) < 2:
                queue.scheduler.wait(self, 5)

    waiter = Twice(queue.road, queue.sent)
    queue.scheduler.wait(waiter, 10)
    queue.run()

    assert queue.sent == [waiter, waiter]
    assert queue.scheduler.waiting_bytes == 0


# --- backlog --------------------------------------------------------------------------------------


def test_the_backlog_is_what_waits_and_what_is_not_acknowledged():
    queue = Queue()
    waiter = queue.wait(300)
    queue.scheduler.wait(waiter, 400)
    queue.road.outstanding = 50

    assert queue.scheduler.backlog == 450
    queue.scheduler.leave(waiter)
    queue.scheduler.leave(waiter)
    assert queue.scheduler.backlog == 50


def test_past_the_limit_the_oldest_go_first_whatever_their_priority():
    queue = Queue(limit=1000)
    old = queue.wait(400, newest=1.0, priority=9)
    middle = queue.wait(400, newest=2.0)
    assert not old.errors

    new = queue.wait(500, newest=3.0)

    assert isinstance(old.errors[0], TooFarBehind)
    assert not middle.errors
    assert not new.errors
    assert queue.scheduler.backlog == 900


def test_one_that_is_past_the_limit_alone_goes_too():
    queue = Queue(limit=1000)
    waiter = queue.wait(900)

    queue.scheduler.wait(waiter, 1001)

    assert isinstance(waiter.errors[0], TooFarBehind)
    assert len(queue.scheduler) == 0


def test_one_that_has_nothing_left_to_send_is_not_given_up_for_others():
    queue = Queue(limit=1000)
    waits_for_its_fin = queue.wait(0, newest=0.0)

    big = queue.wait(1001, newest=5.0)

    assert big.errors
    assert not waits_for_its_fin.errors


def test_one_that_had_nothing_left_counts_again_when_it_grows():
    queue = Queue(limit=1000)
    waiter = queue.wait(0, newest=0.0)
    queue.scheduler.wait(waiter, 500)

    queue.wait(600, newest=5.0)

    assert waiter.errors


def test_waiters_that_are_gone_are_not_kept():
    queue = Queue(limit=1 << 40)
    stays = queue.wait(priority=5)

    for n in range(10_000):
        queue.scheduler.leave(queue.wait(newest=float(n)))

    scheduler = queue.scheduler
    assert len(scheduler._holders) == len(scheduler._tickets) == len(scheduler._sizes) == 1
    assert all(len(q._heap) < 100 for q in (scheduler._opened, scheduler._ages))
    queue.run()
    assert queue.sent == [stays]


# --- a slow viewer over a transport ---------------------------------------------------------------


@pytest.fixture
def clock():
    return Clock()


class Stalled:
    """A publisher with a viewer that stalls and another that does not."""

    def __init__(self, relay, sending, slow, fast):
        self.relay = relay
        self.sending = sending
        self.slow = slow
        self.fast = fast
        self.road = far_end(slow.peer)
        self.session = relay.session(slow.peer)

    async def group(self, sequence, *frames, fin=True):
        """A group, heard by the fast viewer whole."""
        stream = self.sending.group(sequence, *frames, fin=fin)
        group = await self.fast.opened(sequence)
        await self.fast.peer.until(lambda: len(group.frames) >= len(frames))
        return stream

    def resets(self):
        """Code by which each group of the slow viewer was given up, by name."""
        return dict(self.relay.counters.resets_out)


async def stalled(relay, *, version=LITE_05, streams=100, **options):
    publisher = await relay.publisher(LITE_05, "a")
    fast = (await relay.viewer(LITE_05)).subscribe("a", "t")
    sending = await publisher.accept(0)
    sending.group(0, b"zero")
    await fast.heard(0)
    viewer = await relay.viewer(version, streams=streams)
    slow = viewer.subscribe("a", "t", **options)
    await slow.heard(0)
    return Stalled(relay, sending, slow, fast)


async def test_a_viewer_that_stalls_costs_its_backlog_and_no_other_viewer_a_frame(clock):
    async with node(clock=clock, viewer_backlog=256 * KB) as relay:
        it = await stalled(relay)
        it.road.hold()

        for sequence in range(1, 60):
            clock.now += 0.02
            await it.group(sequence, b"k" * (10 * KB), b"d" * (10 * KB))
            assert it.session.scheduler.backlog <= 256 * KB

        assert set(it.fast.whole) == set(range(60))
        shed = it.resets()["TooFarBehind"]
        assert shed > 40
        it.road.release()
        await it.slow.peer.until(lambda: len(it.slow.whole) == 60 - shed)
        assert max(it.slow.whole) == 59
        assert all(len(frames) == (1 if n == 0 else 2) for n, frames in it.slow.whole.items())
        await it.group(60, b"next")
        await it.slow.heard(60)


async def test_what_a_stalled_viewer_gets_first_is_the_newest(clock):
    async with node(clock=clock) as relay:
        it = await stalled(relay)
        it.road.hold()
        await it.group(1, b"x" * HIGH_WATER)
        for sequence in range(2, 8):
            clock.now += 1
            await it.group(sequence, b"x")
        assert len(it.session.scheduler) == 7

        it.road.release()
        await it.slow.heard(*range(8))

        order = [group.sequence for group in it.slow.groups]
        assert order == [0, 1, 7, 6, 5, 4, 3, 2]


async def test_what_a_stalled_viewer_gets_first_is_what_it_prefers(clock):
    async with node(clock=clock) as relay:
        it = await stalled(relay, priority=1)
        publisher = await relay.publisher(LITE_05, "b", hop=12)
        viewer = it.slow
        audio = wire.Subscribe(9, "b", "audio", 5, max_age=30_000)
        viewer.peer.open(2, audio)
        sending = await publisher.accept(0)
        sending.group(0, b"audio")
        await viewer.peer.heard(0)
        it.road.hold()
        await it.group(1, b"x" * HIGH_WATER)
        sending.group(1, b"audio")
        await until(lambda: len(it.session.scheduler) == 2)
        clock.now += 5
        await it.group(2, b"newer")
        await until(lambda: len(it.session.scheduler) == 3)

        it.road.release()
        await viewer.heard(2)

        order = [(g.header.subscribe, g.sequence) for g in viewer.peer.groups]
        assert order[-2:] == [(9, 1), (0, 2)]


async def test_an_update_changes_who_goes_first_of_those_who_wait(clock):
    async with node(clock=clock) as relay:
        it = await stalled(relay, priority=1)
        publisher = await relay.publisher(LITE_05, "b", hop=12)
        viewer = it.slow
        viewer.peer.open(2, wire.Subscribe(9, "b", "audio", 5, max_age=30_000))
        sending = await publisher.accept(0)
        sending.group(0, b"audio")
        await viewer.peer.heard(0)
        it.road.hold()
        await it.group(1, b"x" * HIGH_WATER)
        sending.group(1, b"audio")
        await until(lambda: len(it.session.scheduler) == 2)
        await it.group(2, b"newer")
        await until(lambda: len(it.session.scheduler) == 3)

        update = LITE_05.encode(wire.SubscribeUpdate(6, max_age=30_000))
        it.session.stream_data(viewer.stream.number, update, False)
        await asyncio.sleep(0)
        it.road.release()
        await viewer.heard(2)
        await viewer.peer.until(lambda: len(viewer.peer.groups) == 5)

        order = [(g.header.subscribe, g.sequence) for g in viewer.peer.groups]
        assert order[-2:] == [(0, 2), (9, 1)]


async def test_an_update_changes_how_long_a_group_may_wait(clock):
    async with node(clock=clock) as relay:
        it = await stalled(relay, max_age=30_000)
        it.road.hold()
        for sequence in (1, 2, 3):
            await it.group(sequence, b"x" * HIGH_WATER)
            clock.now += 1

        update = LITE_05.encode(wire.SubscribeUpdate(0, max_age=500))
        it.session.stream_data(it.slow.stream.number, update, False)
        await asyncio.sleep(0)
        it.road.release()
        await it.slow.heard(3)
        await it.slow.peer.round_trip()

        assert it.resets() == {"Old": 2}


async def test_a_superseded_group_with_frames_left_is_reset_when_it_is_too_old(clock):
    async with node(clock=clock) as relay:
        it = await stalled(relay, max_age=1000)
        await it.group(1, b"first", fin=False)
        group = await it.slow.opened(1)
        it.road.hold()
        await it.group(2, b"x" * HIGH_WATER)
        late = it.sending.peer.streams[max(n for n in it.sending.peer.streams if n & UNI) - 4]
        late.raw(it.sending.peer.coded((5, b"late")))
        await until(lambda: len(it.session.scheduler) == 1)

        clock.now += 1.5
        it.road.release()

        assert await group.stream.was_reset() == 0x34
        await it.slow.heard(2)
        assert it.resets() == {"Old": 1}


async def test_a_superseded_group_that_is_handed_over_so_far_waits_for_its_end(clock):
    async with node(clock=clock) as relay:
        it = await stalled(relay, max_age=1000)
        open_group = await it.group(1, b"first", fin=False)
        await it.slow.opened(1)
        await it.group(2, b"second")
        clock.now += 100
        await it.group(3, b"third")
        await it.slow.heard(2, 3)

        open_group.finish()

        await it.slow.heard(1)
        assert it.slow.whole[1] == [b"first"]
        assert it.resets() == {}


async def test_a_frame_that_comes_too_late_ends_its_group_for_the_viewer(clock):
    async with node(clock=clock) as relay:
        it = await stalled(relay, max_age=1000)
        open_group = await it.group(1, b"first", fin=False)
        group = await it.slow.opened(1)
        await it.group(2, b"second")
        clock.now += 100

        open_group.raw(it.sending.peer.coded((5, b"late")))

        assert await group.stream.was_reset() == 0x34


async def test_groups_wait_for_stream_credit_and_go_on_when_it_grows(clock):
    async with node(clock=clock) as relay:
        it = await stalled(relay, streams=3)
        await it.group(1, b"endless", fin=False)
        await it.slow.opened(1)
        for sequence in range(2, 7):
            clock.now += 0.1
            await it.group(sequence, b"x")

        await it.slow.heard(*range(2, 7))


async def test_a_group_that_expires_without_a_stream_is_dropped_without_a_reset(clock):
    async with node(clock=clock) as relay:
        # SETUP took the first stream, group 0 the second and gave it back.
        it = await stalled(relay, streams=2, max_age=1000)
        blockers = [await it.group(sequence, b"open", fin=False) for sequence in (1, 2)]
        for sequence in (1, 2):
            await it.slow.opened(sequence)
        opened = len(it.slow.groups)
        for sequence in (3, 4, 5):
            clock.now += 2
            await it.group(sequence, b"x")
        assert it.resets() == {"Old": 1}
        clock.now += 2

        for blocker in blockers:
            blocker.finish()
        await it.slow.heard(1, 2, 5)

        await it.slow.peer.round_trip()
        assert it.resets() == {"Old": 2}
        assert len(it.slow.groups) == opened + 1
        assert not any(group.stream.reset_code for group in it.slow.groups)


async def test_a_newest_group_past_the_backlog_alone_is_reset_and_the_next_one_comes(clock):
    async with node(clock=clock, viewer_backlog=256 * KB) as relay:
        it = await stalled(relay)
        it.road.hold()
        endless = await it.group(1, b"x" * (100 * KB), fin=False)
        group = it.fast.groups[-1]
        for count in (2, 3, 4):
            endless.raw(it.sending.peer.coded((0, b"x" * (100 * KB))))
            await it.fast.peer.until(lambda n=count: len(group.frames) == n)
        assert it.resets() == {"TooFarBehind": 1}
        assert it.session.scheduler.backlog <= 256 * KB

        it.road.release()
        await it.slow.peer.until(
            lambda: any(s.reset_code == 5 for s in it.slow.peer.streams.values())
        )
        endless.finish()
        await it.group(2, b"next")
        await it.slow.heard(2)
        assert set(it.slow.whole) == {0, 2}


@pytest.mark.parametrize("version", [LITE_06, LITE_04], ids=lambda version: version.name)
async def test_a_viewer_that_is_gone_while_it_stalls_leaves_nothing(clock, version):
    async with node(clock=clock) as relay:
        it = await stalled(relay, version=version)
        it.road.hold()
        for sequence in range(1, 20):
            await it.group(sequence, b"x" * (20 * KB))
        assert len(it.session.scheduler)

        it.road.close(0, "")
        await until(lambda: it.session not in relay.host.sessions)

        assert len(it.session.scheduler) == 0
        assert it.session.scheduler.waiting_bytes == 0
        track = relay.origin.broadcasts["a"].tracks["a", "t"]
        assert all(len(group._readers) == 0 for group in track.groups.values())


async def test_the_end_of_a_track_waits_for_a_viewer_that_stalls(clock):
    async with node(clock=clock) as relay:
        it = await stalled(relay)
        it.road.hold()
        await it.group(1, b"x" * (300 * KB))
        it.sending.end(2)
        await it.fast.replies()
        await asyncio.sleep(0)
        assert not it.slow.stream.over

        it.road.release()

        assert (await it.slow.replies())[-1] == wire.SubscribeEnd(2)
        assert set(it.slow.whole) == {0, 1}


async def test_the_end_of_a_track_waits_until_its_groups_have_arrived(clock):
    async with node(clock=clock) as relay:
        it = await stalled(relay)
        it.road.hold()
        await it.group(1, b"small enough to be handed over at once")
        assert len(it.session.scheduler) == 0
        it.sending.end(2)
        await it.fast.replies()
        await until(lambda: relay.counters.viewers == 1)
        assert it.slow.stream.number in it.session._requests

        it.road.release()

        assert (await it.slow.replies())[-1] == wire.SubscribeEnd(2)
