"""A feed: what one source tells about one track, for as long as the track listens to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from moq_relay.errors import Internal, RequestError
from moq_relay.relay.group import Group

if TYPE_CHECKING:
    from collections.abc import Callable

    from moq_relay.relay.group import GroupWriter
    from moq_relay.relay.route import Source
    from moq_relay.relay.track import Track


QUIET_SECONDS = 1.0
"""How long nothing comes of a track that ended without a number until that was all."""


LONGEST_SECONDS = 2.0**31 / 1000
"""The longest max age that is asked for: 24 days, which any peer takes for no limit."""


@dataclass(frozen=True, slots=True)
class TrackInfo:
    """What a publisher says of a track, once for the life of its broadcast."""

    priority: int = 0
    ordered: bool = False
    max_age: float | None = None
    """Seconds that the publisher's groups stay useful; None when its version cannot say."""
    timescale: int = 1_000_000
    """Units of a frame's timestamp in a second."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a reader, or all readers of a track together, want of it."""

    priority: int = 0
    """Higher goes first."""
    max_age: float = 0.0
    """Seconds a superseded group is still wanted; infinite where the version cannot say."""
    start: int | None = None
    """First group wanted; None: the latest, or as far back as ``reach`` allows."""
    reach: bool = False
    """Start at the oldest group that is inside ``max_age`` and not below ``floor``."""
    floor: int = 0
    end: int | None = None
    """Last group wanted; None: no end."""

    @property
    def begin(self) -> int | None:
        """The group that is named as the first one; None when none is."""
        if self.start is None:
            return self.floor or None if self.reach else None
        return self.start

    @staticmethod
    def widest(demands: list[Demand]) -> Demand:
        """One demand that satisfies all of them."""
        if len(demands) == 1:
            return demands[0]
        starts = [demand.start for demand in demands]
        ends = [demand.end for demand in demands]
        return Demand(
            priority=max(demand.priority for demand in demands),
            max_age=max(demand.max_age for demand in demands),
            start=None if None in starts else min(s for s in starts if s is not None),
            reach=any(demand.reach for demand in demands),
            floor=min(d.floor if d.start is None else d.start for d in demands),
            end=None if None in ends else max(e for e in ends if e is not None),
        )


class Feed:
    """One source's telling of one track. Everything through a closed feed is dropped."""

    __slots__ = (
        "_asking",
        "_changed",
        "_describing",
        "_groups",
        "_info",
        "_last",
        "_opened",
        "_probing",
        "_subscribed",
        "asked",
        "first_at",
        "live",
        "on_refused",
        "resume",
        "silence",
        "source",
        "start",
        "track",
    )

    def __init__(
        self, track: Track, source: Source, *, resume: int | None = None, probing: bool = False
    ) -> None:
        self.track = track
        self.source = source
        self.resume = resume
        """First group wanted when it goes on where another feed ended."""
        self.asked: int | None = None
        """First group that the source was asked for by number; None: for none."""
        self.start: int | None = None
        """First group that the source said it will send."""
        self.first_at: float | None = None
        """When its first frames came over the wire."""
        self.silence: float | None = None
        """How long nothing of the track had come from anywhere before them; None: ever before."""
        self.live = True
        self.on_refused: Callable[[Feed, RequestError], bool] = _is_final
        """Told first of an error that ends it; True: the source means to go on, so ask again."""
        self._describing = False
        """Whether the source owes a description."""
        self._subscribed = False
        """Whether the source sends, or means to."""
        self._asking = 0
        """Calls into the source that have not returned."""
        self._probing = probing
        self._info: TrackInfo | None = None
        """What a probe's source says of the track, until the probe is judged."""
        self._last: int | None = None
        """Highest group that a retired feed still brings; None while it is the track's own."""
        self._groups: dict[int, GroupWriter] = {}
        self._opened = 0
        self._changed = asyncio.Event()

    @property
    def demand(self) -> Demand:
        """What is wanted of the source now."""
        if self._probing:
            return Demand(priority=self.track.demand.priority)
        demand = self.track.demand
        if self.resume is not None:
            demand = replace(demand, start=self.resume, floor=self.resume, reach=True)
        if self._last is not None:
            demand = replace(demand, end=self._last)
        if self.track.info is not None and self.track.info.max_age is not None:
            demand = replace(demand, max_age=min(demand.max_age, self.track.info.max_age))
        return demand

    @property
    def max_age_ms(self) -> int:
        """The demand's max age in milliseconds, for the wire."""
        # What a viewer asks for may be more than a float can carry back onto the wire.
        return int(min(self.demand.max_age, LONGEST_SECONDS) * 1000)

    # What the source tells.

    def described(self, info: TrackInfo) -> None:
        """The publisher's description arrived."""
        self._describing = False
        if not self.live:
            return
        if not self._probing:
            self.track.described(info)
        elif self.track.info not in (None, info):
            self.track.supply.probed(self, fits=False)
        elif self._info is None:
            self._info = info
            self.subscribe()

    def started(self, sequence: int) -> None:
        """The source will send no group below ``sequence``."""
        if self.live and self.start is None:
            self.start = sequence
            self.track.supply.begins_at(self, sequence)

    def open_group(self, sequence: int, *, first: int = 0) -> GroupWriter | None:
        """A group begins; None when the track does not want it from here."""
        if not self.live or (self._last is not None and sequence > self._last):
            return None
        supply, probing, wanted = self.track.supply, self._probing, None
        if probing:
            latest, wanted = self.track.latest, supply.wanted
            if not supply.probed(self, fits=latest is None or sequence > latest):
                return None
        group = self.track.open_group(self, sequence, first)
        if probing:
            supply.fill_gap(self, wanted, sequence)
        if group is None:
            self._opened += 1
            self._changed.set()
            return None
        # Who was told of it may have been the last to read the track.
        return group if group.open else None

    def heard(self, now: float) -> None:
        """Frames came over the wire."""
        if self.first_at is None:
            self.first_at = now
            if self.track.heard_at is not None:
                self.silence = now - self.track.heard_at
        self.track.heard_at = now

    def began(self, group: GroupWriter) -> None:
        """The track took ``group``: this feed answers for its end."""
        self._groups[group.sequence] = group
        self._opened += 1
        self._changed.set()

    def broke_off(self, group: GroupWriter, error: RequestError) -> None:
        """The source will not bring the rest of ``group``; if another may, its readers wait."""
        if isinstance(group, Group):
            self.track.supply.gave_up(self, group, error)
        else:
            group.abort(error)

    def group_ended(self, group: GroupWriter) -> None:
        """A group of this feed was finished or aborted by its source."""
        if self._groups.get(group.sequence) is group:
            del self._groups[group.sequence]
        self._changed.set()
        self.rest()

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """A group of one frame, sent unreliably."""
        if self.live and not self._probing and self._last is None:
            self.track.datagram(sequence, timestamp, payload)

    def ended(self, error: RequestError | None, final: int | None = None) -> None:
        """The source will send no more: at group ``final`` (exclusive), or for ``error``."""
        self._describing = self._subscribed = False
        again = self.live and error is not None and self.on_refused(self, error)
        # Whoever was told may have let the track go on elsewhere.
        if not self.live:
            return
        if self._probing and not again:
            self.track.supply.probed(self, fits=False)
            return
        retired = self._last is not None
        self.close()
        if again and not retired:
            self.track.supply.reopen(self)
        elif not retired:
            self.track.ended(error, final)

    async def settled(self, final: int | None) -> None:
        """Wait until every group below ``final`` has come and ended, however late its stream.

        Groups that the source skipped never come: bound the wait. Where the source can't say the
        final group, the wait ends when no group has come or gone for ``QUIET_SECONDS``.
        """
        while self.live and not self._complete(final):
            self._changed.clear()
            quiet = QUIET_SECONDS if final is None and not self._groups else None
            try:
                async with asyncio.timeout(quiet):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _complete(self, final: int | None) -> bool:
        if self._groups:
            return False
        start = self.resume if self.start is None else self.start
        return final is not None and start is not None and self._opened >= final - start

    # What the track decides.

    def brings(self, sequence: int) -> bool:
        """Whether the source is in the middle of that group."""
        return sequence in self._groups and self._groups[sequence].open

    def awaits(self, sequence: int) -> bool:
        """Whether the source was asked for that group, and has not said that it won't send it."""
        first = self.resume if self.start is None else self.start
        return self.live and self._last is None and first is not None and sequence >= first

    def let_go(self, group: Group) -> None:
        """Another source brings ``group``: do not wait for it here."""
        if self._groups.get(group.sequence) is group:
            self.group_ended(group)

    def describe(self) -> None:
        """Ask the source what the track is."""
        self._describing = True
        self._ask(self.source.describe)

    def subscribe(self) -> None:
        """Ask the source for groups, unless the feed is closed already."""
        if self.live:
            self._subscribed = True
            self.asked = self.demand.begin
            self._ask(self.source.subscribe)

    def adopt(self) -> None:
        """The probe fits: this feed is now the track's own."""
        self._probing = False
        if self._info is not None:
            self.track.described(self._info)

    def retire(self) -> None:
        """Finish the groups that are open, and begin none but such as came late."""
        self._last = -1 if self.track.latest is None else self.track.latest
        if self._groups and self._subscribed and not self._asking:
            self.source.update(self)
        self.rest()

    def rest(self) -> None:
        """Close a retired feed that has no open group left."""
        if self._last is not None and self.live:
            self._groups = {s: group for s, group in self._groups.items() if group.open}
            if not self._groups:
                self.close()

    def close(self) -> None:
        """Listen no more; what is still open here will never be complete."""
        if not self.live:
            return
        self.live = False
        self._changed.set()
        groups, self._groups = self._groups, {}
        for group in groups.values():
            self.broke_off(group, Internal("its source is gone"))
        self._release()

    def _ask(self, call: Callable[[Feed], None]) -> None:
        self._asking += 1
        try:
            call(self)
        finally:
            self._asking -= 1
        if not self.live:
            self._release()

    def _release(self) -> None:
        """Let the source go, once it has been asked in full."""
        if self._asking == 0 and (self._describing or self._subscribed):
            self._describing = self._subscribed = False
            self.source.unsubscribe(self)


def _is_final(_feed: Feed, _error: RequestError) -> bool:
    return False
