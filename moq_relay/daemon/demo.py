"""The demo source: a broadcast made in this process, for a first look and for monitoring."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from moq_relay import __version__
from moq_relay.daemon.pendulums import Pendulums
from moq_relay.errors import NotFound
from moq_relay.relay.feed import Feed, TrackInfo
from moq_relay.relay.group import Frame, Group, GroupWriter

PATH = "demo/clock"
CLOCK = "clock"
SCENE = "scene"
RATE = 30
"""Frames of the scene in a second; a group is a second of them."""

LATE_SECONDS = 0.0005
"""A tick comes this much after its time, because one that came before would be a tick of late."""

INFO = TrackInfo(priority=0, max_age=30.0, timescale=1_000_000)


class _Showing:
    """What one feed has been given of the second that is under way."""

    __slots__ = ("group", "second")

    def __init__(self) -> None:
        self.second = 0
        self.group: GroupWriter | None = None


class Demo:
    """Publishes a clock and a scene while somebody watches, and does nothing otherwise."""

    def __init__(self, sessions: Callable[[], int], now: Callable[[], float] = time.time) -> None:
        self._sessions = sessions
        self._now = now
        self._feeds: dict[Feed, _Showing] = {}
        self._wanted = asyncio.Event()
        self._second = 0
        """Sequence of the groups that are open, which is the wall clock's second."""
        self._frames: dict[str, list[Frame]] = {CLOCK: [], SCENE: []}
        """Of the second that is under way, for whoever comes in the middle of it."""
        self._pendulums = Pendulums()

    # What the relay asks of a source.

    def describe(self, feed: Feed) -> None:
        """Both tracks are alike; there is no other."""
        if feed.track.name in self._frames:
            feed.described(INFO)
        else:
            feed.ended(NotFound(f"{PATH} has the tracks {CLOCK} and {SCENE}"))

    def subscribe(self, feed: Feed) -> None:
        """Feed a track from the second that is under way; the next tick begins."""
        if feed.track.name not in self._frames:
            feed.ended(NotFound(f"{PATH} has the tracks {CLOCK} and {SCENE}"))
            return
        self._feeds[feed] = _Showing()
        self._wanted.set()

    def update(self, feed: Feed) -> None:
        """Nothing depends on what exactly is wanted."""

    def unsubscribe(self, feed: Feed) -> None:
        """The last feed gone, time stands still here."""
        self._feeds.pop(feed, None)
        if not self._feeds:
            self._wanted.clear()

    def fetch(self, path: str, track: str, group: Group) -> None:
        """The past is in the cache or nowhere."""
        group.abort(NotFound("the demo keeps no past"))

    # Time.

    async def run(self) -> None:
        """Make frames for as long as somebody watches; ends only by cancellation."""
        while True:
            await self._wanted.wait()
            self.tick()
            now = self._now()
            await asyncio.sleep((int(now * RATE) + 1) / RATE - now + LATE_SECONDS)

    def tick(self) -> None:
        """Make the frames that are due now."""
        now = self._now()
        timestamp = int(now * 1_000_000)
        if int(now) != self._second:
            self._begin(int(now))
            self._frames[CLOCK].append(Frame(self._time(now), timestamp))
        self._pendulums.advance(1 / RATE)
        self._frames[SCENE].append(Frame(self._pendulums.frame(), timestamp))
        for feed, showing in tuple(self._feeds.items()):
            self._show(feed, showing)

    def _begin(self, second: int) -> None:
        for frames in self._frames.values():
            frames.clear()
        for feed, showing in tuple(self._feeds.items()):
            group, showing.group = showing.group, None
            if group is not None:
                group.finish()
                feed.group_ended(group)
        self._second = second

    def _show(self, feed: Feed, showing: _Showing) -> None:
        """Give a feed what it lacks of this second, which for a new one is all of it."""
        if showing.second != self._second:
            showing.second = self._second
            showing.group = feed.open_group(self._second)
        if showing.group is not None:
            for frame in self._frames[feed.track.name][len(showing.group.frames) :]:
                showing.group.append(frame)

    def _time(self, now: float) -> bytes:
        moment = datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z")
        facts = {"time": moment, "relay": __version__, "sessions": self._sessions()}
        return json.dumps(facts).encode()
