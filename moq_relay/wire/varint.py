"""QUIC variable-length integers (RFC 9000, section 16): 62 bits in 1, 2, 4 or 8 bytes."""

from moq_relay.errors import WireError

MAX = (1 << 62) - 1
"""The largest value a varint carries."""

_ONE = [bytes((value,)) for value in range(0x40)]


def encode(value: int) -> bytes:
    """Encode ``value`` in the fewest bytes that hold it.

    Raises:
        WireError: it is negative or larger than ``MAX``.
    """
    if 0 <= value < 0x40:
        return _ONE[value]
    if 0 <= value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if 0 <= value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if 0 <= value <= MAX:
        return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    raise WireError(f"{value} does not fit in a varint")


def decode(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Return the value at ``at`` and the offset behind it; ``None``: ``data`` ends too soon.

    Longer forms than needed are accepted, as RFC 9000 demands outside of frame types.
    """
    if at >= len(data):
        return None
    first = data[at]
    if first < 0x40:
        return first, at + 1
    end = at + (1 << (first >> 6))
    if end > len(data):
        return None
    mask = (1 << (8 * (end - at) - 2)) - 1
    return int.from_bytes(data[at:end], "big") & mask, end
