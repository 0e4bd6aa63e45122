"""What all sessions of one node share, and how a dialled one is used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from moq_relay.errors import LimitReached, ProtocolViolation, SessionError, Unauthorized
from moq_relay.relay.access import Access
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin
from moq_relay.sessions.experience import Experience
from moq_relay.sessions.gate import Gate
from moq_relay.sessions.tenants import Tenants, is_node

if TYPE_CHECKING:
    from moq_relay.sessions.lite.session import LiteSession
    from moq_relay.sessions.streams import RequestStream
    from moq_relay.wire.lite.messages import Role

Later = Callable[[], Awaitable[Access]]
"""Rights that take time to be known; raises ``Unauthorized``."""
Authorise = Callable[[str], Access | Later]
"""``/path?query`` of a session to its rights; raises ``Unauthorized``."""
ANNOUNCE_BURST = 2
"""A publisher may end all it has and announce it again, as fast as it can."""
Resolve = Callable[[str], Awaitable[None]]
"""Returns once some broadcast covers a path, or when it is clear that none will soon."""


Certified = Callable[[str, tuple[str, ...]], Access | None]
"""The same for a peer whose certificate has these DNS names; None: they give it nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may cost."""

    frame_bytes: int = 16 << 20
    """Largest frame; a larger one ends its group."""
    message_bytes: int = 64 << 10
    """Largest control message."""
    sessions: int = 10_000
    """Sessions of the node; the next one is turned away."""
    requests_per_session: int = 4_000
    """Request streams that one peer may have open; the next one is reset."""
    subscriptions_per_session: int = 4_000
    """Subscriptions that one peer may hold; the next one is reset."""
    tracks_per_session: int = 10_000
    """Tracks that one publisher is asked for at a time; who wants one more is refused."""
    announces_per_session: int = 10_000
    """Broadcasts that one peer may announce; the next one is ignored."""
    announces_per_second: int = 100
    """Announcements, changes and ends of one peer, after `ANNOUNCE_BURST` times the broadcasts that
    it may have; beyond that its session ends."""
    handshake_seconds: float = 10.0
    """How long the handshake may take, and the peer's SETUP after it."""
    viewer_backlog: int = 4 << 20
    """Bytes that may wait for one session or be unacknowledged; the oldest groups go first."""
    link_backlog: int = 64 << 20
    """The same for another node, which takes the tracks of many viewers over one session."""


def of_the_cluster(access: Access) -> bool:
    """Whether the peer is a node."""
    return access.cluster


@dataclass(frozen=True, slots=True)
class Extension:
    """A type of request stream that no version has, between nodes of one cluster."""

    serve: Callable[[LiteSession, RequestStream], Awaitable[None]]
    """Answers one request; its type was read, the session is open. What it raises ends as in a
    request of the version's: ``RequestError`` and ``WireError`` cost the stream."""
    allows: Callable[[Access], bool] = of_the_cluster
    """To whom it exists; to others the type is unknown."""


@dataclass(frozen=True, slots=True)
class Use:
    """What this side means to do with a session."""

    role: Role | None = None
    """What a dialled session says of itself in its SETUP, where the version has one."""
    quiet: bool = False
    """Neither ask the peer for announcements nor show or serve it anything."""
    leaves: bool = False
    """End the session as soon as the peer says that it is about to go."""
    peer: str = "the publisher"
    """Who the far end is, in what is told of the errors with which it answers."""
    ending: Callable[[], None] = lambda: None
    """Called once, when the transport is gone and before any feed of the session ends."""


@dataclass(frozen=True, slots=True)
class Context:
    """The node as its sessions see it."""

    origin: Origin
    limits: Limits
    authorise: Authorise
    counters: Counters = field(default_factory=Counters)
    extensions: Mapping[int, Extension] = field(default_factory=lambda: MappingProxyType({}))
    """By the type that their streams begin with."""
    resolve: Resolve | None = None
    """Asked before a path that nothing covers is refused; None: it is refused at once."""
    experience: Experience = field(default_factory=Experience)
    certified: Certified = lambda _target, _names: None
    """Asked before ``authorise`` when the peer has a certificate."""
    gate: Gate = field(default_factory=Gate)
    """What one address may have, and one relay bear."""
    tenants: Tenants = field(default_factory=Tenants)

    def check(self, peer: str) -> None:
        """Whether the address of ``peer`` may have one more session; counts it if not.

        Raises:
            LimitReached: it has as many as one may have.
        """
        try:
            self.gate.check(peer)
        except LimitReached as error:
            self.counters.sessions_refused[error.reason] += 1
            raise

    def admit(self, number: int, peer: str, access: Access) -> None:
        """Take session ``number`` in once its rights are known; counts who is not taken.

        Nodes always are: nobody else has what publishers here still send.

        Raises:
            LimitReached: there is no room for it.
        """
        if is_node(access):
            return
        try:
            self.gate.shed(peer)
            self.tenants.enter(number, access)
        except LimitReached as error:
            self.counters.sessions_refused[error.reason] += 1
            raise

    def blame(self, error: SessionError, peer: str) -> None:
        """A session ended for ``error``: count it, and log it where it is a refusal."""
        if isinstance(error, ProtocolViolation):
            self.counters.violations += 1
        elif isinstance(error, Unauthorized):
            self.counters.sessions_refused["unauthorized"] += 1
        if isinstance(error, Unauthorized | LimitReached):
            self.gate.refuse(peer, str(error))

    def left(self, session: LiteSession) -> None:
        """It is over: its place is free."""
        self.gate.left(session.number)
        self.tenants.left(session.number, session.tally.bytes_out)
