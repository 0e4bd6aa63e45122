"""A node's model with a clock that is turned by hand, and both of its ends: sources and readers."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from moq_relay.errors import Internal, RequestError, SessionClosed
from moq_relay.relay.counters import Counters
from moq_relay.relay.feed import Demand, Feed, TrackInfo
from moq_relay.relay.group import Frame, Group, GroupWriter
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.relay.route import NOBODY, Asker, Route
from moq_relay.relay.track import Track

OUR_HOP = 1000
FAULTS: list[str] = []
"""Contracts that the model broke. It contains whatever a reader or a watcher raises, so they are
kept here; conftest.py holds every test to an empty list."""
LIVE = TrackInfo(max_age=30.0)
LATEST = Demand()
"""What a viewer wants that says nothing."""
LIMITS = CacheLimits()
LOST = SessionClosed("lost")
BACK = Demand(max_age=10.0, reach=True)
"""What a viewer of the newest version wants: all groups of the last ten seconds."""


def must(holds: bool, fault: str) -> None:
    """Note a breach of contract."""
    if not holds:
        FAULTS.append(fault)


class Clock:
    """Monotonic seconds, and what is to be called then."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Alarm] = []

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float, call: Callable[[], None]) -> "Alarm":
        alarm = Alarm(self, self.now + seconds, call)
        self.timers.append(alarm)
        return alarm

    def pass_(self, seconds: float) -> None:
        """Let time pass; whatever is due is called, in order."""
        end = self.now + seconds
        while due := [alarm for alarm in self.timers if alarm.at <= end]:
            alarm = min(due, key=lambda known: known.at)
            self.timers.remove(alarm)
            self.now = max(self.now, alarm.at)
            alarm.call()
        self.now = end


@dataclass(eq=False)
class Alarm:
    clock: Clock
    at: float
    call: Callable[[], None]

    def cancel(self) -> None:
        if self in self.clock.timers:
            self.clock.timers.remove(self)


class FakeSource:
    """A publisher. It answers what it is told to, and holds the model to a source's contract."""

    def __init__(self, info: TrackInfo | None = LIVE) -> None:
        self.info = info
        """The description of each track, given at once; None: only when the test says so."""
        self.questions: list[Feed] = []
        """Descriptions asked for, ever."""
        self.subscriptions: list[Feed] = []
        """Feeds subscribed, ever."""
        self.updates: list[tuple[Feed, Demand]] = []
        self.fetches: list[Group] = []
        """Groups asked for, ever."""
        self.owed: set[Feed] = set()
        """Feeds that were asked for and neither answered nor ended nor given up."""
        self.sending: list[Feed] = []
        """Feeds that want groups now."""
        self._inside: list[Feed] = []
        """Feeds whose ``subscribe`` has not returned."""
        self.on_subscribe: Callable[[Feed], None] = lambda feed: None
        self.on_fetch: Callable[[Group], None] = lambda group: None

    # What the model calls.

    def describe(self, feed: Feed) -> None:
        must(feed not in self.questions, "asked twice through one feed")
        self.questions.append(feed)
        if self.info is None:
            self.owed.add(feed)
        else:
            feed.described(self.info)

    def subscribe(self, feed: Feed) -> None:
        must(feed.live, "subscribed through a closed feed")
        must(feed not in self.subscriptions, "subscribed twice through one feed")
        self.subscriptions.append(feed)
        self.owed.add(feed)
        self.sending.append(feed)
        self._inside.append(feed)
        self.on_subscribe(feed)
        self._inside.remove(feed)

    def update(self, feed: Feed) -> None:
        must(feed in self.sending, "updated what it does not send")
        self.updates.append((feed, feed.demand))

    def unsubscribe(self, feed: Feed) -> None:
        must(feed in self.owed, "gave up what was not asked for, or has ended")
        must(feed not in self._inside, "gave up inside the call that asked")
        self.owed.discard(feed)
        if feed in self.sending:
            self.sending.remove(feed)

    def fetch(self, path: str, track: str, group: Group) -> None:
        self.fetches.append(group)
        self.on_fetch(group)

    # What the test does.

    @property
    def feed(self) -> Feed:
        """The only feed that wants groups now."""
        (feed,) = self.sending
        return feed

    def describe_now(self, info: TrackInfo = LIVE) -> None:
        """Answer every question that is open."""
        for feed in self.questions:
            if feed in self.owed and feed not in self.sending:
                self.owed.discard(feed)
                feed.described(info)

    def begin(self, sequence: int, feed: Feed | None = None) -> Group | None:
        """Open a group and leave it open."""
        return (feed or self.feed).open_group(sequence)

    def end(self, group: Group, feed: Feed | None = None) -> None:
        group.finish()
        (feed or self.feed).group_ended(group)

    def send(self, *sequences: int, feed: Feed | None = None, size: int = 1) -> None:
        """Whole groups of one frame, on the wire in this order."""
        for sequence in sequences:
            via = feed or self.feed
            group = via.open_group(sequence)
            if group is not None:
                group.append(frame(sequence, 0, size))
                via.heard(via.track._clock())
                group.finish()
                via.group_ended(group)

    def stop(self, error: RequestError | None = None, final: int | None = None) -> None:
        """End every feed, as a session that is lost or a track that is over."""
        for feed in (*self.sending, *self.questions):
            if feed in self.owed:
                self.end_feed(feed, error, final)

    def end_feed(self, feed: Feed, error: RequestError | None, final: int | None) -> None:
        self.owed.discard(feed)
        if feed in self.sending:
            self.sending.remove(feed)
        feed.ended(error, final)


def frame(sequence: int, index: int, size: int = 1) -> Frame:
    return Frame(bytes([sequence % 256]) * size, index)


class GroupListener:
    """A group's reader that takes every frame."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.frames: list[Frame] = []
        self.rings = 0
        self.finished = False
        self.error: RequestError | None = None
        group.join(self)
        self._take()

    def ready(self) -> None:
        self.rings += 1
        self._take()

    def _take(self) -> None:
        must(not self.finished, "rung after the end")
        must(self.error is None, "rung after the error")
        group = self.group
        if group.error is not None:
            self.error = group.error
            return
        self.frames += group.frames[len(self.frames) :]
        if group.finished:
            self.finished = True
            group.leave(self)


@dataclass(eq=False)
class Viewer:
    """A track's reader; holds the track to a reader's contract."""

    on_opened: Callable[[Group], None] = lambda group: None
    on_datagram: Callable[[], None] = lambda: None
    on_ended: Callable[[], None] = lambda: None
    first: int | None = None
    groups: dict[int, GroupListener] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    datagrams: list[tuple[int, bytes]] = field(default_factory=list)
    over: bool = False
    left: bool = False
    error: RequestError | None = None
    final: int | None = None

    def started(self, first: int) -> None:
        self._alive()
        must(self.first is None, "started twice")
        self.first = first

    def opened(self, group: Group) -> None:
        self._alive()
        must(self.first is not None, "a group before the start")
        must(group.sequence not in self.groups, f"group {group.sequence} told twice")
        self.order.append(group.sequence)
        self.groups[group.sequence] = GroupListener(group)
        self.on_opened(group)

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        self._alive()
        self.datagrams.append((sequence, payload))
        self.on_datagram()

    def ended(self, error: RequestError | None, final: int | None) -> None:
        self._alive()
        self.over, self.error, self.final = True, error, final
        self.on_ended()

    def _alive(self) -> None:
        must(not self.over, "told something after the end")
        must(not self.left, "told something after it left")

    @property
    def whole(self) -> list[int]:
        return sorted(number for number, group in self.groups.items() if group.finished)

    @property
    def errors(self) -> dict[int, str]:
        """Names of the errors of groups that broke off."""
        return {
            number: type(group.error).__name__
            for number, group in self.groups.items()
            if group.error is not None
        }


class Watch:
    """A watcher: its view of the world, and each call."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.calls: list[str] = []
        self.stopped = False
        self.on_call: Callable[[str], None] = lambda call: None

    def announced(self, path: str, route: Route) -> None:
        must(path not in self.routes, f"{path} announced twice")
        self.routes[path] = route
        self._note(f"+{path}")

    def updated(self, path: str, route: Route) -> None:
        must(path in self.routes, f"{path} updated, never announced")
        self.routes[path] = route
        self._note(f"~{path}")

    def withdrawn(self, path: str) -> None:
        must(path in self.routes, f"{path} withdrawn, never announced")
        self.routes.pop(path, None)
        self._note(f"-{path}")

    def _note(self, call: str) -> None:
        must(not self.stopped, "told something after it stopped to watch")
        self.calls.append(call)
        self.on_call(call)


class World:
    """An origin with everything around it."""

    def __init__(self, limits: CacheLimits = LIMITS, *, linger: float = 5.0) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.cache = Cache(limits, self.counters)
        self.origin = Origin(OUR_HOP, self.cache, self.clock, self.clock.later, linger=linger)
        self._hops = itertools.count(1)

    def announce(
        self, source: FakeSource, *hops: int, path: str = "room", since: float | None = None
    ) -> Route:
        """A route; without ``since`` it is newer than all before."""
        self.clock.now += 0.001
        route = Route(
            source, hops or (next(self._hops),), self.clock.now if since is None else since
        )
        assert self.origin.announce(path, route)
        return route

    def publish(self, *hops: int, info: TrackInfo | None = LIVE, path: str = "room") -> FakeSource:
        source = FakeSource(info)
        self.announce(source, *hops, path=path)
        return source

    def lose(self, source: FakeSource, error: RequestError, path: str = "room") -> None:
        """The session of ``source`` breaks off."""
        self.origin.withdraw(path, source, clean=False)
        source.stop(error)

    def view(
        self,
        demand: Demand = LATEST,
        *,
        path: str = "room",
        name: str = "video",
        asker: Asker = NOBODY,
        viewer: Viewer | None = None,
    ) -> Viewer:
        viewer = viewer or Viewer()
        self.origin.subscribe(path, name, viewer, demand, asker)
        return viewer

    def track(self, path: str = "room", name: str = "video") -> Track:
        return self.origin.find(path).tracks[path, name]

    def leave(self, viewer: Viewer, path: str = "room", name: str = "video") -> None:
        track = self.track(path, name)
        track.leave(viewer)
        viewer.left = True

    def pass_(self, seconds: float) -> None:
        """Let time pass, with the sweep of every second."""
        whole, rest = divmod(seconds, 1)
        for _ in range(int(whole)):
            self.clock.pass_(1)
            self.origin.sweep(self.clock())
        if rest:
            self.clock.pass_(rest)
            self.origin.sweep(self.clock())

    def watch(self, prefix: str = "", asker: Asker = NOBODY) -> Watch:
        watch = Watch()
        self.origin.watch(prefix, watch, asker)
        return watch


def followed(world: World, *hops: int, info: TrackInfo = LIVE) -> tuple[FakeSource, Viewer]:
    """A publisher that has sent groups 1 to 5, and a viewer that has them."""
    source = world.publish(*hops, info=info)
    viewer = world.view(BACK)
    source.send(1, 2, 3, 4, 5)
    assert viewer.whole == [1, 2, 3, 4, 5]
    return source, viewer


def was_reset(viewer: Viewer) -> bool:
    """Whether the viewer was told that the content is gone, with the error that is 0 on wires."""
    return viewer.over and type(viewer.error) is Internal


FRAMES = [Frame(bytes([65 + index]), index) for index in range(4)]
"""Of a group, as every source with the same content has them."""


def tell(writer: GroupWriter | None, *indices: int) -> GroupWriter:
    assert writer is not None
    for index in indices:
        writer.append(FRAMES[index])
    return writer
