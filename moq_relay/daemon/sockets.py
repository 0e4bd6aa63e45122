"""Binding what the settings name: every address of a name, and one line when it cannot be."""

import asyncio
import errno
import socket
from collections.abc import Iterable

from moq_relay.daemon.config.values import Address
from moq_relay.errors import ConfigError

LOOPBACK = ("127.0.0.1", "::1")
"""What browsers mean by localhost, whatever the hosts file says; they try ``::1`` first."""

ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Of a name's addresses one may be missing here: ``localhost`` where there is no IPv6."""


async def resolve(address: Address, where: str) -> list[Address]:
    """Every numeric address that ``address`` stands for.

    Raises:
        ConfigError: the name is unknown.
    """
    if address.host == "localhost":
        return [Address(host, address.port) for host in LOOPBACK]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(
            f"{where}: {address.host} is no known host; write an IP address, or a name of this host"
        ) from error
    return list(dict.fromkeys(Address(str(entry[4][0]), address.port) for entry in found))


def problem(where: str, kind: str, address: Address, error: OSError) -> ConfigError:
    """Why ``address`` cannot be listened on, and what to do."""
    match error.errno:
        case errno.EADDRINUSE:
            text = (
                f"{kind} port {address.port} of {address.host} is in use; "
                "stop what uses it, or choose another port"
            )
        case errno.EACCES | errno.EPERM:
            text = (
                f"{kind} port {address.port} is not allowed to this user; choose one above 1023, "
                "or give the program the capability CAP_NET_BIND_SERVICE"
            )
        case errno.EADDRNOTAVAIL:
            text = f"{address.host} is no address of this host; [::] listens on all of them"
        case errno.EAFNOSUPPORT:
            text = f"this host has no IPv6; write 0.0.0.0 instead of {address.host}"
        case _:
            text = f"cannot listen on {kind} {address}: {error.strerror or error}"
    return ConfigError(f"{where}: {text}")


def first_problem(problems: Iterable[tuple[Address, OSError]]) -> tuple[Address, OSError] | None:
    """Of what went wrong while other addresses of the same name worked: what counts."""
    return next(((a, e) for a, e in problems if e.errno not in ABSENT), None)


async def bind_tcp(address: Address, where: str) -> list[socket.socket]:
    """Listening sockets for every address of a name; port 0 is the same one for all.

    Raises:
        ConfigError: none, or not all that this host has, can be listened on.
    """
    sockets: list[socket.socket] = []
    failed: list[tuple[Address, OSError]] = []
    for one in await resolve(address, where):
        try:
            sockets.append(_tcp(one))
        except OSError as error:
            failed.append((one, error))
    serious = first_problem(failed) or (failed[0] if not sockets else None)
    if serious is not None:
        for opened in sockets:
            opened.close()
        raise problem(where, "TCP", *serious) from serious[1]
    return sockets


def _tcp(address: Address) -> socket.socket:
    six = ":" in address.host
    opened = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:
            # "[::]" takes IPv4 as well; a narrower address is what it says.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address.host != "::")
        opened.bind(tuple(address))
        opened.listen(128)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened
