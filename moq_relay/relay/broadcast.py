"""A broadcast: its routes, best first, its tracks by name, and the switch between routes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from moq_relay.errors import Internal, NotFound, SessionClosed
from moq_relay.relay.group import Group
from moq_relay.relay.retention import Cache
from moq_relay.relay.route import Asker, Route, Source, prefer
from moq_relay.relay.track import Track

PROBE_SECONDS = 1.0
"""How long a new route may take to show that it carries the same content."""


class Timer(Protocol):
    """What ``call_later`` of an event loop returns."""

    def cancel(self) -> None:
        """Do not call."""


Later = Callable[[float, Callable[[], None]], Timer]


class Broadcast:
    """The tracks of one publisher under one path, whichever way they come."""

    def __init__(
        self,
        path: str,
        cache: Cache,
        clock: Callable[[], float],
        later: Later,
        *,
        changed: Callable[[Broadcast], None],
        replaced: Callable[[Broadcast], None],
        inside: Callable[[Broadcast], Broadcast | None] = lambda _broadcast: None,
    ) -> None:
        """Begin without a route.

        Args:
            changed: told when what is announced may be another.
            replaced: told just before another content takes the place of what was announced.
            inside: the broadcast that only has what publishers of this node send of the path.
        """
        self.path = path
        self.routes: list[Route] = []
        """As ``prefer`` sorts them; the first one is in use."""
        self.active: Route | None = None
        """Where tracks should come from; None while a lost publisher may still come back."""
        self.public: Route | None = None
        """What is announced: the way to the content that is served, under its first name."""
        self.left: Route | None = None
        """What was announced last of a publisher of this node."""
        self.tracks: dict[tuple[str, str], Track] = {}
        self._serving: Route | None = None
        """The last route that is known to carry the content that is served."""
        self._publishers: set[int] = set()
        """First hops that are known to carry it; 0, the anonymous, is nobody's name."""
        self._cache = cache
        self._clock = clock
        self._later = later
        self._changed = changed
        self._replaced = replaced
        self._inside = inside
        self._probes: dict[Track, None] = {}
        self._fitted = False
        """Whether one of the probes showed the same content."""
        self._probe_timer: Timer | None = None

    # Routes.

    def add(self, route: Route) -> None:
        """Know one more route; a source's earlier one is replaced."""
        for index, known in enumerate(self.routes):
            if known.source is route.source:
                self.routes[index] = route
                break
        else:
            self.routes.insert(0, route)
        prefer(self.routes)
        self._choose()

    def remove(self, source: Source) -> None:
        """Know the route of ``source`` no more: what comes from there has come to its end."""
        self.routes = [known for known in self.routes if known.source is not source]
        for track in tuple(self.tracks.values()):
            track.supply.lost(source)
        prefer(self.routes)
        self._choose()
        if not any(route.local for route in self.routes):
            for track in tuple(self.tracks.values()):
                track.expel_nodes(SessionClosed("its publisher is gone"))

    def visible(self, asker: Asker) -> Route | None:
        """What to announce to ``asker``: the best route that it may see."""
        candidates = self.routes or ([self.public] if self.public else [])
        for route in candidates:
            if asker.may_see(route):
                public = self.public if route is self.active else None
                return public if public is not None and asker.may_see(public) else route
        return None

    def serves(self, asker: Asker) -> bool:
        """Whether ``asker`` may read what is served now."""
        routes = [self.active or self.public]
        if self._probes:
            routes.append(self._serving)
        return all(route is not None and asker.may_see(route) for route in routes)

    @property
    def read(self) -> bool:
        """Whether anybody reads it now."""
        return any(track.readers for track in self.tracks.values())

    @property
    def source(self) -> Source | None:
        """Whom to ask for more of what is served; None while nobody has it."""
        route = self._serving if self._probes else self.active
        if route is None or all(known.source is not route.source for known in self.routes):
            return None
        return route.source

    def close(self) -> None:
        """The last route ended. Tracks that still have a feed go on until it ends."""
        self._end_probes()
        tracks, self.tracks = self.tracks, {}
        for track in tracks.values():
            if track.supply.feed is None:
                track.discard(Internal("the broadcast ended"))

    # Tracks.

    def track(self, path: str, name: str) -> Track:
        """The track ``name`` of ``path``, which this broadcast covers; a new one if need be."""
        key = (path, name)
        track = self.tracks.get(key)
        if track is None or track.over:
            track = self.tracks[key] = Track(path, name, self._cache, self._clock)
            track.on_judged = self._judged
            track.on_parted = self._parted
        return track

    def fetch(self, path: str, name: str, sequence: int | None) -> Group:
        """One group from its first frame: from the cache, else from the source.

        The group fills as it comes; it is aborted when it can't be had. None is the latest.

        Raises:
            NotFound: there is no such group here, and no way to ask for it.
        """
        track = self.tracks.get((path, name))
        cached = None if track is None else track.cached(sequence)
        if cached is not None:
            return cached
        source = self.source
        if sequence is None or source is None:
            raise NotFound("the group is not in the cache")
        return (track or self.track(path, name)).fetch(sequence, source)

    def sweep(self, now: float) -> None:
        """Forget tracks that hold nothing, once nobody has read them for long."""
        for key, track in tuple(self.tracks.items()):
            track.supply.rest()
            idle = track.idle_since
            kept = 0.0 if track.over or track.info is None else self._cache.limits.duration
            if track.vacant and idle is not None and now - idle >= kept:
                del self.tracks[key]

    # The switch.

    def _choose(self) -> None:
        best = self.routes[0] if self.routes else None
        if best is self.active:
            return
        if self._probes and best and self.active and self._as_before(best, self.active):
            self.active = best
            return
        self._end_probes()
        self.active = best
        if best is None:
            return
        if self._serving is None or self._same(best, self._serving):
            self._go_on(best)
        else:
            self._probe(best)

    def _same(self, best: Route, serving: Route) -> bool:
        return self._as_before(best, serving) or best.publisher in self._publishers

    @staticmethod
    def _as_before(best: Route, known: Route) -> bool:
        return best.source is known.source and best.publisher == known.publisher

    def _go_on(self, best: Route) -> None:
        """The same content another way: every track goes on at its next group."""
        self._serve(best, renewed=False)
        self._changed(self)
        for track in tuple(self.tracks.values()):
            if self.active is not best or self._probes:
                return
            track.expel(best)
            if track.supply.feed is None or track.supply.feed.source is not best.source:
                track.supply.attach(best.source)

    def _probe(self, best: Route) -> None:
        """Another publisher: the same content only if every track that is read says so."""
        self._probes = {track: None for track in self.tracks.values() if track.readers}
        self._fitted = False
        if not self._probes:
            self._renew()
            return
        self._probe_timer = self._later(PROBE_SECONDS, self._renew)
        for track in tuple(self._probes):
            if self.active is best and track in self._probes:
                track.supply.probe_source(best.source)

    def _judged(self, track: Track, same: bool | None) -> None:
        if same is False:
            self._renew()
            return
        if track not in self._probes or self.active is None:
            return
        del self._probes[track]
        if same:
            self._fitted = True
            track.expel(self.active)
        if self._probes:
            return
        best, fitted = self.active, self._fitted
        self._end_probes()
        if fitted:
            self._go_on(best)
        else:
            self._renew()

    def _renew(self) -> None:
        """The content is another: withdraw what was there, end its tracks, and announce anew."""
        self._end_probes()
        best = self.active
        if best is None:
            return
        self._replaced(self)
        if self.active is not best:
            return
        self._serve(best, renewed=True)
        tracks, self.tracks = self.tracks, {}
        for track in tracks.values():
            track.expel(best)
            track.discard(Internal("another publisher took over"))
        if self._serving is best:
            self._changed(self)

    def _serve(self, route: Route, *, renewed: bool) -> None:
        first = () if self.public is None or renewed else self.public.hops[:1]
        # No version can tell of a hop twice, and the new way may lead through the first of the old.
        rest = (hop for hop in route.hops[1:] if not hop or hop not in first)
        hops = (*first, *rest) if first else route.hops
        if self.public is not None and self.public.local:
            self.left = self.public
        if renewed:
            self._publishers.clear()
        if route.publisher:
            self._publishers.add(route.publisher)
        self._serving = route
        # Watchers know content by its first hop: the same content keeps it.
        self.public = route if hops == route.hops else replace(route, hops=hops)

    def known_as(self, hops: tuple[int, ...]) -> None:
        """Announce what is served under ``hops``, by which others know the same content."""
        if self._serving is not None:
            self.public = replace(self._serving, hops=hops)
            self._publishers.update(hop for hop in hops[:1] if hop)

    def _parted(self, track: Track) -> tuple[Track, Source] | None:
        inside = self._inside(self)
        source = None if inside is None else inside.source
        if inside is None or source is None:
            return None
        return inside.track(track.path, track.name), source

    def _end_probes(self) -> None:
        probes, self._probes = self._probes, {}
        for track in probes:
            track.supply.drop_probe()
        if self._probe_timer is not None:
            self._probe_timer.cancel()
            self._probe_timer = None
