"""What one address, one tenant and all of them may ask of ``web.http``, and how they are told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

from aiohttp import web

from moq_relay.daemon.web.connections import Answering
from moq_relay.errors import LimitReached
from moq_relay.relay.access import Access
from moq_relay.sessions.gate import Gate
from moq_relay.sessions.tenants import WINDOW, Tenants

FETCHES = 256
"""Fetches at a time, until the last byte was sent; each may hold a group in memory."""
PATHS = 500
"""In a list, that cost about as much as one more request does."""
SOON = 1
"""Seconds after which it is worth asking again, where others only have to be served first."""

EVERYWHERE = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""Any page of the web may read the answers."""
TOO_FAST = "too many requests by HTTP a second of one address"


class Requests:
    """Counts what is under way, at the gate and the tenants that sessions are counted at.

    Who asks for more than its address or tenant may is answered 429 (RFC 6585 section 4), and 503
    where it is the relay that has no more; both with a line, and with when to come again.
    """

    def __init__(
        self, gate: Gate | None = None, tenants: Tenants | None = None, *, fetches: int = FETCHES
    ) -> None:
        """Limit nothing but ``fetches`` where neither is given."""
        self._gate = gate or Gate()
        self._tenants = tenants or Tenants()
        self._fetches_free = fetches
        self._numbers = count(-1, -1)
        """Sessions are counted up from one."""

    @web.middleware
    async def pace(self, request: web.Request, handler: Answering) -> web.StreamResponse:
        """Let one address ask so often a second, and end the connections of who asks more."""
        host = request.remote or ""
        if self._gate.may_ask(host):
            return await handler(request)
        self._gate.counters.requests_refused["rate"] += 1
        self._gate.refuse(host, TOO_FAST)
        answer = web.Response(status=429, text=f"{TOO_FAST}\n", headers=_later(SOON))
        answer.force_close()
        return answer

    def listed(self, host: str, paths: int) -> None:
        """A request of ``host`` was answered from a list of so many."""
        self._gate.owes(host, paths // PATHS)

    def shed(self, host: str) -> None:
        """Turn ``host`` away while those who are here need what there is.

        Raises:
            HTTPServiceUnavailable: a resource is nearly used up.
        """
        try:
            self._gate.shed(host)
        except LimitReached as error:
            self._refused(host, error)
            text = f"{error}\n"
            raise web.HTTPServiceUnavailable(text=text, headers=_later(WINDOW)) from error

    @contextmanager
    def fetch(self, host: str, access: Access) -> Iterator[Callable[[int], None]]:
        """Count a fetch while the context lasts; to be called with each number of bytes sent.

        Raises:
            HTTPTooManyRequests: its tenant has as much as one may.
            HTTPServiceUnavailable: there are as many as there may be.
        """
        refused = self._gate.counters.requests_refused
        if self._tenants.overdrawn(access):
            refused["tenant"] += 1
            text = "the tenant is sent more than limits.tenant.egress allows\n"
            raise web.HTTPTooManyRequests(text=text, headers=_later(WINDOW))
        if not self._fetches_free:
            refused["fetches"] += 1
            text = "too many fetches at a time; try again\n"
            raise web.HTTPServiceUnavailable(text=text, headers=_later(SOON))
        number = next(self._numbers)
        try:
            self._tenants.enter(number, access)
        except LimitReached as error:
            self._refused(host, error)
            raise web.HTTPTooManyRequests(text=f"{error}\n", headers=_later(SOON)) from error
        self._fetches_free -= 1
        try:
            yield partial(self._sent, access)
        finally:
            self._fetches_free += 1
            self._tenants.left(number)

    def _sent(self, access: Access, size: int) -> None:
        self._gate.counters.fetch_bytes += size
        self._tenants.sent(access, size)

    def _refused(self, host: str, error: LimitReached) -> None:
        self._gate.counters.sessions_refused[error.reason] += 1
        self._gate.refuse(host, str(error))


def _later(seconds: int) -> dict[str, str]:
    return EVERYWHERE | {"Retry-After": str(seconds)}
