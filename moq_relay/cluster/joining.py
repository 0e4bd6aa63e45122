"""A node's part of joining: it says who it is, and shows a root that it is reached by that name.

The root has to reach this very process at the URL that it joins as. It gives a nonce over the
joining session, dials the URL, asks for the nonce by its hash, and compares.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from moq_relay.cluster import targets
from moq_relay.cluster.backoff import Backoff
from moq_relay.cluster.channel import JOIN, ROAD, Channel, open_channel
from moq_relay.cluster.dialling import Dial
from moq_relay.errors import MoqError, NotFound, SessionClosed, Unauthorized
from moq_relay.relay.access import Access
from moq_relay.sessions.context import Use
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.streams import RequestStream

logger = logging.getLogger(__name__)

VERSION = 1
"""Of this conversation."""
SILENCE_SECONDS = 3.0
"""A root that says nothing for so long is given up."""
QUIET = Use(quiet=True, leaves=True)


def digest_of(nonce: str) -> str:
    """What may be said of a nonce to everybody."""
    return hashlib.sha256(nonce.encode()).hexdigest()


class Challenges:
    """The nonces that roots gave this process, each as long as the root may ask for it."""

    def __init__(self) -> None:
        self._nonces: dict[str, str] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._nonces

    @contextmanager
    def held(self, nonces: Sequence[str]) -> Iterator[None]:
        """Forget ``nonces``, which may grow meanwhile, on leaving."""
        try:
            yield
        finally:
            for nonce in nonces:
                self._nonces.pop(digest_of(nonce), None)

    def add(self, nonce: str) -> str:
        """Answer for ``nonce`` from now on; its hash."""
        digest = digest_of(nonce)
        self._nonces[digest] = nonce
        return digest

    async def prove(self, session: LiteSession, request: RequestStream) -> None:
        """Show the nonce that the session came to ask for; serves streams of the type PROVE.

        Raises:
            NotFound: it is not asked for any more.
        """
        nonce = self._nonces.get(session.publisher.access.challenge or "")
        if nonce is None:
            raise NotFound("no such challenge")
        channel = Channel(session, request)
        channel.send(nonce=nonce)
        channel.finish()


def was_challenged(access: Access) -> bool:
    """Whether the peer came to ask for a nonce."""
    return access.challenge is not None


@dataclass(frozen=True, slots=True)
class Joined:
    """A session to a root, and what the root said."""

    session: LiteSession
    accepted: bool | None
    """None: it was not asked."""
    reason: str


class Joiner:
    """Joins roots in this node's name."""

    def __init__(
        self,
        dial: Dial,
        challenges: Challenges,
        *,
        node: str,
        token: targets.Token | None,
        instance: str,
        certified: bool = False,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        """Take what it says of this node.

        Args:
            dial: reaches roots.
            challenges: where those who ask this node for a nonce look.
            node: its URL.
            token: by which it may join; without one, and without a certificate, it measures the
                way, and asks for nothing.
            instance: what its record in the registry has as such: a root that knows it need not
                reach the node anew.
            certified: whether it shows a certificate.
            silence: seconds after which a root that says nothing is given up.
        """
        self._dial = dial
        self._challenges = challenges
        self._node = node
        self._token = token
        self._asks = certified or token is not None
        self._instance = instance
        self._silence = silence

    @asynccontextmanager
    async def joined(self, root: str) -> AsyncIterator[Joined]:
        """A session by which this node has joined ``root``, or was refused.

        Raises:
            MoqError: the root cannot be reached, does not let this node in, or is silent.
        """
        target = targets.to_join(self._node, self._token) if self._asks else targets.to_probe()
        async with self._reached(root, target) as session:
            if not self._asks:
                yield Joined(session, None, "no token")
                return
            yield await self._ask(session)

    @asynccontextmanager
    async def road(self, root: str) -> AsyncIterator[Channel]:
        """The registry through ``root``; a ``rootroad.Connect``.

        Raises:
            Unauthorized: the root does not take this node for what it says.
            MoqError: the root cannot be reached, or is silent.
        """
        async with self.joined(root) as joined:
            if not joined.accepted:
                raise Unauthorized(f"the root does not accept this node: {joined.reason}")
            yield await open_channel(joined.session, ROAD)

    @asynccontextmanager
    async def _reached(self, root: str, target: str) -> AsyncIterator[LiteSession]:
        """A session to ``root``, unless that takes too long."""
        reached = False
        try:
            async with asyncio.timeout(self._silence) as patience:
                async with self._dial(root, target, QUIET) as session:
                    reached = True
                    patience.reschedule(None)
                    yield session
        except TimeoutError:
            if reached:
                raise
            raise SessionClosed(f"the root said nothing for {self._silence:g} s") from None

    async def _ask(self, session: LiteSession) -> Joined:
        nonces: list[str] = []
        with self._challenges.held(nonces):
            try:
                channel = await open_channel(session, JOIN)
                channel.send(join=VERSION, instance=self._instance)
                while True:
                    async with asyncio.timeout(self._silence):
                        words = await channel.receive()
                    match words:
                        case {"challenge": str(nonce)}:
                            nonces.append(nonce)
                            channel.send(challenged=self._challenges.add(nonce))
                        case {"accepted": str(reason)}:
                            return Joined(session, True, reason)
                        case {"refused": str(reason)}:
                            return Joined(session, False, reason)
                        case _:
                            pass
            except TimeoutError:
                raise SessionClosed(f"the root said nothing for {self._silence:g} s") from None


class Attendance:
    """Keeps a node that has its own way to the registry joined at one root, and measures it."""

    def __init__(self, roots: Sequence[str], joiner: Joiner, *, max_backoff: float = 10.0) -> None:
        self.root: str | None = None
        """At which it is now."""
        self.joined: Joined | None = None
        self._roots = tuple(roots)
        self._joiner = joiner
        self._backoff = Backoff(cap=max_backoff)

    async def run(self) -> None:
        """Stay at a root, for ever; ends only by cancellation."""
        turn = 0
        while True:
            root = self._roots[turn % len(self._roots)]
            try:
                async with self._joiner.joined(root) as joined:
                    self.root, self.joined = root, joined
                    self._backoff.succeeded()
                    self._tell(root, joined)
                    await joined.session.ended()
                reason = "the session ended"
            except MoqError as error:
                reason = str(error)
            finally:
                self.root = self.joined = None
            logger.info("not at root=%s reason=%s", root, reason)
            turn += 1
            await self._backoff.pause()

    def _tell(self, root: str, joined: Joined) -> None:
        if joined.accepted is False:
            logger.warning("root does not accept this node root=%s reason=%s", root, joined.reason)
        else:
            logger.info("joined root=%s reason=%s", root, joined.reason)
