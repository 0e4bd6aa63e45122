"""Where the groups of a track come from: one feed after another, and what each still owes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moq_relay.errors import Internal, RequestError, SessionClosed
from moq_relay.relay.feed import Demand, Feed
from moq_relay.relay.question import Question
from moq_relay.relay.retelling import Retelling
from moq_relay.relay.retention import DEFAULT_MAX_AGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from moq_relay.relay.group import Group
    from moq_relay.relay.retention import Cache
    from moq_relay.relay.route import Source
    from moq_relay.relay.track import Track

REACHES = 8
"""How often a young feed is asked to begin earlier, for readers that know what they lack."""

GONE = "its source is gone"


class Supply:
    """The feeds of one track: the one in use, those that retire, and the one on probation.

    A feed that follows another begins at the oldest group that is not complete here, so that no
    group is missed. Groups that were cut off stay open for as long as somebody may bring the rest.
    """

    def __init__(self, track: Track, cache: Cache, clock: Callable[[], float]) -> None:
        self.feed: Feed | None = None
        """The one in use."""
        self.probe: Feed | None = None
        """A feed of another source, not yet known to carry the same content."""
        self.question = Question(track)
        self.fresh = False
        """Whether a feed has shown where the live edge is."""
        self._track = track
        self._limits = cache.limits
        self._clock = clock
        self._retired: list[Feed] = []
        """Feeds that still finish what they had begun when another took over."""
        self._since = 0.0
        """When the feed began that had no other before it."""
        self._reached = 0
        """How often it was asked to begin earlier since."""

    @property
    def wanted(self) -> int | None:
        """The first group that another source has to send, so that none is missed."""
        return self._track.wanted_from(self._track.demand.max_age)

    # Which source.

    def attach(self, source: Source) -> None:
        """Take the track from ``source`` from now on; groups under way come to their end."""
        self.drop_probe()
        if not self.question.is_asked_of(source):
            self.question.stop()
        old, self.feed = self.feed, None
        if old is not None:
            self._retire(old)
        if self._track.over or self.feed is not None:
            return
        if self._track.readers:
            self.open(source)
        elif self.question.waiting:
            self.describe(source)

    def lost(self, source: Source) -> None:
        """``source`` has it no more: take it from nowhere for now."""
        if self.question.is_asked_of(source):
            self.question.stop()
        if self.probe is not None and self.probe.source is source:
            self.drop_probe()
        for feed in tuple(self._retired):
            if feed.source is source:
                feed.close()
        if self.feed is not None and self.feed.source is source:
            self._drop_feed()

    def describe(self, source: Source) -> None:
        """Ask ``source`` what the track is, unless that is known or asked already."""
        if not self._track.over:
            self.question.ask(source)

    def open(self, source: Source, first: int | None = None) -> None:
        """Ask ``source`` for groups from ``first`` on; None: from where what is here ends."""
        track = self._track
        if not self.fresh and first is None:
            self._since, self._reached = self._clock(), 0
            track.begins()
        elif first is None:
            first = self.wanted
        feed = self.feed = Feed(track, source, resume=first)
        if first is not None:
            track.goes_on()
            self._give_up_below(first)
        if self.feed is feed:
            self.describe(source)
            feed.subscribe()

    def reopen(self, feed: Feed) -> None:
        """``feed`` broke off, and its source means to go on: ask it for what follows."""
        source = feed.source
        if feed is self.feed:
            self.feed = None
            if self._track.readers:
                self.open(source)
        elif self.question.is_asked_through(feed):
            self.question.stop()
            if self.question.waiting or self._track.readers:
                self.describe(source)
        elif feed is self.probe:
            self.probe_source(source)

    def reach(self, demand: Demand) -> bool:
        """Ask a young feed to begin at the group that a reader named, if it began later.

        Readers that lost another way may come one after the other, and each knows what it lacks.
        Once a feed is older than a group may get, what is not here is nowhere.

        Returns:
            Whether it was asked, so that its answer will say where the reader begins.
        """
        track, feed, number = self._track, self.feed, demand.begin
        if feed is None or not feed.live or number is None or track.latest is None:
            return False
        begun = feed.asked
        if begun is None:
            begun = track.latest if feed.start is None else feed.start
        # Who named an earlier group must not make others be told a second time of what has left.
        number = max(number, track.gone + 1)
        if number >= min(begun, track.latest) or number in track.groups:
            return False
        if self._reached >= REACHES:
            return False
        if self._clock() - self._since >= min(demand.max_age, self._kept_seconds):
            return False
        self._reached += 1
        self._ask_again(number)
        return True

    def update(self) -> None:
        """The track's demand has changed."""
        feed = self.feed
        if feed is None:
            return
        begin = feed.demand.begin
        if not self.fresh and feed.asked is not None and (begin is None or begin < feed.asked):
            # An update does not move where a subscription begins, which may be where nothing is.
            self._ask_again(None)
        else:
            feed.source.update(feed)

    # Another source, perhaps of another content.

    def probe_source(self, source: Source) -> None:
        """Find out whether ``source`` carries on where the feed stands; ``on_judged`` tells."""
        self.drop_probe()
        self.probe = Feed(self._track, source, probing=True)
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
            self._track.on_judged(self._track, False)
            return False
        self.probe = None
        old, self.feed = self.feed, feed
        feed.adopt()
        if old is not None:
            self._retire(old)
        if feed.live:
            feed.source.update(feed)
        self._track.on_judged(self._track, True)
        return self.feed is feed

    def fill_gap(self, feed: Feed, first: int | None, sequence: int) -> None:
        """``feed`` was a probe and began at ``sequence``: ask it for what lies before, too."""
        if self.feed is not feed or first is None or first >= sequence:
            return
        if self._track.demand.max_age > 0:
            self._ask_again(first)

    # What was cut off.

    def gave_up(self, feed: Feed, group: Group, error: RequestError) -> None:
        """``feed`` will not complete ``group``: it breaks off if nobody else may."""
        if group.open and not self._may_come(feed, group, error):
            group.abort(error)

    def retell(self, feed: Feed, group: Group, first: int) -> Retelling | None:
        """``feed`` begins a group that is here: what to fill, if that is of use."""
        if feed is not self.feed or feed.resume is None or feed.brings(group.sequence):
            return None
        if not group.open:
            return None
        if first > group.first + len(group.frames):
            self.gave_up(feed, group, Internal("its middle is missing"))
            return None
        retelling = Retelling(feed, group, first)
        feed.began(retelling)
        return retelling

    def overtaken(self, feed: Feed, group: Group) -> None:
        """``feed`` has told all that is here of ``group``: nobody else is waited for."""
        for other in tuple(self._retired):
            if other is not feed:
                other.let_go(group)

    def begins_at(self, feed: Feed, first: int) -> None:
        """``feed`` will bring nothing below ``first``: what it was waited for breaks off."""
        if feed is self.feed and self.fresh:
            self._give_up_below(first)
            self._track.place_waiting(first)

    def _may_come(self, giver: Feed, group: Group, error: RequestError) -> bool:
        track, feed, sequence = self._track, self.feed, group.sequence
        if track.groups.get(sequence) is not group:
            return False
        if self._brought(sequence, giver):
            return True
        if track.over or not track.readers:
            return False
        if feed is None or not feed.live:
            return True
        if feed is giver:
            # It has lost the group's source; that it is lost to all of the track will follow.
            return isinstance(error, SessionClosed)
        return feed.awaits(sequence)

    def _brought(self, sequence: int, but: Feed | None = None) -> bool:
        feeds = self._retired if self.feed is None else [*self._retired, self.feed]
        return any(feed is not but and feed.live and feed.brings(sequence) for feed in feeds)

    def _give_up_below(self, first: int) -> None:
        groups = self._track.groups
        for group in [g for s, g in groups.items() if s < first and g.open]:
            if not self._brought(group.sequence):
                group.abort(Internal(GONE))

    # The end.

    def leave(self) -> None:
        """Nobody reads the track any more."""
        self.fresh = False
        self.drop()
        self.stop_vain_question()

    def drop(self) -> None:
        """Take nothing more from anywhere; what is not complete breaks off."""
        retired, self._retired = self._retired, []
        probing = self.probe is not None
        self.drop_probe()
        self._drop_feed()
        for feed in retired:
            feed.close()
        self._track.break_off(Internal(GONE))
        if probing:
            self._track.on_judged(self._track, None)

    def hand_over(self) -> None:
        """All readers went over to another track: what is under way still comes to its end."""
        self.fresh = False
        if self.feed is not None:
            feed, self.feed = self.feed, None
            self._retire(feed)
        self._give_up_below((self._track.latest or 0) + 1)
        self.stop_vain_question()

    def stop_vain_question(self) -> None:
        """Ask no more what the track is, unless somebody wants to know."""
        if not self.question.waiting and not self._track.readers:
            self.question.stop()

    def rest(self) -> None:
        """Wait no longer for what does not come: for the end of groups that are gone, say."""
        for feed in tuple(self._retired):
            feed.rest()
        self._retired = [feed for feed in self._retired if feed.live]
        self._track.place_waiting(None)

    # Inside.

    @property
    def _kept_seconds(self) -> float:
        info = self._track.info
        age = DEFAULT_MAX_AGE if info is None or info.max_age is None else info.max_age
        return min(age, self._limits.duration)

    def _ask_again(self, first: int | None) -> None:
        """Ask the feed's source once more, for groups from ``first`` on."""
        old, self.feed = self.feed, None
        if old is None:
            return
        self._retire(old)
        if self._track.readers and not self._track.over and self.feed is None:
            self.open(old.source, first)

    def _retire(self, feed: Feed) -> None:
        self._retired = [old for old in self._retired if old.live]
        self._retired.append(feed)
        feed.retire()

    def _drop_feed(self) -> None:
        feed, self.feed = self.feed, None
        if feed is not None:
            feed.close()
