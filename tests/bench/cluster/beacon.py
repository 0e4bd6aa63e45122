"""A source whose groups say when they were sent, and a viewer that writes down when they came."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

from moq_relay.errors import NotFound, RequestError
from moq_relay.relay.feed import Demand, Feed, TrackInfo
from moq_relay.relay.group import Frame, Group
from moq_relay.relay.origin import Origin
from moq_relay.relay.route import Route
from moq_relay.relay.track import Track

MAX_AGE = 30.0
PER_SECOND = 25
"""Groups, of one frame each."""
SIZE = 1200
KEPT = 200
"""Groups that a source can still send to who goes on where another way ended."""


class Beacon:
    """A source whose tracks are all the same: groups of one frame with time and edition."""

    def __init__(self, edition: int = 1) -> None:
        self.sequence = -1
        self._edition = edition
        self._feeds: set[Feed] = set()
        self._kept: dict[int, bytes] = {}

    def write(self) -> None:
        """The next group, now."""
        self.sequence += 1
        mark = time.monotonic_ns().to_bytes(8, "big") + self._edition.to_bytes(2, "big")
        self._kept[self.sequence] = mark + bytes(SIZE - len(mark))
        self._kept.pop(self.sequence - KEPT, None)
        for feed in tuple(self._feeds):
            self._send(feed, self.sequence)

    def _send(self, feed: Feed, sequence: int) -> None:
        group = feed.open_group(sequence)
        if group is not None:
            group.append(Frame(self._kept[sequence], 1000 * sequence))
            group.finish()
            feed.group_ended(group)

    @asynccontextmanager
    async def shining(self, per_second: float = PER_SECOND) -> AsyncIterator["Beacon"]:
        """Write at that rate until the end of the block."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self._run(per_second))
            try:
                yield self
            finally:
                task.cancel()

    async def _run(self, per_second: float) -> None:
        due = time.monotonic()
        while True:
            self.write()
            due = max(due + 1 / per_second, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    # What the relay asks of a source.

    def describe(self, feed: Feed) -> None:
        feed.described(TrackInfo(max_age=MAX_AGE))

    def subscribe(self, feed: Feed) -> None:
        self._feeds.add(feed)
        if self.sequence < 0:
            return
        start = feed.demand.start
        first = self.sequence if start is None else max(start, min(self._kept))
        feed.started(first)
        for sequence in range(first, self.sequence + 1):
            self._send(feed, sequence)

    def update(self, feed: Feed) -> None: ...

    def unsubscribe(self, feed: Feed) -> None:
        self._feeds.discard(feed)

    def fetch(self, path: str, track: str, group: Group) -> None:
        group.abort(NotFound("the past is gone"))


class Viewer:
    """Watches a track of a broadcast as long as it is announced; joins again when it was ended."""

    def __init__(self, origin: Origin, path: str, track: str = "video") -> None:
        self.arrived: dict[int, float] = {}
        """Sequence -> when, on the monotonic clock; of the first edition seen in this epoch."""
        self.sent: dict[int, float] = {}
        """Sequence -> when it was sent, by the frame itself."""
        self.moments: list[float] = []
        """When any frame came."""
        self.editions: dict[int, float] = {}
        """Edition -> when its first frame came."""
        self.joins = 0
        self.missed: list[int] = []
        """Groups before the last that had not come when an epoch ended."""
        self._origin = origin
        self._path = path
        self._name = track
        self._track: Track | None = None
        origin.watch(path, self)

    def leave(self) -> None:
        """Watch no more."""
        self._origin.unwatch(self)
        self._close_epoch()
        track, self._track = self._track, None
        if track is not None:
            track.leave(self)

    def longest_gap(self, since: float, until: float) -> float:
        """Between two frames, or a frame and an end of the window."""
        inside = [since, *(moment for moment in self.moments if since < moment < until), until]
        return max(b - a for a, b in pairwise(inside))

    def _close_epoch(self) -> None:
        if self.arrived:
            first, last = min(self.arrived), max(self.arrived)
            self.missed += sorted(set(range(first, last)) - self.arrived.keys())
        self.arrived = {}

    def _join(self) -> None:
        self.joins += 1
        self._track = self._origin.subscribe(self._path, self._name, self, Demand(max_age=MAX_AGE))

    # What the origin tells.

    def announced(self, path: str, route: Route) -> None:
        if path == self._path and self._track is None:
            self._join()

    def updated(self, path: str, route: Route) -> None: ...

    def withdrawn(self, path: str) -> None:
        if path == self._path:
            self._close_epoch()
            self._track = None

    # What the track tells.

    def started(self, first: int) -> None: ...

    def opened(self, group: Group) -> None:
        reader = _Reader(group, self)
        group.join(reader)
        reader.ready()

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None: ...

    def ended(self, error: RequestError | None, final: int | None) -> None:
        self._close_epoch()
        self._track = None
        if self._path in self._origin.paths(self._path):
            asyncio.get_running_loop().call_later(0.05, self._again)

    def _again(self) -> None:
        if self._track is None and self._path in self._origin.paths(self._path):
            self._join()

    def saw(self, group: Group) -> None:
        """A frame is here."""
        now = time.monotonic()
        payload = group.frames[0].payload
        self.moments.append(now)
        self.arrived[group.sequence] = now
        self.sent[group.sequence] = int.from_bytes(payload[:8], "big") / 1e9
        self.editions.setdefault(int.from_bytes(payload[8:10], "big"), now)


class _Reader:
    """Waits for the one frame of a group."""

    def __init__(self, group: Group, viewer: Viewer) -> None:
        self._group = group
        self._viewer = viewer
        self._seen = False

    def ready(self) -> None:
        if self._group.frames and not self._seen:
            self._seen = True
            self._viewer.saw(self._group)
        if not self._group.open:
            self._group.leave(self)
