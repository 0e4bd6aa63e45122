"""Who may come, judged by the address that a client comes from, before it has said anything.

Memory is bounded: an entry for each network that has a session here, of which there are no more
than ``limits.sessions``, and `KNOWN` for networks that came lately. A network that is forgotten
counts as one that never came, so a flood from more networks than that costs them nothing; it meets
the rate of the relay.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from moq_relay.errors import LimitReached
from moq_relay.relay.counters import Counters
from moq_relay.sessions.bucket import Bucket
from moq_relay.sessions.loopshare import LoopShare

KNOWN = 16_384
"""Networks without a session that are remembered, the latest to come."""
SHARE = 2
"""One network gets at most one in this many of ``limits.handshakes``."""
SECONDS_AT_ONCE = 2
"""What may be asked by HTTP in so many seconds may also be asked at once, after a rest."""
CONNECTIONS = 2
"""Connections by HTTP for each request: who goes on beyond that has been told, and is cut off."""
ANSWERS = 1_000
"""Handshakes a second that are answered with a refusal; beyond that, with nothing."""
SILENT_SECONDS = 60.0
"""How long nothing more is logged of a network after a line about it."""
LINES, LINES_AT_ONCE = 1.0, 60
"""Lines a second about all networks together, and after a rest: an attacker has many addresses."""
SITE_BITS = 64
"""Of an IPv6 address: what one customer has at least, and can choose the rest of."""

FULL = "too many sessions of one address"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

logger = logging.getLogger(__name__)


class Answer(Enum):
    """What happens to a handshake."""

    COME = auto()
    WAIT = auto()
    """Nothing is said: the client asks again by itself, and is served in its turn."""
    REFUSED = auto()
    """The client is told."""


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What one network, and all of them, may ask for."""

    sessions_per_address: int | None = None
    """Sessions of one network at a time; None: any number."""
    handshakes: int | None = None
    """Handshakes a second of all networks; None: any number."""
    requests: int | None = None
    """Requests by HTTP a second of one network; None: any number."""
    loop_share: float | None = None
    """Of the loop's time, for new connections; None: all of it."""
    trusted: tuple[Network, ...] = ()
    """Networks to which nothing here applies."""


class _Known:
    """What is remembered of one network."""

    __slots__ = ("connections", "handshakes", "requests", "told", "unsaid")

    def __init__(self) -> None:
        self.handshakes: Bucket | None = None
        self.connections: Bucket | None = None
        self.requests: Bucket | None = None
        self.told: float | None = None
        self.unsaid = 0


class Gate:
    """One for all listeners of a node. Nothing here is called per frame or group."""

    def __init__(
        self,
        limits: GateLimits | None = None,
        counters: Counters | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        known: int = KNOWN,
    ) -> None:
        """Let everybody in where ``limits`` has none."""
        self.limits = limits or GateLimits()
        self.saturated: str | None = None
        """The resource that has too little left for newcomers; set from outside."""
        self.counters = counters or Counters()
        self.loop = LoopShare(self.limits.loop_share)
        """The time that new connections may take, of all listeners together."""
        self._clock = clock
        self._present: Counter[str] = Counter()
        """Sessions by network; none that has none."""
        self._of: dict[int, str] = {}
        """The network of each session, by the session's number."""
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._size = known
        now, rate = clock(), self.limits.handshakes or 0
        self._handshakes = Bucket(rate, max(rate, 1), now)
        self._answers = Bucket(ANSWERS, ANSWERS, now)
        self._lines = Bucket(LINES, LINES_AT_ONCE, now)
        self._unsaid = 0

    @property
    def remembered(self) -> int:
        """Networks that something is kept of."""
        return len(self._known.keys() | self._present.keys())

    def place(self, host: str) -> tuple[str, bool]:
        """The network of an address, what is counted together, and whether it is trusted."""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return host, False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        trusted = any(address in network for network in self.limits.trusted)
        if isinstance(address, ipaddress.IPv4Address):
            return str(address), trusted
        return str(ipaddress.ip_network((address, SITE_BITS), strict=False)), trusted

    # Handshakes.

    def knock(self, host: str) -> Answer:
        """Somebody at ``host``, an IP address, begins a handshake."""
        network, trusted = self.place(host)
        if trusted:
            return Answer.COME
        if self._is_full(network):
            self.counters.handshakes_refused["address"] += 1
            self.refuse(host, FULL)
            # A flood that is answered is work for two.
            return Answer.REFUSED if self._answers.take(self._clock()) else Answer.WAIT
        if self._has_turn(network):
            return Answer.COME
        self.counters.handshakes_refused["rate"] += 1
        return Answer.WAIT

    def _has_turn(self, network: str) -> bool:
        limit = self.limits.handshakes
        if limit is None:
            return True
        now = self._clock()
        known = self._remember(network)
        if known.handshakes is None:
            rate = max(1, limit // SHARE)
            known.handshakes = Bucket(rate, rate, now)
        if known.handshakes.has(now) and self._handshakes.take(now):
            return known.handshakes.take(now)
        return False

    def forged(self) -> None:
        """A handshake came with a token that is not ours, or not for its address; it is ignored."""
        self.counters.handshakes_refused["token"] += 1

    def retried(self) -> None:
        """A client was asked to prove its address."""
        self.counters.retries += 1

    # Sessions.

    def check(self, peer: str) -> None:
        """Whether ``peer``, ``host:port``, may have one more session.

        Raises:
            LimitReached: its network has as many as one may have.
        """
        if self.limits.sessions_per_address is None:
            return
        network, trusted = self.place(host_of(peer))
        if not trusted and self._is_full(network):
            raise LimitReached("address", FULL)

    def entered(self, number: int, peer: str) -> None:
        """A session has begun; it counts for its network until ``left``."""
        network, trusted = self.place(host_of(peer))
        if not trusted:
            self._of[number] = network
            self._present[network] += 1

    def left(self, number: int) -> None:
        """A session is over. Harmless when it never counted."""
        network = self._of.pop(number, None)
        if network is not None:
            self._present[network] -= 1
            if not self._present[network]:
                del self._present[network]

    def shed(self, peer: str) -> None:
        """Turn ``peer`` away while those who are here need what there is.

        Raises:
            LimitReached: a resource is nearly used up.
        """
        if self.saturated is not None and not self.place(host_of(peer))[1]:
            raise LimitReached("saturation", f"the relay is saturated: {self.saturated}")

    # HTTP.

    def may_connect(self, host: str) -> bool:
        """Whether somebody at ``host`` may begin one more connection by HTTP now; counts it."""
        known, rate = self._asking(host)
        if known is None:
            return True
        now = self._clock()
        if known.connections is None:
            rate *= CONNECTIONS
            known.connections = Bucket(rate, rate * SECONDS_AT_ONCE, now)
        return known.connections.take(now)

    def may_ask(self, host: str) -> bool:
        """Whether somebody at ``host`` may make one more request by HTTP now; counts it."""
        known, rate = self._asking(host)
        if known is None:
            return True
        now = self._clock()
        if known.requests is None:
            known.requests = Bucket(rate, rate * SECONDS_AT_ONCE, now)
        return known.requests.take(now)

    def owes(self, host: str, requests: int) -> None:
        """The request that somebody at ``host`` just made cost as much as so many more."""
        known, _ = self._asking(host)
        if known is not None and known.requests is not None:
            known.requests.owe(requests)

    def _asking(self, host: str) -> tuple[_Known | None, int]:
        """What is remembered of its network, and its rate; None: nothing holds it."""
        rate = self.limits.requests
        network, trusted = self.place(host)
        if rate is None or trusted:
            return None, 0
        return self._remember(network), rate

    # Telling.

    def refuse(self, peer: str, reason: str) -> None:
        """Log that ``peer`` was refused, unless that was said of its network a minute ago."""
        now = self._clock()
        known = self._remember(self.place(host_of(peer))[0])
        if known.told is not None and now - known.told < SILENT_SECONDS:
            known.unsaid += 1
            return
        if not self._lines.take(now):
            self._unsaid += 1
            return
        more, known.unsaid, known.told = known.unsaid + self._unsaid, 0, now
        self._unsaid = 0
        logger.info("session refused peer=%s reason=%s unsaid=%d", peer, reason, more)

    # Inside.

    def _is_full(self, network: str) -> bool:
        limit = self.limits.sessions_per_address
        return limit is not None and self._present.get(network, 0) >= limit

    def _remember(self, network: str) -> _Known:
        known = self._known.get(network)
        if known is None:
            known = self._known[network] = _Known()
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(network)
        return known


def host_of(peer: str) -> str:
    """The address of ``host:port`` or ``[host]:port``, or of one without a port."""
    if peer.startswith("["):
        return peer[1:].partition("]")[0]
    return peer.partition(":")[0] if peer.count(":") == 1 else peer
