"""HTTP for operators: is the process there, should it get traffic, its numbers and its tables.

What may be changed is in ``Changes``.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry

from moq_relay.daemon.metrics import exposition
from moq_relay.daemon.web.changes import Changes
from moq_relay.daemon.web.hosts import Hosts
from moq_relay.daemon.web.http import page
from moq_relay.daemon.web.live import Live
from moq_relay.daemon.web.views import HIGHEST_LIMIT, LIMIT, Views
from moq_relay.errors import WireError
from moq_relay.relay.path import normalise

SCRIPTS = ("topology.js", "topology_map.js", "topology_text.js")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PAGE = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The page has all it needs from here, and nobody may put it into another one."""
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Served(Protocol):
    """Answers of its own."""

    def add_to(self, app: web.Application, changes: Changes | None) -> None:
        """Serve them; what they change is changed through ``changes``."""


class Readiness:
    """What speaks against sending this node more traffic, and what an operator should know."""

    def __init__(self, reasons: list[str], isolated: str | None = None) -> None:
        self.reasons = reasons
        """Why it should get none."""
        self.isolated = isolated
        """Why it serves from its copy of the table; None while it is in touch."""


class InternalHttp:
    """Answers of ``internal.listen``."""

    def __init__(
        self,
        registry: CollectorRegistry,
        readiness: Callable[[], Readiness],
        views: Views,
        live: Live,
        hosts: Hosts,
        *,
        changes: Changes | None = None,
        others: Sequence[Served] = (),
    ) -> None:
        self._registry = registry
        self._readiness = readiness
        self._views = views
        self._live = live
        self._hosts = hosts
        self._changes = changes
        self._others = others

    def application(self) -> web.Application:
        """All routes, ready to be served."""
        app = web.Application(middlewares=[self._hosts.guard])
        app.on_shutdown.append(self._live.end)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/nodes", self._nodes)
        app.router.add_get("/origins", self._origins)
        app.router.add_get("/routes", self._routes_by_query)
        app.router.add_get("/routes/{path:.*}", self._routes)
        app.router.add_get("/topology", self._live.once)
        app.router.add_get("/topology/live", self._live.stream)
        app.router.add_get("/", page("topology.html", "text/html", PAGE))
        app.router.add_get("/page/topology.css", page("topology.css", "text/css", PAGE))
        for script in SCRIPTS:
            app.router.add_get(f"/page/{script}", page(script, "text/javascript", PAGE))
        if self._changes is not None:
            self._changes.add_to(app)
        for other in self._others:
            other.add_to(app, self._changes)
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        now = self._readiness()
        isolated = [] if now.isolated is None else [f"isolated: {now.isolated}"]
        facts = {
            "ready": not now.reasons,
            "reasons": [*now.reasons, *isolated],
            "isolated": now.isolated is not None,
        }
        return _answer(facts, status=503 if now.reasons else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = await exposition.text(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _nodes(self, _request: web.Request) -> web.Response:
        return _answer(self._views.nodes())

    async def _origins(self, request: web.Request) -> web.Response:
        query = request.query
        limit = _limit(query.get("limit"))
        prefix = _path(query.get("prefix", ""), "prefix")
        return _answer(await self._views.origins(prefix, limit, query.get("after", "")))

    async def _routes(self, request: web.Request) -> web.Response:
        return _answer(self._views.routes(_path(request.match_info["path"], "the path")))

    async def _routes_by_query(self, request: web.Request) -> web.Response:
        """For paths that the path of a URL cannot hold, like those with a segment of dots."""
        return _answer(self._views.routes(_path(request.query.get("path", ""), "path")))


def _answer(facts: dict[str, Any], *, status: int = 200) -> web.Response:
    """ASCII, so that no name in it can speak to a terminal."""
    text = json.dumps(facts, ensure_ascii=True, indent=1) + "\n"
    return web.Response(text=text, status=status, content_type="application/json", headers=HEADERS)


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= HIGHEST_LIMIT:
        raise web.HTTPBadRequest(text=f"limit is a number from 1 to {HIGHEST_LIMIT}\n")
    return int(text)


def _path(text: str, name: str) -> str:
    try:
        return normalise(text)
    except WireError as error:
        raise web.HTTPBadRequest(text=f"{name} is no path: {error}\n") from error
