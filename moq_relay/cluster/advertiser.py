"""Local broadcasts to the registry: what publishers of this node have is claimed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from moq_relay.cluster.registry import Registry
from moq_relay.relay.origin import Origin
from moq_relay.relay.route import Route, Source

ANSWER_SECONDS = 0.02
"""How soon to look again for what the registry gave a claim that others see already."""
CROSSED_SECONDS = 1.0
"""In which two nodes that yielded to each other hear of it."""
WRONG_SECONDS = 1.0
"""By how much an estimate may be off until it is made anew."""


@dataclass(slots=True)
class _Said:
    """What was claimed of a path."""

    source: Source
    born: float
    """As in the route."""
    appeared: float
    """The same moment on the registry's own clock."""
    hops: tuple[int, ...]


class Advertiser:
    """Claims what the origin offers to other nodes, and dates it as the registry does.

    What came from other nodes is never offered, so it is never echoed.
    """

    def __init__(
        self,
        origin: Origin,
        registry: Registry,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to claim; ``clock`` is the registry's."""
        self._origin = origin
        self._registry = registry
        self._clock = clock
        self._said: dict[str, _Said] = {}
        self._yielded: dict[str, float] = {}
        """What is not claimed, because others had it when this node's publisher came into doubt;
        and since when."""
        self._kept: set[str] = set()
        """What is claimed in spite of that: the others yielded, too."""
        self._asking: dict[str, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Claim what is there, and all that comes."""
        self._origin.on_offered = self.offered
        self._registry.watch(self)
        for path in tuple(self._origin.broadcasts):
            self.offered(path)

    def stop(self) -> None:
        """Claim nothing more; what is claimed ends with the membership."""
        self._origin.on_offered = lambda _path: None
        self._registry.unwatch(self)
        for timer in self._asking.values():
            timer.cancel()
        self._asking.clear()

    # What this node has.

    def offered(self, path: str) -> None:
        """The origin may offer something else of ``path`` than before."""
        route = self._origin.offer(path)
        if route is None:
            self._yielded.pop(path, None)
            self._kept.discard(path)
        elif self._yields(path, route):
            route = None
        said = self._said.get(path)
        if route is None:
            if said is not None:
                del self._said[path]
                self._registry.release(path)
            return
        if said is None or (said.source, said.born) != (route.source, route.born):
            appeared = self._clock() - (self._origin.clock() - route.born)
        elif said.hops == route.hops:
            return
        else:
            # Measured anew it would be a little off, and look like another publisher.
            appeared = said.appeared
        self._said[path] = _Said(route.source, route.born, appeared, route.hops)
        self._registry.claim(path, self._clock() - appeared, route.hops)

    def _yields(self, path: str, route: Route) -> bool:
        """Whether the others are better asked, for nothing is known to speak against them.

        It stays so when they end it: who has not been heard of for so long has nothing to offer.
        But two nodes may yield to each other in one moment; then both claim it anew, and stay with
        that, so that it does not go back and forth.
        """
        if route.live:
            self._yielded.pop(path, None)
            self._kept.discard(path)
            return False
        if path in self._kept:
            return False
        me, now = self._registry.node, self._clock()
        claims = self._registry.claims(path)
        if any(view.claim.node != me and view.state == "live" for view in claims):
            self._yielded.setdefault(path, now)
        elif path in self._yielded and now - self._yielded[path] < CROSSED_SECONDS:
            del self._yielded[path]
            self._kept.add(path)
        return path in self._yielded

    # When it appeared, as all nodes see it.

    def claims_changed(self, path: str) -> None:
        """The registry's answer to a claim of ours, or somebody else's claim of the same path."""
        self._reconsider(path)
        broadcast = self._origin.broadcasts.get(path)
        routes = [] if broadcast is None else [one for one in broadcast.routes if one.local]
        if not routes:
            return
        said, exact = self._said.get(path), self._registry.own_since(path)
        for route in routes:
            if said is not None and said.source is route.source and exact is not None:
                self._origin.date(path, route.source, exact)
            else:
                self._estimate(path, route)
        if said is not None and exact is None:
            self._look_again(path)

    def _reconsider(self, path: str) -> None:
        """Who has it may decide whether this node claims it, too."""
        offer = self._origin.offer(path)
        if path in self._yielded or (offer is not None and not offer.live):
            self.offered(path)

    def members_changed(self, node: str) -> None:
        """Nothing of ours depends on it."""

    def _estimate(self, path: str, route: Route) -> None:
        """Put a publisher where the registry will, as far as its clock is known by now."""
        now = self._registry.redis_now()
        if not now:
            return
        since = now - (self._origin.clock() - route.born)
        if abs(since - route.since) > WRONG_SECONDS:
            self._origin.date(path, route.source, since)

    def _look_again(self, path: str) -> None:
        """Others' words about a claim may overtake the answer to it."""
        claims = self._registry.claims(path)
        if path in self._asking or all(v.claim.node != self._registry.node for v in claims):
            return
        loop = asyncio.get_running_loop()

        def look() -> None:
            del self._asking[path]
            self.claims_changed(path)

        self._asking[path] = loop.call_later(ANSWER_SECONDS, look)
