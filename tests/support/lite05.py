"""The few messages of moq-lite-05 that a viewer and a forwarder need.

Written apart from the package's codec, so that a mistake there does not hide behind itself.
"""

ALPN = "moq-lite-05"
GROUP, SETUP = 0, 1
ANNOUNCE, SUBSCRIBE = 1, 2
SUBSCRIBER = 2


HTTP3_CODES = 0x52E4A40FA8DB
"""Where HTTP/3 puts application codes; the Rust client and this relay use it on raw QUIC too."""


class Unreadable(ValueError):
    """The peer sent what this little codec does not know."""


def varint(value: int) -> bytes:
    """RFC 9000 section 16, shortest form."""
    if value < 1 << 6:
        return bytes((value,))
    if value < 1 << 14:
        return (value | 1 << 14).to_bytes(2, "big")
    if value < 1 << 30:
        return (value | 2 << 30).to_bytes(4, "big")
    return (value | 3 << 62).to_bytes(8, "big")


def read_varint(source: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """The value at ``at`` and what follows it; None while it is incomplete."""
    if at >= len(source):
        return None
    first = source[at]
    size = 1 << (first >> 6)
    if size == 1:
        return first, at + 1
    if at + size > len(source):
        return None
    return int.from_bytes(source[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def read_fields(source: bytes | bytearray, at: int, count: int) -> tuple[list[int], int] | None:
    """``count`` integers in a row; None while they are incomplete."""
    values = []
    for _ in range(count):
        read = read_varint(source, at)
        if read is None:
            return None
        value, at = read
        values.append(value)
    return values, at


def plain_code(code: int) -> int:
    """A stream's reset code without HTTP/3's mapping."""
    if code < HTTP3_CODES:
        return code
    shifted = code - HTTP3_CODES
    return shifted - shifted // 0x1F


def text(value: str) -> bytes:
    """A string: its length in bytes, then UTF-8."""
    encoded = value.encode()
    return varint(len(encoded)) + encoded


def message(body: bytes) -> bytes:
    """A body behind its length."""
    return varint(len(body)) + body


def setup(role: int | None = None) -> bytes:
    """The whole SETUP stream of one side: its type, the message, the role where there is one."""
    parameters = b"\x00" if role is None else b"\x01\x03" + message(varint(role))
    return varint(SETUP) + message(parameters)


def subscribe(number: int, broadcast: str, track: str, *, max_age_ms: int = 30_000) -> bytes:
    """The start of a Subscribe stream: from the latest group, without an end."""
    names = text(broadcast) + text(track)
    return varint(SUBSCRIBE) + message(
        varint(number) + names + b"\x00\x00" + varint(max_age_ms) + b"\x00\x00"
    )


def read_subscribe(source: bytes, at: int) -> tuple[int, str]:
    """The id and the track of a SUBSCRIBE that starts at ``at``, behind the stream's type."""
    fields = read_fields(source, at, 2)
    if fields is None:
        raise Unreadable("subscribe in pieces")
    (_, number), at = fields
    for _ in range(2):
        size = read_varint(source, at)
        if size is None or len(source) < size[1] + size[0]:
            raise Unreadable("subscribe in pieces")
        at = size[1] + size[0]
    return number, source[size[1] : at].decode()


def announce_request() -> bytes:
    """The start of an Announce stream: everything, nobody excluded."""
    return varint(ANNOUNCE) + message(text("") + varint(0))


def nothing_announced() -> bytes:
    """The reply of a side that publishes nothing."""
    return message(varint(0) + varint(0))


def subscribe_start(group: int) -> bytes:
    """The reply that names the first group."""
    return b"\x00" + message(varint(group))


def group_header(number: int, sequence: int) -> bytes:
    """What a group stream starts with."""
    return varint(GROUP) + message(varint(number) + varint(sequence))


def read_group_header(source: bytes | bytearray) -> tuple[int, int, int] | None:
    """Subscription, sequence and where frames start; None while incomplete.

    Fields behind the two (later versions add some) are skipped by the message's length.
    """
    fields = read_fields(source, 0, 4)
    if fields is None:
        return None
    (kind, _, number, sequence), _ = fields
    if kind != GROUP:
        raise Unreadable(f"stream type {kind} where a group was due")
    read = read_varint(source, 1)
    assert read is not None
    size, body = read
    return (number, sequence, body + size) if len(source) >= body + size else None


def read_frame_header(source: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """A frame's payload length and where the payload starts; None while incomplete."""
    read = read_fields(source, at, 2)
    return None if read is None else (read[0][1], read[1])
