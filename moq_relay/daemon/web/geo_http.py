"""``/geo`` of a root: the set of nodes for the DNS, as JSON and as a zone of octoDNS."""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from moq_relay.daemon.cluster import Cluster
from moq_relay.daemon.geo import answer, zone
from moq_relay.daemon.geo.answer import Geo, NoAnswerError
from moq_relay.daemon.web.changes import Changes, Refusal, only

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
HIGHEST_TTL = 86_400
NAME = re.compile(r"(?!-)[a-z0-9_*-]{1,63}(\.[a-z0-9_-]{1,63})*")
NO_ROOT = "only a root answers /geo"

log = logging.getLogger(__name__)


class GeoHttp:
    """Answers of ``/geo``. ``turn`` keeps them up to date between questions."""

    def __init__(self, cluster: Cluster | None) -> None:
        """Answer for ``cluster``, where this relay is a root of it."""
        self._cluster = cluster if cluster is not None and cluster.part.mode == "root" else None
        self._geo: Geo | None = None
        self._held: str | None = None

    def add_to(self, app: web.Application, changes: Changes | None) -> None:
        """Serve it; what is held can be accepted by who may make ``changes``."""
        app.router.add_get("/geo", self._get)
        if changes is not None:
            app.router.add_post("/geo/accept", changes.post("geo", self._accept, self._json))

    def turn(self) -> None:
        """Look at the table; called each second, so that no step is as long as nobody asks."""
        if self._cluster is not None:
            self._look(self._cluster)

    def _accept(self, body: Mapping[str, Any]) -> str:
        """Tell the present set, however small."""
        only(body)
        if self._cluster is None:
            raise Refusal(404, NO_ROOT)
        try:
            return f"accepted={self._look(self._cluster).accept()}"
        except NoAnswerError as reason:
            raise Refusal(409, str(reason)) from reason

    def _look(self, cluster: Cluster) -> Geo:
        if self._geo is None:
            loop = asyncio.get_running_loop()
            self._geo = Geo(loop.time, cluster.part.times.lease)
        registry = cluster.registry
        ready = answer.targets(registry.members, registry.table.leases.ends)
        in_touch = cluster.synced and cluster.isolated is None
        self._geo.look(ready, in_touch=in_touch)
        held = self._geo.held
        if (held is None) != (self._held is None):
            if held is None:
                log.info("geo follows again")
            else:
                log.error("geo holds the last good set reason=%s", held)
        self._held = held
        return self._geo

    async def _get(self, request: web.Request) -> web.Response:
        cluster = self._cluster
        if cluster is None:
            raise web.HTTPNotFound(text=f"{NO_ROOT}\n", headers=HEADERS)
        form = request.query.get("format", "json")
        if form not in {"json", "octodns"}:
            raise web.HTTPBadRequest(text="format is json or octodns\n", headers=HEADERS)
        name, ttl = _name(request.query.get("name", "")), _ttl(request.query.get("ttl"))
        try:
            found = self._look(cluster).answer()
        except NoAnswerError as reason:
            raise web.HTTPServiceUnavailable(text=f"{reason}\n", headers=HEADERS) from reason
        if form == "octodns":
            # A hundred regions and places to share out, and viewers wait for this loop.
            text = await asyncio.to_thread(zone.zone, found, name=name, ttl=ttl)
            return web.Response(text=text, content_type="application/yaml", headers=HEADERS)
        return self._json()

    def _json(self) -> web.Response:
        cluster = self._cluster
        assert cluster is not None, "only a root is asked"
        found = self._look(cluster).answer()
        facts: dict[str, Any] = {
            "self": cluster.part.node,
            "isolated": cluster.isolated,
            "age_seconds": round(cluster.registry.status.staleness_seconds, 3),
            "held": self._held,
            "nodes": answer.facts(found, cluster.part.times.lease),
        }
        text = json.dumps(facts, ensure_ascii=True, indent=1) + "\n"
        return web.Response(text=text, content_type="application/json", headers=HEADERS)


def _name(text: str) -> str:
    if text and not NAME.fullmatch(text):
        raise web.HTTPBadRequest(
            text="name is that of a record inside its zone, like relay\n", headers=HEADERS
        )
    return text


def _ttl(text: str | None) -> int:
    if text is None:
        return zone.TTL
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= HIGHEST_TTL:
        raise web.HTTPBadRequest(
            text=f"ttl is a number of seconds from 1 to {HIGHEST_TTL}\n", headers=HEADERS
        )
    return int(text)
