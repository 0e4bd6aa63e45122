"""A track: groups by sequence, one feed that fills them, and the readers that follow."""

from __future__ import annotations

import logging
from collections.abc import Callable

from moq_relay.errors import Cancelled, Internal, MoqError, RequestError, SessionClosed
from moq_relay.relay.feed import Demand, Feed, TrackInfo
from moq_relay.relay.group import Group, GroupWriter
from moq_relay.relay.reader import Place, TrackReader
from moq_relay.relay.retention import Cache
from moq_relay.relay.route import NOBODY, Asker, Route, Source
from moq_relay.relay.shelf import Shelf
from moq_relay.relay.supply import Supply

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
        self.supply = Supply(self, cache, clock)
        """Where it comes from."""
        self.demand = Demand()
        """What all readers together want."""
        self.on_judged: Callable[[Track, bool | None], None] = lambda _track, _same: None
        """Told whether a source carries the same content; None: nobody is left to ask for."""
        self.on_parted: Callable[[Track], tuple[Track, Source] | None] = lambda _track: None
        """Where readers go, and its source, that may have none of what comes from elsewhere."""
        self._error: RequestError | None = None
        self._readers: dict[TrackReader, Place] = {}
        self._kept_waiting = False
        """Whether readers wait for an answer of the source though there are groups."""
        self._parted: dict[TrackReader, Track] = {}
        """Readers that joined here, and which track they follow now."""

    @property
    def info(self) -> TrackInfo | None:
        """The publisher's description; None until it is known."""
        return self.supply.question.info

    @property
    def readers(self) -> int:
        """How many read it now."""
        return len(self._readers)

    def place_waiting(self, promised: int | None) -> None:
        """The source, asked for what readers lacked, begins at ``promised``, or says nothing."""
        if self._kept_waiting:
            self._kept_waiting = False
            for reader, place in tuple(self._readers.items() if self.supply.fresh else ()):
                self._begin(reader, place, promised)

    # What the feed tells.

    def described(self, info: TrackInfo) -> None:
        """The publisher's description; the first one stands."""
        self.supply.question.answer(info)

    async def described_or_ended(self) -> TrackInfo:
        """The publisher's description, once it is there.

        Raises:
            RequestError: the publisher refused the track, or nobody has it any more.
        """
        try:
            return await self.supply.question.answered()
        finally:
            self.supply.stop_vain_question()

    def open_group(self, feed: Feed, sequence: int, first: int) -> GroupWriter | None:
        """Begin a group of ``feed``; None when it is there already or no longer wanted."""
        supply = self.supply
        behind = feed.resume is not None and sequence < feed.resume
        if (behind or not supply.fresh) and self.older_than_all(sequence):
            self._began_anew(feed, behind=behind)
        if behind or sequence in self._left:
            return None
        if self._kept_waiting and feed is supply.feed:
            self.place_waiting(sequence)
        group = self.groups.get(sequence)
        if group is not None:
            if supply.fresh:
                return supply.retell(feed, group, first)
            self._show_edge(feed)
            return None
        group = Group(sequence, self._cache, now=self._clock(), first=first, track=self)
        feed.began(group)
        self.enter(group)
        if not supply.fresh:
            self._show_edge(feed)
            return group
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
        self.supply.question.fail(error)
        self.supply.drop()
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
        if self._widen():
            self.supply.update()
        if old.end is not None and place.first is not None:
            self._show_all(reader, place, above=old.end)

    def leave(self, reader: TrackReader) -> None:
        """Follow no more; the last one out ends the feed. Harmless when it has left."""
        if self._readers.pop(reader, None) is None:
            if (other := self._parted.pop(reader, None)) is not None:
                other.leave(reader)
            return
        if self._readers:
            if self._widen():
                self.supply.update()
            return
        self.idle_since = self._clock()
        self.supply.leave()

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
        if self.latest is None and self.supply.feed is None:
            self.latest = other.latest
            self.supply.fresh = other.latest is not None and other.supply.fresh
            if other.info is not None:
                self.described(other.info)
        if place.first is not None and other.latest is not None:
            place.first = place.least = other.latest + 1
        self._seat(reader, place, source)

    # What is kept.

    @property
    def vacant(self) -> bool:
        """Whether it holds nothing, and nobody reads it or waits for its description."""
        question = self.supply.question
        return not (
            self._readers or question.waiting or question.open or self.groups or self.fetched
        )

    # Inside.

    def _began_anew(self, feed: Feed, *, behind: bool) -> None:
        """A group that is older than all that is here: the publisher's numbers began anew."""
        if not behind:
            self.start_over()
        elif feed.resume is not None and not self.older_than_all(feed.resume):
            self.on_judged(self, False)

    def _show_edge(self, feed: Feed) -> None:
        """The first group of a feed shows where the live edge is: waiting readers can start."""
        self.supply.fresh = True
        for reader, place in tuple(self._readers.items()):
            if place.first is None and self._readers.get(reader) is place:
                place.cold = True
                self._place(reader, place, feed.start)

    def _part(self, reader: TrackReader, place: Place) -> None:
        """Hand a reader over to a track of the same name that this node's publishers feed."""
        other = self.on_parted(self)
        if other is None:
            self._fail(reader, SessionClosed("its publisher is gone"))
        elif self._readers.pop(reader, None) is not None:
            self._parted[reader], source = other
            self._parted[reader].adopt(reader, place, self, source)
            if not self._readers:
                self.idle_since = self._clock()
                self.supply.hand_over()

    def _seat(self, reader: TrackReader, place: Place, source: Source | None) -> None:
        """Know one more reader, and see that the track is fed."""
        seated = place.first is not None
        self._readers[reader] = place
        self.idle_since = None
        changed = self._widen()
        if self.supply.feed is None and source is not None:
            self.supply.open(source)
        elif changed:
            self.supply.update()
        if seated:
            self._show_all(reader, place)
        elif self.supply.fresh and place.first is None and self._readers.get(reader) is place:
            self._place(reader, place)

    def _widen(self) -> bool:
        demand = Demand.widest([place.demand for place in self._readers.values()])
        changed, self.demand = demand != self.demand, demand
        return changed

    def _place(self, reader: TrackReader, place: Place, promised: int | None = None) -> None:
        """Let a reader begin; if the source is asked for what it lacks, once that has answered."""
        waiting, self._kept_waiting = self._kept_waiting, True
        if not self.supply.reach(place.demand):
            self._kept_waiting = waiting
            self._begin(reader, place, promised)

    def _begin(self, reader: TrackReader, place: Place, promised: int | None) -> None:
        """Tell a reader where it begins, and of all groups that exist from there on."""
        if self._readers.get(reader) is not place or place.first is not None:
            return
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
