"""The sessions of a node as its drain sees them, and the door that it closes."""

from collections.abc import Callable, Iterable, Mapping

from moq_relay.daemon.clients import role
from moq_relay.daemon.drain import LINK
from moq_relay.errors import Draining
from moq_relay.relay.access import Access
from moq_relay.sessions.context import Authorise, Later
from moq_relay.sessions.lite.goaway import ask_to_go, cut_off, let_go
from moq_relay.sessions.lite.session import LiteSession


class Guests:
    """Clients, and other nodes while they take something; a ``Crowd``."""

    def __init__(self, sessions: Callable[[], Iterable[LiteSession]]) -> None:
        self._sessions = sessions
        self._seen: dict[int, LiteSession] = {}
        """By number, when they were counted last."""

    def present(self) -> Mapping[int, str]:
        """What each does here, by its number."""
        found: dict[int, str] = {}
        self._seen.clear()
        for session in self._sessions():
            does = None if session.over else _does(session)
            if does is not None:
                found[session.number] = does
                self._seen[session.number] = session
        return found

    def ask(self, number: int) -> None:
        """Ask one of those present to go elsewhere."""
        ask_to_go(self._seen[number])

    def spent(self, number: int) -> bool:
        """Whether nothing is under way, and all that one of those present has is elsewhere too."""
        session = self._seen[number]
        return not (session.publisher.viewing or session.subscriber.needed)

    def let_go(self, number: int) -> None:
        """End the session of one of those present."""
        let_go(self._seen[number])

    def cut_off(self) -> None:
        """End all that are left."""
        for session in tuple(self._sessions()):
            if _does(session) is not None:
                cut_off(session)


def _does(session: LiteSession) -> str | None:
    """None for who has not to go: what this node dialled, roots and nodes that only joined."""
    if session.publisher.access.local_only:
        return LINK if session.publisher.viewing else None
    return role(session)


def doorkeeper(
    authorise: Authorise, closed: Callable[[], bool], refused: Callable[[], None]
) -> Authorise:
    """Rights as ``authorise`` gives them; while ``closed``, to other nodes alone.

    A node may come, because nobody else has what publishers here still send. ``refused`` is called
    for everybody else, who get ``Draining``.
    """

    def admit(access: Access) -> Access:
        node = access.local_only or access.register or access.challenge
        if closed() and not node:
            refused()
            raise Draining("the relay is draining; connect again, to another one")
        return access

    def ask(target: str) -> Access | Later:
        found = authorise(target)
        if isinstance(found, Access):
            return admit(found)

        async def later() -> Access:
            return admit(await found())

        return later

    return ask
