"""Whether a token still stands: not taken back, nor past its end."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

from moq_relay.cluster.revocations import Revocations
from moq_relay.daemon.tokens.claims import Claims
from moq_relay.errors import Expired, Unauthorized
from moq_relay.sessions.lite.session import LiteSession

Policy = Literal["open", "closed"]
"""What newcomers get while nobody here knows which tokens were taken back."""

ENDS = ("expired", "revoked")
EXPIRED = "the token has expired"
REVOKED = "the token was taken back"
UNKNOWN = "whether the token was taken back is not known now; come again"


class Standing:
    """Looked at when a token comes, and for as long as somebody uses it."""

    def __init__(
        self,
        revocations: Revocations,
        policy: Policy = "open",
        in_touch: Callable[[], bool] = lambda: True,
    ) -> None:
        """Judge by ``revocations``; ``in_touch`` tells whether those are all there are."""
        self.ended = Counter[str]()
        """Sessions that were ended, ``expired`` or ``revoked``."""
        self.revocations = revocations
        self._policy = policy
        self._in_touch = in_touch

    def judge(self, claims: Claims) -> None:
        """Let pass whose token stands.

        Raises:
            Unauthorized: it was taken back, or may have been.
        """
        if self.revocations.covers(claims.token, claims.subject, claims.issued):
            raise Unauthorized(REVOKED)
        named = claims.token is not None or claims.subject is not None
        if named and self._policy == "closed" and not self._in_touch():
            raise Unauthorized(UNKNOWN)

    def end(self, sessions: Iterable[LiteSession], now: float) -> None:
        """End each session whose token stands no more at ``now``, in unix seconds.

        Looked at several times a second rather than by a timer each, which would sleep through a
        change of the clock.
        """
        any_revoked = len(self.revocations) > 0
        for session in tuple(sessions):
            access = session.publisher.access
            if access.expires is not None and access.expires <= now:
                self.ended["expired"] += session.end(Expired(EXPIRED))
            elif any_revoked and self.revocations.covers(
                access.holder.token, access.holder.subject, access.holder.issued
            ):
                self.ended["revoked"] += session.end(Expired(REVOKED))
