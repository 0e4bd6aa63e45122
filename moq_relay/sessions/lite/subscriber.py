"""We subscribe: brings the peer's broadcasts into the origin. The peer is a source."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Protocol

from moq_relay.errors import (
    Cancelled,
    ControlTimeout,
    MalformedTrack,
    NotFound,
    RequestError,
    SessionClosed,
    WireError,
)
from moq_relay.relay.access import Access
from moq_relay.relay.feed import Feed, TrackInfo
from moq_relay.relay.group import Frame, Group
from moq_relay.relay.path import below, join, normalise
from moq_relay.relay.route import Route
from moq_relay.sessions.context import Context
from moq_relay.sessions.lite import codes
from moq_relay.sessions.lite.ingress import Inlet
from moq_relay.sessions.streams import RequestStream
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.frames import FrameDecoder, decode_datagram
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.version import Slot, Version

SETTLE_SECONDS = 10.0
"""How long group streams of an ended track may still be on their way."""
ANSWER_SECONDS = 10.0
"""How long a publisher may take to describe a track."""
LAST_RESORT = float("-inf")
"""The age of routes through a peer that is about to leave: any other is newer."""

logger = logging.getLogger(__name__)


class Opener(Protocol):
    """What the subscriber needs of its session."""

    async def open_request(self) -> RequestStream:
        """A new bidirectional stream, once the peer's credit allows one."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run ``work`` as a task of the session."""


class Subscriber:
    """Asks for announcements and tracks; a ``Source`` whose answers come over the wire."""

    def __init__(self, session: Opener, inlet: Inlet, context: Context) -> None:
        self.access = Access()
        self.link_cost = 1
        """Price of the peer's link towards us, from its SETUP."""
        self.hop = 0
        self._session = session
        self._version = inlet.version
        self._origin = context.origin
        self._inlet = inlet
        self._counters = context.counters
        self._announce_limit = context.limits.announces_per_session
        self._routes: dict[str, Route] = {}
        self._requests: dict[Feed, tuple[int, RequestStream]] = {}
        self._pending: set[Feed] = set()
        self._fetches: set[Group] = set()
        self._next_id = 0
        self._lost = False

    # Announcements.

    async def follow(self) -> None:
        """Mirror the peer's announcements into the origin until its announce stream ends."""
        request = await self._session.open_request()
        request.write_type(BiStream.ANNOUNCE)
        request.write(wire.AnnounceRequest("", self._origin.hop))
        mirror = _Mirror(self, self._version)
        try:
            if self._version.features.announce_ok or self._version.features.announce_init:
                mirror.opening(await request.read(Slot.ANNOUNCE_OPENING))
            while (message := await request.read_or_end(Slot.ANNOUNCEMENT)) is not None:
                mirror.heard(message)
        except RequestError as error:
            logger.debug("announce stream ended reason=%s", error)
        if not self._lost:
            for path in tuple(self._routes):
                self.withdraw(path)
        request.finish()
        request.refuse(codes.CANCEL)
        request.done()

    def announce(self, suffix: str, hops: tuple[int, ...], warm: int = 0, cold: int = 0) -> None:
        """The peer has a broadcast, or has it another way."""
        path = join(self.access.root, normalise(suffix))
        if self._lost:
            return
        if not self.access.may_publish(path) or (
            path not in self._routes and len(self._routes) >= self._announce_limit
        ):
            self._counters.announces_refused += 1
            return
        top = 2**62 - 1
        known = self._routes.get(path)
        route = Route(
            self,
            hops,
            # The same publisher another way is no newer publisher.
            self._origin.clock() if known is None else known.since,
            warm=min(warm + self.link_cost, top),
            cold=min(cold + self.link_cost, top),
        )
        if self._origin.announce(path, route):
            self._routes[path] = route

    def withdraw(self, path: str) -> None:
        """The peer ended a broadcast; ``path`` is full."""
        if self._routes.pop(path, None) is not None:
            self._origin.withdraw(path, self, clean=True)

    def ended(self, suffix: str) -> None:
        """The peer ended a broadcast, named as on its wire."""
        self.withdraw(join(self.access.root, normalise(suffix)))

    def leaving(self) -> None:
        """The peer is about to go: any other route is better from now on."""
        for path, route in self._routes.items():
            self._routes[path] = replace(route, since=LAST_RESORT)
            self._origin.announce(path, self._routes[path])

    def lost(self) -> None:
        """The session is gone: its routes are lost, and nothing more comes through its feeds."""
        self._lost = True
        routes, self._routes = self._routes, {}
        for path in routes:
            self._origin.withdraw(path, self, clean=False)
        error = SessionClosed("the publisher's session ended")
        for feed in (*self._requests, *self._pending):
            feed.ended(error)
        for group in self._fetches:
            group.abort(error)
        self._inlet.feeds.clear()

    # A source.

    def describe(self, feed: Feed) -> None:
        if not self._version.features.track_stream:
            feed.described(TrackInfo())
        elif self._lost:
            feed.ended(SessionClosed("the publisher's session ended"))
        else:
            self._pending.add(feed)
            self._session.spawn(self._describe(feed), f"track-{feed.track.name}")

    def subscribe(self, feed: Feed) -> None:
        if self._lost:
            feed.ended(SessionClosed("the publisher's session ended"))
            return
        self._pending.add(feed)
        self._session.spawn(self._subscribe(feed), f"subscribe-{feed.track.name}")

    def update(self, feed: Feed) -> None:
        asked = self._requests.get(feed)
        if asked is not None and self._version.features.subscribe_update:
            demand = feed.demand
            asked[1].write(
                wire.SubscribeUpdate(
                    demand.priority,
                    max_age=feed.max_age_ms,
                    start=demand.start,
                    floor=demand.floor,
                    end=demand.end,
                )
            )

    def unsubscribe(self, feed: Feed) -> None:
        asked = self._requests.get(feed)
        if asked is not None:
            asked[1].interrupt(Cancelled("nobody reads the track any more"))

    def fetch(self, path: str, track: str, group: Group) -> None:
        if not self._version.features.fetch or self._lost:
            group.abort(NotFound("the publisher cannot fetch"))
            return
        self._fetches.add(group)
        self._session.spawn(self._fetch(path, track, group), f"fetch-{track}-{group.sequence}")

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
        feed.datagram(datagram.sequence, datagram.timestamp, datagram.payload)

    # Requests, each from its first byte to its last.

    async def _describe(self, feed: Feed) -> None:
        request = await self._session.open_request()
        request.write_type(BiStream.TRACK)
        request.write(wire.TrackRequest(self._relative(feed.track.path), feed.track.name))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                info: wire.TrackInfo = await request.read(Slot.TRACK_INFO)
            feed.described(
                TrackInfo(info.priority, info.ordered, info.max_age / 1000, info.timescale)
            )
        except TimeoutError:
            request.refuse(codes.CANCEL)
            feed.ended(ControlTimeout("the publisher did not describe the track"))
        except WireError as error:
            request.refuse(codes.CANCEL)
            feed.ended(MalformedTrack(str(error)))
        except RequestError as error:
            feed.ended(error)
        finally:
            self._pending.discard(feed)
            # Not before the answer: publishers take a FIN for a cancel.
            request.finish()
            request.done()

    async def _subscribe(self, feed: Feed) -> None:
        request = await self._session.open_request()
        self._pending.discard(feed)
        if not feed.live:
            request.give_up(codes.CANCEL)
            return
        number, self._next_id = self._next_id, self._next_id + 1
        self._requests[feed] = number, request
        self._inlet.feeds[number] = feed
        self._counters.upstream += 1
        demand = feed.demand
        request.write_type(BiStream.SUBSCRIBE)
        request.write(
            wire.Subscribe(
                number,
                self._relative(feed.track.path),
                feed.track.name,
                demand.priority,
                max_age=feed.max_age_ms,
                start=demand.start,
                floor=demand.floor,
                end=demand.end,
            )
        )
        try:
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

    async def _follow_replies(self, feed: Feed, request: RequestStream) -> int | None:
        """Until the publisher ends the track; the group at which it ends, where it says so."""
        final: int | None = None
        while (reply := await request.read_or_end(Slot.SUBSCRIBE_REPLY)) is not None:
            match reply:
                case wire.SubscribeStart(group):
                    feed.started(group)
                case wire.SubscribeEnd(group):
                    final = group
                case wire.SubscribeDrop(start, end, error):
                    logger.debug("groups dropped first=%d last=%d code=%d", start, end, error)
                case _:
                    pass
        return final

    async def _fetch(self, path: str, track: str, group: Group) -> None:
        request = await self._session.open_request()
        request.write_type(BiStream.FETCH)
        request.write(wire.Fetch(self._relative(path), track, 0, group.sequence))
        decoder = FrameDecoder(self._version.features.timestamps, self._inlet.frame_limit)

        def arrived(payload: bytes, fin: bool) -> None:
            try:
                for timestamp, frame in decoder.feed(payload):
                    group.append(Frame(frame, timestamp or 0))
            except RequestError as error:
                request.interrupt(error)
            except WireError as error:
                request.interrupt(MalformedTrack(str(error)))
            if fin and not decoder.partial:
                group.finish()

        try:
            request.pour(arrived)
            await request.ended()
        except RequestError as error:
            group.abort(error)
        finally:
            if group.open:
                group.abort(NotFound("the fetch broke off"))
            request.finish()
            request.refuse(codes.CANCEL)
            self._fetches.discard(group)
            request.done()

    def _relative(self, path: str) -> str:
        return below(self.access.root, path)


class _Mirror:
    """One announce stream's state: what each number or suffix stands for."""

    def __init__(self, subscriber: Subscriber, version: Version) -> None:
        self._to = subscriber
        self._features = version.features
        self._sender: tuple[int, ...] = ()
        self._suffixes: dict[int, str] = {}
        self._live: set[str] = set()
        self._next_id = 0

    def opening(self, message: Any) -> None:
        """The first reply: who sends, or what is live."""
        match message:
            case wire.AnnounceOk(hop, _):
                self._sender = (hop,)
            case wire.AnnounceInit(suffixes):
                for suffix in suffixes:
                    self._to.announce(suffix, (0,))

    def heard(self, message: Any) -> None:
        """One announcement.

        Raises:
            WireError: it speaks of something that is not there, or twice of what is.
        """
        match message:
            case wire.Announce(wire.Status.ENDED, suffix, _):
                self._to.ended(suffix)
            case wire.Announce(_, suffix, hops):
                self._announce(suffix, hops if self._features.sender_in_hops else None, hops)
            case wire.AnnounceStart(suffix, hops, warm, cold):
                if suffix in self._live:
                    raise WireError(f"{suffix!r} was announced twice")
                self._live.add(suffix)
                self._suffixes[self._next_id] = suffix
                self._next_id += 1
                self._announce(suffix, None, hops, warm, cold)
            case wire.AnnounceUpdate(number, hops, warm, cold):
                self._announce(self._known(number), None, hops, warm, cold)
            case wire.AnnounceEnd(number):
                suffix = self._known(number)
                del self._suffixes[number]
                self._live.discard(suffix)
                self._to.ended(suffix)
            case _:
                pass

    def _known(self, number: int) -> str:
        if number not in self._suffixes:
            raise WireError(f"announcement {number} is not there")
        return self._suffixes[number]

    def _announce(
        self,
        suffix: str,
        whole: tuple[int, ...] | None,
        hops: tuple[int, ...],
        warm: int = 0,
        cold: int = 0,
    ) -> None:
        chain = (*hops, *self._sender) if whole is None else whole
        self._to.announce(suffix, chain or (0,), warm, cold)
