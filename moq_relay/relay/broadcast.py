"""A broadcast: its routes, best first, its tracks by name, and the switch between routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from moq_relay.errors import Internal, NotFound
from moq_relay.relay.group import Group
from moq_relay.relay.retention import Cache
from moq_relay.relay.route import Asker, Route, Source
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
        changed: Callable[[Broadcast, bool], None],
    ) -> None:
        self.path = path
        self.routes: list[Route] = []
        """Newest publisher first; the first one is in use."""
        self.active: Route | None = None
        """Where tracks come from; None while a lost publisher may still come back."""
        self.public: Route | None = None
        """The route that is announced: that of the content instance being served."""
        self.tracks: dict[tuple[str, str], Track] = {}
        self._cache = cache
        self._clock = clock
        self._later = later
        self._changed = changed
        self._probes: set[Track] = set()
        self._probe_timer: Timer | None = None

    # Routes.

    def add(self, route: Route) -> None:
        """Know one more route; a source's earlier one is replaced."""
        self.routes = [known for known in self.routes if known.source is not route.source]
        self.routes.append(route)
        self.routes.sort(key=lambda known: known.since, reverse=True)
        self._choose()

    def remove(self, source: Source) -> None:
        """Know the route of ``source`` no more."""
        self.routes = [known for known in self.routes if known.source is not source]
        self._choose()

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
        route = self.active or self.public
        return route is not None and asker.may_see(route)

    def close(self) -> None:
        """The last route ended. Tracks that still have a feed go on until it ends."""
        self._end_probes()
        for track in tuple(self.tracks.values()):
            if track.feed is None:
                track.discard(Internal("the broadcast ended"))
        self.tracks.clear()

    # Tracks.

    def track(self, path: str, name: str) -> Track:
        """The track ``name`` of ``path``, which this broadcast covers; a new one if need be."""
        key = (path, name)
        track = self.tracks.get(key)
        if track is None or track.over:
            track = self.tracks[key] = Track(path, name, self._cache, self._clock)
            track.on_probed = self._probed
        return track

    def fetch(self, path: str, name: str, sequence: int | None) -> Group:
        """One group from its first frame: from the cache, else from the source.

        The group fills as it comes; it is aborted when it can't be had. None is the latest.

        Raises:
            NotFound: there is no such group here, and no way to ask for it.
        """
        track = self.tracks.get((path, name))
        if track is not None:
            wanted = track.latest if sequence is None else sequence
            cached = None if wanted is None else track.groups.get(wanted)
            if cached is not None and cached.first == 0 and cached.error is None:
                return cached
        if sequence is None or self.active is None:
            raise NotFound("the group is not in the cache")
        group = Group(sequence, self._cache, now=self._clock())
        self.active.source.fetch(path, name, group)
        return group

    def sweep(self, now: float) -> None:
        """Forget tracks that ended, and such that nobody has read for long."""
        for key, track in tuple(self.tracks.items()):
            idle = track.idle_since
            gone = idle is not None and now - idle > self._cache.limits.duration
            if track.over or (gone and not track.groups):
                del self.tracks[key]

    # The switch.

    def _choose(self) -> None:
        best = self.routes[0] if self.routes else None
        if best is self.active:
            return
        previous, self.active = self.active or self.public, best
        self._end_probes()
        if best is None:
            for track in self.tracks.values():
                track.attach(None)
            return
        if previous is None or _same_publisher(best, previous):
            self._go_public(best, renewed=False)
            self._attach(best.source)
        else:
            self._probe(best, previous)

    def _attach(self, source: Source) -> None:
        for track in tuple(self.tracks.values()):
            if track.feed is None or track.feed.source is not source:
                track.attach(source, resume=True)

    def _probe(self, best: Route, previous: Route) -> None:
        """Another publisher: the same content only if every track that is read says so."""
        lost = all(route.source is not previous.source for route in self.routes)
        if lost:
            for track in self.tracks.values():
                track.attach(None)
        self._probes = {track for track in self.tracks.values() if track.readers}
        if not self._probes:
            self._renew()
            return
        self._probe_timer = self._later(PROBE_SECONDS, self._renew)
        for track in tuple(self._probes):
            if track in self._probes:
                track.probe_source(best.source)

    def _probed(self, track: Track, fits: bool) -> None:
        if not fits:
            self._renew()
            return
        self._probes.discard(track)
        if not self._probes:
            self._end_probes()
            for other in tuple(self.tracks.values()):
                if self.active is not None and other.feed is None:
                    other.attach(self.active.source)

    def _renew(self) -> None:
        """The content is another: forget what was there, and say so."""
        self._end_probes()
        tracks, self.tracks = self.tracks, {}
        for track in tracks.values():
            track.discard(Internal("another publisher took over"))
        if self.active is not None:
            self._go_public(self.active, renewed=True)

    def _go_public(self, route: Route, *, renewed: bool) -> None:
        self.public = route
        self._changed(self, renewed)

    def _end_probes(self) -> None:
        probes, self._probes = self._probes, set()
        for track in probes:
            track.drop_probe()
        if self._probe_timer is not None:
            self._probe_timer.cancel()
            self._probe_timer = None


def _same_publisher(one: Route, other: Route) -> bool:
    if one.source is other.source:
        return one.publisher == other.publisher
    return one.publisher == other.publisher != 0
