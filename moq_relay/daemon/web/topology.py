"""The cluster in one picture, as this node sees it: nodes, links, broadcasts and what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from moq_relay import __version__
from moq_relay.cluster.dialling import Link
from moq_relay.daemon.cluster import Cluster
from moq_relay.daemon.metrics.readings import Readings
from moq_relay.daemon.web.views import Views
from moq_relay.sessions.lite.session import LiteSession

SHOWN = 100
"""Broadcasts in the picture; who wants others asks ``/origins``."""
IDLE_SHARE = 50.0
"""Listing the broadcasts may take one part in so many of the time."""

Facts = dict[str, Any]


@dataclass(slots=True)
class _Sessions:
    """All sessions with one node."""

    ways: list[str] = field(default_factory=list)
    """``link``: tracks come by it. ``taken``: tracks go by it. ``join``, ``probe``."""
    rtts: list[float] = field(default_factory=list)
    bytes_in: int = 0
    bytes_out: int = 0

    def add(self, way: str, session: LiteSession) -> None:
        stats = session.transport.stats()
        self.ways.append(way)
        self.bytes_in += stats.bytes_received
        self.bytes_out += stats.bytes_sent
        if stats.rtt_seconds is not None:
            self.rtts.append(stats.rtt_seconds)


class Topology:
    """Makes the picture; costs nothing until it is asked."""

    def __init__(
        self, views: Views, readings: Readings, clock: Callable[[], float] = time.time
    ) -> None:
        self._views = views
        self._readings = readings
        self._clock = clock
        self._listed: Facts = {"total": 0, "origins": [], "more": False}
        self._listed_at = (-1, float("-inf"))
        """The number of changes and the time of the last list."""
        self._list_again = 0.0

    async def look(self) -> Facts:
        """Everything that the page shows; names in it were chosen by others."""
        readings, counters = self._readings, self._readings.counters
        cluster = readings.cluster
        nodes = self._views.nodes()
        return {
            "at": round(self._clock(), 3),
            "version": __version__,
            "mode": "standalone" if cluster is None else cluster.part.mode,
            "region": readings.region,
            "sessions": sum(1 for _ in readings.sessions()),
            "viewers": counters.viewers,
            "bytes_in": counters.bytes_in,
            "bytes_out": counters.bytes_out,
            **nodes,
            "links": [] if cluster is None else list(self._links(cluster)),
            "broadcasts": await self._broadcasts(cluster),
            "events": [] if cluster is None else [e._asdict() for e in cluster.chronicle.newest()],
        }

    def _links(self, cluster: Cluster) -> Iterator[Facts]:
        """One entry for each node that this one has a session with, or wants one."""
        found: dict[str | None, _Sessions] = {}
        for way in cluster.roundtrips.ways():
            if isinstance(way.session, Link):
                link = cluster.links.known(way.node)
                linked = way.method == "quic" and link is not None and link.connected
                kind = "link" if linked else "probe" if way.method == "probe" else "join"
                found.setdefault(way.node, _Sessions()).add(kind, way.session.session)
        for session in self._readings.sessions():
            access = session.publisher.access
            if access.local_only:
                found.setdefault(access.node, _Sessions()).add("taken", session)
        links = {link.node: link for link in cluster.links.all()}
        for node in sorted({*found, *links}, key=lambda node: node or ""):
            sessions, known = found.get(node) or _Sessions(), links.get(node or "")
            member = None if node is None else cluster.registry.table.member(node)
            yield {
                "node": node,
                "region": "" if member is None else member.region,
                "state": None if known is None else known.state,
                "ways": sorted(set(sessions.ways)),
                "rtt_seconds": round(min(sessions.rtts), 6) if sessions.rtts else None,
                "tracks": 0 if known is None else known.subscriptions,
                "bytes_in": sessions.bytes_in,
                "bytes_out": sessions.bytes_out,
            }

    async def _broadcasts(self, cluster: Cluster | None) -> Facts:
        """The first of them; looked for again when they changed, and not all the time."""
        began = time.monotonic()
        changes = -1 if cluster is None else cluster.chronicle.changes
        if began >= self._list_again and (cluster is None or changes != self._listed_at[0]):
            found = await self._views.origins(limit=SHOWN)
            total = self._views.total()
            self._listed = {
                "total": total,
                "origins": found["origins"],
                "more": found["next"] is not None,
            }
            self._listed_at = changes, began
            now = time.monotonic()
            self._list_again = now + IDLE_SHARE * (now - began)
        return self._listed
