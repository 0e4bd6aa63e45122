"""Groups to group streams: a viewer is a cursor over bytes that all viewers share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from moq_relay.errors import Evicted, Old, RequestError, TooFarBehind
from moq_relay.relay.counters import Counters
from moq_relay.relay.group import Group
from moq_relay.sessions.experience import Experience
from moq_relay.sessions.lite import codes
from moq_relay.sessions.lite.coding import Coding
from moq_relay.sessions.lite.delivery import Delivery
from moq_relay.sessions.scheduler import Scheduler
from moq_relay.sessions.tally import Tally
from moq_relay.sessions.transport import Transport
from moq_relay.wire import varint
from moq_relay.wire.lite.frames import append_frame
from moq_relay.wire.lite.messages import Group as GroupHeader
from moq_relay.wire.lite.messages import UniStream
from moq_relay.wire.version import Version

SLICE = 32 << 10
"""Bytes handed over at once before the transport is asked again whether it has room."""

GROUP_STREAM = varint.encode(UniStream.GROUP)

LATE = (Evicted, Old, TooFarBehind)
"""Why a viewer that is too slow misses groups."""


class Owner(Protocol):
    """Whose groups they are: one subscription of the peer, or one fetch."""

    def sent(self, group: Group) -> None:
        """The group is handed over to its end, or given up."""

    def stopped(self, stream: int) -> None:
        """The peer no longer reads the group on ``stream``."""

    def finished(self) -> None:
        """One of its streams was acknowledged to its end."""


class Line:
    """What all groups of one session share on their way out."""

    __slots__ = (
        "clock",
        "counters",
        "experience",
        "owners",
        "scheduler",
        "tally",
        "tell",
        "transport",
        "version",
    )

    def __init__(
        self,
        transport: Transport,
        scheduler: Scheduler,
        version: Version,
        counters: Counters,
        clock: Callable[[], float],
        *,
        experience: Experience,
    ) -> None:
        self.transport = transport
        self.scheduler = scheduler
        self.version = version
        self.counters = counters
        self.clock = clock
        self.experience = experience
        self.tally = Tally()
        self.owners: dict[int, Owner] = {}
        """Streams that are not acknowledged to their end, and whose they are."""
        self.tell: Callable[[int, int, float], None] | None = None
        """Told of groups that came to their end here: subscription, sequence, when."""


class GroupEgress:
    """One group on its way to one viewer."""

    __slots__ = (
        "_delivery",
        "_frame_end",
        "_frame_start",
        "_frames",
        "_group",
        "_head",
        "_line",
        "_owner",
        "_sent",
        "_stream",
        "max_age",
        "opened",
        "priority",
    )

    def __init__(
        self,
        line: Line,
        group: Group,
        owner: Owner,
        *,
        subscribe: int | None = None,
        stream: int | None = None,
        priority: int = 0,
        max_age: float = math.inf,
        frame_start: int = 0,
        frame_end: int | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        """Send ``group`` on a group stream of ``subscribe``, or bare on an open ``stream``."""
        self.priority = priority
        self.max_age = max_age
        self.opened = stream is not None
        self._line = line
        self._group = group
        self._owner = owner
        self._delivery = delivery
        self._stream = -1 if stream is None else stream
        self._frame_start = max(frame_start - group.first, 0)
        self._frame_end = None if frame_end is None else frame_end + 1 - group.first
        self._sent = 0
        self._frames = self._frame_start
        self._head = b""
        if subscribe is not None:
            first = group.first + self._frame_start
            header = line.version.encode(GroupHeader(subscribe, group.sequence, first))
            self._head = GROUP_STREAM + header

    @property
    def rank(self) -> tuple[int, float, int]:
        group = self._group
        newest = group.opened_at
        if group.superseded_at is not None:
            newest = min(newest, group.superseded_at)
        return self.priority, newest, group.sequence

    @property
    def age(self) -> tuple[float, int]:
        return self.rank[1:]

    @property
    def waiting(self) -> bool:
        """Whether there are bytes that the transport had no room for."""
        return self._line.scheduler.waits(self)

    @property
    def expired(self) -> bool:
        """Whether a newer group has existed for as long as the viewer wants to wait."""
        superseded = self._group.superseded_at
        return superseded is not None and self._line.clock() - superseded >= self.max_age

    def start(self) -> None:
        """Follow the group from its first frame."""
        self._group.join(self)
        self.ready()

    def ready(self) -> None:
        """Send what the viewer lacks, unless others wait before it for room."""
        scheduler = self._line.scheduler
        if self._group.error is None and (
            scheduler.waits(self) or not scheduler.room(opened=self.opened)
        ):
            coding = Coding.of(self._group, self._line.version)
            left = len(coding.buffer) - self._sent
            # A group that was handed over so far needs room only for its end.
            scheduler.wait(self, left)
            return
        self.pump()

    def pump(self) -> None:
        """Send what there is for as long as the transport has room."""
        group, line = self._group, self._line
        if group.error is not None:
            self.give_up(group.error)
            return
        coding = Coding.of(group, line.version)
        stop, over = len(coding.buffer), group.finished
        if self._frame_end is not None and len(coding.ends) >= self._frame_end:
            stop, over = coding.ends[self._frame_end - 1] if self._frame_end > 0 else 0, True
        if self._sent < stop and group.superseded_at is not None and self.expired:
            self.give_up(Old(f"group {group.sequence} was superseded"))
            return
        transport = line.transport
        if not self.opened and not self._begin():
            line.scheduler.wait(self, stop - self._sent)
            return
        if self._frame_start and not self._skip(coding):
            if over:
                transport.send(self._stream, b"", fin=True)
                self.drop()
            return
        while self._sent < stop:
            if not transport.writable():
                line.scheduler.wait(self, stop - self._sent)
                return
            until = min(stop, self._sent + SLICE)
            last = over and until == stop
            transport.send(self._stream, coding.buffer, self._sent, until, fin=last)
            line.counters.bytes_out += until - self._sent
            line.tally.bytes_out += until - self._sent
            self._sent = until
            if self._delivery is not None:
                self._delivery.handed_over(group, first=until >= coding.ends[0])
            if last:
                self._end(coding)
                return
        if over:
            transport.send(self._stream, b"", fin=True)
            self._end(coding)

    def give_up(self, error: RequestError) -> None:
        """End the group for this viewer with a reset; a stream that never opened needs none."""
        line = self._line
        if self.opened:
            line.transport.reset(self._stream, codes.of(error))
        reason = type(error).__name__
        line.counters.resets_out[reason] += 1
        if isinstance(error, LATE):
            line.experience.skipped[line.transport.binding, reason] += 1
            line.tally.skipped += 1
        self.drop()

    def drop(self) -> None:
        """Forget the group without a word to the peer, who knows or is gone."""
        self._line.scheduler.leave(self)
        self._group.leave(self)
        self._owner.sent(self._group)

    @property
    def stream(self) -> int:
        """The group's stream; -1 before it has one."""
        return self._stream

    def _begin(self) -> bool:
        line = self._line
        if not line.transport.can_open_uni():
            return False
        self._stream = line.transport.open_uni()
        self.opened = True
        line.owners[self._stream] = self._owner if self._delivery is None else self._delivery
        line.transport.send(self._stream, self._head)
        line.counters.groups_out += 1
        line.tally.groups_out += 1
        return True

    def _skip(self, coding: Coding) -> bool:
        """Start inside the group: the first frame sent counts its timestamp from 0."""
        index = self._frame_start
        if len(coding.ends) <= index:
            return False
        if self._frame_end is not None and index >= self._frame_end:
            return False
        frame = self._group.frames[index]
        first = bytearray()
        stamp = frame.timestamp if self._line.version.features.timestamps else None
        append_frame(first, frame.payload, stamp)
        self._line.transport.send(self._stream, bytes(first))
        self._sent = coding.ends[index]
        self._frame_start = 0
        return True

    def _end(self, coding: Coding) -> None:
        frames = len(coding.ends)
        if self._frame_end is not None:
            frames = min(frames, self._frame_end)
        self._line.counters.frames_out += max(frames - self._frames, 0)
        if self._delivery is not None and self._frame_end is None:
            self._delivery.ended(self._group)
        self.drop()
