"""How long groups are kept: an age for each, and one budget of bytes for all."""

from __future__ import annotations

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
    """Every group of the node in the order of opening, and the bytes they hold."""

    def __init__(self, limits: CacheLimits, counters: Counters) -> None:
        self.limits = limits
        self.size = 0
        """Payload bytes held now."""
        self._groups: dict[Group, None] = {}
        self._counters = counters

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, group: Group) -> None:
        """Know a new group."""
        self._groups[group] = None

    def charge(self, group: Group, size: int) -> None:
        """Count ``size`` bytes appended to ``group``; the oldest groups go when it is too much."""
        if group not in self._groups:
            return
        self.size += size
        if self.size > self.limits.capacity:
            self._shrink(group)

    def discard(self, group: Group) -> None:
        """Forget a group; harmless when it is forgotten already."""
        if group in self._groups:
            del self._groups[group]
            self.size -= group.size

    def evict(self, group: Group, reason: str) -> None:
        """Take ``group`` out of its track and end whoever still reads it."""
        self._counters.evictions[reason] += 1
        group.abort(Evicted(f"group {group.sequence} left the cache"))

    def sweep(self, now: float) -> None:
        """Let every group go that is older than its publisher and ``duration`` allow."""
        for group in tuple(self._groups):
            if now - self._useless_since(group, now) > self._keep_seconds(group):
                self.evict(group, "age")

    def _useless_since(self, group: Group, now: float) -> float:
        """When a newer group came, or when the last reader of its track went."""
        if group.superseded_at is not None:
            return group.superseded_at
        if group.open:
            return now
        if group.track is None:
            return group.opened_at
        return now if group.track.idle_since is None else group.track.idle_since

    def _keep_seconds(self, group: Group) -> float:
        info = None if group.track is None else group.track.info
        max_age = DEFAULT_MAX_AGE if info is None or info.max_age is None else info.max_age
        return min(max_age, self.limits.duration)

    def _shrink(self, growing: Group) -> None:
        for group in tuple(self._groups):
            if self.size <= self.limits.capacity:
                return
            if group is not growing and not group.latest:
                self.evict(group, "capacity")
