"""What keeps one peer, one address or one tenant from harming the rest."""

import logging
import time
from collections.abc import Collection, Mapping

from moq_relay.daemon.config import bounds
from moq_relay.daemon.config.settings import Settings
from moq_relay.daemon.saturation import Saturation, descriptor_limit
from moq_relay.daemon.web.connections import Connections
from moq_relay.daemon.web.requests import Requests
from moq_relay.relay.counters import Counters
from moq_relay.relay.retention import Cache
from moq_relay.sessions.gate import Gate
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.tenants import Tenants
from moq_relay.transports.quic.proof import REFUSED

FAILURES = {
    "No common ALPN protocols": "protocol",
    "handshake timeout": "timeout",
    "Idle timeout": "timeout",
}
"""What our side says of a failed handshake -> its label; what the peer says is ``other``."""

OPERATORS, OPERATORS_PER_ADDRESS = 256, 64
"""Connections to ``internal.listen``; a quarter is for addresses that are trusted."""
LINGER_SECONDS = 0.25
"""For the body of a POST whose headers are refused; at ``web.http`` nothing has a body."""
WEB_SHARE, OPERATORS_SHARE = 2, 8
"""One in so many of the process's descriptors may be a connection of either."""

log = logging.getLogger(__name__)


class Guard:
    """The gate, the tenants and the doors of HTTP of one relay.

    The second by which all of them are told the time is here, too.
    """

    def __init__(self, settings: Settings, counters: Counters) -> None:
        """Take the limits."""
        self.gate = Gate(bounds.gate_limits(settings), counters)
        self.tenants = Tenants(bounds.tenant_limits(settings))
        self.requests = Requests(self.gate, self.tenants)
        limits, descriptors = settings.limits, descriptor_limit()
        operators = _least(OPERATORS, descriptors, OPERATORS_SHARE)
        self.connections: Mapping[str, Connections] = {
            "web.http": Connections(
                self.gate,
                most=_least(limits.http_connections, descriptors, WEB_SHARE),
                per_address=limits.http_connections_per_address,
                paced=True,
            ),
            "internal": Connections(
                self.gate,
                most=operators,
                per_address=min(OPERATORS_PER_ADDRESS, operators // 2),
                reserved=operators // 4,
                linger=LINGER_SECONDS,
            ),
        }
        """By the listener, as the settings name it."""
        self._counters = counters
        self._shed = settings.limits.shed

    def turn(self, saturation: Saturation, sessions: Collection[LiteSession], cache: Cache) -> None:
        """Look at what is used; called every second or so."""
        self.gate.saturated = saturation.shortest(self._shed)
        self.tenants.turn(sessions, time.monotonic())
        if self.tenants.limits.cache is not None:
            cache.trim(self.tenants.of_path, self.tenants.limits.cache)

    def handshake_failed(self, reason: str) -> None:
        """A handshake came to nothing."""
        refused = reason.startswith(REFUSED)
        label = "certificate" if refused else FAILURES.get(reason, "other")
        self._counters.handshake_failures[label] += 1
        log.debug("handshake failed reason=%s", reason)


def _least(limit: int, descriptors: int | None, share: int) -> int:
    """The limit, or less where the process may not have that many descriptors for it."""
    return limit if descriptors is None else min(limit, max(1, descriptors // share))
