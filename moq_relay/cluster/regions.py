"""The regions that have numbers of their own: those of members, and for a while those that had."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from moq_relay.cluster.records import Member

KEPT_SECONDS = 300.0
"""How long the numbers of a region stay when no member is there any more."""
MOST = 32
"""Regions with numbers of their own; those of further ones are counted as ``OTHER``."""
OTHER = "other"

T = TypeVar("T")


@dataclass(slots=True)
class _Seen:
    region: str
    at: float


class Regions:
    """Where every node is, and under which label it is counted.

    It is told of members as any ``table.Listener``; ``turn`` lets time pass.
    """

    def __init__(
        self,
        own: str,
        member: Callable[[str], Member | None] = lambda _node: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with this node's own region, which stays.

        Args:
            own: where this node is.
            member: the record of a node; None when it is no member.
            clock: monotonic seconds.
        """
        self.own = own
        self._member = member
        self._clock = clock
        self._nodes: dict[str, _Seen] = {}
        """Members, and for a while those that were."""
        self._shown: dict[str, None] = {own: None}
        self._forget: list[Callable[[str], object]] = []

    def members_changed(self, node: str) -> None:
        """A node came, went or changed."""
        member = self._member(node)
        if member is not None:
            self._nodes[node] = _Seen(member.region, self._clock())
            self.label(member.region)

    def claims_changed(self, path: str) -> None:
        """Who has what makes no difference here."""

    def turn(self) -> None:
        """Drop what belongs to regions where nobody has been for ``KEPT_SECONDS``."""
        now = self._clock()
        for node, seen in tuple(self._nodes.items()):
            if self._member(node) is not None:
                seen.at = now
            elif now - seen.at >= KEPT_SECONDS:
                del self._nodes[node]
        present = {seen.region for seen in self._nodes.values()} | {self.own}
        for region in [one for one in self._shown if one not in present]:
            del self._shown[region]
            for forget in self._forget:
                forget(region)
        for region in sorted(present):
            self.label(region)

    def of(self, node: str) -> str | None:
        """Where ``node`` is; None when it is no member and has not been one for long."""
        seen = self._nodes.get(node)
        return None if seen is None else seen.region

    def label(self, region: str) -> str:
        """What ``region`` is counted as."""
        if region not in self._shown:
            if len(self._shown) >= MOST:
                return OTHER
            self._shown[region] = None
        return region

    def labels(self) -> list[str]:
        """Every region that has numbers of its own, sorted."""
        return sorted(self._shown)

    def on_gone(self, forget: Callable[[str], object]) -> None:
        """Call ``forget`` with every region that has none any more."""
        self._forget.append(forget)


class ByRegion(Generic[T]):
    """One thing for each region, made when it is first asked for."""

    def __init__(self, regions: Regions, make: Callable[[], T]) -> None:
        self._regions = regions
        self._make = make
        self._found: dict[str, T] = {}
        regions.on_gone(lambda region: self._found.pop(region, None))

    def at(self, region: str) -> T:
        """That of ``region``, or of all those that share a label."""
        label = self._regions.label(region)
        found = self._found.get(label)
        if found is None:
            found = self._found[label] = self._make()
        return found

    def items(self) -> list[tuple[str, T]]:
        """That of every region that has one of its own, and the common one if there is one."""
        found = [(label, self.at(label)) for label in self._regions.labels()]
        if OTHER in self._found and all(label != OTHER for label, _ in found):
            found.append((OTHER, self._found[OTHER]))
        return found
