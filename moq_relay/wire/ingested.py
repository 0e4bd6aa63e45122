"""When groups were ingested, as one node tells another beside a link; no version has it.

One message a group on a stream of its own, behind the stream's type. What another form would say
needs another type of stream.
"""

from dataclasses import dataclass

from moq_relay.errors import WireError
from moq_relay.wire import varint
from moq_relay.wire.fields import uint
from moq_relay.wire.layout import Layout

STREAM = 0x2B6D_0004
"""Type of the request stream that asks for them."""
LONGEST = 4 * 8
"""Bytes of the longest message behind its length."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """A group had come to its end at the node that says so."""

    subscribe: int
    """Subscription of the link that the group is sent for."""
    sequence: int
    at_us: int
    """Microseconds on Redis' clock."""
    error_us: int
    """How far off that can be."""


_LAYOUT = Layout(Ingested, uint("subscribe"), uint("sequence"), uint("at_us"), uint("error_us"))


def encode(message: Ingested) -> bytes:
    """The bytes of one message; ``WireError`` when a number does not fit."""
    return _LAYOUT.encode(message)


def parse(data: bytes | bytearray, at: int) -> tuple[Ingested, int] | None:
    """Read the message that begins at ``at``.

    Returns:
        The message and the offset behind it; None: not all of it is there yet.

    Raises:
        WireError: it is too long, or holds something else.
    """
    read = varint.decode(data, at)
    if read is None:
        return None
    size, at = read
    if size > LONGEST:
        raise WireError(f"Ingested: {size} bytes announced, {LONGEST} allowed")
    end = at + size
    if end > len(data):
        return None
    return _LAYOUT.decode(bytes(data[at:end])), end
