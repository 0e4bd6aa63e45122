"""How long groups are kept: an age for each, and one budget of bytes for all."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moq_relay.errors import Evicted
from moq_relay.relay.counters import Counters

if TYPE_CHECKING:
    from moq_relay.relay.group import Group

DEFAULT_MAX_AGE = 5.0
"""Seconds a group is kept when the publisher's version has no TRACK_INFO."""


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """What the cache may hold."""

    capacity: int = 256 << 20
    """Payload bytes of all groups together; a track's latest group never goes for it."""
    duration: float = 30.0
    """Seconds a superseded group is kept at most, whatever its publisher says."""
    group_bytes: int = 32 << 20
    group_frames: int = 8192


class Cache:
    """Every group of the node, and the bytes they hold.

    A sweep costs a step per track and per group that goes; making room costs a step per group
    that goes. Neither looks at what stays.
    """

    def __init__(self, limits: CacheLimits, counters: Counters) -> None:
        self.limits = limits
        self.size = 0
        """Payload bytes held now."""
        self._latest: dict[int, Group] = {}
        self._outdated: OrderedDict[int, Group] = OrderedDict()
        """Superseded groups by their numbers, longest ago first."""
        self._expiries: list[tuple[float, int]] = []
        """A heap of when an outdated group should go; numbers of gone groups stay until then."""
        self._numbers = itertools.count()
        self._counters = counters

    def __len__(self) -> int:
        return len(self._latest) + len(self._outdated)

    def add(self, group: Group) -> int:
        """Know a new group, by the number returned."""
        number = next(self._numbers)
        self._latest[number] = group
        return number

    def outdated(self, group: Group) -> None:
        """A newer group has superseded it: from now on it may go."""
        if self._latest.pop(group.number, None) is not None:
            self._outdated[group.number] = group
            heapq.heappush(self._expiries, (self._expiry(group), group.number))

    def charge(self, group: Group, size: int) -> None:
        """Count ``size`` bytes appended to ``group``; the oldest groups go when it is too much."""
        self.size += size
        if self.size > self.limits.capacity:
            self._shrink(group)

    def discard(self, group: Group) -> None:
        """Forget a group; harmless when it is forgotten already."""
        known = self._latest if group.number in self._latest else self._outdated
        if known.pop(group.number, None) is not None:
            self.size -= group.size

    def evict(self, group: Group, reason: str) -> None:
        """Take ``group`` out of its track and end whoever still reads it."""
        self._counters.evictions[reason] += 1
        unfinished = group.open
        group.abort(Evicted(f"group {group.sequence} left the cache"))
        if unfinished:
            group.on_abandoned()

    def sweep(self, now: float) -> None:
        """Let every group go that is older than its publisher and ``duration`` allow."""
        while self._expiries and self._expiries[0][0] < now:
            _, number = heapq.heappop(self._expiries)
            group = self._outdated.get(number)
            if group is None:
                continue
            # The publisher may have said more since, and a fetch goes on while it is read.
            reading = group.fetched and group.open and group.readers
            expiry = max(self._expiry(group), now if reading else 0.0)
            if expiry < now:
                self.evict(group, "age")
            else:
                heapq.heappush(self._expiries, (expiry, number))
        for group in tuple(self._latest.values()):
            # A track's latest group is of use for as long as somebody follows the track.
            since = group.opened_at if group.track is None else group.track.idle_since
            if since is not None and not group.open and now - since > self._keep_seconds(group):
                self.evict(group, "age")

    def trim(self, owner: Callable[[str], str], capacity: int) -> None:
        """Let the oldest groups of each owner go that holds more than ``capacity`` bytes.

        A step per group that is kept. ``owner`` tells whose a broadcast's path is; the latest group
        of a track stays.
        """
        held: Counter[str] = Counter()
        owners: dict[str, str] = {}

        def whose(group: Group) -> str:
            path = "" if group.track is None else group.track.path
            if path not in owners:
                owners[path] = owner(path)
            return owners[path]

        for group in (*self._latest.values(), *self._outdated.values()):
            held[whose(group)] += group.size
        if not any(size > capacity for size in held.values()):
            return
        for group in tuple(self._outdated.values()):
            name = whose(group)
            if held[name] > capacity:
                held[name] -= group.size
                self.evict(group, "tenant")

    def _expiry(self, group: Group) -> float:
        since = group.opened_at if group.superseded_at is None else group.superseded_at
        return since + self._keep_seconds(group)

    def _keep_seconds(self, group: Group) -> float:
        info = None if group.track is None else group.track.info
        max_age = DEFAULT_MAX_AGE if info is None or info.max_age is None else info.max_age
        return min(max_age, self.limits.duration)

    def _shrink(self, growing: Group) -> None:
        while self.size > self.limits.capacity:
            victim = next((old for old in self._outdated.values() if old is not growing), None)
            if victim is None:
                return
            self.evict(victim, "capacity")
