"""What all sessions of one node share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from moq_relay.relay.access import Access
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin

Authorise = Callable[[str], Access]
"""``/path?query`` of a session to its rights; raises ``Unauthorized``."""


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
    announces_per_session: int = 10_000
    """Broadcasts that one peer may announce; the next one is ignored."""
    handshake_seconds: float = 10.0
    """How long the handshake may take, and the peer's SETUP after it."""
    viewer_backlog: int = 4 << 20
    """Bytes that may wait for one session or be unacknowledged; the oldest groups go first."""


@dataclass(frozen=True, slots=True)
class Context:
    """The node as its sessions see it."""

    origin: Origin
    limits: Limits
    authorise: Authorise
    counters: Counters = field(default_factory=Counters)
