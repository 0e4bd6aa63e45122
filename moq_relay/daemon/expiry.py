"""The end of rights that were given for a time."""

from collections.abc import Iterable

from moq_relay.errors import Expired
from moq_relay.sessions.lite.session import LiteSession

REASON = "the token has expired"


def end_expired(sessions: Iterable[LiteSession], now: float) -> None:
    """End each session whose token has expired at ``now``, in unix seconds.

    Looked at several times a second rather than by a timer each, which would sleep through a change
    of the clock.
    """
    for session in tuple(sessions):
        expires = session.publisher.access.expires
        if expires is not None and expires <= now:
            session.end(Expired(REASON))
