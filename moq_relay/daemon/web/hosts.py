"""By which names the internal HTTP may be asked, so that no page of the web can ask it.

A page of any site can have its own name resolve to an address of this network, and read what is
there as if it were its own (DNS rebinding). The name it was asked by stays in the header Host.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from aiohttp import web

from moq_relay.cluster.address import host_port
from moq_relay.daemon.config.settings import Settings
from moq_relay.daemon.logs.plain import short

OPEN = frozenset({"/health", "/ready", "/metrics"})
"""For probes and Prometheus, which come by whatever name they have; nothing secret is there."""
FOREIGN = frozenset({"cross-site", "same-site"})
"""What a browser says of requests that another site's page makes."""

log = logging.getLogger(__name__)

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Hosts:
    """Names by which it may be asked, besides those of loopback."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Admit ``names``: host names and addresses, none with a port."""
        self._names = frozenset(_canonical(name) for name in names)

    @classmethod
    def of(cls, settings: Settings) -> "Hosts":
        """Those of one relay."""
        internal, node = settings.internal, settings.cluster.node
        names = list(internal.hosts)
        if internal.listen is not None:
            names.append(internal.listen.host)
        if node is not None:
            names.append(host_port(node)[0])
        return cls(names)

    def admits(self, header: str | None, local: str | None = None) -> bool:
        """Whether a request may ask by this.

        Args:
            header: its Host, with a port or without; None when it has none.
            local: the address of this machine that the request came to.
        """
        host = _host(header)
        if host is None:
            return False
        if host in self._names or host == "localhost" or host.endswith(".localhost"):
            return True
        address = _address(host)
        if address is None:
            return False
        return address.is_loopback or (local is not None and address == _address(local))

    @web.middleware
    async def guard(self, request: web.Request, handler: Answering) -> web.StreamResponse:
        """Answer in one line whatever is asked by a foreign name, or by a foreign page."""
        if request.path in OPEN:
            return await handler(request)
        host = request.headers.get("Host")
        if not self.admits(host, _came_to(request)):
            said = "no host" if host is None else f"the host {short(host)!r}"
            said = f"{said} is none of this relay's names; internal.hosts takes more"
            return _refused(request, 421, said)
        if _foreign(request, host):
            return _refused(request, 403, "pages of other sites may not ask this relay")
        return await handler(request)


def _refused(request: web.Request, status: int, said: str) -> web.Response:
    if request.method == "POST":
        log.warning(
            "change refused what=%s by=%s reason=%s",
            short(request.path.removeprefix("/")),
            request.remote,
            said,
        )
    return web.Response(status=status, text=f"{said}\n")


def _foreign(request: web.Request, host: str | None) -> bool:
    """Whether a page that did not come from here asks; opening this page by a link is fine."""
    origin = request.headers.get("Origin")
    if origin is not None:
        return urlsplit(origin).netloc != host
    opened = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET"
    return request.headers.get("Sec-Fetch-Site") in FOREIGN and not opened


def _host(header: str | None) -> str | None:
    """The host of a header, without its port; None when it is none."""
    if header is None:
        return None
    try:
        host = urlsplit(f"//{header}").hostname
    except ValueError:
        return None
    return None if host is None else _canonical(host)


def _canonical(name: str) -> str:
    return name.lower().strip("[]").removesuffix(".")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _came_to(request: web.Request) -> str | None:
    name = None if request.transport is None else request.transport.get_extra_info("sockname")
    return str(name[0]).partition("%")[0] if isinstance(name, tuple) else None
