"""A track: groups by sequence, one feed that fills them, and the readers that follow."""

from __future__ import annotations

import logging
from collections.abc import Callable

from moq_relay.errors import Cancelled, Internal, MoqError, RequestError, SessionClosed
from moq_relay.relay.feed import Demand, Feed, TrackInfo
from moq_relay.relay.group import Group
from moq_relay.relay.question import Question
from moq_relay.relay.reader import Place, TrackReader
from moq_relay.relay.retention import Cache
from moq_relay.relay.route import NOBODY, Asker, Route, Source
from moq_relay.relay.shelf import Shelf

logger = logging.getLogger(__name__)


class Track(Shelf):
    """One named track of one content instance.

    Every call out of it may call back into it: sources answer inside ``subscribe``, readers leave
    and join inside ``opened``. So state is changed before anybody is told, and whoever is told in
    a loop is looked up again first.
    """

    def __init__(self, path: str, name: str, cache: Cache, clock: Callable[[], float]) -> None:
        super().__init__(path, name, cache, clock)
        self.over = False
        """Ended or failed: nothing more will come, and nobody new may join."""
        self.idle_since: float | None = clock()
        """Since when nobody reads it; None while somebody does."""
        self.feed: Feed | None = None
        self.probe: Feed | None = None
        """A feed of another source, not yet known to carry the same content."""
        self.demand = Demand()
        """What all readers together want."""
        self.on_judged: Callable[[Track, bool | None], None] = lambda _track, _same: None
        """Told whether a source carries the same content; None: nobody is left to ask for."""
        self.on_parted: Callable[[Track], tuple[Track, Source] | None] = lambda _track: None
        """Where readers go, and its source, that may have none of what comes from elsewhere."""
        self._question = Question(self)
        self._retired: list[Feed] = []
        """Feeds that still finish what they had begun when another took over."""
        self._fresh = False
        """Whether the feed has shown where the live edge is."""
        self._error: RequestError | None = None
        self._readers: dict[TrackReader, Place] = {}
        self._parted: dict[TrackReader, Track] = {}
        """Readers that joined here, and which track they follow now."""

    @property
    def info(self) -> TrackInfo | None:
        """The publisher's description; None until it is known."""
        return self._question.info

    @property
    def readers(self) -> int:
        """How many read it now."""
        return len(self._readers)

    # Where it comes from.

    def attach(self, source: Source) -> None:
        """Take the track from ``source`` from now on; groups under way come to their end."""
        self.drop_probe()
        if not self._question.is_asked_of(source):
            self._question.stop()
        old, self.feed = self.feed, None
        if old is not None:
            self._retire(old)
        if self.over or self.feed is not None:
            return
        if self._readers:
            self._open_feed(source)
        elif self._question.waiting:
            self.describe(source)

    def lost(self, source: Source) -> None:
        """``source`` has it no more: take it from nowhere for now."""
        if self._question.is_asked_of(source):
            self._question.stop()
        if self.probe is not None and self.probe.source is source:
            self.drop_probe()
        for feed in tuple(self._retired):
            if feed.source is source:
                feed.close()
        if self.feed is not None and self.feed.source is source:
            self._drop_feed()

    def describe(self, source: Source) -> None:
        """Ask ``source`` what the track is, unless that is known or asked already."""
        if not self.over:
            self._question.ask(source)

    def probe_source(self, source: Source) -> None:
        """Find out whether ``source`` carries on where the feed stands; ``on_judged`` tells."""
        self.drop_probe()
        self.probe = Feed(self, source, probing=True)
        self.probe.describe()

    def drop_probe(self) -> None:
        """Forget a probe that is under way."""
        if self.probe is not None:
            probe, self.probe = self.probe, None
            probe.close()

    def probed(self, feed: Feed, *, fits: bool) -> bool:
        """A probe's answer: when it fits the probe becomes the feed, and the old one retires.

        Returns whether the probe is the track's feed now.
        """
        if feed is not self.probe:
            return False
        if not fits:
            self.on_judged(self, False)
            return False
        self.probe = None
        old, self.feed = self.feed, feed
        feed.adopt()
        if old is not None:
            self._retire(old)
        if feed.live:
            feed.source.update(feed)
        self.on_judged(self, True)
        return self.feed is feed

    def reopen(self, feed: Feed) -> None:
        """``feed`` broke off, and its source means to go on: ask it for what follows."""
        source = feed.source
        if feed is self.feed:
            self.feed = None
            if self._readers:
                self._open_feed(source)
        elif self._question.is_asked_through(feed):
            self._question.stop()
            if self._question.waiting or self._readers:
                self.describe(source)
        elif feed is self.probe:
            self.probe_source(source)

    # What the feed tells.

    def described(self, info: TrackInfo) -> None:
        """The publisher's description; the first one stands."""
        self._question.answer(info)

    async def described_or_ended(self) -> TrackInfo:
        """The publisher's description, once it is there.

        Raises:
            RequestError: the publisher refused the track, or nobody has it any more.
        """
        try:
            return await self._question.answered()
        finally:
            self._stop_vain_question()

    def open_group(self, feed: Feed, sequence: int, first: int) -> Group | None:
        """Begin a group of ``feed``; None when it is there already or no longer wanted."""
        behind = feed.resume is not None and sequence < feed.resume
        if (behind or not self._fresh) and self.older_than_all(sequence):
            # Older than all that is here: the publisher's numbers began anew.
            if behind:
                self.on_judged(self, False)
                return None
            self.start_over()
        if behind:
            return None
        group = None
        if sequence not in self.groups:
            group = Group(sequence, self._cache, now=self._clock(), first=first, track=self)
            feed.began(group)
            self.enter(group)
        if not self._fresh:
            # The first group of a feed shows where the live edge is: waiting readers can start.
            self._fresh = True
            for reader, place in tuple(self._readers.items()):
                if place.first is None and self._readers.get(reader) is place:
                    place.cold = True
                    self._place(reader, place, feed.start)
        elif group is not None:
            now = self._clock()
            for reader, place in tuple(self._readers.items()):
                if self._readers.get(reader) is place and place.wants(group, now):
                    self._tell(reader, reader.opened, group)
        return group

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """Tell every reader of a one-frame group; it is not kept."""
        for reader in tuple(self._readers):
            if reader in self._readers:
                self._tell(reader, reader.datagram, sequence, timestamp, payload)

    def ended(self, error: RequestError | None, final: int | None = None) -> None:
        """No more will come: tell every reader, and whoever waits for the description."""
        if self.over:
            return
        self.over = True
        self.idle_since = self._clock()
        self._error = error
        self._question.fail(error)
        self._drop_feeds()
        while self._readers:
            reader = next(iter(self._readers))
            del self._readers[reader]
            self._tell(reader, reader.ended, error, final)

    def discard(self, error: RequestError) -> None:
        """The content instance is gone: end the track and abort whatever it holds."""
        self.clear(error)
        self.ended(error)

    # Who reads it.

    def join(
        self, reader: TrackReader, demand: Demand, source: Source | None, asker: Asker = NOBODY
    ) -> None:
        """Follow the track as ``demand`` says; ``source`` is asked if nobody followed before.

        Raises:
            RequestError: the track is over.
        """
        if self.over:
            raise self._error or Cancelled("the track ended")
        self._seat(reader, Place(demand, asker), source)

    def change(self, reader: TrackReader, demand: Demand) -> None:
        """The reader wants something else from now on; where it started stays."""
        place = self._readers.get(reader)
        if place is None:
            if (other := self._parted.get(reader)) is not None:
                other.change(reader, demand)
            return
        old, place.demand = place.demand, demand
        if self._widen() and self.feed is not None:
            self.feed.source.update(self.feed)
        if old.end is not None and place.first is not None:
            self._show_all(reader, place, above=old.end)

    def leave(self, reader: TrackReader) -> None:
        """Follow no more; the last one out ends the feed. Harmless when it has left."""
        if self._readers.pop(reader, None) is None:
            if (other := self._parted.pop(reader, None)) is not None:
                other.leave(reader)
            return
        if self._readers:
            if self._widen() and self.feed is not None:
                self.feed.source.update(self.feed)
            return
        self.idle_since = self._clock()
        self._fresh = False
        self._drop_feeds()
        self._stop_vain_question()

    def expel(self, route: Route) -> None:
        """Let go of every reader that may not have what comes by ``route``.

        One that may only have what publishers of this node send goes on with that, if there is any.
        """
        for reader, place in tuple(self._readers.items()):
            if self._readers.get(reader) is not place or place.asker.may_see(route):
                continue
            if place.asker.local_only and not route.local:
                self._part(reader, place)
            else:
                self._fail(reader, Internal("it would get back what it sent"))

    def expel_nodes(self, error: RequestError) -> None:
        """No publisher of this node has it any more: other nodes ask elsewhere, or again."""
        for reader in [r for r, place in self._readers.items() if place.asker.local_only]:
            self._fail(reader, error)

    def adopt(self, reader: TrackReader, place: Place, other: Track, source: Source) -> None:
        """Let a reader that has had all that ``other`` had go on here, at the next group."""
        if self.latest is None and self.feed is None:
            self.latest, self._fresh = other.latest, other.latest is not None and other._fresh
            if other.info is not None:
                self.described(other.info)
        if place.first is not None and other.latest is not None:
            place.first = place.least = other.latest + 1
        self._seat(reader, place, source)

    # What is kept.

    @property
    def vacant(self) -> bool:
        """Whether it holds nothing, and nobody reads it or waits for its description."""
        question = self._question
        return not (
            self._readers or question.waiting or question.open or self.groups or self.fetched
        )

    def rest(self) -> None:
        """Close retired feeds whose groups are gone, though their source never ended them."""
        for feed in tuple(self._retired):
            feed.rest()
        self._retired = [feed for feed in self._retired if feed.live]

    # Inside.

    def _open_feed(self, source: Source) -> None:
        start = self.latest + 1 if self._fresh and self.latest is not None else None
        feed = self.feed = Feed(self, source, resume=start)
        self.describe(source)
        feed.subscribe()

    def _retire(self, feed: Feed) -> None:
        self._retired = [old for old in self._retired if old.live]
        self._retired.append(feed)
        feed.retire()

    def _part(self, reader: TrackReader, place: Place) -> None:
        """Hand a reader over to a track of the same name that this node's publishers feed."""
        other = self.on_parted(self)
        if other is None:
            self._fail(reader, SessionClosed("its publisher is gone"))
        elif self._readers.pop(reader, None) is not None:
            self._parted[reader], source = other
            self._parted[reader].adopt(reader, place, self, source)
            if not self._readers:
                self._empty()

    def _empty(self) -> None:
        """All readers went over to another track: what is under way still comes to its end."""
        self.idle_since = self._clock()
        self._fresh = False
        if self.feed is not None:
            feed, self.feed = self.feed, None
            self._retire(feed)
        self._stop_vain_question()

    def _drop_feed(self) -> None:
        feed, self.feed = self.feed, None
        if feed is not None:
            feed.close()

    def _drop_feeds(self) -> None:
        retired, self._retired = self._retired, []
        probing = self.probe is not None
        self.drop_probe()
        self._drop_feed()
        for feed in retired:
            feed.close()
        if probing:
            self.on_judged(self, None)

    def _stop_vain_question(self) -> None:
        if not self._question.waiting and not self._readers:
            self._question.stop()

    def _seat(self, reader: TrackReader, place: Place, source: Source | None) -> None:
        """Know one more reader, and see that the track is fed."""
        seated = place.first is not None
        self._readers[reader] = place
        self.idle_since = None
        changed = self._widen()
        if self.feed is None and source is not None:
            self._open_feed(source)
        elif changed and self.feed is not None:
            self.feed.source.update(self.feed)
        if seated:
            self._show_all(reader, place)
        elif self._fresh and place.first is None and self._readers.get(reader) is place:
            self._place(reader, place)

    def _widen(self) -> bool:
        demand = Demand.widest([place.demand for place in self._readers.values()])
        changed, self.demand = demand != self.demand, demand
        return changed

    def _place(self, reader: TrackReader, place: Place, promised: int | None = None) -> None:
        """Let a reader begin, and tell it all groups that exist from there on."""
        first = place.begin(self.groups, self.latest or 0, promised, self._clock())
        self._tell(reader, reader.started, first)
        self._show_all(reader, place)

    def _show_all(self, reader: TrackReader, place: Place, above: int = -1) -> None:
        for sequence in sorted(s for s in self.groups if s > above):
            group = self.groups.get(sequence)
            here = self._readers.get(reader) is place
            if here and group is not None and place.wants(group, self._clock()):
                self._tell(reader, reader.opened, group)

    def _tell(self, reader: TrackReader, call: Callable[..., None], *args: object) -> None:
        try:
            call(*args)
        except MoqError as error:
            logger.debug("track reader gave up reason=%s", error)
            self._fail(reader, error if isinstance(error, RequestError) else Internal(str(error)))
        except Exception:
            logger.exception("track reader failed")
            self._fail(reader, Internal("its reader failed"))

    def _fail(self, reader: TrackReader, error: RequestError) -> None:
        """End the subscription of one reader; nothing happens once it has left."""
        if reader in self._readers:
            self.leave(reader)
            self._tell(reader, reader.ended, error, None)
