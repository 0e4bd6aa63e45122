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
from moq_relay.relay.group import Frame, Group

PATH = "demo/clock"
CLOCK = "clock"
SCENE = "scene"
RATE = 30
"""Frames of the scene in a second; a group is a second of them."""

INFO = TrackInfo(priority=0, max_age=30.0, timescale=1_000_000)


class Demo:
    """Publishes a clock and a scene while somebody watches, and does nothing otherwise."""

    def __init__(self, sessions: Callable[[], int], now: Callable[[], float] = time.time) -> None:
        self._sessions = sessions
        self._now = now
        self._feeds: dict[Feed, Group | None] = {}
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
        """Feed a track from the second that is under way."""
        if feed.track.name not in self._frames:
            feed.ended(NotFound(f"{PATH} has the tracks {CLOCK} and {SCENE}"))
            return
        if not self._feeds:
            self._wanted.set()
        self._feeds[feed] = None
        if self._second == int(self._now()):
            self._open(feed)

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
            await asyncio.sleep((int(now * RATE) + 1) / RATE - now)

    def tick(self) -> None:
        """Make the frames that are due now."""
        now = self._now()
        timestamp = int(now * 1_000_000)
        if int(now) != self._second:
            self._close_second()
            self._second = int(now)
            for feed in tuple(self._feeds):
                self._open(feed)
            self._add(CLOCK, Frame(self._time(now), timestamp))
        self._pendulums.advance(1 / RATE)
        self._add(SCENE, Frame(self._pendulums.frame(), timestamp))

    def _open(self, feed: Feed) -> None:
        """Begin the current second for a feed, with what there is of it already."""
        group = self._feeds[feed] = feed.open_group(self._second)
        if group is not None:
            for frame in self._frames[feed.track.name]:
                group.append(frame)

    def _add(self, track: str, frame: Frame) -> None:
        self._frames[track].append(frame)
        for feed, group in tuple(self._feeds.items()):
            if group is not None and feed.track.name == track:
                group.append(frame)

    def _close_second(self) -> None:
        for frames in self._frames.values():
            frames.clear()
        for feed, group in tuple(self._feeds.items()):
            if group is not None:
                self._feeds[feed] = None
                group.finish()
                feed.group_ended(group)

    def _time(self, now: float) -> bytes:
        moment = datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z")
        facts = {"time": moment, "relay": __version__, "sessions": self._sessions()}
        return json.dumps(facts).encode()
