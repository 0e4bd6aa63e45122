"""We subscribe: brings the peer's broadcasts into the origin. The peer is a source."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from moq_relay.errors import (
    Cancelled,
    ControlTimeout,
    ExcessiveLoad,
    LimitReached,
    MalformedTrack,
    NotFound,
    RequestError,
    SessionClosed,
    WireError,
)
from moq_relay.relay.access import Access
from moq_relay.relay.feed import Feed, TrackInfo
from moq_relay.relay.group import Group
from moq_relay.relay.path import below, join, normalise
from moq_relay.sessions.bucket import Bucket
from moq_relay.sessions.context import ANNOUNCE_BURST, Context
from moq_relay.sessions.lite import codes
from moq_relay.sessions.lite.fetching import Fetches, Opener
from moq_relay.sessions.lite.ingress import Inlet
from moq_relay.sessions.lite.mirror import Mirror
from moq_relay.sessions.lite.wanted import change, subscription
from moq_relay.sessions.streams import RequestStream
from moq_relay.wire import varint
from moq_relay.wire.fields import MAX_HOPS
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.frames import decode_datagram
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.version import Slot

SETTLE_SECONDS = 10.0
"""How long group streams of an ended track may still be on their way."""
ANSWER_SECONDS = 10.0
"""How long a publisher may take to describe a track."""

logger = logging.getLogger(__name__)


class _Way(NamedTuple):
    """How the peer has a broadcast: its hops and costs, as in a route."""

    hops: tuple[int, ...]
    warm: int
    cold: int


class Subscriber:
    """Asks for announcements and tracks; a ``Source`` whose answers come over the wire."""

    def __init__(self, session: Opener, inlet: Inlet, context: Context) -> None:
        self.access = Access()
        self.link_cost = 1
        """Price of the peer's link towards us, from its SETUP."""
        self.hop = 0
        limits = context.limits
        self.announce_limit = limits.announces_per_session
        self._track_limit = limits.tracks_per_session
        self._tenants = context.tenants
        self._session = session
        self._version = inlet.version
        self._origin = context.origin
        self._inlet = inlet
        self._counters = context.counters
        self._announced: dict[str, _Way] = {}
        """By path: how the peer has it."""
        self._requests: dict[Feed, tuple[int, RequestStream]] = {}
        self._questions: dict[Feed, RequestStream] = {}
        """Feeds whose description was asked for, and on which stream."""
        self._pending: set[tuple[Feed, BiStream]] = set()
        """Feeds that wait for credit to be asked for, and how."""
        self._waiting: Counter[BiStream] = Counter()
        """How many of them, by how."""
        self._fetches = Fetches(session, inlet)
        self._next_id = 0
        self._doubts: set[str] = set()
        self._lost = False
        burst = ANNOUNCE_BURST * limits.announces_per_session
        rate, now = limits.announces_per_second, self._origin.clock()
        self._pace = Bucket(rate, max(burst, rate), now)

    # Announcements.

    async def follow(self) -> None:
        """Mirror the peer's announcements into the origin until its announce stream ends.

        Raises:
            LimitReached: they come and go faster than anybody's may.
        """
        await self._session.may_request()
        request = self._session.open_request()
        request.write_type(BiStream.ANNOUNCE)
        request.write(wire.AnnounceRequest("", self._origin.hop))
        mirror = Mirror(self, self._version)
        try:
            if self._version.features.announce_ok or self._version.features.announce_init:
                mirror.opening(await request.read(Slot.ANNOUNCE_OPENING))
            while (message := await request.read_or_end(Slot.ANNOUNCEMENT)) is not None:
                if not self._pace.take(self._origin.clock()):
                    self._counters.announces_refused["rate"] += 1
                    raise LimitReached("announces", "announcements come too fast")
                mirror.heard(message)
        except RequestError as error:
            logger.debug("announce stream ended reason=%s", error)
        if not self._lost:
            for path in tuple(self._announced):
                self.withdraw(path)
        request.finish()
        request.refuse(codes.CANCEL)
        request.done()

    def may_announce(self, suffix: str) -> bool:
        """Whether a new broadcast of the peer is wanted; counts those that are not.

        Raises:
            WireError: its path has too many segments.
        """
        path = join(self.access.root, normalise(suffix))
        known = path in self._announced
        if not self.access.may_publish(path):
            reason = "rights"
        elif not known and len(self._announced) >= self.announce_limit:
            reason = "session"
        elif not known and not self._tenants.may_announce(self.access):
            reason = "tenant"
        else:
            return True
        self._counters.announces_refused[reason] += 1
        return False

    def announce(self, suffix: str, hops: tuple[int, ...], warm: int = 0, cold: int = 0) -> None:
        """The peer has a broadcast, or has it another way; the path is one it may announce."""
        path = join(self.access.root, normalise(suffix))
        if self._lost:
            return
        warm, cold = min(warm + self.link_cost, varint.MAX), min(cold + self.link_cost, varint.MAX)
        way = _Way(hops, warm, cold)
        if _passable(hops) and self._publish(path, way):
            if path not in self._announced:
                self._inlet.tally.broadcasts += 1
                self._tenants.announced(self.access)
            self._announced[path] = way
        else:
            # It comes through us now, or could not be told to anybody.
            self.withdraw(path)

    def _publish(self, path: str, way: _Way) -> bool:
        hops, warm, cold = way
        return self._origin.publish(path, self, hops, warm=warm, cold=cold, live=not self._doubts)

    def withdraw(self, path: str) -> None:
        """The peer ended a broadcast; ``path`` is full."""
        if self._announced.pop(path, None) is not None:
            self._tenants.withdrawn(self.access)
            self._origin.withdraw(path, self, clean=True)

    def ended(self, suffix: str) -> None:
        """The peer ended a broadcast, named as on its wire."""
        self.withdraw(join(self.access.root, normalise(suffix)))

    def leaving(self) -> None:
        """The peer is about to go."""
        self.doubted("leaving")

    def doubted(self, why: str, *, holds: bool = True) -> None:
        """While ``why`` holds, any other route is better than what the peer has."""
        if holds == (why in self._doubts):
            return
        (self._doubts.add if holds else self._doubts.discard)(why)
        for path, way in tuple(self._announced.items()):
            self._publish(path, way)

    def lost(self, *, clean: bool) -> None:
        """The session is gone: its routes too, and nothing more comes through its feeds.

        ``clean``: the peer said goodbye, so its broadcasts end at once.
        """
        self._lost = True
        announced, self._announced = self._announced, {}
        self._tenants.withdrawn(self.access, len(announced))
        for path in announced:
            self._origin.withdraw(path, self, clean=clean)
        error = SessionClosed("the publisher's session ended")
        waiting = [feed for feed, _ in self._pending]
        for feed in (*self._requests, *self._questions, *waiting):
            feed.ended(error)
        self._fetches.lost(error)
        self._pending.clear()
        self._waiting.clear()
        self._inlet.feeds.clear()

    @property
    def publishing(self) -> bool:
        """Whether the peer has announced anything that it has not ended."""
        return bool(self._announced)

    @property
    def needed(self) -> bool:
        """Whether the peer is asked for anything now, or has what no other node has."""
        under_way = self._requests or self._pending or self._questions or self._fetches.under_way
        return bool(under_way) or not all(map(self._origin.elsewhere, self._announced))

    # A node.

    def comes_from(self, node: str) -> None:
        """The peer is the node ``node``, a URL, and all that it sends was published there."""
        self._inlet.origin = node

    def ended_there(self, subscribe: int, sequence: int, at: float) -> None:
        """A group had come to its end at the peer ``at``, by the clock of this node."""
        self._inlet.ended_there(subscribe, sequence, at)

    # A source.

    def describe(self, feed: Feed) -> None:
        if not self._version.features.track_stream:
            feed.described(TrackInfo())
        elif self._lost:
            feed.ended(SessionClosed("the publisher's session ended"))
        elif self._may_ask(feed, BiStream.TRACK, self._questions):
            self._session.spawn(self._describe(feed), f"track-{feed.track.name}")

    def subscribe(self, feed: Feed) -> None:
        if self._lost:
            feed.ended(SessionClosed("the publisher's session ended"))
            return
        if self._may_ask(feed, BiStream.SUBSCRIBE, self._requests):
            self._session.spawn(self._subscribe(feed), f"subscribe-{feed.track.name}")

    def _may_ask(self, feed: Feed, kind: BiStream, asked: Collection[Feed]) -> bool:
        """Have ``feed`` wait for credit, unless that is one track too many: then it ends."""
        if self._waiting[kind] + len(asked) < self._track_limit:
            self._pending.add((feed, kind))
            self._waiting[kind] += 1
            return True
        self._counters.requests_refused["tracks"] += 1
        feed.ended(ExcessiveLoad("the publisher is asked for more tracks than one may be"))
        return False

    def update(self, feed: Feed) -> None:
        asked = self._requests.get(feed)
        if asked is not None and self._version.features.subscribe_update:
            asked[1].write(change(feed.demand, self._max_age_ms(feed)))

    def unsubscribe(self, feed: Feed) -> None:
        error = Cancelled("nobody reads the track any more")
        if (asked := self._requests.get(feed)) is not None:
            asked[1].interrupt(error)
        if (question := self._questions.get(feed)) is not None:
            question.interrupt(error)
        self._session.nudge()

    def fetch(self, path: str, track: str, group: Group) -> None:
        if not self._version.features.fetch or self._lost:
            group.abort(NotFound("the publisher cannot fetch"))
        else:
            self._fetches.begin(self._relative(path), track, group)

    def datagram(self, payload: bytes) -> None:
        """A group of one frame, unreliably; what nobody asked for is dropped and counted."""
        try:
            datagram = decode_datagram(payload)
        except WireError:
            self._counters.datagrams_dropped["malformed"] += 1
            return
        feed = self._inlet.feeds.get(datagram.subscribe)
        if feed is None:
            self._counters.datagrams_dropped["unknown"] += 1
            return
        self._counters.datagrams_in += 1
        self._counters.bytes_in += len(datagram.payload)
        self._inlet.tally.bytes_in += len(datagram.payload)
        feed.datagram(datagram.sequence, datagram.timestamp, datagram.payload)

    # Requests, each from its first byte to its last.

    async def _describe(self, feed: Feed) -> None:
        request = await self._open_for(feed, BiStream.TRACK)
        if request is None:
            return
        self._questions[feed] = request
        request.write(wire.TrackRequest(self._relative(feed.track.path), feed.track.name))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                info: wire.TrackInfo = await request.read(Slot.TRACK_INFO)
            feed.described(
                TrackInfo(info.priority, info.ordered, info.max_age / 1000, info.timescale)
            )
            # Not before the answer: publishers take a FIN for a cancel.
            request.finish()
        except TimeoutError:
            self._give_up(feed, request, ControlTimeout("the publisher described no track"))
        except WireError as error:
            self._give_up(feed, request, MalformedTrack(str(error)))
        except RequestError as error:
            self._give_up(feed, request, error)
        finally:
            del self._questions[feed]
            request.done()

    def _give_up(self, feed: Feed, request: RequestStream, error: RequestError) -> None:
        """Without a description there is no track."""
        request.give_up(codes.CANCEL)
        feed.ended(error)

    async def _open_for(self, feed: Feed, kind: BiStream) -> RequestStream | None:
        """A request stream, once the peer allows one; None when nobody needs it any more."""
        try:
            await self._session.may_request(lambda: feed.live)
        finally:
            if (feed, kind) in self._pending:
                self._pending.remove((feed, kind))
                self._waiting[kind] -= 1
        if not feed.live:
            return None
        request = self._session.open_request()
        request.write_type(kind)
        return request

    async def _subscribe(self, feed: Feed) -> None:
        request = await self._open_for(feed, BiStream.SUBSCRIBE)
        if request is None:
            return
        number, self._next_id = self._next_id, self._next_id + 1
        self._requests[feed] = number, request
        self._inlet.feeds[number] = feed
        self._counters.upstream += 1
        try:
            request.write(self._wanted(feed, number))
            final = await self._follow_replies(feed, request)
            request.finish()
            try:
                async with asyncio.timeout(SETTLE_SECONDS):
                    await feed.settled(final)
            except TimeoutError:
                logger.debug("track ended with groups missing track=%s", feed.track.name)
            feed.ended(None, final)
        except WireError as error:
            request.give_up(codes.of(MalformedTrack()))
            feed.ended(MalformedTrack(str(error)))
        except RequestError as error:
            request.give_up(codes.CANCEL)
            feed.ended(error)
        finally:
            self._counters.upstream -= 1
            self._requests.pop(feed, None)
            self._inlet.feeds.pop(number, None)
            request.done()

    def _wanted(self, feed: Feed, number: int) -> wire.Subscribe:
        path, track = self._relative(feed.track.path), feed.track.name
        return subscription(number, path, track, feed.demand, self._max_age_ms(feed))

    def _max_age_ms(self, feed: Feed) -> int:
        """The demand's max age; none for now where it would decide the start and the latest is due.

        Once the publisher has said where it starts, the age only says how long groups are wanted.
        """
        demand = feed.demand
        latest = demand.start is None and not demand.reach
        by_age = self._version.features.start_floor
        return 0 if by_age and latest and feed.start is None else feed.max_age_ms

    async def _follow_replies(self, feed: Feed, request: RequestStream) -> int | None:
        """Until the publisher ends the track; the group at which it ends, where it says so."""
        final: int | None = None
        while (reply := await request.read_or_end(Slot.SUBSCRIBE_REPLY)) is not None:
            match reply:
                case wire.SubscribeStart(group):
                    asked = self._max_age_ms(feed)
                    feed.started(group)
                    if self._max_age_ms(feed) != asked:
                        self.update(feed)
                case wire.SubscribeEnd(group):
                    final = group
                case wire.SubscribeDrop(start, end, error):
                    logger.debug("groups dropped first=%d last=%d code=%d", start, end, error)
                case _:
                    pass
        return final

    def _relative(self, path: str) -> str:
        return below(self.access.root, path)


def _passable(hops: tuple[int, ...]) -> bool:
    """Whether every version can tell of a route with these hops, and of us behind them."""
    known = [hop for hop in hops if hop]
    return len(hops) < MAX_HOPS and len(known) == len(set(known))
