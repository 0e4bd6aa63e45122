"""What one negotiated version is: a name, an ALPN, layouts, and capabilities."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar, Protocol

from moq_relay.errors import WireError
from moq_relay.wire import varint
from moq_relay.wire.layout import Layout, Length


class Slot(Enum):
    """A place in the conversation where a message is expected: it decides how bytes are read."""

    SETUP = auto()
    CLIENT_SETUP = auto()
    SERVER_SETUP = auto()
    SESSION_INFO = auto()
    ANNOUNCE_REQUEST = auto()
    ANNOUNCE_OPENING = auto()
    """The first reply on an announce stream, where the version has one."""
    ANNOUNCEMENT = auto()
    TRACK = auto()
    TRACK_INFO = auto()
    SUBSCRIBE = auto()
    SUBSCRIBE_REPLY = auto()
    SUBSCRIBE_UPDATE = auto()
    GROUP = auto()
    FETCH = auto()
    PROBE = auto()
    GOAWAY = auto()


_SKIPPING = frozenset({Slot.ANNOUNCEMENT})
"""Slots in which a type that we do not know is passed over by its length."""


class Message(Protocol):
    """A dataclass for one message in all versions, at home in one slot."""

    slot: ClassVar[Slot]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A message of a type that the version does not define, in a slot that tolerates it."""

    type: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Capabilities that change behaviour, not only bytes. One flag per capability."""

    setup_stream: bool = False
    """Each side sends SETUP on a unidirectional stream of its own and waits for nobody's."""
    inband_setup: bool = False
    """The client's first bidirectional stream carries CLIENT_SETUP, SERVER_SETUP, SESSION_INFO."""
    announce_init: bool = False
    """The publisher answers an announce request with the list of what is live."""
    announce_ok: bool = False
    """The publisher answers with its hop id and how many live broadcasts follow at once."""
    exclude_hop: bool = False
    """The subscriber names, per announce stream, a hop whose routes it does not want."""
    hop_ids: bool = False
    """Announcements list the id of every hop."""
    hop_count: bool = False
    """Announcements say only how many hops there are."""
    sender_in_hops: bool = False
    """The publisher puts itself last into the hops; otherwise the receiver adds it."""
    restart_by_active: bool = False
    """A second active announcement of a live path replaces its route."""
    announce_ids: bool = False
    """Announcements are numbered per stream, and end and change by their number."""
    costs: bool = False
    """Announcements carry a warm and a cold cost; the receiver adds the price of the link."""
    subscribe_ok: bool = False
    """The publisher answers SUBSCRIBE with SUBSCRIBE_OK at once."""
    subscribe_start: bool = False
    """The publisher says the first group when it knows it, and the end; acceptance is silent."""
    subscribe_update: bool = False
    """The subscriber may change a subscription on its stream."""
    start_floor: bool = False
    """The start of a subscription is a floor below which no group comes; age decides the rest."""
    frame_bounds: bool = False
    """Subscriptions, fetches and groups may begin and end in the middle of a group."""
    track_stream: bool = False
    """The subscriber asks for a track's properties on a stream of their own."""
    timestamps: bool = False
    """Every frame carries a timestamp."""
    datagrams: bool = False
    """A group of one frame may travel as a datagram."""
    fetch: bool = False
    """The publisher serves groups of the past."""
    goaway: bool = False
    """Either side may ask the other to go elsewhere."""
    unlimited_age: bool = False
    """The subscriber cannot state a max age, and none is assumed for it."""


class Version:
    """One version of one protocol family, complete enough to run a session.

    Compared by identity. ``wire_number`` is its number where it is negotiated in band, else None.
    """

    def __init__(
        self,
        name: str,
        layouts: Iterable[Layout[Any]],
        features: Features,
        *,
        alpn: str | None = None,
        wire_number: int | None = None,
    ) -> None:
        self.name = name
        self.alpn = alpn or name
        self.features = features
        self.wire_number = wire_number
        self.layouts: Mapping[type, Layout[Any]] = {layout.kind: layout for layout in layouts}
        self._slots = _by_slot(self.layouts.values())

    def __repr__(self) -> str:
        return f"<Version {self.name}>"

    def encode(self, message: Message) -> bytes:
        """All that stands on the stream for ``message``: its type where it has one, length, body.

        The type of the stream itself is the caller's.

        Raises:
            TypeError: the version has no such message.
            WireError: a value that the version cannot carry.
        """
        layout = self.layouts.get(type(message))
        if layout is None:
            raise TypeError(f"{self.name} has no {type(message).__name__}")
        return layout.encode(message)

    def parse(
        self, slot: Slot, data: bytes | bytearray, at: int, limit: int
    ) -> tuple[Message | Skipped, int] | None:
        """Read the message that begins at ``at``.

        Args:
            slot: what is expected there.
            data: what has arrived; nothing of it is kept.
            at: the offset to begin at.
            limit: the longest body to accept, bytes; a longer one is refused by its length alone.

        Returns:
            The message and the offset behind it; None: not all of it is there yet.

        Raises:
            WireError: no version of the bytes to come could make it right, or the version has
                nothing in this slot.
        """
        layouts = self._slots.get(slot)
        if layouts is None:
            raise WireError(f"{self.name} has no {slot.name}")
        layout, tag = layouts.get(None), 0
        if layout is None:
            read = varint.decode(data, at)
            if read is None:
                return None
            tag, at = read
            layout = layouts.get(tag)
            if layout is None and slot not in _SKIPPING:
                raise WireError(f"{self.name} has no {slot.name} of type {tag}")
        if layout is not None and layout.length is Length.U16:
            read = (
                (int.from_bytes(data[at : at + 2], "big"), at + 2) if at + 2 <= len(data) else None
            )
        else:
            read = varint.decode(data, at)
        if read is None:
            return None
        size, at = read
        if size > limit:
            raise WireError(f"{slot.name}: {size} bytes announced, {limit} allowed")
        end = at + size
        if end > len(data):
            return None
        if layout is None:
            return Skipped(tag), end
        return layout.decode(bytes(data[at:end])), end


def _by_slot(layouts: Iterable[Layout[Any]]) -> dict[Slot, dict[int | None, Layout[Any]]]:
    slots: dict[Slot, dict[int | None, Layout[Any]]] = {}
    for layout in layouts:
        within = slots.setdefault(layout.kind.slot, {})
        if layout.tag in within or (within and None in {layout.tag, *within}):
            raise TypeError(f"{layout.kind.__name__} cannot be told from its neighbours")
        within[layout.tag] = layout
    return slots


def first(
    name: str,
    *layouts: Layout[Any],
    features: Features,
    alpn: str | None = None,
    wire_number: int | None = None,
) -> Version:
    """The oldest version we speak, spelled out whole."""
    return Version(name, layouts, features, alpn=alpn, wire_number=wire_number)


def after(
    previous: Version,
    name: str,
    *layouts: Layout[Any],
    dropped: Iterable[type] = (),
    features: Features | None = None,
) -> Version:
    """The next version: ``previous``, except for what its changelog says.

    Raises:
        TypeError: it drops a message that ``previous`` does not have.
    """
    table = dict(previous.layouts)
    for kind in dropped:
        if table.pop(kind, None) is None:
            raise TypeError(f"{previous.name} has no {kind.__name__} to drop")
    table.update({layout.kind: layout for layout in layouts})
    return Version(name, table.values(), features or previous.features)
