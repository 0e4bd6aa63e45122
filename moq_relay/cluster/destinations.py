"""Which nodes this one may dial, and at which addresses: the table names them, and peers do.

Whoever can write into the registry, or has a token for joining, could otherwise have every relay
dial whatever host it likes: a service of this machine, or the metadata of a cloud.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Iterable

from moq_relay.cluster.address import HostPort, host_port, node_url

logger = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[HostPort], Awaitable[list[str]]]
"""The addresses of a host. Raises OSError or UnicodeError when it has none."""

LABELS = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
TOLD = 100
"""Nodes of which the log says that they are refused."""


async def resolve(place: HostPort) -> list[str]:
    """What the system knows."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def host_pattern(text: str) -> str:
    """A pattern for hosts in one form: ``*``, a name, ``*.example.com``, an address or a network.

    Raises:
        ValueError: it is none of these.
    """
    text = text.strip().lower().strip("[]").rstrip(".")
    if text == "*":
        return text
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        if not LABELS.fullmatch(text):
            raise ValueError(
                f"has {text!r}, which is no host, *.domain, address or network"
            ) from None
        return text


class Destinations:
    """Hosts that match one of some patterns; this machine and its links only where it is meant."""

    def __init__(
        self,
        allow: Iterable[str] = (),
        *,
        node: str | None = None,
        roots: Iterable[str] = (),
        resolve: Resolve = resolve,
    ) -> None:
        """Take what operators said.

        Args:
            allow: patterns as ``host_pattern`` makes them; none: any host.
            node: URL of this one. While it is itself at an address of this machine, or of a link,
                others may be, too.
            roots: URLs that may be dialled whatever the patterns.
            resolve: finds the addresses of a host.
        """
        self._any = True
        self._names: set[str] = set()
        self._domains: list[str] = []
        self._networks: list[Network] = []
        self._node = node
        self._resolve = resolve
        self._told: set[str] = set()
        for pattern in allow:
            self._any = False
            self._add(pattern)
        for root in roots:
            self._add(_pattern_of(root))
        self._own = None if node is None else host_port(node).host

    def _add(self, pattern: str) -> None:
        if pattern == "*":
            self._any = True
        elif pattern.startswith("*."):
            self._domains.append(pattern[1:])
        else:
            try:
                self._networks.append(ipaddress.ip_network(pattern))
            except ValueError:
                self._names.add(pattern)

    def admits(self, node: str) -> bool:
        """Whether ``node``, as the table has it, may be one; the log says once why it is not."""
        why = self.refusal(node)
        if why is None:
            return True
        shown = node if node.isprintable() and len(node) < 256 else "unprintable"
        if shown not in self._told and len(self._told) < TOLD:
            self._told.add(shown)
            logger.warning("node refused node=%s reason=%s", shown, why)
        return False

    def refusal(self, node: str) -> str | None:
        """Why ``node`` may not be dialled; None: it may, where `permits` its addresses."""
        try:
            if node_url(node) != node:
                return "it is not written as the URL of a node"
        except ValueError as error:
            return f"its URL {error}"
        host = host_port(node).host
        if host == self._own:
            return None
        if not (self._any or self._lists(host) or host.endswith(tuple(self._domains))):
            return f"{host} is not in cluster.allow"
        if _is_here(host) and not self._lists(host) and not self._is_here:
            return f"{host} is this machine or its link; only cluster.allow can say otherwise"
        return None

    async def addresses(self, place: HostPort) -> list[str]:
        """Those of a host.

        Raises:
            OSError: it has none; so does UnicodeError.
        """
        return await self._resolve(place)

    async def permits(self, host: str, address: str) -> bool:
        """Whether ``host`` may be dialled at ``address``, which is one of its addresses."""
        if _is_nowhere(address):
            return False
        if not _is_near(address) or self._lists(host) or self._lists(address):
            return True
        return host == self._own or await self._is_near()

    def _lists(self, host: str) -> bool:
        """Whether a pattern that is no wildcard is for ``host``."""
        try:
            address = _address(host)
        except ValueError:
            return host in self._names
        return any(address in network for network in self._networks)

    @property
    def _is_here(self) -> bool:
        return self._own is not None and _is_here(self._own)

    async def _is_near(self) -> bool:
        """Whether this node is itself reached on its machine or link alone."""
        if self._node is None:
            return False
        try:
            return any(map(_is_near, await self._resolve(host_port(self._node))))
        except (OSError, UnicodeError):
            return False


def _pattern_of(node: str) -> str:
    return host_pattern(host_port(node).host)


def _is_here(host: str) -> bool:
    """Whether it says so by itself, without anybody who looks it up."""
    try:
        return _is_near(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    inside = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return inside or address


def _is_near(text: str) -> bool:
    """Whether it is this machine, or its link: where metadata services and sidecars live."""
    address = _address(text)
    return address.is_loopback or address.is_link_local


def _is_nowhere(text: str) -> bool:
    """Whether no node can be there."""
    address = _address(text)
    return address.is_unspecified or address.is_multicast or text == "255.255.255.255"
