"""We publish: answers the peer's requests out of the origin."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from moq_relay.errors import (
    Cancelled,
    ControlTimeout,
    ExcessiveLoad,
    NotFound,
    ProtocolViolation,
    Unroutable,
)
from moq_relay.relay.access import Access
from moq_relay.relay.feed import Demand
from moq_relay.relay.group import Group
from moq_relay.relay.path import join, normalise
from moq_relay.relay.route import Asker
from moq_relay.relay.track import Track
from moq_relay.sessions.context import Context
from moq_relay.sessions.lite.announce import AnnounceEgress
from moq_relay.sessions.lite.egress import GroupEgress, Line
from moq_relay.sessions.lite.viewer import TrackEgress
from moq_relay.sessions.streams import Interrupted, RequestStream
from moq_relay.wire import varint
from moq_relay.wire.lite.messages import (
    AnnounceRequest,
    Fetch,
    Subscribe,
    SubscribeOk,
    SubscribeUpdate,
    TrackInfo,
    TrackRequest,
)
from moq_relay.wire.version import Slot

ANSWER_SECONDS = 10.0
"""How long a publisher may take to describe a track before the viewer is told so."""


class Publisher:
    """One coroutine per request stream, read from top to bottom."""

    def __init__(self, line: Line, context: Context, source: object) -> None:
        self.access = Access()
        self.hop = 0
        """The peer's id inside announcements, once its SETUP said it."""
        self._line = line
        self._origin = context.origin
        self._resolve = context.resolve
        self._limit = context.limits.subscriptions_per_session
        self._tenants = context.tenants
        self._source = source
        self._tracks: dict[int, TrackEgress] = {}
        self._fetches: dict[int, FetchEgress] = {}

    async def serve_announce(self, request: RequestStream) -> None:
        """Tell the peer what comes and goes under its prefix, until it leaves."""
        wanted: AnnounceRequest = await request.read(Slot.ANNOUNCE_REQUEST)
        prefix = join(self.access.root, normalise(wanted.prefix))
        egress = AnnounceEgress(self._line, request, self._origin.hop, prefix, self.access)
        asker = Asker(self._source, wanted.exclude_hop or self.hop, self.access.local_only)
        self._origin.watch(prefix, egress, asker)
        try:
            egress.open()
            await request.ended()
        finally:
            self._origin.unwatch(egress)
        request.finish()

    async def serve_track(self, request: RequestStream) -> None:
        """Say what a track is."""
        wanted: TrackRequest = await request.read(Slot.TRACK)
        path = await self._path(wanted.broadcast)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                track = self._origin.track(path, wanted.track, self._asker)
                info = await track.described_or_ended()
        except TimeoutError as error:
            raise ControlTimeout(f"nobody described track {wanted.track!r}") from error
        # The publisher's word, though less may be kept here: a client that goes from node to node
        # takes a track that is described otherwise for another one.
        kept = self._origin.cache.limits.duration
        max_age = kept if info.max_age is None else info.max_age
        request.write(
            TrackInfo(
                priority=info.priority,
                ordered=info.ordered,
                max_age=min(int(max_age * 1000), varint.MAX),
                timescale=info.timescale,
            )
        )
        request.finish()

    async def serve_subscribe(self, request: RequestStream) -> None:
        """Send one track, until the peer leaves or the track ends."""
        wanted: Subscribe = await request.read(Slot.SUBSCRIBE)
        asked = None if self.access.local_only else self._line.clock()
        path = await self._path(wanted.broadcast)
        self._may_begin()
        if wanted.id in self._tracks:
            raise ProtocolViolation(f"subscription {wanted.id} exists")
        egress = TrackEgress(self._line, request, wanted.id, asked=asked)
        demand = self._demand(wanted)
        egress.change(demand, wanted.frame_start, wanted.frame_end)
        self._line.counters.viewers += 1
        self._line.tally.requests += 1
        self._tracks[wanted.id] = egress
        track = None
        try:
            track = self._origin.subscribe(path, wanted.track, egress, demand, self._asker)
            if self._line.version.features.subscribe_ok:
                request.write(SubscribeOk())
            if self._line.version.features.subscribe_update:
                await self._follow_updates(request, egress, track)
            else:
                await request.ended()
            request.finish()
        except Interrupted:
            request.finish()
        finally:
            del self._tracks[wanted.id]
            self._line.counters.viewers -= 1
            # First, so that groups under way end as the viewer's wish and not as the track's loss.
            egress.close()
            if track is not None:
                track.leave(egress)

    async def _follow_updates(
        self, request: RequestStream, egress: TrackEgress, track: Track
    ) -> None:
        while (update := await request.read_or_end(Slot.SUBSCRIBE_UPDATE)) is not None:
            demand = self._demand(update)
            egress.change(demand, update.frame_start, update.frame_end)
            track.change(egress, demand)

    async def serve_fetch(self, request: RequestStream) -> None:
        """Send one group of the past."""
        wanted: Fetch = await request.read(Slot.FETCH)
        if not self._line.version.features.fetch:
            raise NotFound("this version has no fetch")
        path = await self._path(wanted.broadcast)
        self._may_begin(fetch=True)
        group = self._origin.fetch(path, wanted.track, wanted.group, self._asker)
        egress = self._fetches[request.stream] = FetchEgress(self._line, request, group, wanted)
        self._line.tally.requests += 1
        try:
            await egress.run()
        finally:
            del self._fetches[request.stream]

    def stopped(self, stream: int) -> None:
        """The peer no longer reads ``stream``, a group's or a fetch's."""
        owner = self._fetches.get(stream) or self._line.owners.get(stream)
        if owner is not None:
            owner.stopped(stream)

    def finished(self, stream: int) -> None:
        """The peer has acknowledged all of ``stream``."""
        owner = self._line.owners.pop(stream, None)
        if owner is not None:
            owner.finished()

    @property
    def viewing(self) -> bool:
        """Whether the peer reads anything."""
        return bool(self._tracks or self._fetches)

    @property
    def tells_times(self) -> bool:
        """Whether the peer is told when timed groups ended here."""
        return self._line.tell is not None

    def tell_times(self, tell: Callable[[int, int, float], None] | None) -> None:
        """Let ``tell`` know when timed groups ended here; see ``Line.tell``."""
        self._line.tell = tell

    @property
    def _asker(self) -> Asker:
        return Asker(self._source, self.hop, self.access.local_only)

    async def _path(self, broadcast: str) -> str:
        """The full path; if nothing covers it, after the cluster was asked for it.

        Raises:
            Unroutable: the peer may not read there.
        """
        path = join(self.access.root, normalise(broadcast))
        if not self.access.may_subscribe(path):
            raise Unroutable(f"{path!r} may not be read here")
        # Another node knows whom to ask.
        if self._resolve is not None and not self.access.local_only:
            try:
                self._origin.find(path)
            except Unroutable:
                await self._resolve(path)
        return path

    def _may_begin(self, *, fetch: bool = False) -> None:
        """Whether one more subscription, or fetch, may be served.

        Raises:
            ExcessiveLoad: the peer holds as many as one may, or its tenant sends too much.
        """
        if self._tenants.overdrawn(self.access):
            self._line.counters.requests_refused["tenant"] += 1
            raise ExcessiveLoad("its tenant sends more than it may")
        if not fetch and len(self._tracks) >= self._limit:
            self._line.counters.requests_refused["subscriptions"] += 1
            raise ExcessiveLoad("more subscriptions than one session may hold")

    def _demand(self, wanted: Subscribe | SubscribeUpdate) -> Demand:
        features = self._line.version.features
        return Demand(
            priority=wanted.priority,
            max_age=math.inf if features.unlimited_age else wanted.max_age / 1000,
            start=None if features.start_floor else wanted.start,
            reach=features.start_floor,
            floor=wanted.floor,
            end=wanted.end,
        )


class FetchEgress:
    """One fetched group on its request stream."""

    def __init__(self, line: Line, request: RequestStream, group: Group, wanted: Fetch) -> None:
        self._over = False
        self._request = request
        self._group = group
        self._egress = GroupEgress(
            line,
            group,
            self,
            stream=request.stream,
            priority=wanted.priority,
            frame_start=wanted.frame_start,
            frame_end=wanted.frame_end,
        )

    async def run(self) -> None:
        """Send until the group, or the peer's interest, ends.

        Raises:
            RequestError: there is no such group, or the peer gave up.
            Interrupted: all was sent.
        """
        if self._group.error is not None:
            raise self._group.error
        self._request.sent_elsewhere()
        self._egress.start()
        try:
            await self._request.broken()
        finally:
            self.stopped(self._egress.stream)

    def stopped(self, _stream: int) -> None:
        """Send no more. Harmless when it is over."""
        if not self._over:
            self._egress.give_up(Cancelled("the peer no longer wants the group"))

    def sent(self, _group: Group) -> None:
        self._over = True
        self._request.interrupt(Interrupted("the group was sent"))

    def finished(self) -> None:
        """What was handed over is the engine's business."""
