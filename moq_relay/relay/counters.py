"""Plain numbers that the hot path adds to and that metrics read."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Totals since the start of one node."""

    bytes_in: int = 0
    """Bytes of frames, as encoded, and of datagrams' payloads from publishers."""
    bytes_out: int = 0
    """The same, handed over to viewers."""
    fetch_bytes: int = 0
    """Payload that was sent by HTTP, and is not in ``bytes_out``."""
    frames_in: int = 0
    frames_out: int = 0
    groups_in: int = 0
    groups_out: int = 0
    datagrams_in: int = 0
    datagrams_out: int = 0
    datagrams_dropped: Counter[str] = field(default_factory=Counter)
    """By reason: ``version`` (the viewer's has none), ``size``, ``unknown``."""
    resets_in: Counter[str] = field(default_factory=Counter)
    """Group streams that publishers reset, by the name of the error."""
    resets_out: Counter[str] = field(default_factory=Counter)
    """Group streams or waiting groups of viewers that were given up, by the name of the error."""
    evictions: Counter[str] = field(default_factory=Counter)
    """Groups that left the cache, by ``age`` or ``capacity``."""
    viewers: int = 0
    """Subscriptions that viewers hold now."""
    upstream: int = 0
    """Subscriptions that this node holds at publishers now."""
    sessions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Sessions now, by (binding, version)."""
    sessions_total: Counter[tuple[str, str]] = field(default_factory=Counter)
    sessions_refused: Counter[str] = field(default_factory=Counter)
    """By reason."""
    handshake_failures: Counter[str] = field(default_factory=Counter)
    """By reason."""
    handshakes_refused: Counter[str] = field(default_factory=Counter)
    """By reason; those of ``rate`` were put off."""
    strangers: int = 0
    """UDP datagrams that belonged to no connection and were looked at."""
    retries: int = 0
    """Clients that were asked to prove their address."""
    requests_refused: Counter[str] = field(default_factory=Counter)
    """By the limit that was reached."""
    announces_refused: Counter[str] = field(default_factory=Counter)
    """By the limit that was reached; ``rights``: where the peer may not publish."""
    violations: int = 0
    """Sessions ended for a protocol violation of the peer."""
