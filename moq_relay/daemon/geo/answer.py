"""Which nodes clients may be sent to, for a DNS that answers by place: members in, answer out.

Who drains or is dead is left out. But a mistake here, or a cut that makes half of the world look
dead, would take the service off the DNS: the answer never gets empty, and never falls below half of
the last good set, until an operator accepts that.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from moq_relay.cluster.table import MemberView

STEP = 10
"""Percent by which a load must change before it is said anew: each saying is an event for all."""
READY = frozenset({"up", "stale"})
"""Who is stale has no proof since the registry lost its data, and is not dead for that."""

Facts = dict[str, Any]


class NoAnswerError(Exception):
    """There is no set that could be told; the text says why, and what to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A node to which clients may be sent."""

    node: str
    region: str
    addresses: tuple[str, ...]
    coordinates: tuple[float, float] | None = None
    load: int | None = None
    """Percent in use of what it has least of."""
    lease_remaining: float | None = None
    """Seconds."""

    @property
    def weight(self) -> int:
        """1 to 100: what it has left, in percent; 100 of one that does not say."""
        return 100 if self.load is None else min(100, max(1, 100 - self.load))

    def family(self, version: int) -> tuple[str, ...]:
        """Its addresses of IPv4 or IPv6."""
        return tuple(a for a in self.addresses if ipaddress.ip_address(a).version == version)


def coarse(ratio: float, before: int | None) -> int:
    """A load of 0 to 1 in tens of percent; ``before`` until it is a whole step away from that."""
    percent = min(100.0, max(0.0, ratio * 100))
    if before is not None and abs(percent - before) < STEP:
        return before
    return round(percent / STEP) * STEP


def targets(members: Mapping[str, MemberView], leases_of: Iterable[str] = ()) -> dict[str, Target]:
    """The members to which clients may be sent; ``leases_of`` whom the end of a lease is known."""
    told = set(leases_of)
    return {
        node: Target(
            node=node,
            region=view.member.region,
            addresses=view.member.offer.addresses,
            coordinates=view.member.offer.coordinates,
            load=view.member.offer.load,
            lease_remaining=view.lease_remaining_seconds if node in told else None,
        )
        for node, view in members.items()
        if view.state in READY and view.member.offer.addresses
    }


class Geo:
    """The set as it is told. It lives in memory: a root that starts learns it anew."""

    def __init__(self, clock: Callable[[], float], lease: float) -> None:
        """Nothing is known yet.

        Args:
            clock: seconds.
            lease: of the cluster, seconds. So long a new root waits for all to have renewed, and
                so long a smaller set must stand before it is the one that halves are taken of.
        """
        self._clock = clock
        self._lease = lease
        self._begun: float | None = None
        """When the table was complete first."""
        self._ready: dict[str, Target] = {}
        """Whom the table has now."""
        self._kept: dict[str, Target] = {}
        """Who stays in the answer while a loss waits to be accepted; empty: none does."""
        self._told: dict[str, Target] = {}
        self._good = 0
        """Size of the last good set."""
        self._lost_at = 0.0
        """When the answer lost somebody."""

    def look(self, ready: Mapping[str, Target], *, in_touch: bool) -> None:
        """Take who is ready now. Out of touch with the registry nothing is learnt."""
        if not in_touch:
            return
        now = self._clock()
        if self._begun is None:
            self._begun = now
        self._ready = dict(ready)
        if now - self._begun < self._lease:
            return
        count = len(self._ready)
        if 2 * count < self._good:
            self._kept = self._kept or self._told
            # Newcomers help, whatever became of the others.
            self._told = self._kept | self._ready
            return
        self._take(now)

    def accept(self) -> int:
        """Tell the present set, however small; its size.

        Raises:
            NoAnswerError: it is empty.
        """
        self._check()
        if not self._ready:
            raise NoAnswerError("no node is ready; the last good set stays")
        self._good = 0
        self._take(self._clock())
        return self._good

    @property
    def held(self) -> str | None:
        """What waits to be accepted; None while the answer is the present set."""
        if not self._kept:
            return None
        return (
            f"{len(self._ready)} nodes are ready, fewer than half of the last good {self._good}; "
            f"{len(self._told)} are told until POST /geo/accept"
        )

    def answer(self) -> list[Target]:
        """Whom to tell, by name; never none.

        Raises:
            NoAnswerError: nothing is known yet.
        """
        self._check()
        return [self._told[node] for node in sorted(self._told)]

    def _check(self) -> None:
        if self._begun is None:
            raise NoAnswerError("this root has not read the registry since it started")
        left = self._begun + self._lease - self._clock()
        if left > 0:
            raise NoAnswerError(
                "this root has just started; it answers when all nodes had one lease to renew, "
                f"in {left:.1f} s"
            )
        if not self._told:
            raise NoAnswerError("no node is ready that has cluster.addresses")

    def _take(self, now: float) -> None:
        if self._told.keys() - self._ready.keys():
            self._lost_at = now
        self._told, self._kept = self._ready, {}
        # Those who die of one cause do so within a lease, not in one moment: until then it is one
        # step, and its halves are those of the set before.
        if len(self._told) >= self._good or now - self._lost_at >= self._lease:
            self._good = len(self._told)


def facts(found: Iterable[Target], lease: float) -> list[Facts]:
    """The same for JSON."""
    return [
        {
            "node": one.node,
            "region": one.region,
            "a": list(one.family(4)),
            "aaaa": list(one.family(6)),
            "coordinates": None
            if one.coordinates is None
            else {"latitude": one.coordinates[0], "longitude": one.coordinates[1]},
            "load": None if one.load is None else one.load / 100,
            "weight": one.weight,
            "age_seconds": None
            if one.lease_remaining is None
            else round(max(0.0, lease - one.lease_remaining), 3),
        }
        for one in found
    ]
