"""What a track is: asked of one source at a time, and answered once for all who wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from moq_relay.errors import Cancelled, RequestError
from moq_relay.relay.feed import Feed, TrackInfo

if TYPE_CHECKING:
    from moq_relay.relay.route import Source
    from moq_relay.relay.track import Track


class Question:
    """The description of one track, or the way to it."""

    def __init__(self, track: Track) -> None:
        self.info: TrackInfo | None = None
        """The answer; the first one stands."""
        self.waiting = 0
        """How many wait for it."""
        self._track = track
        self._error: RequestError | None = None
        self._feed: Feed | None = None
        """Only asks, and brings no groups."""
        self._settled = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether a source was asked and has not answered."""
        return self._feed is not None

    def ask(self, source: Source) -> None:
        """Ask ``source``, unless the answer is known or asked for already."""
        if self.info is None and self._feed is None:
            self._feed = Feed(self._track, source)
            self._feed.describe()

    def answer(self, info: TrackInfo) -> None:
        """A source has said it."""
        if self.info is None:
            self.info = info
            self._settled.set()
        self.stop()

    def fail(self, error: RequestError | None) -> None:
        """Nobody will say it any more."""
        self._error = error
        self.stop()
        self._settled.set()

    def is_asked_through(self, feed: Feed) -> bool:
        """Whether ``feed`` is the one that asks."""
        return feed is self._feed

    def is_asked_of(self, source: Source) -> bool:
        """Whether ``source`` is the one that was asked."""
        return self._feed is not None and self._feed.source is source

    def stop(self) -> None:
        """Ask no more."""
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    async def answered(self) -> TrackInfo:
        """The answer, once it is there.

        Raises:
            RequestError: the publisher refused the track, or nobody has it any more.
        """
        self.waiting += 1
        try:
            await self._settled.wait()
        finally:
            self.waiting -= 1
        if self.info is None:
            raise self._error or Cancelled("the track ended")
        return self.info
