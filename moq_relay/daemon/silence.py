"""Publishers that do not answer: while that lasts, whoever else has their broadcasts is better."""

import logging
from collections.abc import Callable, Iterable

from moq_relay.sessions.lite.session import LiteSession

TURN_SECONDS = 1.0
ASKED = 2
"""Turns without a word until a publisher is asked to answer; one that sends media says enough."""
DOUBTED = 6
"""Turns without a word until others are preferred. Counted in turns, not in seconds: when this
process stood still, nobody was silent."""
WHY = "silent"

log = logging.getLogger(__name__)


class Silence:
    """Listens to the publishers of one node."""

    def __init__(self, sessions: Callable[[], Iterable[LiteSession]]) -> None:
        self.publishers = 0
        """How many are in doubt now."""
        self._sessions = sessions
        self._unheard: dict[int, int] = {}
        """By the session's number: for how many turns."""

    def turn(self) -> None:
        """Look who has spoken; called once a second."""
        before, self._unheard = self._unheard, {}
        self.publishers = 0
        for session in self._sessions():
            if session.subscriber.publishing:
                self._look(session, before.get(session.number, 0))

    def _look(self, session: LiteSession, before: int) -> None:
        number, silent = session.number, session.transport.silent_seconds
        turns = before + 1 if silent >= TURN_SECONDS else 0
        if turns:
            self._unheard[number] = turns
        if turns >= ASKED:
            session.transport.ping()
        doubted = turns >= DOUBTED
        self.publishers += doubted
        if turns == DOUBTED:
            log.warning("publisher silent session=%d seconds=%.0f", number, silent)
        elif before >= DOUBTED and not turns:
            log.info("publisher heard again session=%d", number)
        session.subscriber.doubted(WHY, holds=doubted)
