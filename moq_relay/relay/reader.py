"""A reader of a track: what it is told, and where it stands."""

from collections.abc import Mapping
from typing import Protocol

from moq_relay.errors import RequestError
from moq_relay.relay.feed import Demand
from moq_relay.relay.group import Group
from moq_relay.relay.route import Asker


class TrackReader(Protocol):
    """One viewer of a track."""

    def started(self, first: int) -> None:
        """Groups from ``first`` on will be told. Called once, before the first ``opened``."""

    def opened(self, group: Group) -> None:
        """A group that the reader's demand covers exists, perhaps complete already."""

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """A group of one frame, unreliably."""

    def ended(self, error: RequestError | None, final: int | None) -> None:
        """No group from ``final`` on will come; or the track failed. The last call."""


class Place:
    """One reader's demand, and the first group it was promised."""

    __slots__ = ("asker", "cold", "demand", "first", "least")

    def __init__(self, demand: Demand, asker: Asker) -> None:
        self.demand = demand
        self.asker = asker
        self.first: int | None = None
        """None while the reader waits for the first group of a cold track."""
        self.least = 0
        """It has had all groups below, from another track."""
        self.cold = False
        """Whether it waited for the feed's first group, and so has missed none of the feed's."""

    @property
    def low(self) -> int | None:
        """Lowest group it asked for by number or by age; None when it asked for the latest."""
        demand = self.demand
        return demand.floor if demand.start is None and demand.reach else demand.start

    def begin(
        self, groups: Mapping[int, Group], latest: int, promised: int | None, now: float
    ) -> int:
        """Choose ``first``: at the latest group, or where the reader asked to begin.

        ``promised`` is the first group that the source will send, though it may not be here yet.
        """
        demand, low = self.demand, self.low
        first = latest
        if low is not None:
            there = (
                sequence
                for sequence, group in groups.items()
                if sequence >= low and (demand.start is not None or group.age(now) < demand.max_age)
            )
            first = min(there, default=max(low, latest))
            if promised is not None:
                first = min(first, max(promised, low))
        elif self.cold and promised is not None:
            first = min(first, promised)
        self.first = first
        return first

    def wants(self, group: Group, now: float) -> bool:
        """Whether the reader is told of ``group``, which exists now."""
        sequence, demand = group.sequence, self.demand
        if self.first is None or (demand.end is not None and sequence > demand.end):
            return False
        if sequence < self.least:
            return False
        if sequence >= self.first:
            return True
        # It comes late: only who asked for it by number or by age has missed it, or who was there
        # before the feed began, whose streams may arrive in any order.
        low = 0 if self.cold and self.low is None else self.low
        return low is not None and sequence >= low and group.age(now) < demand.max_age
