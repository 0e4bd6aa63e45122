"""Round trips of clients: of each session a sample every ten seconds, a tenth of them a second."""

from collections.abc import Callable, Iterable

from moq_relay.sessions.experience import Experience
from moq_relay.sessions.lite.session import LiteSession

PERIOD = 10
"""Turns between two samples of a session; a turn is a second."""
PUBLISHER, VIEWER, BOTH = ROLES = ("publisher", "viewer", "both")
NODE = "node"
"""What those are that are no clients: the other nodes of the cluster."""


def role(session: LiteSession) -> str | None:
    """What a client does, or may do while it does nothing; None for another node's session."""
    access = session.publisher.access
    if session.opening.dialled or access.local_only or access.register or access.challenge:
        return None
    publishes, views = session.subscriber.publishing, session.publisher.viewing
    if not (publishes or views):
        publishes, views = bool(access.publish), bool(access.subscribe)
    if publishes and views:
        return BOTH
    return PUBLISHER if publishes else VIEWER


class Clients:
    """Samples the sessions of one node."""

    def __init__(
        self, sessions: Callable[[], Iterable[LiteSession]], experience: Experience
    ) -> None:
        self._sessions = sessions
        self._experience = experience
        self._turn = 0

    def turn(self) -> None:
        """Sample those whose turn it is; called once a second."""
        self._turn = (self._turn + 1) % PERIOD
        for session in self._sessions():
            if session.number % PERIOD == self._turn:
                self._sample(session)

    def _sample(self, session: LiteSession) -> None:
        rtt, does = session.transport.stats().rtt_seconds, role(session)
        if rtt is not None and does is not None:
            self._experience.client_rtt[session.transport.binding, does].observe(rtt)
