"""Where a reply of Redis ends (RESP2), so that single messages can be lost on the way."""

from collections.abc import Iterator

MESSAGE = b"*3\r\n$7\r\nmessage\r\n"


class Replies:
    """The bytes of one connection from Redis, as whole replies."""

    def __init__(self) -> None:
        self._held = b""

    def whole(self, data: bytes) -> Iterator[bytes]:
        """Every reply that ``data`` completes."""
        data, at = self._held + data, 0
        while (end := _end(data, at)) is not None:
            yield data[at:end]
            at = end
        self._held = data[at:]


def channel_of(reply: bytes) -> bytes | None:
    """The channel of a published message; None: it is another reply."""
    if not reply.startswith(MESSAGE):
        return None
    return reply[len(MESSAGE) :].split(b"\r\n", 2)[1]


def _end(data: bytes, at: int) -> int | None:
    """Where the reply that begins at ``at`` ends; None: it is not all there."""
    wanted = 1
    while wanted:
        line = data.find(b"\r\n", at)
        if line < 0:
            return None
        kind, rest, at = data[at : at + 1], data[at + 1 : line], line + 2
        wanted -= 1
        if kind == b"*":
            wanted += max(int(rest), 0)
        elif kind == b"$":
            if int(rest) >= 0:
                at += int(rest) + 2
        elif kind not in {b"+", b"-", b":"}:
            raise ValueError(f"no reply of RESP2: {data[:40]!r}")
        if at > len(data):
            return None
    return at
