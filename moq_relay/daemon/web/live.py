"""Server-sent events: one picture a second, made once for all who look, and kept for nobody."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from moq_relay.cluster.backoff import pause

CLIENTS = 32
PERIOD_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
"""How long one picture may take to leave for a client; who takes longer is dropped."""
RETRY_MILLISECONDS = 2000

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

log = logging.getLogger(__name__)


class Live:
    """Shows what ``look`` finds. Nothing is looked at while nobody is there.

    What waits for a client is what its connection holds, at most one picture more than 64 KiB;
    pictures that it was too slow for are left out.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[Mapping[str, Any]]],
        *,
        clients: int = CLIENTS,
        period: float = PERIOD_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Begin with no client.

        Args:
            look: what to show.
            clients: how many may be there at a time.
            period: seconds between two looks, at least.
            patience: as ``PATIENCE_SECONDS``.
        """
        self.watching = 0
        """Clients now."""
        self.dropped = 0
        """Those that were too slow, so far."""
        self._look = look
        self._clients = clients
        self._period = period
        self._patience = patience
        self._looking = asyncio.Lock()
        self._picture = ""
        self._looked = float("-inf")
        self._over = asyncio.Event()

    async def picture(self) -> str:
        """What there is to see, as JSON in one line of ASCII; the same for all within a period."""
        async with self._looking:
            loop = asyncio.get_running_loop()
            if loop.time() - self._looked >= self._period:
                self._picture = json.dumps(await self._look(), separators=(",", ":"))
                self._looked = loop.time()
            return self._picture

    async def once(self, _request: web.Request) -> web.Response:
        """One picture, for those who ask again themselves, with how many watch."""
        live = {"watching": self.watching, "most": self._clients}
        text = f'{{"live": {json.dumps(live)},\n"picture": {await self.picture()}}}\n'
        return web.Response(text=text, content_type="application/json", headers=HEADERS)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Pictures until the client leaves, is too slow, or the relay ends."""
        if self.watching >= self._clients:
            text = f"{self._clients} clients watch already; /topology has the same, once\n"
            return web.Response(status=503, text=text, headers=HEADERS | {"Retry-After": "60"})
        self.watching += 1
        try:
            return await self._show(request)
        finally:
            self.watching -= 1

    async def _show(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        head, shown = f"retry: {RETRY_MILLISECONDS}\n", ""
        over = False
        while not over:
            picture = await self.picture()
            if picture is not shown:
                try:
                    async with asyncio.timeout(self._patience):
                        await answer.write(f"{head}data: {picture}\n\n".encode())
                except TimeoutError:
                    self._drop(request)
                    break
                except ConnectionError:
                    break
                head, shown = "", picture
            over = await pause(self._period / 2, self._over)
        return answer

    def _drop(self, request: web.Request) -> None:
        """End the connection with what still waits in it."""
        if request.transport is not None:
            self.dropped += 1
            log.info("watcher dropped, too slow peer=%s", request.remote)
            request.transport.abort()

    async def end(self, _app: web.Application) -> None:
        """Let all go: the relay ends."""
        self._over.set()
