"""What the origin announces, on one announce stream of the peer."""

from __future__ import annotations

from typing import Any

from moq_relay.errors import Internal, WireError
from moq_relay.relay.access import Access
from moq_relay.relay.path import below
from moq_relay.relay.route import Route
from moq_relay.sessions.lite.egress import Line
from moq_relay.sessions.streams import RequestStream
from moq_relay.wire.lite.messages import (
    Announce,
    AnnounceEnd,
    AnnounceInit,
    AnnounceOk,
    AnnounceStart,
    AnnounceUpdate,
)

ENDED, ACTIVE = 0, 1
UNREAD_LIMIT = 4 << 20
"""Bytes a peer may leave unread above its backlog before its announce stream is given up."""


class AnnounceEgress:
    """Writes what comes and goes; a ``Watcher``. What is told before ``open`` is the snapshot."""

    def __init__(
        self, line: Line, request: RequestStream, hop: int, prefix: str, access: Access
    ) -> None:
        self._features = line.version.features
        self._line = line
        self._request = request
        self._hop = hop
        self._prefix = prefix
        self._access = access
        self._snapshot: dict[str, Route] | None = {}
        self._ids: dict[str, int] = {}
        self._next_id = 0

    def open(self) -> None:
        """Write the opening and the snapshot; from now on changes are written as they come."""
        snapshot, self._snapshot = self._snapshot or {}, None
        if self._features.announce_ok:
            self._request.write(AnnounceOk(self._hop, len(snapshot)))
        if self._features.announce_init:
            self._request.write(AnnounceInit(tuple(map(self._suffix, snapshot))))
            return
        for path, route in snapshot.items():
            self._start(path, route)

    def announced(self, path: str, route: Route) -> None:
        if not self._access.may_subscribe(path):
            return
        if self._snapshot is not None:
            self._snapshot[path] = route
        else:
            self._start(path, route)

    def updated(self, path: str, route: Route) -> None:
        if not self._access.may_subscribe(path):
            return
        if self._features.announce_ids:
            warm, cold = (route.warm, route.cold) if self._features.costs else (0, 0)
            self._write(AnnounceUpdate(self._ids[path], route.hops, warm, cold))
        elif self._features.restart_by_active:
            self._start(path, route)

    def withdrawn(self, path: str) -> None:
        if not self._access.may_subscribe(path):
            return
        if self._features.announce_ids:
            self._write(AnnounceEnd(self._ids.pop(path)))
        else:
            self._write(Announce(ENDED, self._suffix(path)))

    def _start(self, path: str, route: Route) -> None:
        suffix = self._suffix(path)
        if self._features.announce_ids:
            self._ids[path], self._next_id = self._next_id, self._next_id + 1
            self._write(AnnounceStart(suffix, route.hops, route.warm, route.cold))
            return
        hops = (*route.hops, self._hop) if self._features.sender_in_hops else route.hops
        self._write(Announce(ACTIVE, suffix, hops))

    def _suffix(self, path: str) -> str:
        return below(self._prefix, path)

    def _write(self, message: Any) -> None:
        if self._line.scheduler.backlog > self._line.scheduler.limit + UNREAD_LIMIT:
            self._line.transport.close(1, "announcements are not read")
            return
        try:
            self._request.write(message)
        except WireError as error:
            # A stream that goes on without one announcement would tell the peer a lie.
            self._request.interrupt(Internal(f"an announcement cannot be told: {error}"))
