"""A track: groups by sequence, one feed that fills them, and the readers that follow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from moq_relay.errors import Cancelled, MoqError, RequestError
from moq_relay.relay.feed import Demand, Feed, TrackInfo
from moq_relay.relay.group import Group
from moq_relay.relay.retention import Cache
from moq_relay.relay.route import Source

logger = logging.getLogger(__name__)


class TrackReader(Protocol):
    """One viewer of a track."""

    def started(self, first: int) -> None:
        """Groups from ``first`` on will be told. Called once, before the first ``opened``."""

    def opened(self, group: Group) -> None:
        """A group that the reader's demand covers exists, perhaps complete already."""

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """A group of one frame, unreliably."""

    def ended(self, error: RequestError | None, final: int | None) -> None:
        """No group from ``final`` on will come; or the track failed. The last call."""


class _Place:
    """Where one reader stands."""

    __slots__ = ("demand", "first")

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.first: int | None = None


class Track:
    """One named track of one content instance."""

    def __init__(self, path: str, name: str, cache: Cache, clock: Callable[[], float]) -> None:
        self.path = path
        self.name = name
        self.info: TrackInfo | None = None
        self.groups: dict[int, Group] = {}
        self.latest: int | None = None
        self.over = False
        """Ended or failed: nothing more will come, and nobody new may join."""
        self.idle_since: float | None = clock()
        """Since when nobody reads it; None while somebody does."""
        self.feed: Feed | None = None
        self.probe: Feed | None = None
        """A feed of another source, not yet known to carry the same content."""
        self.demand = Demand()
        """What all readers together want."""
        self.on_probed: Callable[[Track, bool], None] = lambda _track, _fits: None
        self._cache = cache
        self._clock = clock
        self._asking: Feed | None = None
        """Only asks for the description, for somebody who has not subscribed."""
        self._fresh = False
        """Whether the feed has shown where the live edge is."""
        self._error: RequestError | None = None
        self._readers: dict[TrackReader, _Place] = {}
        self._answered = asyncio.Event()

    @property
    def readers(self) -> int:
        """How many read it now."""
        return len(self._readers)

    # Where it comes from.

    def attach(self, source: Source | None, *, resume: bool = False) -> None:
        """Take the track from ``source`` from now on; None: from nowhere for now."""
        self.drop_probe()
        if self._asking is not None:
            self._asking.close()
            self._asking = None
        self._drop_feed()
        if source is None or self.over:
            return
        if self._readers:
            self._open_feed(source, resume=resume)
        elif not self._answered.is_set():
            self.describe(source)

    def describe(self, source: Source) -> None:
        """Ask ``source`` what the track is, unless that is known or asked already."""
        if self.info is None and not self.over and self.feed is None and self._asking is None:
            self._asking = Feed(self, source, resume=None, probing=False)
            source.describe(self._asking)

    def probe_source(self, source: Source) -> None:
        """Find out whether ``source`` carries on where the feed stands; ``on_probed`` tells."""
        self.drop_probe()
        self.probe = Feed(self, source, resume=None, probing=True)
        source.describe(self.probe)
        source.subscribe(self.probe)

    def drop_probe(self) -> None:
        """Forget a probe that is under way."""
        if self.probe is not None:
            probe, self.probe = self.probe, None
            probe.close()
            probe.source.unsubscribe(probe)

    def probed(self, feed: Feed, *, fits: bool) -> None:
        """A probe's answer: when it fits the probe becomes the feed, and the old one retires."""
        if feed is not self.probe:
            return
        if not fits:
            self.on_probed(self, False)
            return
        self.probe = None
        old, self.feed = self.feed, feed
        feed.adopt()
        if old is not None:
            old.retire()
        feed.source.update(feed)
        self.on_probed(self, True)

    # What the feed tells.

    def described(self, info: TrackInfo) -> None:
        """The publisher's description; the first one stands."""
        if self.info is None:
            self.info = info
            self._answered.set()

    async def described_or_ended(self) -> TrackInfo:
        """The publisher's description, once it is there.

        Raises:
            RequestError: the publisher refused the track, or nobody has it any more.
        """
        await self._answered.wait()
        if self.info is None:
            raise self._error or Cancelled("the track ended")
        return self.info

    def open_group(self, feed: Feed, sequence: int, first: int) -> Group | None:
        """Begin a group of ``feed``; None when it is there already or no longer wanted."""
        old = self.groups.get(sequence)
        if old is not None or (feed.resume is not None and sequence < feed.resume):
            self._edge_seen(feed, sequence, told_later=False)
            return None
        now = self._clock()
        group = Group(sequence, self._cache, now=now, first=first, track=self)
        self.groups[sequence] = group
        if self.latest is None or sequence > self.latest:
            if self.latest is not None:
                self._supersede(now)
            self.latest = sequence
        else:
            newer = (g.opened_at for s, g in self.groups.items() if s > sequence)
            group.superseded_at = min(newer, default=now)
        self._edge_seen(feed, sequence, told_later=True)
        for reader, place in tuple(self._readers.items()):
            if place.first is not None and self._wants(place, group, now):
                self._tell(reader, reader.opened, group)
        return group

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """Tell every reader of a one-frame group; it is not kept."""
        for reader in tuple(self._readers):
            self._tell(reader, reader.datagram, sequence, timestamp, payload)

    def ended(self, error: RequestError | None, final: int | None = None) -> None:
        """No more will come: tell every reader, and whoever waits for the description."""
        if self.over:
            return
        self.over = True
        self.idle_since = self._clock()
        self._error = error
        self.drop_probe()
        self._drop_feed()
        self._answered.set()
        readers, self._readers = self._readers, {}
        for reader in readers:
            reader.ended(error, final)

    def discard(self, error: RequestError) -> None:
        """The content instance is gone: end the track and abort whatever it holds."""
        groups, self.groups = self.groups, {}
        for group in groups.values():
            group.abort(error)
        self.ended(error)

    # Who reads it.

    def join(self, reader: TrackReader, demand: Demand, source: Source | None) -> None:
        """Follow the track as ``demand`` says; ``source`` is asked if nobody followed before.

        Raises:
            RequestError: the track is over.
        """
        if self.over:
            raise self._error or Cancelled("the track ended")
        place = self._readers[reader] = _Place(demand)
        self.idle_since = None
        changed = self._widen()
        if self.feed is None and source is not None:
            self._open_feed(source, resume=False)
        elif changed and self.feed is not None:
            self.feed.source.update(self.feed)
        if self._fresh and reader in self._readers:
            self._place(reader, place)

    def change(self, reader: TrackReader, demand: Demand) -> None:
        """The reader wants something else from now on; where it started stays."""
        place = self._readers.get(reader)
        if place is None:
            return
        place.demand = demand
        if self._widen() and self.feed is not None:
            self.feed.source.update(self.feed)

    def leave(self, reader: TrackReader) -> None:
        """Follow no more; the last one out ends the feed. Harmless when it has left."""
        if self._readers.pop(reader, None) is None:
            return
        if self._readers:
            if self._widen() and self.feed is not None:
                self.feed.source.update(self.feed)
            return
        self.idle_since = self._clock()
        self._fresh = False
        self.drop_probe()
        self._drop_feed()

    # What is kept.

    def forget(self, group: Group) -> None:
        """Take ``group`` out of the track."""
        if self.groups.get(group.sequence) is group:
            del self.groups[group.sequence]

    # Inside.

    def _open_feed(self, source: Source, *, resume: bool) -> None:
        start = self.latest + 1 if resume and self._fresh and self.latest is not None else None
        feed = self.feed = Feed(self, source, resume=start, probing=False)
        if self.info is None:
            source.describe(feed)
        if feed.live:
            source.subscribe(feed)

    def _drop_feed(self) -> None:
        feed, self.feed = self.feed, None
        if feed is not None and feed.live:
            feed.close()
            feed.source.unsubscribe(feed)

    def _widen(self) -> bool:
        demand = Demand.widest([place.demand for place in self._readers.values()])
        changed, self.demand = demand != self.demand, demand
        return changed

    def _supersede(self, now: float) -> None:
        for group in self.groups.values():
            if group.superseded_at is None and group.sequence <= (self.latest or 0):
                group.superseded_at = now

    def _edge_seen(self, feed: Feed, sequence: int, *, told_later: bool) -> None:
        """The first group of a feed shows where the live edge is: waiting readers can start."""
        if self._fresh or feed is not self.feed:
            return
        self._fresh = True
        for reader, place in tuple(self._readers.items()):
            if place.first is None:
                self._place(reader, place, told_later=sequence if told_later else None)

    def _place(self, reader: TrackReader, place: _Place, told_later: int | None = None) -> None:
        """Choose a reader's first group and tell it all from there on that exist."""
        now = self._clock()
        first = self._first_for(place.demand, now)
        if first is None:
            return
        start = None if self.feed is None else self.feed.start
        if told_later is not None and place.demand.reach and start is not None:
            # What the source has promised and not sent yet is not in the table to be found.
            first = min(first, max(start, place.demand.floor))
        place.first = first
        self._tell(reader, reader.started, first)
        for sequence in sorted(self.groups):
            group = self.groups.get(sequence)
            if group is not None and sequence != told_later and self._wants(place, group, now):
                self._tell(reader, reader.opened, group)

    def _first_for(self, demand: Demand, now: float) -> int | None:
        if self.latest is None:
            return None
        if demand.start is not None:
            there = [s for s in self.groups if s >= demand.start]
            return min(there, default=max(demand.start, self.latest))
        if not demand.reach:
            return self.latest
        inside = [
            s
            for s, group in self.groups.items()
            if s >= demand.floor and (s == self.latest or group.age(now) < demand.max_age)
        ]
        return min(inside, default=max(demand.floor, self.latest))

    def _wants(self, place: _Place, group: Group, now: float) -> bool:
        if place.first is None:
            return False
        if group.sequence >= place.first:
            return True
        demand = place.demand
        late = demand.reach and group.sequence >= demand.floor
        return late and group.age(now) < demand.max_age

    def _tell(self, reader: TrackReader, call: Callable[..., None], *args: object) -> None:
        try:
            call(*args)
        except MoqError as error:
            logger.debug("track reader gave up reason=%s", error)
            self.leave(reader)
        except Exception:
            logger.exception("track reader failed")
            self.leave(reader)
