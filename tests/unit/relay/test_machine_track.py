"""A track against a list: nobody who stays misses a group, and the cache counts what it holds."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moq_relay.errors import Cancelled, GroupTooLarge, SessionClosed
from moq_relay.relay.feed import Demand, Feed, TrackInfo
from moq_relay.relay.group import Frame, Group, GroupWriter
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


class Content:
    """One group as the publisher has it, whichever way it is told."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.frames: list[Frame] = []
        self.finished = False


class Telling:
    """One group on one way: what is filled, and how much of the content was told there."""

    def __init__(self, content: Content, writer: GroupWriter, feed: Feed, group: Group) -> None:
        self.content = content
        self.writer = writer
        self.feed = feed
        self.group = group
        self.told = 0
        self.finished = False

    def tell(self, count: int) -> None:
        """The next frames of the content."""
        for frame in self.content.frames[self.told : self.told + count]:
            self.told += 1
            try:
                self.writer.append(frame)
            except GroupTooLarge:
                told = self.content.frames[: self.told]
                assert sum(len(f.payload) for f in told) > 20 or len(told) > 6
                self.feed.group_ended(self.writer)
                return

    def end(self) -> None:
        self.finished = True
        self.writer.finish()
        self.feed.group_ended(self.writer)


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
        self.contents: dict[int, Content] = {}
        self.tellings: list[Telling] = []
        self.viewers: dict[Viewer, list[Content]] = {}
        """Each viewer that stays, and all groups that the track took since it came."""

    # The publisher.

    @rule(skip=st.integers(0, 2))
    def opens_a_group(self, skip: int) -> None:
        self.skipped += range(self.next, self.next + skip)
        self.next += skip + 1
        self._open(self.next - 1)

    @rule(pick=picks)
    def opens_a_late_group(self, pick: int) -> None:
        if self.skipped and self._feed is not None:
            sequence = self.skipped.pop(pick % len(self.skipped))
            if sequence >= (self._feed.resume or 0):
                self._open(sequence)

    @rule(pick=picks)
    def tells_a_group_twice(self, pick: int) -> None:
        told = [telling for telling in self.tellings if telling.feed is self._feed]
        if told:
            sequence = told[pick % len(told)].content.sequence
            if sequence in self.world.track().groups:
                assert self.source.begin(sequence, self._feed) is None

    @rule(pick=picks)
    def tells_what_it_had_before_this_way(self, pick: int) -> None:
        feed = self._feed
        if feed is None or feed.resume is None:
            return
        told = {telling.content.sequence for telling in self.tellings if telling.feed is feed}
        due = [s for s in sorted(self.contents) if s >= feed.resume and s not in told]
        if due:
            self._tell(self.contents[due[pick % len(due)]])

    @property
    def _feed(self) -> Feed | None:
        """What the track is fed by now; others only finish what they had begun."""
        broadcast = self.world.origin.broadcasts.get("room")
        track = None if broadcast is None else broadcast.tracks.get(("room", "video"))
        return None if track is None else track.supply.feed

    def _open(self, sequence: int) -> None:
        content = self.contents[sequence] = Content(sequence)
        if self._feed is not None:
            self._tell(content)

    def _tell(self, content: Content) -> None:
        feed, track = self._feed, self.world.track()
        assert feed is not None
        before = track.groups.get(content.sequence)
        lacks = before is None or before.open
        known = {id(t.group) for t in self.tellings if t.content is content}
        writer = self.source.begin(content.sequence, feed)
        group = track.groups.get(content.sequence)
        if writer is None:
            assert not lacks or known, f"group {content.sequence} is not taken"
            assert before is None or not before.open, f"group {content.sequence} is not completed"
            return
        assert group is not None
        self.tellings.append(Telling(content, writer, feed, group))
        if not known:
            for expected in self.viewers.values():
                expected.append(content)

    def _pick(self, pick: int) -> Telling | None:
        growing = [telling for telling in self.tellings if telling.writer.open]
        return growing[pick % len(growing)] if growing else None

    @rule(pick=picks, size=st.integers(0, 8))
    def appends(self, pick: int, size: int) -> None:
        if (telling := self._pick(pick)) is None:
            return
        content = telling.content
        if telling.told == len(content.frames) and not content.finished:
            content.frames.append(Frame(bytes(size), len(content.frames)))
        telling.tell(1)

    @rule(pick=picks)
    def finishes(self, pick: int) -> None:
        if (telling := self._pick(pick)) is None:
            return
        telling.content.finished = True
        telling.tell(len(telling.content.frames))
        if telling.writer.open:
            telling.end()

    @rule(pick=picks)
    def aborts(self, pick: int) -> None:
        if (telling := self._pick(pick)) is not None:
            telling.feed.broke_off(telling.writer, Cancelled())
            telling.feed.group_ended(telling.writer)

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
            for content in expected:
                if viewer.first is None or content.sequence < viewer.first:
                    continue
                assert content.sequence in viewer.groups, f"silence about {content.sequence}"
            for sequence, listener in viewer.groups.items():
                assert viewer.first is not None
                content = self.contents[sequence]
                tellings = [t for t in self.tellings if t.group is listener.group]
                assert listener.frames == content.frames[: len(listener.frames)]
                if listener.error is None:
                    told = max(t.told for t in tellings)
                    assert len(listener.frames) == told, f"group {sequence} lacks frames"
                    assert listener.finished is any(t.finished for t in tellings)

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
        # One that was asked to begin earlier still finishes what it had begun.
        finishing = {telling.feed for telling in self.tellings if telling.group.open}
        rest = [feed for feed in self.source.sending if feed is not self._feed]
        assert set(rest) <= finishing
        assert len(self.source.sending) - len(rest) == subscribed
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
        for telling in self.tellings:
            assert not telling.writer.open
            assert not telling.group.open
            assert telling.group.readers == 0


TestTrackMachine = TrackMachine.TestCase
TestTrackMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
