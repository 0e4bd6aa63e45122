"""HTTP for everybody: the certificate's hash, what is announced, one group at a time, the demo."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from math import inf
from typing import NamedTuple

from aiohttp import web

from moq_relay.cluster.targets import TOKEN
from moq_relay.daemon.auth import Authority, bearer
from moq_relay.daemon.config.values import loopback
from moq_relay.daemon.demo import CLOCK, PATH, RATE, SCENE
from moq_relay.daemon.tokens.standing import EXPIRED
from moq_relay.daemon.web.connections import Answering
from moq_relay.daemon.web.requests import EVERYWHERE, Requests
from moq_relay.errors import (
    ControlTimeout,
    DeliveryTimeout,
    Evicted,
    NotFound,
    Old,
    RequestError,
    Unauthorized,
    Unroutable,
    WireError,
)
from moq_relay.relay.access import Access
from moq_relay.relay.feed import Demand
from moq_relay.relay.group import Group
from moq_relay.relay.origin import Origin
from moq_relay.relay.path import normalise
from moq_relay.sessions.context import Resolve

FETCH_SECONDS = 30.0
PIECE = 1 << 16
"""Bytes that are handed over at once, so that who reads slowly has little waiting."""
DIGITS = 19
"""Of the largest number that a group may have."""

PAGE = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src *; img-src data:; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""The page has all it needs from here, and connects to whatever port the relay has."""

log = logging.getLogger(__name__)


class Door(NamedTuple):
    """One listener, as the demo page sees it."""

    port: int
    versions: tuple[str, ...]


class FirstGroup:
    """Reads a track until it has shown one group."""

    def __init__(self) -> None:
        self.group: Group | None = None
        self.error: RequestError | None = None
        self.known = asyncio.Event()

    def started(self, first: int) -> None:
        """Nothing to do: the group itself comes next."""

    def opened(self, group: Group) -> None:
        """The first one is kept."""
        if self.group is None:
            self.group = group
            self.known.set()

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """Not a group that could be read to its end later."""

    def ended(self, error: RequestError | None, final: int | None) -> None:
        """Nothing will come."""
        self.error = error or NotFound("the track has ended")
        self.known.set()


class WholeGroup:
    """Waits for a group to be complete."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._over = asyncio.Event()

    def ready(self) -> None:
        """Look whether that was the last frame."""
        if not self._group.open:
            self._over.set()

    async def payloads(self) -> list[bytes]:
        """Those of all frames.

        Raises:
            RequestError: the group will never be complete.
        """
        self._group.join(self)
        try:
            self.ready()
            await self._over.wait()
            if self._group.error is not None:
                raise self._group.error
            return [frame.payload for frame in self._group.frames]
        finally:
            self._group.leave(self)


class PublicHttp:
    """Answers of ``web.http``."""

    def __init__(
        self,
        origin: Origin,
        authority: Authority,
        fingerprint: Callable[[], str],
        doors: Sequence[Door] | None = None,
        *,
        resolve: Resolve | None = None,
        requests: Requests | None = None,
        fetch_seconds: float = FETCH_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Serve ``origin``; with ``doors``, by which the demo page gets in, there is that page.

        ``resolve`` is as in ``Context``; ``requests`` has the limits; ``now`` tells unix seconds.
        """
        self._origin = origin
        self._authority = authority
        self._fingerprint = fingerprint
        self._doors = doors
        self._resolve = resolve
        self._fetch_seconds = fetch_seconds
        self._requests = requests or Requests()
        self._now = now

    def application(self) -> web.Application:
        """All routes, ready to be served."""
        app = web.Application(middlewares=[self._requests.pace])
        app.router.add_get("/certificate.sha256", self._certificate)
        app.router.add_get("/health", _health)
        app.router.add_get("/announced", _polite(self._announced))
        app.router.add_get("/announced/{prefix:.*}", _polite(self._announced))
        app.router.add_get("/fetch/{path:.+}", _polite(self._fetch))
        if self._doors is not None:
            app.router.add_get("/", _to_demo)
            app.router.add_get("/demo", page("demo.html", "text/html"))
            app.router.add_get("/demo/demo.css", page("demo.css", "text/css"))
            app.router.add_get("/demo/demo.js", page("demo.js", "text/javascript"))
            app.router.add_get("/demo/wire.js", page("wire.js", "text/javascript"))
            app.router.add_get("/demo/relay.json", self._where)
        return app

    async def _certificate(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._fingerprint(), headers=EVERYWHERE)

    async def _announced(self, request: web.Request) -> web.Response:
        self._requests.shed(request.remote or "")
        prefix = normalise(request.match_info.get("prefix", ""))
        access = await self._authority.below(prefix, _token(request))
        if not access.subscribe:
            raise Unauthorized(f"nothing below /{prefix} may be watched")
        self._requests.listed(request.remote or "", len(self._origin.broadcasts))
        paths = [path for path in self._origin.paths(prefix) if access.may_subscribe(path)]
        return web.Response(text="".join(f"{path}\n" for path in paths), headers=EVERYWHERE)

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        host = request.remote or ""
        self._requests.shed(host)
        path, _, track = request.match_info["path"].rpartition("/")
        path = normalise(path)
        access = await self._authority.below(path, _token(request))
        if not access.may_subscribe(path):
            raise Unauthorized(f"/{path} may not be watched")
        sequence = _sequence(request.query.get("group"))
        with self._requests.fetch(host, access) as sent:
            payloads = await self._in_time(access, self._payloads(path, track, sequence))
            return await self._send(request, payloads, sent)

    async def _in_time(self, access: Access, getting: Awaitable[list[bytes]]) -> list[bytes]:
        left = inf if access.expires is None else access.expires - self._now()
        try:
            async with asyncio.timeout(min(self._fetch_seconds, left)):
                return await getting
        except TimeoutError as error:
            if left <= self._fetch_seconds:
                raise Unauthorized(EXPIRED) from error
            text = f"the group was not complete within {self._fetch_seconds:g} s\n"
            raise web.HTTPGatewayTimeout(text=text) from error

    async def _send(
        self, request: web.Request, payloads: list[bytes], sent: Callable[[int], None]
    ) -> web.StreamResponse:
        """Send them from where they are; who does not read holds no copy, and is cut off."""
        response = web.StreamResponse(headers=EVERYWHERE)
        response.content_type = "application/octet-stream"
        response.content_length = sum(map(len, payloads))
        try:
            async with asyncio.timeout(self._fetch_seconds):
                await response.prepare(request)
                for payload in payloads if request.method == "GET" else ():
                    whole = memoryview(payload)
                    for start in range(0, len(whole), PIECE):
                        piece = whole[start : start + PIECE]
                        await response.write(piece)
                        sent(len(piece))
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            log.debug("fetch left by=%s", request.remote)
        return response

    async def _payloads(self, path: str, name: str, sequence: int | None) -> list[bytes]:
        if self._resolve is not None:
            try:
                self._origin.find(path)
            except Unroutable:
                await self._resolve(path)
        if sequence is not None:
            return await WholeGroup(self._origin.fetch(path, name, sequence)).payloads()
        reader = FirstGroup()
        demand = Demand(max_age=self._fetch_seconds)
        track = self._origin.subscribe(path, name, reader, demand)
        try:
            await reader.known.wait()
            if reader.group is None:
                raise reader.error or NotFound("the track has ended")
            return await WholeGroup(reader.group).payloads()
        finally:
            track.leave(reader)

    async def _where(self, _request: web.Request) -> web.Response:
        facts = {
            "doors": [door._asdict() for door in self._doors or ()],
            "broadcast": PATH,
            "clock": CLOCK,
            "scene": SCENE,
            "rate": RATE,
        }
        return web.json_response(facts, headers=EVERYWHERE)


async def _health(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n", headers=EVERYWHERE)


async def _to_demo(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/demo")


def page(name: str, kind: str, headers: Mapping[str, str] = PAGE) -> Answering:
    """A file of the package, read once."""
    body = (resources.files("moq_relay.daemon") / "page" / name).read_bytes()

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    return answer


def _token(request: web.Request) -> str | None:
    token = bearer(request.headers.get("Authorization")) or request.query.get(TOKEN)
    if token and not request.secure and not loopback(request.remote or ""):
        raise Unauthorized(
            "a token may not come over plain HTTP from another machine, where others can read it: "
            "make a new one, and ask by way of a proxy with TLS on the relay's machine"
        )
    return token


def _sequence(text: str | None) -> int | None:
    if text is None:
        return None
    # Python refuses to read a number of some thousand digits.
    digits = text.isascii() and text.isdigit() and len(text) <= DIGITS
    if not digits or int(text) >= 1 << 62:
        raise web.HTTPBadRequest(text=f"group is {text[:DIGITS]!r}, not the number of a group\n")
    return int(text)


def _polite(answer: Answering) -> Answering:
    """Say what went wrong with a status and one line."""

    async def polite(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except Unauthorized as error:
            status, text = 403, str(error)
        except WireError as error:
            status, text = 400, str(error)
        except (NotFound, Unroutable, Evicted, Old) as error:
            status, text = 404, str(error)
        except (ControlTimeout, DeliveryTimeout) as error:
            status, text = 504, str(error)
        except RequestError as error:
            status, text = 502, str(error)
        return web.Response(status=status, text=f"{text}\n", headers=EVERYWHERE)

    return polite
