"""HTTP for operators: is the process there, should it get traffic, and its numbers."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

Reasons = Callable[[], list[str]]
"""Why the node should get no traffic now; none when it should."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class InternalHttp:
    """Answers of ``internal.listen``."""

    def __init__(self, registry: CollectorRegistry, unready: Reasons) -> None:
        self._registry = registry
        self._unready = unready

    def application(self) -> web.Application:
        """All routes, ready to be served."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        reasons = self._unready()
        facts = {"ready": not reasons, "reasons": reasons}
        return web.json_response(facts, status=503 if reasons else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})
