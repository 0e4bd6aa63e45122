"""Frames of a group stream and datagrams. Hot: from here on bytes are payload, not messages."""

from dataclasses import dataclass

from moq_relay.errors import FrameTooLarge, WireError
from moq_relay.wire import varint

MAX_TIMESTAMP = (1 << 61) - 1
"""Largest absolute timestamp: below it every difference of two timestamps fits a zigzag varint, so
that whatever was read can be written again, from any frame on."""


class FrameDecoder:
    """Cuts the bytes of one group stream, behind its header, into whole frames.

    After an exception it must not be used again.
    """

    __slots__ = ("_head", "_limit", "_missing", "_payload", "_timestamp", "_timestamps")

    def __init__(self, timestamps: bool, frame_limit: int) -> None:
        self._timestamps = timestamps
        self._limit = frame_limit
        self._timestamp = 0
        self._head = b""
        self._payload = bytearray()
        self._missing = 0

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended; at the end of a stream that is an error."""
        return bool(self._head) or self._missing > 0

    @property
    def held(self) -> int:
        """Bytes that are kept until the frame that they belong to is complete."""
        return len(self._head) + len(self._payload)

    def feed(self, data: bytes) -> list[tuple[int | None, bytes]]:
        """Take in-order bytes; return the frames that they complete.

        Returns:
            Per frame its absolute timestamp, None where the version has none, and its payload.

        Raises:
            FrameTooLarge: a frame declares more than ``frame_limit`` bytes. Nothing was reserved.
            WireError: a timestamp below 0 or above ``MAX_TIMESTAMP``.
        """
        frames: list[tuple[int | None, bytes]] = []
        at = 0
        if self._missing:
            at = self._missing
            if len(data) < at:
                # Grown by what came, never by what was declared.
                self._payload += data
                self._missing -= len(data)
                return frames
            self._payload += data[:at]
            frames.append((self._timestamp if self._timestamps else None, bytes(self._payload)))
            self._payload = bytearray()
            self._missing = 0
        elif self._head:
            data = self._head + data
            self._head = b""
        end = len(data)
        while at < end:
            start = at
            timestamp = None
            if self._timestamps:
                read = varint.decode(data, at)
                if read is None:
                    self._head = data[start:]
                    break
                delta, at = read
                timestamp = self._timestamp + ((delta >> 1) ^ -(delta & 1))
                if not 0 <= timestamp <= MAX_TIMESTAMP:
                    raise WireError(f"frame: timestamp {timestamp}")
            read = varint.decode(data, at)
            if read is None:
                self._head = data[start:]
                break
            size, at = read
            if size > self._limit:
                raise FrameTooLarge(f"{size} bytes announced, {self._limit} allowed")
            if timestamp is not None:
                self._timestamp = timestamp
            if size > end - at:
                self._payload += data[at:]
                self._missing = size - (end - at)
                break
            frames.append((timestamp, data[at : at + size]))
            at += size
        return frames


def append_frame(buffer: bytearray, payload: bytes, delta: int | None) -> None:
    """Append one frame to ``buffer``.

    Args:
        buffer: coded frames of one group.
        payload: the frame.
        delta: timestamp less that of the frame before, or less 0 for the first frame on a
            stream; None where the version has no timestamps.

    Raises:
        WireError: ``delta`` is outside of -2^61 to 2^61 - 1; ``buffer`` is as it was.
    """
    if delta is not None:
        buffer += varint.encode(delta << 1 if delta >= 0 else (-delta << 1) - 1)
    buffer += varint.encode(len(payload))
    buffer += payload


@dataclass(frozen=True, slots=True)
class Datagram:
    """A group of one frame, whole, in one datagram."""

    subscribe: int
    sequence: int
    timestamp: int
    """Absolute, in units of the track's timescale."""
    payload: bytes


def encode_datagram(datagram: Datagram) -> bytes:
    """Encode one datagram; ``WireError`` when a number does not fit."""
    return b"".join(
        (
            varint.encode(datagram.subscribe),
            varint.encode(datagram.sequence),
            varint.encode(datagram.timestamp),
            datagram.payload,
        )
    )


def decode_datagram(data: bytes) -> Datagram:
    """Decode one datagram.

    Raises:
        WireError: it ends inside its header, or its timestamp is above ``MAX_TIMESTAMP``.
    """
    numbers = []
    at = 0
    for _ in range(3):
        read = varint.decode(data, at)
        if read is None:
            raise WireError("datagram: it ends inside its header")
        value, at = read
        numbers.append(value)
    subscribe, sequence, timestamp = numbers
    if timestamp > MAX_TIMESTAMP:
        raise WireError(f"datagram: timestamp {timestamp}")
    return Datagram(subscribe, sequence, timestamp, data[at:])
