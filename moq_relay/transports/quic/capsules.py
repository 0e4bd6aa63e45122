"""Capsules on a CONNECT stream (RFC 9297), and the header that offers WebTransport protocols."""

import re
from collections.abc import Iterable

from moq_relay.wire import varint

CLOSE_SESSION = 0x2843
REASON_BYTES = 1024
"""Longest reason that a close may carry."""
CAPSULE_BYTES = 16 * 1024
"""Longest capsule that is kept until it is whole; a longer one is skipped as it comes."""
OFFER_BYTES = 1024
"""Of an offer that are read: the time that a search for strings takes can grow by the square."""

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def close_capsule(code: int, reason: str) -> bytes:
    """The capsule that ends a session; ``reason`` is cut to what it may carry."""
    text = reason.encode()[:REASON_BYTES].decode(errors="ignore").encode()
    body = (code & 0xFFFFFFFF).to_bytes(4, "big") + text
    return varint.encode(CLOSE_SESSION) + varint.encode(len(body)) + body


class CapsuleReader:
    """Cuts a CONNECT stream's content into capsules."""

    def __init__(self) -> None:
        self._buffer = b""
        self._skip = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Type and value of each capsule that ``data`` completes; costs a step a byte."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        found = []
        buffer, at = self._buffer + data, 0
        while at < len(buffer):
            kind = varint.decode(buffer, at)
            size = None if kind is None else varint.decode(buffer, kind[1])
            if kind is None or size is None:
                break
            length, start = size
            rest = len(buffer) - start
            if rest < length:
                if length > CAPSULE_BYTES:
                    self._skip = length - rest
                    at = len(buffer)
                break
            at = start + length
            found.append((kind[0], buffer[start:at]))
        self._buffer = buffer[at:]
        return found


def parse_close(value: bytes) -> tuple[int, str]:
    """Code and reason of a close capsule; one too short to hold a code means 0."""
    if len(value) < 4:
        return 0, ""
    return int.from_bytes(value[:4], "big"), value[4:].decode(errors="replace")


def offered_protocols(values: Iterable[bytes]) -> list[str]:
    """The strings of a Structured-Field list, given every line of the header.

    What is not a string is passed over: an offer that can't be read is no offer; so is what comes
    after the first `OFFER_BYTES`.
    """
    text = b",".join(values)[:OFFER_BYTES].decode("latin-1")
    return [re.sub(r"\\(.)", r"\1", match) for match in _STRING.findall(text)]


def protocol_list(protocols: Iterable[str]) -> bytes:
    """The same list as a client writes it."""
    return ", ".join(f'"{protocol}"' for protocol in protocols).encode()
