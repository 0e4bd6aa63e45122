"""A route: one way to a broadcast, and the source at its far end."""

from __future__ import annotations

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

    def may_see(self, route: Route) -> bool:
        """Whether ``route`` neither is the asker's own nor has passed it."""
        return route.source is not self.source and not (self.hop and self.hop in route.hops)


NOBODY = Asker()
"""An asker inside this process."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One announcement of a path by one source."""

    source: Source
    hops: tuple[int, ...] = ()
    """Ids of the relays and the publisher that it passed, publisher first; 0 is anonymous."""
    since: float = 0.0
    """When it was announced here, monotonic seconds; the newest is preferred."""
    warm: int = 0
    """Cost when the sender already carries the content."""
    cold: int = 0
    """Cost when it does not."""

    @property
    def publisher(self) -> int:
        """Hop id of the original publisher; 0 when nobody said."""
        return self.hops[0] if self.hops else 0
