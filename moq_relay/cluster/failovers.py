"""Broadcasts whose way was left for another: how often, why, and how long viewers waited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from moq_relay.cluster.backoff import pause
from moq_relay.cluster.peerlink import PeerLink
from moq_relay.cluster.placement import ClaimState
from moq_relay.cluster.regions import ByRegion, Regions
from moq_relay.relay.broadcast import Broadcast
from moq_relay.relay.feed import Feed
from moq_relay.relay.histogram import Histogram
from moq_relay.relay.origin import Origin
from moq_relay.relay.track import Track

Reason = Literal["suspect", "lost", "denied", "moved"]
REASONS: tuple[Reason, ...] = ("suspect", "lost", "denied", "moved")
"""Its node was silent; it, or the publisher there, was gone; it said that it has no such path;
another was better."""

GAP_BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
"""How long the first frame of the new way is waited for."""


class Fault(Protocol):
    """What the owner of a claim said of it."""

    @property
    def state(self) -> ClaimState:
        """Lost or denied."""


class Way(NamedTuple):
    """How a broadcast that is read came here, before something changed."""

    link: PeerLink
    reason: Reason
    """Why it would be left now."""
    tracks: list[Track]
    """Those that are read."""
    feeds: list[Feed | None]
    """By which those came."""


@dataclass(frozen=True, slots=True)
class _Gap:
    """A track of which the new way has yet to bring the first frame."""

    region: str
    path: str
    """Of the broadcast."""
    key: tuple[str, str]
    """Path and name of the track."""
    feed: Feed | None
    """By which it came."""
    left_at: float
    heard_at: float


class Failovers:
    """Counts them by the region of the node that was left. ``run`` finds how long they took."""

    def __init__(self, origin: Origin, regions: Regions) -> None:
        self.counts: ByRegion[Counter[Reason]] = ByRegion(regions, Counter)
        self.gaps = ByRegion(regions, lambda: Histogram(GAP_BOUNDS))
        """Of each track: from its last frame by the old way to the first by the new one."""
        self.on_failover: Callable[[str, str, Reason], object] = lambda _path, _node, _reason: None
        """Called with each: its path, the node that was left, and why."""
        self._origin = origin
        self._regions = regions
        self._open: list[_Gap] = []

    # Around every change of routes.

    def look(self, path: str, faults: Mapping[str, Fault]) -> Way | None:
        """How ``path`` comes here now; None when nobody reads it, or its publisher is here.

        Args:
            path: of the broadcast.
            faults: by node, what owners said of their claims to it.
        """
        broadcast = self._origin.broadcasts.get(path)
        link = None if broadcast is None else _link(broadcast)
        if broadcast is None or link is None:
            return None
        read = [track for track in broadcast.tracks.values() if track.readers]
        if not read:
            return None
        feeds = [track.supply.feed for track in read]
        return Way(link, _reason(link, faults.get(link.node)), read, feeds)

    def compare(self, path: str, way: Way | None) -> None:
        """Count it if ``path`` comes another way than when it was looked at."""
        broadcast = self._origin.broadcasts.get(path)
        if way is None or broadcast is None or broadcast.active is None:
            return
        region = self._regions.of(way.link.node)
        if broadcast.active.source is way.link or region is None:
            return
        self.counts.at(region)[way.reason] += 1
        self.on_failover(path, way.link.node, way.reason)
        now = self._origin.clock()
        for track, feed in zip(way.tracks, way.feeds, strict=True):
            if track.heard_at is not None:
                key = track.path, track.name
                self._open.append(_Gap(region, path, key, feed, now, track.heard_at))

    # What it took.

    async def run(self) -> None:
        """Time what was counted; ends only by cancellation."""
        while True:
            await pause(LOOK_SECONDS)
            self.turn()

    def turn(self) -> None:
        """Count the gaps that have an end now."""
        self._open = [gap for gap in self._open if self._is_open(gap)]

    def _is_open(self, gap: _Gap) -> bool:
        broadcast = self._origin.broadcasts.get(gap.path)
        track = None if broadcast is None else broadcast.tracks.get(gap.key)
        if track is None or self._origin.clock() - gap.left_at >= PATIENCE_SECONDS:
            return False
        feed = track.supply.feed
        if feed is None or feed is gap.feed or feed.first_at is None:
            return True
        # Another content is another track, which heard nothing before.
        seconds = feed.first_at - gap.heard_at if feed.silence is None else feed.silence
        self.gaps.at(gap.region).observe(max(0.0, seconds))
        return False


def _link(broadcast: Broadcast) -> PeerLink | None:
    source = None if broadcast.active is None else broadcast.active.source
    return source if isinstance(source, PeerLink) else None


def _reason(link: PeerLink, fault: Fault | None) -> Reason:
    if link.state == "suspect":
        return "suspect"
    if link.state == "down" or (fault is not None and fault.state == "lost"):
        return "lost"
    return "denied" if fault is not None and fault.state == "denied" else "moved"
