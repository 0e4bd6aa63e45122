"""Who used what: a line of JSON for each session that ended, and one a minute while it lasts."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from moq_relay.daemon import addresses
from moq_relay.daemon.clients import BOTH, NODE, PUBLISHER, VIEWER, role
from moq_relay.daemon.config.sources import Loaded
from moq_relay.daemon.logs.setup import json_line, moment
from moq_relay.daemon.metrics.families import label
from moq_relay.sessions.lite import codes
from moq_relay.sessions.lite.session import LiteSession

INTERIM_SECONDS = 60.0
AT_ONCE = 64
"""Interim lines of one turn, so that nobody's frames wait long; the others come with the next."""
TEXT = 200
"""Characters of what was said at the end."""

NOBODY = "none"
"""The role of a peer that left, or was sent away, before it had any rights."""
RELAY, PEER, SILENCE = ENDERS = ("relay", "peer", "silence")
IDLE = "Idle timeout"
"""What the engine says when nothing came for too long."""
REASONS = {
    codes.NO_ERROR: "no_error",
    **{code: label(kind.__name__) for kind, code in codes.SESSION_CODES.items()},
    codes.INTERNAL: "internal",
}
"""Close codes of sessions, by the names of their errors."""

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where lines go."""

    @property
    def wanted(self) -> bool:
        """Whether anybody reads them."""

    def put(self, line: str) -> None:
        """Have it written; returns at once."""


class Ledger:
    """Writes lines of totals: what a session carried from its beginning until the line's time.

    So a line that is lost costs nothing once a later one of its session is there, and the sum of
    the last lines of all sessions is what the relay's own counters have.
    """

    def __init__(
        self,
        sink: Sink,
        clock: Callable[[], float],
        *,
        addresses: str = addresses.FULL,
        node: str = "",
        region: str = "",
    ) -> None:
        """Write to ``sink``; ``clock`` is the origin's."""
        self._sink = sink
        self._clock = clock
        self._addresses = addresses
        self._relay = {"node": node, "region": region}
        self._run = secrets.token_hex(6)
        """Tells sessions of this process from those of any other with the same number."""

    @classmethod
    def of(cls, loaded: Loaded, sink: Sink, clock: Callable[[], float]) -> "Ledger":
        """That of the relay with these settings."""
        cluster = loaded.settings.cluster
        return cls(
            sink,
            clock,
            addresses=loaded.settings.log.addresses,
            node=cluster.node or "",
            region=cluster.region or "",
        )

    def ended(self, session: LiteSession) -> None:
        """A session is over."""
        self._tell(session, interim=False)

    def turn(self, sessions: Iterable[LiteSession]) -> None:
        """Tell of those whose minute is over; called several times a second."""
        if not self._sink.wanted:
            return
        due, told = self._clock() - INTERIM_SECONDS, 0
        for session in sessions:
            if session.tally.told <= due:
                session.tally.told = self._clock()
                self._tell(session, interim=True)
                told += 1
                if told == AT_ONCE:
                    return

    def _tell(self, session: LiteSession, *, interim: bool) -> None:
        if not self._sink.wanted:
            return
        try:
            self._sink.put(json_line(self._line(session, interim=interim)))
        except Exception:
            # The session's end must not be the relay's.
            log.exception("session line failed session=%d", session.number)

    def _line(self, session: LiteSession, *, interim: bool) -> dict[str, Any]:
        tally, access, transport = session.tally, session.publisher.access, session.transport
        rtt = transport.stats().rtt_seconds
        line = {
            "time": moment(time.time()),
            "event": "session",
            "interim": interim,
            "id": f"{self._run}-{session.number}",
            **self._relay,
            "tenant": access.holder.tenant,
            "token": access.holder.token,
            "subject": access.holder.subject,
            "path": f"/{access.root}",
            "role": did(session),
            "transport": transport.binding,
            "version": session.version.name,
            "address": addresses.shown(transport.peer, self._addresses),
            "seconds": round(self._clock() - tally.since, 3),
            "bytes_in": tally.bytes_in,
            "bytes_out": tally.bytes_out,
            "groups_in": tally.groups_in,
            "groups_out": tally.groups_out,
            "groups_skipped": tally.skipped,
            "broadcasts": tally.broadcasts,
            "requests": tally.requests,
            "rtt_seconds": None if rtt is None else round(rtt, 6),
        }
        if not interim:
            line |= ending(session)
        return line


def did(session: LiteSession) -> str:
    """What the peer did so far; of one that did nothing, what it may do."""
    may = role(session)
    if may is None:
        return NODE
    if not session.opening.granted:
        return NOBODY
    published, viewed = session.tally.broadcasts > 0, session.tally.requests > 0
    if published and viewed:
        return BOTH
    if published:
        return PUBLISHER
    return VIEWER if viewed else may


def ending(session: LiteSession) -> dict[str, Any]:
    """How a session ended: by whom, and why."""
    code, text = session.farewell or (codes.INTERNAL, "")
    by, reason = PEER, REASONS.get(code, "application" if code >= codes.APPLICATION else "other")
    if session.tally.ended_here or session.farewell is None:
        by = RELAY
    elif (code, text) == (codes.INTERNAL, IDLE):
        by, reason = SILENCE, "idle_timeout"
    return {"ended_by": by, "reason": reason, "code": code, "text": text[:TEXT]}
