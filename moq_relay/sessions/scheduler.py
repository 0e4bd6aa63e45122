"""Who sends next on one session: subscriber priority first, then the newest group."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Protocol

from moq_relay.errors import RequestError, TooFarBehind
from moq_relay.sessions.transport import Transport

STALE_ENTRIES = 64
"""Entries of senders that are gone, above which a heap is made anew."""


class Sender(Protocol):
    """A group on its way to one viewer."""

    opened: bool
    """Whether it has its stream already."""

    @property
    def rank(self) -> tuple[int, float, int]:
        """Larger goes first: priority, when the group was newest, sequence."""

    @property
    def age(self) -> tuple[float, int]:
        """Smaller is older, whatever the priority; it does not change."""

    def pump(self) -> None:
        """Send what there is for as long as the transport has room."""

    def give_up(self, error: RequestError) -> None:
        """End the group for this viewer."""


class _Queue:
    """A heap of tickets. It keeps no sender alive: who holds a ticket is asked when it is due."""

    def __init__(self, holders: dict[int, Sender]) -> None:
        self._holders = holders
        self._heap: list[tuple[float, float, float, int]] = []

    def push(self, first: float, second: float, third: float, ticket: int) -> None:
        heapq.heappush(self._heap, (first, second, third, ticket))
        if len(self._heap) > 2 * len(self._holders) + STALE_ENTRIES:
            self._heap = [entry for entry in self._heap if entry[3] in self._holders]
            heapq.heapify(self._heap)

    def first(self) -> tuple[float, float, float, int] | None:
        """The entry that is due; it stays."""
        while self._heap and self._heap[0][3] not in self._holders:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def clear(self) -> None:
        self._heap.clear()


class Scheduler:
    """Senders that wait for room, and how much waits."""

    def __init__(self, transport: Transport, backlog_limit: int) -> None:
        self.waiting_bytes = 0
        """Bytes of waiting groups that are not handed over yet."""
        self.limit = backlog_limit
        self._transport = transport
        self._sizes: dict[Sender, int] = {}
        self._tickets: dict[Sender, int] = {}
        self._holders: dict[int, Sender] = {}
        self._opened = _Queue(self._holders)
        self._unopened = _Queue(self._holders)
        self._ages = _Queue(self._holders)
        self._numbers = count()
        self._resuming = False

    def __len__(self) -> int:
        return len(self._sizes)

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
        known = self._sizes.get(sender)
        self._sizes[sender] = size
        self.waiting_bytes += size - (known or 0)
        if known is None:
            ticket = self._tickets[sender] = next(self._numbers)
            self._holders[ticket] = sender
            self._rank(sender, ticket)
        if not known and size:
            self._ages.push(*sender.age, 0, self._tickets[sender])
        if self.backlog > self.limit:
            self._shed()

    def leave(self, sender: Sender) -> None:
        """Wait no more. Harmless when it does not wait."""
        size = self._sizes.pop(sender, None)
        if size is not None:
            self.waiting_bytes -= size
            del self._holders[self._tickets.pop(sender)]

    def waits(self, sender: Sender) -> bool:
        """Whether ``sender`` waits for room."""
        return sender in self._sizes

    def reorder(self) -> None:
        """Priorities have changed."""
        self._opened.clear()
        self._unopened.clear()
        for sender, ticket in self._tickets.items():
            self._rank(sender, ticket)

    def resume(self) -> None:
        """The transport has room: the best waiting senders go on until it has none."""
        if self._resuming:
            return
        self._resuming = True
        try:
            while self._sizes and self._transport.writable():
                sender = self._best()
                if sender is None:
                    return
                self.leave(sender)
                sender.pump()
        finally:
            self._resuming = False

    def _rank(self, sender: Sender, ticket: int) -> None:
        priority, newest, sequence = sender.rank
        queue = self._opened if sender.opened else self._unopened
        queue.push(-priority, -newest, -sequence, ticket)

    def _best(self) -> Sender | None:
        entries = [self._opened.first()]
        if self._transport.can_open_uni():
            entries.append(self._unopened.first())
        best = min((entry for entry in entries if entry is not None), default=None)
        return None if best is None else self._holders[best[3]]

    def _shed(self) -> None:
        # A group that was handed over so far is in none's way: it has nothing in this queue.
        while self.backlog > self.limit and (entry := self._ages.first()) is not None:
            oldest = self._holders[entry[3]]
            self.leave(oldest)
            oldest.give_up(TooFarBehind("the viewer's backlog is full"))
