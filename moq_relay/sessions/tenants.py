"""What the sessions of one tenant may use together.

A tenant is the root that a token names, else the first segment of the session's root. Nodes of the
cluster are nobody's: what they carry was let in where it was published.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from moq_relay.errors import LimitReached
from moq_relay.relay.access import Access
from moq_relay.relay.path import covers
from moq_relay.sessions.tally import Tally

WINDOW = 5
"""Turns, a second each, over which egress is taken: a burst is no rate."""


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What one tenant may have here; None: any amount."""

    sessions: int | None = None
    announces: int | None = None
    """Broadcasts announced at a time."""
    egress: int | None = None
    """Payload bytes a second; above it nothing new is begun."""
    cache: int | None = None
    """Bytes of groups kept; the latest group of a track always stays."""


class Used(Protocol):
    """A session, as far as it is counted here."""

    number: int
    tally: Tally


class Tenants:
    """Counts by tenant, per session and per announcement; what was sent is read once a turn."""

    def __init__(self, limits: TenantLimits | None = None) -> None:
        """Count nothing where ``limits`` has none."""
        self.limits = limits or TenantLimits()
        self._of: dict[int, str] = {}
        """The tenant of each session, by the session's number."""
        self._sessions: Counter[str] = Counter()
        self._announces: Counter[str] = Counter()
        self._sent: dict[int, int] = {}
        """What each session had sent at the last turn, by its number."""
        self._besides: Counter[str] = Counter()
        """Bytes by tenant since the last turn that no session sent which is still there."""
        self._read_at: float | None = None
        self._turns: deque[tuple[float, Counter[str]]] = deque(maxlen=WINDOW)
        """Seconds of each of the last turns, and bytes by tenant."""
        self._overdrawn: frozenset[str] = frozenset()

    def enter(self, number: int, access: Access) -> None:
        """Count a session until ``left``.

        Raises:
            LimitReached: its tenant has as many as one may have.
        """
        if is_node(access):
            return
        tenant, limit = access.holder.tenant, self.limits.sessions
        if limit is not None and self._sessions[tenant] >= limit:
            raise LimitReached("tenant", "too many sessions of one tenant")
        self._of[number] = tenant
        self._sessions[tenant] += 1

    def left(self, number: int, sent: int = 0) -> None:
        """A session is over, and had sent ``sent`` bytes. Harmless when it never counted."""
        tenant, known = self._of.pop(number, None), self._sent.pop(number, 0)
        if tenant is None:
            return
        _less(self._sessions, tenant)
        if self.limits.egress is not None:
            self._besides[tenant] += sent - known

    # Announcements.

    def may_announce(self, access: Access) -> bool:
        """Whether the tenant may have one more broadcast."""
        limit = self.limits.announces
        return limit is None or is_node(access) or self._announces[access.holder.tenant] < limit

    def announced(self, access: Access) -> None:
        """It has one more."""
        if not is_node(access):
            self._announces[access.holder.tenant] += 1

    def withdrawn(self, access: Access, count: int = 1) -> None:
        """It has ``count`` less."""
        if count and not is_node(access):
            _less(self._announces, access.holder.tenant, count)

    # Egress.

    def overdrawn(self, access: Access) -> bool:
        """Whether its tenant sends more than it may: nothing new is begun for it then."""
        return bool(self._overdrawn) and not is_node(access) and self._is_over(access)

    def sent(self, access: Access, count: int) -> None:
        """Its tenant was sent ``count`` bytes of payload, and not by a session."""
        if self.limits.egress is not None and not is_node(access):
            self._besides[access.holder.tenant] += count

    def turn(self, sessions: Iterable[Used], now: float) -> None:
        """See what each tenant sent since the last turn; called every second or so."""
        if self.limits.egress is None:
            return
        sent, self._besides = self._besides, Counter()
        for session in sessions:
            tenant = self._of.get(session.number)
            if tenant is not None:
                has = session.tally.bytes_out
                sent[tenant] += has - self._sent.get(session.number, 0)
                self._sent[session.number] = has
        if self._read_at is not None and now > self._read_at:
            self._turns.append((now - self._read_at, sent))
        self._read_at = now
        total: Counter[str] = Counter()
        for _, counted in self._turns:
            total += counted
        allowed = self.limits.egress * sum(seconds for seconds, _ in self._turns)
        self._overdrawn = frozenset(name for name, count in total.items() if count > allowed)

    def _is_over(self, access: Access) -> bool:
        return access.holder.tenant in self._overdrawn

    # Cache.

    def of_path(self, path: str) -> str:
        """Whose the groups of a broadcast are: of who is here and has it below its root.

        Where nobody is, as for what another node publishes, it is the first segment.
        """
        first = path.partition("/")[0]
        if first == path:
            return first
        here = (tenant for tenant in self._sessions if tenant and covers(tenant, path))
        return max(here, key=len, default=first)


def is_node(access: Access) -> bool:
    """Whether the peer is a node, or came as nodes do."""
    return bool(access.cluster or access.local_only or access.register or access.challenge)


def _less(counted: Counter[str], tenant: str, count: int = 1) -> None:
    counted[tenant] -= count
    if counted[tenant] <= 0:
        del counted[tenant]
