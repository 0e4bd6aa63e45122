"""The few messages that a viewer which makes load says and reads, as plain functions."""

from collections.abc import Callable
from dataclasses import dataclass

from moq_relay.errors import WireError
from moq_relay.wire import varint
from moq_relay.wire.lite.messages import (
    AnnounceOk,
    BiStream,
    Group,
    Role,
    Setup,
    Subscribe,
    UniStream,
)
from moq_relay.wire.lite.versions import VERSIONS
from moq_relay.wire.version import Slot

MAX_AGE_MS = 30_000
"""Nothing expires by age: what a relay cannot deliver counts against it."""
HEADER_BYTES = 64
"""Longest header of a group that is read."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version, as far as it goes."""

    alpn: str
    setup: bytes
    """All of the SETUP stream, its type first."""
    subscribe: Callable[[int, str, str], bytes]
    """Number, broadcast and track to the start of a stream, from the latest group on."""
    announce: bytes
    """The type of a stream on which the peer asks for announcements."""
    nothing: bytes
    """The answer of a side that publishes nothing."""
    group_header: Callable[[bytes], tuple[int, int, int] | None]
    """Subscription, sequence and where frames start; None while incomplete."""
    frame_header: Callable[[bytes, int], tuple[int, int] | None]
    """A frame's payload length and where the payload starts; None while incomplete."""


def product() -> Dialect:
    """What ``moq_relay.wire`` makes of the newest version whose viewers begin at the latest group.

    In one with a floor each would first get what the relay has kept.
    """
    version = next(v for v in VERSIONS if v.features.setup_stream and not v.features.start_floor)

    def subscribe(number: int, broadcast: str, track: str) -> bytes:
        request = Subscribe(number, broadcast, track, priority=0, max_age=MAX_AGE_MS)
        return varint.encode(BiStream.SUBSCRIBE) + version.encode(request)

    def group_header(source: bytes) -> tuple[int, int, int] | None:
        if source and source[0] != UniStream.GROUP:
            raise WireError(f"a stream of type {source[0]} where a group was due")
        read = version.parse(Slot.GROUP, source, 1, HEADER_BYTES)
        if read is None:
            return None
        message, at = read
        assert isinstance(message, Group)
        return message.subscribe, message.sequence, at

    def frame_header(source: bytes, at: int) -> tuple[int, int] | None:
        stamp = varint.decode(source, at)
        return None if stamp is None else varint.decode(source, stamp[1])

    setup = Setup.of(role=Role.SUBSCRIBER)
    return Dialect(
        alpn=version.alpn,
        setup=varint.encode(UniStream.SETUP) + version.encode(setup),
        subscribe=subscribe,
        announce=varint.encode(BiStream.ANNOUNCE),
        nothing=version.encode(AnnounceOk(hop=0, active=0)),
        group_header=group_header,
        frame_header=frame_header,
    )
