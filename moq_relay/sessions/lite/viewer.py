"""One subscription of the peer: the groups of a track, each on a stream of its own."""

from __future__ import annotations

from moq_relay.errors import Cancelled, RequestError
from moq_relay.relay.feed import Demand
from moq_relay.relay.group import Group
from moq_relay.sessions.lite.delivery import Delivery
from moq_relay.sessions.lite.egress import GroupEgress, Line
from moq_relay.sessions.streams import Interrupted, RequestStream
from moq_relay.wire.lite.frames import Datagram, encode_datagram
from moq_relay.wire.lite.messages import SubscribeEnd, SubscribeStart

PARTIAL = "Partial"
"""Why a viewer misses a group whose start is missing, among the names of errors."""


class TrackEgress:
    """Follows a track for one viewer; a ``TrackReader``."""

    def __init__(
        self, line: Line, request: RequestStream, subscribe: int, *, asked: float | None = None
    ) -> None:
        """Send nothing before ``change``; a viewer ``asked`` for it then, and a node when None."""
        self.asked = asked
        self.of_node = asked is None
        self._line = line
        self._request = request
        self._subscribe = subscribe
        self._frame_start = 0
        self._frame_end: int | None = None
        self._demand = Demand()
        self._told = -1
        """Highest group that was sent or is being sent."""
        self._open: dict[int, GroupEgress] = {}
        self._unfinished = 0
        """Streams of ended groups that the peer has not acknowledged whole."""
        self._final: int | None = None
        self._over = False

    def change(self, demand: Demand, frame_start: int, frame_end: int | None) -> None:
        """Send by ``demand`` from now on; the bounds count in its first and its last group."""
        reorder = demand.priority != self._demand.priority
        self._demand = demand
        self._frame_start = frame_start
        self._frame_end = frame_end
        for egress in self._open.values():
            egress.priority = demand.priority
            egress.max_age = demand.max_age
        if reorder:
            self._line.scheduler.reorder()

    # What the track tells.

    def started(self, first: int) -> None:
        if self._line.version.features.subscribe_start:
            self._request.write(SubscribeStart(first))

    def opened(self, group: Group) -> None:
        sequence = group.sequence
        end = self._demand.end
        if (end is not None and sequence > end) or sequence in self._open:
            return
        self._told = max(self._told, sequence)
        if group.first and not self._line.version.features.frame_bounds:
            # The version can't say that the start is missing: incomplete would look complete.
            self._line.experience.skipped[self._line.transport.binding, PARTIAL] += 1
            self._line.tally.skipped += 1
            return
        self._expire()
        delivery = None
        if group.times is not None or self.asked is not None:
            delivery = Delivery(self._line, self, group, self._subscribe)
        egress = self._open[sequence] = GroupEgress(
            self._line,
            group,
            self,
            subscribe=self._subscribe,
            priority=self._demand.priority,
            max_age=self._demand.max_age,
            frame_start=self._frame_start if sequence == self._start else 0,
            frame_end=self._frame_end if sequence == end else None,
            delivery=delivery,
        )
        egress.start()

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        line, counters = self._line, self._line.counters
        if not line.version.features.datagrams:
            counters.datagrams_dropped["version"] += 1
            return
        datagram = Datagram(self._subscribe, sequence, timestamp, payload)
        if line.transport.send_datagram(encode_datagram(datagram)):
            counters.datagrams_out += 1
            counters.bytes_out += len(payload)
            line.tally.bytes_out += len(payload)
        else:
            counters.datagrams_dropped["size"] += 1

    def ended(self, error: RequestError | None, final: int | None) -> None:
        self._over = True
        if error is not None:
            for egress in tuple(self._open.values()):
                egress.give_up(error)
            self._request.interrupt(error)
            return
        # A publisher that ends its track below what it sent would make us break the rules for it.
        self._final = max(self._told + 1, final or 0)
        self._finish()

    # How it ends.

    def stopped(self, stream: int) -> None:
        """The peer no longer reads one group."""
        for egress in tuple(self._open.values()):
            if egress.stream == stream:
                egress.give_up(Cancelled("the peer stopped the group"))

    def close(self) -> None:
        """Nothing more is sent; what is under way is reset."""
        self._over, self._final = True, None
        for egress in tuple(self._open.values()):
            egress.give_up(Cancelled("the subscription ended"))

    @property
    def _start(self) -> int | None:
        demand = self._demand
        return demand.start if demand.start is not None else demand.floor

    def _expire(self) -> None:
        """Give up waiting groups that became too old; oldest first, so that few are looked at."""
        for egress in tuple(self._open.values()):
            if not egress.expired:
                return
            if egress.waiting:
                egress.pump()

    def sent(self, group: Group) -> None:
        egress = self._open.pop(group.sequence, None)
        if egress is not None and egress.opened:
            self._unfinished += 1
        if self._final is not None:
            self._finish()

    def finished(self) -> None:
        self._unfinished -= 1
        if self._final is not None:
            self._finish()

    def _finish(self) -> None:
        """All groups have arrived: say that it was all.

        Not before: some clients forget the groups of a subscription with its stream.
        """
        if self._final is None or self._open or self._unfinished > 0:
            return
        if self._line.version.features.subscribe_start:
            self._request.write(SubscribeEnd(self._final))
        self._final = None
        self._request.interrupt(Interrupted("the track ended"))
