"""How much of a client's address a log line may have: all of it, its network, or nothing."""

import copy
import ipaddress
import logging
import re

FULL, PREFIX, NONE = MODES = ("full", "prefix", "none")
HIDDEN = "-"
"""What stands where an address is not told, as in the logs of web servers."""
NETWORKS = {4: 24, 6: 48}
"""Bits that are left of an address: those of a provider's customer and more."""

ANY = re.compile(
    r"(?<![\w.:])(?:"
    r"\[(?P<bracketed>[0-9A-Fa-f:.]+(?:%\w+)?)\](?::\d{1,5})?"
    r"|(?P<four>\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?"
    r"|(?P<six>[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*[0-9A-Fa-f:](?:%\w+)?)"
    r")(?![\w])(?!\.\d)"
)
"""An address inside a text, with its port where it has one."""
PEER = re.compile(r"(?:^| )(?:peer|by)=(%s)")
"""The facts of our own lines that are the address of who came, or who asked for a change."""
PLACE = re.compile(r"%(?:%|[-#0 +]*\d*(?:\.\d+)?[a-zA-Z])")
CLIENTS = ("moq_relay.sessions", "moq_relay.transports")
"""Our own loggers that know no addresses but those of peers."""
OURS = "moq_relay"


def shown(peer: str, mode: str) -> str:
    """The address of a peer, ``host:port``, as ``mode`` lets it be seen; never more than that."""
    if mode == FULL:
        return peer
    found = ANY.fullmatch(peer)
    return HIDDEN if found is None else _cut(found, mode)


def without(text: str, mode: str) -> str:
    """``text`` with every address in it as ``mode`` lets it be seen."""
    return text if mode == FULL else ANY.sub(lambda found: _cut(found, mode), text)


def _cut(found: re.Match[str], mode: str) -> str:
    written = found["bracketed"] or found["four"] or found["six"]
    try:
        address = ipaddress.ip_address(written.partition("%")[0])
    except ValueError:
        return found[0]
    if mode == NONE:
        return HIDDEN
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(ipaddress.ip_network((address, NETWORKS[address.version]), strict=False))


def discreet(record: logging.LogRecord, mode: str) -> logging.LogRecord:
    """The record with less of each client's address; not so that of its trace, see ``without``.

    Our own lines name a client by the facts of ``PEER``; in the lines of libraries, and in what our
    sessions and transports say, every address is taken for a client's.
    """
    if mode == FULL:
        return record
    cut = copy.copy(record)
    if record.name.partition(".")[0] != OURS or not isinstance(record.args, tuple):
        cut.msg, cut.args = "%s", (without(record.getMessage(), mode),)
        return cut
    peers, everywhere = _peers(str(record.msg)), record.name.startswith(CLIENTS)

    def argument(at: int, value: object) -> object:
        if at in peers:
            return shown(str(value), mode)
        if everywhere and not isinstance(value, bool | int | float | None):
            return without(str(value), mode)
        return value

    cut.args = tuple(argument(at, value) for at, value in enumerate(record.args))
    return cut


def _peers(template: str) -> set[int]:
    """Which of the arguments of a line are addresses of peers."""
    at = {found.start(1) for found in PEER.finditer(template)}
    places = [found for found in PLACE.finditer(template) if found[0] != "%%"]
    return {index for index, place in enumerate(places) if place.start() in at}
