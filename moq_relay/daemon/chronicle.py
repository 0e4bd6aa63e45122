"""What happened lately in the cluster, as this node saw it: a short memory for its page."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from heapq import merge
from typing import Literal, NamedTuple

from moq_relay.cluster.failovers import Reason
from moq_relay.cluster.peerlink import LinkListener
from moq_relay.cluster.placement import LinkState
from moq_relay.cluster.registry import Registry

KEPT = 40
"""Events of each kind; many of one kind push out no other."""
NEWS_SECONDS = 30.0
"""A broadcast that somebody has had for longer is no news: its claim was read again."""

Kind = Literal["node", "link", "broadcast", "failover"]
KINDS: tuple[Kind, ...] = ("node", "link", "broadcast", "failover")

LINKS: Mapping[LinkState, str] = {
    "idle": "link closed, nothing is taken over it",
    "dialling": "link is dialled",
    "up": "link up",
    "suspect": "link suspect, nothing came for a while",
    "down": "link down",
}
FAILOVERS: Mapping[Reason, str] = {
    "suspect": "was silent",
    "lost": "was lost, or its publisher was",
    "denied": "says that it does not have it",
    "moved": "was left for a better one",
}


class Event(NamedTuple):
    """One thing that happened."""

    at: float
    """Seconds since 1970, by this machine's clock."""
    kind: Kind
    about: str
    """The URL of a node, or a path; a publisher may have chosen it."""
    said: str
    """What happened to it, in words of ours and URLs of nodes."""


class Chronicle:
    """Remembers the last events of each kind. It is a ``table.Listener``."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.time) -> None:
        self._registry = registry
        self._clock = clock
        self._kept: dict[Kind, deque[Event]] = {kind: deque(maxlen=KEPT) for kind in KINDS}
        self._members: dict[str, tuple[str, str]] = {}
        """Instance and state of each member, as last told."""
        self.changes = 0
        """Changes of who has what so far."""

    def newest(self, count: int = KEPT) -> list[Event]:
        """So many events of all kinds, the newest first."""
        kept = (reversed(events) for events in self._kept.values())
        return list(merge(*kept, key=lambda event: event.at, reverse=True))[:count]

    def members_changed(self, node: str) -> None:
        """A member came, went, or is another than before."""
        view = self._registry.members.get(node)
        before = self._members.pop(node, None)
        if view is None:
            if before is not None:
                self._note("node", node, "left")
            return
        instance, state = self._members[node] = view.member.instance, view.state
        if before is None:
            self._note("node", node, "joined" if state == "up" else f"joined, {state}")
        elif before[0] != instance:
            self._note("node", node, "is another process now")
        elif before[1] != state:
            self._note("node", node, f"is {state}")

    def claims_changed(self, path: str) -> None:
        """Others have ``path`` than before."""
        self.changes += 1
        claims = self._registry.claims(path)
        if not claims:
            self._note("broadcast", path, "nobody has it any more")
        elif self._registry.redis_now() - claims[0].claim.since < NEWS_SECONDS:
            self._note("broadcast", path, f"at {', '.join(view.claim.node for view in claims[:3])}")

    def link_changed(self, node: str, state: LinkState) -> None:
        """The link to ``node`` has this state now; said again, it is no event."""
        for event in reversed(self._kept["link"]):
            if event.about == node:
                if event.said == LINKS[state]:
                    return
                break
        else:
            if state == "idle":
                return
        self._note("link", node, LINKS[state])

    def failed_over(self, path: str, node: str, reason: Reason) -> None:
        """Viewers of ``path`` left the way through ``node``."""
        self._note("failover", path, f"{node} {FAILOVERS[reason]}")

    def _note(self, kind: Kind, about: str, said: str) -> None:
        self._kept[kind].append(Event(self._clock(), kind, about, said))


class Overheard:
    """A ``LinkListener`` whose changes are noted before it hears of them."""

    def __init__(self, listener: LinkListener, changed: Callable[[str], None]) -> None:
        self._listener = listener
        self._changed = changed
        self.wanted = listener.wanted
        self.routed = listener.routed
        self.refused = listener.refused
        self.is_lost = listener.is_lost

    def link_changed(self, node: str) -> None:
        self._changed(node)
        self._listener.link_changed(node)
