"""The origin: every broadcast this node can reach, and who watches for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from moq_relay.errors import SessionClosed, Unroutable
from moq_relay.relay.broadcast import Broadcast, Later, Timer
from moq_relay.relay.feed import Demand
from moq_relay.relay.group import Group
from moq_relay.relay.path import ancestors, below, covers, hidden
from moq_relay.relay.reader import TrackReader
from moq_relay.relay.retention import Cache
from moq_relay.relay.route import NOBODY, NODES, Asker, Route, Source
from moq_relay.relay.track import Track

logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """Follows the broadcasts under a prefix; sees each once, with its best route."""

    def announced(self, path: str, route: Route) -> None:
        """``path`` appeared."""

    def updated(self, path: str, route: Route) -> None:
        """``path`` is reached another way, its content the same.

        Another content is a ``withdrawn`` and an ``announced``: between them every track ended.
        """

    def withdrawn(self, path: str) -> None:
        """``path`` ended."""


class _Watch:
    """One watcher, what it follows, and what it was told."""

    __slots__ = ("asker", "prefix", "told")

    def __init__(self, prefix: str, asker: Asker) -> None:
        self.prefix = prefix
        self.asker = asker
        self.told: dict[str, tuple[Broadcast, Route]] = {}


class Origin:
    """Broadcasts by path. Plain calls: nothing here waits."""

    def __init__(
        self,
        hop: int,
        cache: Cache,
        clock: Callable[[], float],
        later: Later,
        *,
        linger: float = 5.0,
        stamp: Callable[[], float] | None = None,
    ) -> None:
        self.hop = hop
        """This node's id inside announcements."""
        self.cache = cache
        self.clock = clock
        self.linger = linger
        """Seconds a broadcast outlives the abrupt loss of its last route."""
        self.stamp = stamp or clock
        """The clock by which all nodes of the cluster tell the newest publisher."""
        self.on_appeared: Callable[[str], None] = _ignore
        """Told of each path that nobody had before."""
        self.on_offered: Callable[[str], None] = _ignore
        """Told when ``offer`` may say something else of a path than before."""
        self.broadcasts: dict[str, Broadcast] = {}
        self._later = later
        self._watches: dict[Watcher, _Watch] = {}
        self._lingering: dict[str, Timer] = {}
        self._inside: dict[str, Broadcast] = {}
        """What publishers of this node send of paths that are served from elsewhere here; for
        other nodes, while they ask."""

    # Who has what.

    def publish(
        self,
        path: str,
        source: Source,
        hops: tuple[int, ...] = (),
        *,
        warm: int = 0,
        cold: int = 0,
        live: bool = True,
    ) -> bool:
        """Announce what a publisher of this node has; said again, it is no newer for that.

        Args:
            path: of the broadcast.
            source: the publisher.
            hops: as in ``Route``; ``warm``, ``cold`` and ``live`` too.

        Returns:
            False when it has passed this node already (a loop): then the source has no way.
        """
        known = self._route(path, source)
        born, since = self.clock(), self.stamp()
        if known is not None:
            born, since = known.born, known.since
        return self.announce(path, Route(source, hops, since, warm, cold, born=born, live=live))

    def announce(self, path: str, route: Route) -> bool:
        """Add a route to ``path``; an earlier one of the same source is replaced.

        False when it has passed this node already (a loop): then the source has no other way.
        """
        if self.hop in route.hops:
            self.withdraw(path, route.source, clean=True)
            return False
        if (timer := self._lingering.pop(path, None)) is not None:
            timer.cancel()
        broadcast = self.broadcasts.get(path)
        new = broadcast is None
        if broadcast is None:
            broadcast = self.broadcasts[path] = Broadcast(
                path,
                self.cache,
                self.clock,
                self._later,
                changed=self._tell,
                replaced=self._replaced,
                inside=self._inside_of,
            )
        broadcast.add(route)
        if route.local and (inside := self._inside.get(path)) is not None:
            inside.add(route)
        self._tell(broadcast)
        if new:
            self.on_appeared(path)
        return True

    def date(self, path: str, source: Source, since: float) -> None:
        """The moment when ``source`` appeared with ``path`` is known better now."""
        route = self._route(path, source)
        if route is not None and route.since != since:
            self.announce(path, replace(route, since=since))

    def offer(self, path: str) -> Route | None:
        """What other nodes get of ``path`` here; None: nothing.

        The newest publisher of this node, by the first hop under which its content is known. It
        stays while a lost publisher may still come back.
        """
        broadcast = self.broadcasts.get(path)
        if broadcast is None:
            return None
        route = next((known for known in broadcast.routes if known.local), None)
        if route is None:
            public = broadcast.public
            return public if not broadcast.routes and public and public.local else None
        holder = broadcast if broadcast.serves(NODES) else self._inside.get(path)
        public = _left(broadcast, route) if holder is None else holder.public
        return route if public is None else replace(route, hops=public.hops)

    def withdraw(self, path: str, source: Source, *, clean: bool) -> None:
        """Remove the route of ``source``.

        The broadcast ends with its last route: at once when that ended ``clean``, after
        ``linger`` seconds when it was lost. Harmless when there is no such route.
        """
        broadcast = self.broadcasts.get(path)
        if broadcast is None or all(r.source is not source for r in broadcast.routes):
            return
        last = len(broadcast.routes) == 1
        if last and (clean or self.linger <= 0):
            broadcast.routes.clear()
            self._end(path)
            return
        broadcast.remove(source)
        if (inside := self._inside.get(path)) is not None:
            inside.remove(source)
            if not inside.routes:
                self._inside.pop(path, None)
                inside.close()
        if self.broadcasts.get(path) is not broadcast:
            return
        # Whoever was told of the loss may have announced it again.
        if not broadcast.routes and path not in self._lingering:
            self._lingering[path] = self._later(self.linger, lambda: self._end(path))
        self._tell(broadcast)

    def elsewhere(self, path: str) -> bool:
        """Whether another node has ``path`` too, and is neither lost nor about to go."""
        broadcast = self.broadcasts.get(path)
        routes = () if broadcast is None else broadcast.routes
        return any(route.up and route.live and not route.local for route in routes)

    def paths(self, prefix: str = "") -> list[str]:
        """The announced paths under ``prefix``, sorted."""
        return sorted(
            path
            for path in self.broadcasts
            if covers(prefix, path) and not hidden(below(prefix, path))
        )

    # Who looks.

    def watch(self, prefix: str, watcher: Watcher, asker: Asker = NOBODY) -> None:
        """Tell ``watcher`` of every broadcast under ``prefix``, now and until ``unwatch``."""
        watch = self._watches[watcher] = _Watch(prefix, asker)
        for _, broadcast in sorted(self.broadcasts.items()):
            self._show(watcher, watch, broadcast)

    def unwatch(self, watcher: Watcher) -> None:
        """Tell it no more. Harmless when it does not watch."""
        self._watches.pop(watcher, None)

    # Who reads.

    def find(self, path: str, asker: Asker = NOBODY) -> Broadcast:
        """The broadcast with the longest path that covers ``path``.

        Raises:
            Unroutable: none does, or only such as came from the asker.
            SessionClosed: another node asks, and the publisher was lost but may still come back.
        """
        for candidate in ancestors(path):
            broadcast = self.broadcasts.get(candidate)
            if broadcast is not None and asker.local_only and not broadcast.serves(asker):
                broadcast = self._inside_of(broadcast)
            if broadcast is None or not broadcast.serves(asker):
                continue
            if asker.local_only and not broadcast.routes:
                raise SessionClosed(f"the publisher of {candidate!r} was lost")
            return broadcast
        raise Unroutable(f"no broadcast covers {path!r}")

    def track(self, path: str, name: str, asker: Asker = NOBODY) -> Track:
        """The track, its description asked for. Await ``described_or_ended`` for the answer."""
        broadcast = self.find(path, asker)
        track = broadcast.track(path, name)
        if (source := broadcast.source) is not None:
            track.supply.describe(source)
        return track

    def subscribe(
        self, path: str, name: str, reader: TrackReader, demand: Demand, asker: Asker = NOBODY
    ) -> Track:
        """Let ``reader`` follow a track; its source is asked once, however many readers come."""
        broadcast = self.find(path, asker)
        track = broadcast.track(path, name)
        track.join(reader, demand, broadcast.source, asker)
        return track

    def fetch(self, path: str, name: str, sequence: int | None, asker: Asker = NOBODY) -> Group:
        """One group, from the cache or from upstream; see ``Broadcast.fetch``."""
        return self.find(path, asker).fetch(path, name, sequence)

    def sweep(self, now: float) -> None:
        """Let old groups and unread tracks go; called every second or so."""
        self.cache.sweep(now)
        for broadcast in tuple(self.broadcasts.values()):
            broadcast.sweep(now)
        for path, inside in tuple(self._inside.items()):
            inside.sweep(now)
            if not inside.tracks:
                self._inside.pop(path, None)

    # Inside.

    def _route(self, path: str, source: Source) -> Route | None:
        broadcast = self.broadcasts.get(path)
        routes = () if broadcast is None else broadcast.routes
        return next((route for route in routes if route.source is source), None)

    def _inside_of(self, broadcast: Broadcast) -> Broadcast | None:
        """The broadcast of this node's publishers alone; None when there are none."""
        path = broadcast.path
        routes = [route for route in reversed(broadcast.routes) if route.local]
        inside = self._inside.get(path)
        if inside is None and routes and self.broadcasts.get(path) is broadcast:
            inside = self._inside[path] = Broadcast(
                path,
                self.cache,
                self.clock,
                self._later,
                changed=lambda changed: self.on_offered(changed.path),
                replaced=lambda _replaced: None,
            )
            for route in routes:
                inside.add(route)
            if (left := _left(broadcast, routes[-1])) is not None:
                inside.known_as(left.hops)
        return inside

    def _end(self, path: str) -> None:
        self._lingering.pop(path, None)
        broadcast = self.broadcasts.pop(path)
        inside = self._inside.pop(path, None)
        self._hide(broadcast, lambda _watch, _told: True)
        broadcast.close()
        if inside is not None:
            inside.close()
        self.on_offered(path)

    def _hide(self, broadcast: Broadcast, concerns: Callable[[_Watch, Route], bool]) -> None:
        """Withdraw what was told of a broadcast, where that ``concerns`` the watch."""
        path = broadcast.path
        for watcher, watch in tuple(self._watches.items()):
            owner, told = watch.told.get(path, (None, None))
            if owner is not broadcast or self._watches.get(watcher) is not watch:
                continue
            if told is not None and concerns(watch, told):
                del watch.told[path]
                self._isolate(watcher, watcher.withdrawn, path)

    def _replaced(self, broadcast: Broadcast) -> None:
        """Another content is about to take the place of what was announced.

        Nobody may still see the old announcement when its tracks end: some clients would resume
        the old content over the new route. An alternate, shown to whom may not see the first, is
        not what is replaced.
        """
        new, old = broadcast.active, broadcast.public

        def concerned(watch: _Watch, told: Route) -> bool:
            return told in {old, new} and new is not None and watch.asker.may_see(new)

        self._hide(broadcast, concerned)

    def _tell(self, broadcast: Broadcast) -> None:
        for watcher, watch in tuple(self._watches.items()):
            self._show(watcher, watch, broadcast)
        self.on_offered(broadcast.path)

    def _show(self, watcher: Watcher, watch: _Watch, broadcast: Broadcast) -> None:
        """Bring what one watcher was told of a broadcast up to date."""
        path = broadcast.path
        # Whoever was told before may have ended the broadcast, or this watcher.
        gone = self.broadcasts.get(path) is not broadcast or self._watches.get(watcher) is not watch
        if gone or not covers(watch.prefix, path) or hidden(below(watch.prefix, path)):
            return
        owner, told = watch.told.get(path, (None, None))
        route = broadcast.visible(watch.asker)
        if told is not None and (route is None or owner is not broadcast):
            del watch.told[path]
            self._isolate(watcher, watcher.withdrawn, path)
            self._show(watcher, watch, broadcast)
        elif route is not None:
            watch.told[path] = broadcast, route
            if told is None:
                self._isolate(watcher, watcher.announced, path, route)
            elif told.hops != route.hops:
                self._isolate(watcher, watcher.updated, path, route)

    def _isolate(self, watcher: Watcher, call: Callable[..., None], *args: object) -> None:
        """A watcher that fails costs itself only."""
        try:
            call(*args)
        except Exception:
            logger.exception("watcher failed")
            self.unwatch(watcher)


def _left(broadcast: Broadcast, route: Route) -> Route | None:
    """How the content of ``route`` was announced before the broadcast was served from elsewhere."""
    left = broadcast.left
    return left if left is not None and left.source is route.source else None


def _ignore(_path: str) -> None:
    pass
