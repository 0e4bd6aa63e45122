"""Who sends next on one session: subscriber priority first, then the newest group."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Protocol

from moq_relay.errors import RequestError, TooFarBehind
from moq_relay.sessions.transport import Transport


class Sender(Protocol):
    """A group on its way to one viewer."""

    opened: bool
    """Whether it has its stream already."""

    @property
    def rank(self) -> tuple[int, float, int]:
        """Larger goes first: priority, when the group was newest, sequence."""

    @property
    def age(self) -> tuple[float, int]:
        """Smaller is older, whatever the priority."""

    def pump(self) -> None:
        """Send what there is for as long as the transport has room."""

    def give_up(self, error: RequestError) -> None:
        """End the group for this viewer."""


class Scheduler:
    """Senders that wait for room, and how much waits."""

    def __init__(self, transport: Transport, backlog_limit: int) -> None:
        self.waiting_bytes = 0
        """Bytes of waiting groups that are not handed over yet."""
        self._transport = transport
        self.limit = backlog_limit
        self._waiting: dict[Sender, int] = {}
        self._opened: list[_Entry] = []
        self._unopened: list[_Entry] = []
        self._tick = count()
        self._resuming = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def backlog(self) -> int:
        """Bytes of this viewer that wait here or are unacknowledged in the engine."""
        return self.waiting_bytes + self._transport.unacknowledged()

    def room(self, *, opened: bool) -> bool:
        """Whether a sender may send now, given whether it has its stream."""
        return self._transport.writable() and (opened or self._transport.can_open_uni())

    def wait(self, sender: Sender, size: int) -> None:
        """Let ``sender``, of which ``size`` bytes are left, wait for room, or wait with more.

        Past the backlog limit the oldest waiting groups are given up, this one if need be.
        """
        known = self._waiting.get(sender)
        self._waiting[sender] = size
        self.waiting_bytes += size - (known or 0)
        if known is None:
            self._push(sender)
        if self.backlog > self.limit:
            self._shed()

    def leave(self, sender: Sender) -> None:
        """Wait no more. Harmless when it does not wait."""
        size = self._waiting.pop(sender, None)
        if size is not None:
            self.waiting_bytes -= size

    def waits(self, sender: Sender) -> bool:
        """Whether ``sender`` waits for room."""
        return sender in self._waiting

    def reorder(self) -> None:
        """Priorities have changed."""
        self._opened.clear()
        self._unopened.clear()
        for sender in self._waiting:
            self._push(sender)

    def resume(self) -> None:
        """The transport has room: the best waiting senders go on until it has none."""
        if self._resuming:
            return
        self._resuming = True
        try:
            while self._waiting and self._transport.writable():
                sender = self._best()
                if sender is None:
                    return
                self.leave(sender)
                sender.pump()
        finally:
            self._resuming = False

    def _push(self, sender: Sender) -> None:
        priority, newest, sequence = sender.rank
        entry = (-priority, -newest, -sequence, next(self._tick), sender)
        heapq.heappush(self._opened if sender.opened else self._unopened, entry)

    def _best(self) -> Sender | None:
        heaps = [self._opened]
        if self._transport.can_open_uni():
            heaps.append(self._unopened)
        for heap in heaps:
            while heap and heap[0][4] not in self._waiting:
                heapq.heappop(heap)
        full = [heap for heap in heaps if heap]
        if not full:
            return None
        return heapq.heappop(min(full, key=lambda heap: heap[0][:4]))[4]

    def _shed(self) -> None:
        while self._waiting and self.backlog > self.limit:
            oldest = min(self._waiting, key=lambda sender: sender.age)
            self.leave(oldest)
            oldest.give_up(TooFarBehind("the viewer's backlog is full"))


_Entry = tuple[int, float, int, int, Sender]
