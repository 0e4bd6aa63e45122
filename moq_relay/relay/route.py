"""A route: one way to a broadcast, and the source at its far end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from moq_relay.relay.feed import Feed
    from moq_relay.relay.group import Group


class Source(Protocol):
    """The far end of a route: a publisher's session, a peer, or a program in this process.

    Every call returns at once. Answers come through the feed, or the group, that is handed in,
    inside the call or later; whatever a source says through a feed that was closed is dropped
    there. A source that is lost withdraws its routes first and ends its feeds then, so that what
    has another route goes on.
    """

    def describe(self, feed: Feed) -> None:
        """Answer with ``feed.described``, or ``feed.ended`` with an error."""

    def subscribe(self, feed: Feed) -> None:
        """Send what ``feed.demand`` asks for, until ``unsubscribe`` or ``feed.ended``."""

    def update(self, feed: Feed) -> None:
        """``feed.demand`` has changed."""

    def unsubscribe(self, feed: Feed) -> None:
        """Nobody wants the feed any more, neither its description nor its groups.

        Called once for a feed that was asked for and still owes an answer or its end; never
        inside ``describe`` or ``subscribe``, but perhaps inside ``feed.open_group``, when the
        last reader leaves there.
        """

    def fetch(self, path: str, track: str, group: Group) -> None:
        """Fill ``group`` from its first frame and finish it, or abort it."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who looks or reads: nothing is shown to it that came from it or through it."""

    source: object = None
    hop: int = 0
    """The asker's id inside announcements; 0 when it said none."""
    local_only: bool = False
    """Another node, which gets what publishers of this node send and nothing else: so nothing
    goes over more than one link."""

    def may_see(self, route: Route) -> bool:
        """Whether ``route`` is meant for the asker, not its own, and has not passed it."""
        return (
            (route.local or not self.local_only)
            and route.source is not self.source
            and not (self.hop and self.hop in route.hops)
        )


NOBODY = Asker()
"""An asker inside this process."""
NODES = Asker(local_only=True)
"""Any other node."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One announcement of a path by one source."""

    source: Source
    hops: tuple[int, ...] = ()
    """Ids of the relays and the publisher that it passed, publisher first; 0 is anonymous."""
    since: float = 0.0
    """When its publisher appeared, on the clock that all of the cluster share; see ``prefer``."""
    warm: int = 0
    """Cost when the sender already carries the content."""
    cold: int = 0
    """Cost when it does not."""
    local: bool = True
    """Its publisher is connected to this node; otherwise another node has it."""
    born: float = 0.0
    """When it was announced here, on this node's clock; tells how old a local publisher is."""
    up: bool = True
    """Its source can be reached, as far as anybody knows."""
    live: bool = True
    """Nothing speaks against it: its source is not about to go, and not doubtful."""
    place: int = 0
    """Preference among routes that are equal in all else; higher goes first."""

    @property
    def publisher(self) -> int:
        """Hop id of the original publisher; 0 when nobody said."""
        return self.hops[0] if self.hops else 0


def prefer(routes: list[Route]) -> None:
    """Sort the routes of one broadcast, best first.

    One that can be reached goes before one that can't, one that nothing speaks against before the
    rest, then the newest publisher, at equal age the local one. Publishers of this node go among
    each other by their arrival here, whatever became of the shared clock between.
    """
    dated: dict[Route, float] = {}
    limit = math.inf
    for route in sorted(filter(_is_local, routes), key=_arrival, reverse=True):
        limit = dated[route] = min(route.since, limit)

    def rank(route: Route) -> tuple[bool, bool, float, bool, float, int, float]:
        since = dated.get(route, route.since)
        born = route.born if route.local else 0.0
        return route.up, route.live, since, route.local, born, route.place, route.since

    routes.sort(key=rank, reverse=True)


def _is_local(route: Route) -> bool:
    return route.local


def _arrival(route: Route) -> tuple[float, float]:
    return route.born, route.since
