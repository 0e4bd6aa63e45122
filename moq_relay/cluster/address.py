"""Names of nodes: their public URL, in one form, whatever way an operator or a peer wrote it."""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORT = 443
HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class HostPort(NamedTuple):
    """Where a node is reached."""

    host: str
    """A name, or an address without brackets."""
    port: int


def node_url(text: str) -> str:
    """``https://host[:port]/`` from a host, ``host:port`` or a URL; the same node, the same text.

    Raises:
        ValueError: it names no node; the text says why.
    """
    text = text.strip()
    if not text.isprintable():
        raise ValueError("is not a host, host:port or URL")
    scheme = SCHEME.match(text)
    if scheme is not None and scheme[1].lower() != "https":
        raise ValueError(f"has the scheme {scheme[1]}; a node's URL begins with https://")
    if scheme is None and text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    try:
        parts = urlsplit(text if scheme is not None else f"https://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError("is not a host, host:port or URL") from error
    if parts.username is not None or parts.query or parts.fragment or parts.path not in {"", "/"}:
        raise ValueError("has more than a host and a port; write it like https://host:4443")
    shown = _host(host)
    suffix = "" if port in {None, DEFAULT_PORT} else f":{port}"
    return f"https://{shown}{suffix}/"


def host_port(url: str) -> HostPort:
    """Host and port of a URL that ``node_url`` made."""
    parts = urlsplit(url)
    return HostPort(parts.hostname or "", parts.port or DEFAULT_PORT)


def _host(host: str) -> str:
    """A host as it stands in a URL."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return f"[{address}]" if address.version == 6 else str(address)
    try:
        name = host.rstrip(".").lower() if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise ValueError(f"has {host!r} where a host name or an address belongs") from error
    if not HOST.fullmatch(name):
        raise ValueError(f"has {host!r} where a host name or an address belongs")
    return name
