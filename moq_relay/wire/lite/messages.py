"""moq-lite messages, one dataclass each, for every version at once.

A field that a version does not carry has its default after decoding and is not sent. Sequences and
ids are plain integers, durations are milliseconds, priorities are bytes with 255 the highest.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from moq_relay.errors import WireError
from moq_relay.wire import varint
from moq_relay.wire.version import Slot


class BiStream(IntEnum):
    """The varint that opens a bidirectional stream."""

    SESSION = 0
    ANNOUNCE = 1
    SUBSCRIBE = 2
    FETCH = 3
    PROBE = 4
    GOAWAY = 5
    TRACK = 6
    CLIENT_SETUP = 0x20
    """Also the type of the message, which therefore is read from the stream's first byte on."""


class UniStream(IntEnum):
    """The varint that opens a unidirectional stream."""

    GROUP = 0
    SETUP = 1


class Role(IntEnum):
    """The one direction in which a client means to use its session."""

    PUBLISHER = 1
    SUBSCRIBER = 2


class SetupParameter(IntEnum):
    """Parameters of SETUP that we know."""

    PROBE = 1
    PATH = 2
    ROLE = 3
    COST = 4
    HOP = 5


class Status(IntEnum):
    """What an ANNOUNCE says of its path."""

    ENDED = 0
    ACTIVE = 1
    RESTART = 2


@dataclass(frozen=True, slots=True)
class Setup:
    """What one side says of itself. Parameters keep their order; unknown ones are kept too."""

    parameters: tuple[tuple[int, bytes], ...] = ()
    slot: ClassVar[Slot] = Slot.SETUP

    @classmethod
    def of(
        cls,
        *,
        hop: int = 0,
        path: str | None = None,
        role: int | None = None,
        cost: int | None = None,
        probe: int | None = None,
    ) -> "Setup":
        """A SETUP with what is given; ``hop`` 0 is not declared."""
        numbers = {
            SetupParameter.PROBE: probe,
            SetupParameter.ROLE: role,
            SetupParameter.COST: cost,
            SetupParameter.HOP: hop or None,
        }
        raw = {id_: varint.encode(value) for id_, value in numbers.items() if value is not None}
        if path is not None:
            raw[SetupParameter.PATH] = path.encode()
        return cls(tuple((int(id_), raw[id_]) for id_ in sorted(raw)))

    @property
    def path(self) -> str | None:
        """``/path?query`` of the session; None when the peer says nothing.

        This and the properties below raise ``WireError`` for a value that cannot be read; a SETUP
        that came through ``Version.parse`` has been checked.
        """
        raw = self._raw(SetupParameter.PATH)
        try:
            return None if raw is None else raw.decode()
        except UnicodeDecodeError as error:
            raise WireError("Setup: the path is not UTF-8") from error

    @property
    def role(self) -> Role | None:
        """The direction the client wants; None is both, and so is a value we do not know."""
        value = self._number(SetupParameter.ROLE, 0)
        return Role(value) if value in {1, 2} else None

    @property
    def hop(self) -> int:
        """The sender's hop id; 0 when it declares none."""
        return self._number(SetupParameter.HOP, 0)

    @property
    def cost(self) -> int:
        """The price of the sender's link towards us."""
        return self._number(SetupParameter.COST, 1)

    @property
    def probe(self) -> int:
        """0: the sender cannot measure; 1: it reports; 2 and more: it also probes for more."""
        return self._number(SetupParameter.PROBE, 0)

    def _raw(self, wanted: int) -> bytes | None:
        return next((value for id_, value in self.parameters if id_ == wanted), None)

    def _number(self, wanted: SetupParameter, absent: int) -> int:
        raw = self._raw(wanted)
        if raw is None:
            return absent
        read = varint.decode(raw, 0)
        if read is None or read[1] != len(raw):
            raise WireError(f"Setup: {wanted.name.lower()} is not one varint")
        return read[0]


@dataclass(frozen=True, slots=True)
class ClientSetup:
    """The versions a client offers in band, by number, in its order."""

    versions: tuple[int, ...]
    parameters: tuple[tuple[int, int | bytes], ...] = ()
    """Even ids have a number, odd ids bytes."""
    slot: ClassVar[Slot] = Slot.CLIENT_SETUP


@dataclass(frozen=True, slots=True)
class ServerSetup:
    """The version the server took."""

    version: int
    parameters: tuple[tuple[int, int | bytes], ...] = ()
    slot: ClassVar[Slot] = Slot.SERVER_SETUP


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """The sender's estimate of its bandwidth, bit/s; 0 is unknown."""

    bitrate: int
    slot: ClassVar[Slot] = Slot.SESSION_INFO


@dataclass(frozen=True, slots=True)
class AnnounceRequest:
    """Asks for every broadcast under ``prefix``, from now on."""

    prefix: str
    exclude_hop: int = 0
    """Routes through this hop are not wanted; 0 excludes none."""
    slot: ClassVar[Slot] = Slot.ANNOUNCE_REQUEST


@dataclass(frozen=True, slots=True)
class AnnounceInit:
    """All that is live below the prefix."""

    suffixes: tuple[str, ...] = ()
    slot: ClassVar[Slot] = Slot.ANNOUNCE_OPENING


@dataclass(frozen=True, slots=True)
class AnnounceOk:
    """The sender's own hop id, and how many live broadcasts follow at once."""

    hop: int
    active: int
    slot: ClassVar[Slot] = Slot.ANNOUNCE_OPENING


@dataclass(frozen=True, slots=True)
class Announce:
    """A broadcast appears, ends, or comes another way."""

    status: int
    """A ``Status``."""
    suffix: str
    """The path without the prefix asked for; empty when they are equal."""
    hops: tuple[int, ...] = ()
    """Oldest first; 0 is a hop without a known id."""
    slot: ClassVar[Slot] = Slot.ANNOUNCEMENT


@dataclass(frozen=True, slots=True)
class AnnounceStart:
    """A broadcast appears; takes the next number of its stream, from 0 on."""

    suffix: str
    hops: tuple[int, ...]
    warm: int
    """Cost of the route where the content already flows."""
    cold: int
    """Cost of the route where it must be fetched first."""
    slot: ClassVar[Slot] = Slot.ANNOUNCEMENT


@dataclass(frozen=True, slots=True)
class AnnounceEnd:
    """The broadcast of this number ends; the number is never used again."""

    id: int
    slot: ClassVar[Slot] = Slot.ANNOUNCEMENT


@dataclass(frozen=True, slots=True)
class AnnounceUpdate:
    """The broadcast of this number comes another way."""

    id: int
    hops: tuple[int, ...]
    warm: int
    cold: int
    slot: ClassVar[Slot] = Slot.ANNOUNCEMENT


@dataclass(frozen=True, slots=True)
class TrackRequest:
    """Asks for the properties of a track."""

    broadcast: str
    track: str
    slot: ClassVar[Slot] = Slot.TRACK


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackInfo:
    """The properties of a track; they do not change while the broadcast lives."""

    priority: int
    ordered: bool = False
    max_age: int
    """How long a group is kept once a newer one exists, milliseconds."""
    timescale: int
    """Timestamp units per second, never 0."""
    slot: ClassVar[Slot] = Slot.TRACK_INFO


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Asks for a track. Of ``start`` and ``floor`` a version carries one."""

    id: int
    """Chosen by the subscriber, unique in its session."""
    broadcast: str
    track: str
    priority: int
    ordered: bool = False
    max_age: int = 0
    """How old a group may be, milliseconds; 0 is the latest only."""
    start: int | None = None
    """First group wanted; None is the latest there is."""
    floor: int = 0
    """No group below this one; 0 is no floor."""
    end: int | None = None
    """Last group wanted; None is no end."""
    frame_start: int = 0
    """First frame wanted of group ``floor``."""
    frame_end: int | None = None
    """Last frame wanted of group ``end``, without which it may not be set."""
    slot: ClassVar[Slot] = Slot.SUBSCRIBE


@dataclass(frozen=True, slots=True)
class SubscribeOk:
    """The publisher accepts."""

    priority: int = 0
    ordered: bool = False
    max_age: int = 0
    start: int | None = None
    end: int | None = None
    slot: ClassVar[Slot] = Slot.SUBSCRIBE_REPLY


@dataclass(frozen=True, slots=True)
class SubscribeStart:
    """The first group that will be delivered."""

    group: int
    slot: ClassVar[Slot] = Slot.SUBSCRIBE_REPLY


@dataclass(frozen=True, slots=True)
class SubscribeEnd:
    """No group at or above ``group`` will come; 0: none came at all."""

    group: int
    slot: ClassVar[Slot] = Slot.SUBSCRIBE_REPLY


@dataclass(frozen=True, slots=True)
class SubscribeDrop:
    """Groups ``start`` to ``end``, both included, will not come."""

    start: int
    end: int
    error: int
    slot: ClassVar[Slot] = Slot.SUBSCRIBE_REPLY


@dataclass(frozen=True, slots=True)
class SubscribeUpdate:
    """Replaces what a subscription asked for; fields as in ``Subscribe``."""

    priority: int
    ordered: bool = False
    max_age: int = 0
    start: int | None = None
    floor: int = 0
    end: int | None = None
    frame_start: int = 0
    frame_end: int | None = None
    slot: ClassVar[Slot] = Slot.SUBSCRIBE_UPDATE


@dataclass(frozen=True, slots=True)
class Group:
    """First message of a group stream; frames follow."""

    subscribe: int
    sequence: int
    frame_start: int = 0
    """Index of the first frame on this stream."""
    slot: ClassVar[Slot] = Slot.GROUP


@dataclass(frozen=True, slots=True)
class Fetch:
    """Asks for one group of the past; bare frames are the answer."""

    broadcast: str
    track: str
    priority: int
    group: int
    frame_start: int = 0
    frame_end: int | None = None
    """Last frame wanted; None is the last there is."""
    slot: ClassVar[Slot] = Slot.FETCH


@dataclass(frozen=True, slots=True)
class Probe:
    """What the publisher measures: bit/s and milliseconds; 0 is unknown."""

    bitrate: int
    rtt: int = 0
    slot: ClassVar[Slot] = Slot.PROBE


@dataclass(frozen=True, slots=True)
class Goaway:
    """The peer should reconnect to ``uri``; empty is where it came from."""

    uri: str
    slot: ClassVar[Slot] = Slot.GOAWAY
