"""What keeps one peer, one address or one tenant from harming the rest."""

import logging
import time
from collections.abc import Collection

from moq_relay.daemon import bounds
from moq_relay.daemon.saturation import Saturation
from moq_relay.daemon.settings import Settings
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

log = logging.getLogger(__name__)


class Guard:
    """The gate and the tenants of one relay, and the second by which both are told the time."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        """Take the limits."""
        self.gate = Gate(bounds.gate_limits(settings), counters)
        self.tenants = Tenants(bounds.tenant_limits(settings))
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
