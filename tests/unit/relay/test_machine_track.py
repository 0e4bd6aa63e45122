"""A track against a list: nobody who stays misses a group, and the cache counts what it holds."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moq_relay.errors import Cancelled, GroupTooLarge, SessionClosed
from moq_relay.relay.feed import Demand, Feed, TrackInfo
from moq_relay.relay.group import Frame, Group
from moq_relay.relay.retention import CacheLimits
from tests.unit.relay.fakes import FAULTS, FakeSource, Viewer, World

HOP = 7
LIMITS = CacheLimits(capacity=60, duration=8.0, group_bytes=20, group_frames=6)

demands = st.builds(
    Demand,
    priority=st.integers(0, 3),
    max_age=st.sampled_from([0.0, 2.0, 100.0]),
    start=st.none() | st.integers(0, 20),
    reach=st.booleans(),
    floor=st.integers(0, 20),
)
picks = st.integers(0, 100)


class Sent:
    """What the publisher sent of one group, and whether the relay took it."""

    def __init__(self, group: Group, feed: Feed) -> None:
        self.group = group
        self.feed = feed
        self.frames: list[Frame] = []
        self.finished = False


class TrackMachine(RuleBasedStateMachine):
    """One publisher that is lost and comes back, one track, any number of viewers."""

    @initialize(seconds=st.sampled_from([None, 1.0, 30.0]))
    def begin(self, seconds: float | None) -> None:
        self.world = World(LIMITS)
        self.info = TrackInfo(max_age=seconds)
        self.source = self.world.publish(HOP, info=self.info)
        self.away = False
        self.next = 0
        self.skipped: list[int] = []
        self.sent: list[Sent] = []
        self.viewers: dict[Viewer, list[Sent]] = {}
        """Each viewer that stays, and all that was sent since it came."""

    # The publisher.

    @rule(skip=st.integers(0, 2))
    def opens_a_group(self, skip: int) -> None:
        self.skipped += range(self.next, self.next + skip)
        self.next += skip + 1
        self._open(self.next - 1)

    @rule(pick=picks)
    def opens_a_late_group(self, pick: int) -> None:
        if self.skipped and self.source.sending:
            sequence = self.skipped.pop(pick % len(self.skipped))
            if sequence >= (self.source.feed.resume or 0):
                self._open(sequence)

    @rule(pick=picks)
    def sends_a_group_twice(self, pick: int) -> None:
        if self.sent and self.source.sending:
            sequence = self.sent[pick % len(self.sent)].group.sequence
            if sequence in self.world.track().groups:
                assert self.source.begin(sequence) is None

    def _open(self, sequence: int) -> None:
        if not self.source.sending:
            return
        feed = self.source.feed
        group = self.source.begin(sequence)
        assert group is not None
        sent = Sent(group, feed)
        self.sent.append(sent)
        for expected in self.viewers.values():
            expected.append(sent)

    def _pick(self, pick: int) -> Sent | None:
        growing = [sent for sent in self.sent if sent.group.open]
        return growing[pick % len(growing)] if growing else None

    @rule(pick=picks, size=st.integers(0, 8))
    def appends(self, pick: int, size: int) -> None:
        if (sent := self._pick(pick)) is None:
            return
        frame = Frame(bytes(size), len(sent.frames))
        sent.frames.append(frame)
        try:
            sent.group.append(frame)
        except GroupTooLarge:
            assert sum(len(f.payload) for f in sent.frames) > 20 or len(sent.frames) > 6
            sent.feed.group_ended(sent.group)

    @rule(pick=picks)
    def finishes(self, pick: int) -> None:
        if (sent := self._pick(pick)) is not None:
            sent.finished = True
            sent.group.finish()
            sent.feed.group_ended(sent.group)

    @rule(pick=picks)
    def aborts(self, pick: int) -> None:
        if (sent := self._pick(pick)) is not None:
            sent.group.abort(Cancelled())
            sent.feed.group_ended(sent.group)

    @rule()
    def is_lost(self) -> None:
        if not self.away:
            self.world.lose(self.source, SessionClosed())
            self.away = True

    @rule()
    def comes_back(self) -> None:
        if self.away:
            source = FakeSource(self.info)
            self.world.announce(source, HOP)
            assert self.source.owed == set()
            self.source, self.away = source, False

    @rule(clean=st.booleans())
    def another_way_takes_over(self, clean: bool) -> None:
        if self.away:
            return
        old, self.source = self.source, FakeSource(self.info)
        self.world.announce(self.source, HOP, 8)
        if clean:
            self.world.origin.withdraw("room", old, clean=True)
        else:
            self.world.lose(old, SessionClosed())
        assert old.owed == set()

    # Viewers.

    @rule(demand=demands)
    def joins(self, demand: Demand) -> None:
        if "room" in self.world.origin.broadcasts:
            viewer = Viewer()
            self.viewers[viewer] = []
            self.world.view(demand, viewer=viewer)

    @rule(pick=picks)
    def leaves(self, pick: int) -> None:
        if self.viewers:
            viewer = list(self.viewers)[pick % len(self.viewers)]
            del self.viewers[viewer]
            self.world.leave(viewer)

    @rule(pick=picks, priority=st.integers(0, 3))
    def changes_its_mind(self, pick: int, priority: int) -> None:
        if self.viewers:
            viewer = list(self.viewers)[pick % len(self.viewers)]
            self.world.track().change(viewer, Demand(priority=priority, max_age=2.0))

    # Time.

    @rule(seconds=st.sampled_from([1, 3, 6]))
    def passes(self, seconds: int) -> None:
        self.world.pass_(seconds)
        if self.away:
            for viewer in [viewer for viewer in self.viewers if viewer.over]:
                assert viewer.error is not None
                assert "room" not in self.world.origin.broadcasts
                del self.viewers[viewer]

    # What holds.

    @invariant()
    def no_contract_is_broken(self) -> None:
        faults, FAULTS[:] = FAULTS[:], []
        assert faults == []

    @invariant()
    def nobody_misses_a_group(self) -> None:
        for viewer, expected in self.viewers.items():
            assert not viewer.over
            for sent in expected:
                sequence = sent.group.sequence
                if viewer.first is None or sequence < viewer.first:
                    continue
                assert sequence in viewer.groups, f"silence about group {sequence}"
            for sequence, listener in viewer.groups.items():
                assert viewer.first is not None
                sent = next(s for s in reversed(self.sent) if s.group is listener.group)
                if listener.error is not None:
                    assert listener.frames == sent.frames[: len(listener.frames)]
                    continue
                assert listener.frames == sent.frames, f"group {sequence} lacks frames"
                assert listener.finished is sent.finished

    @invariant()
    def the_cache_counts_what_it_holds(self) -> None:
        cache = self.world.cache
        held = [*cache._latest.values(), *cache._outdated.values()]
        assert cache.size == sum(group.size for group in held)
        for group in held:
            assert group.size == sum(len(frame.payload) for frame in group.frames)
            assert group.error is None
        for broadcast in self.world.origin.broadcasts.values():
            for track in broadcast.tracks.values():
                assert all(group in held for group in track.groups.values())
        superseded = [group for group in held if group.superseded_at is not None]
        assert cache.size <= LIMITS.capacity or len(superseded) <= 1

    @invariant()
    def one_subscription_serves_all_viewers(self) -> None:
        subscribed = bool(self.viewers) and not self.away
        assert len(self.source.sending) == subscribed
        if subscribed:
            wanted = [viewer for viewer in self.viewers if not viewer.over]
            assert self.world.track().readers == len(wanted)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for viewer in self.viewers:
            self.world.leave(viewer)
        assert self.source.owed == set()
        if not self.away:
            self.world.origin.withdraw("room", self.source, clean=True)
        self.world.pass_(40)
        assert self.world.origin.broadcasts == {}
        assert len(self.world.cache) == self.world.cache.size == 0
        assert self.world.clock.timers == []
        for sent in self.sent:
            assert not sent.group.open
            assert sent.group.readers == 0


TestTrackMachine = TrackMachine.TestCase
TestTrackMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
