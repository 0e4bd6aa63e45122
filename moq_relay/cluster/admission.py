"""A root's part of joining: whom it takes for the node that it says it is.

A token or a certificate that names its node proves it. So does the registry, when the node's record
there is of this very process, which was proven before. Everybody else is dialled at the URL that it
joins as; such dials are few for each token, carry no token, and leave this machine's own network
alone.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from moq_relay.cluster import targets
from moq_relay.cluster.address import host_port
from moq_relay.cluster.backoff import pause
from moq_relay.cluster.channel import PROVE, Channel, open_channel
from moq_relay.cluster.destinations import Destinations
from moq_relay.cluster.dialling import Dial
from moq_relay.cluster.joining import QUIET, VERSION, digest_of
from moq_relay.errors import MoqError, RequestError, Unsupported, WireError
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.streams import RequestStream

logger = logging.getLogger(__name__)

REACH_SECONDS = 2.5
"""For one dial, less than a node waits for a word."""
SAY_SECONDS = 1.0
"""How often a node that has to wait is told so."""
BURST = 10
"""Dials for one token at once; after them one a second."""
REMEMBERED = 10_000
"""Tokens whose dials are counted."""
WORDS_BYTES = 4096
"""Longest message of a node that joins."""


class Turns:
    """So many dials for one token at once, and one a second in the long run."""

    def __init__(self, clock: Callable[[], float], *, burst: int = BURST) -> None:
        self._clock = clock
        self._burst = burst
        self._next: dict[str, float] = {}
        """Token -> when the next of its dials would be due, were it not for the burst."""

    def take(self, credential: str) -> float:
        """Take the next turn; seconds until then."""
        now = self._clock()
        if len(self._next) >= REMEMBERED:
            self._next = {key: at for key, at in self._next.items() if at > now}
        due = max(self._next.get(credential, 0.0), now)
        self._next[credential] = due + 1.0
        return max(0.0, due - now - (self._burst - 1))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What this root last found about a node."""

    accepted: bool
    reason: str


class Admission:
    """Serves streams of the type JOIN, and knows who has joined."""

    def __init__(
        self,
        dial: Dial,
        *,
        known: Callable[[str, str], bool],
        clock: Callable[[], float],
        destinations: Destinations,
        burst: int = BURST,
    ) -> None:
        """Take what it works with.

        Args:
            dial: reaches whoever wants to join.
            known: whether the registry has a node's record, by its URL, of this instance.
            clock: monotonic seconds.
            destinations: which nodes may be dialled.
            burst: dials for one token at once.
        """
        self.verdicts: dict[str, Verdict] = {}
        """By node, of those who are here, and of those who were refused last."""
        self._dial = dial
        self._known = known
        self._destinations = destinations
        self._turns = Turns(clock, burst=burst)
        self._joined: dict[LiteSession, str] = {}

    def joined(self, session: LiteSession) -> str | None:
        """The URL of the node that has joined by this session; None when none has."""
        return self._joined.get(session)

    def nodes(self) -> frozenset[str]:
        """Who has joined here."""
        return frozenset(self._joined.values())

    def sessions(self) -> dict[LiteSession, str]:
        """The sessions by which nodes have joined here, and whose they are."""
        return dict(self._joined)

    async def serve(self, session: LiteSession, request: RequestStream) -> None:
        """One node that joins, until it leaves.

        Raises:
            WireError: it talks nonsense.
            RequestError: it gave up, or does not want to join.
        """
        access = session.publisher.access
        node = access.register
        if node is None:
            raise Unsupported("who joins registers a node")
        channel = Channel(session, request, limit=WORDS_BYTES)
        match await channel.receive():
            case {"join": int(version), "instance": str(instance)} if version >= VERSION:
                pass
            case _:
                raise WireError("joining begins with a version and an instance")
        verdict = await self._judge(session, node, instance, channel)
        self._remember(node, verdict)
        if not verdict.accepted:
            logger.warning("node refused node=%s reason=%s", node, verdict.reason)
            channel.send(refused=verdict.reason)
            channel.finish()
            return
        logger.info("node joined node=%s reason=%s", node, verdict.reason)
        self._joined[session] = node
        try:
            channel.send(accepted=verdict.reason)
            await channel.over()
        finally:
            del self._joined[session]
            logger.info("node left node=%s", node)

    def _remember(self, node: str, verdict: Verdict) -> None:
        self.verdicts.pop(node, None)
        self.verdicts[node] = verdict
        if len(self.verdicts) > REMEMBERED:
            here = self.nodes()
            del self.verdicts[next(name for name in self.verdicts if name not in here)]

    async def _judge(
        self, session: LiteSession, node: str, instance: str, channel: Channel
    ) -> Verdict:
        access = session.publisher.access
        if access.node == node:
            return Verdict(
                True, f"its {'certificate' if access.by_certificate else 'token'} names it"
            )
        if self._known(node, instance):
            return Verdict(True, "it is known")
        wait = self._turns.take(access.credential)
        while wait > 0:
            channel.send(waiting=wait)
            step = min(wait, SAY_SECONDS)
            await pause(step)
            wait -= step
            if session.over:
                return Verdict(False, "it left")
        try:
            async with asyncio.timeout(REACH_SECONDS):
                return await self._reach(node, channel)
        except TimeoutError:
            return Verdict(False, f"not reached at {node} within {REACH_SECONDS:g} s")
        except (RequestError, WireError) as error:
            if session.over:
                raise
            return Verdict(False, f"not reached at {node}: {error}")

    async def _reach(self, node: str, channel: Channel) -> Verdict:
        """Whether the process behind ``channel`` is the one at ``node``."""
        why, place = self._destinations.refusal(node), host_port(node)
        if why is not None:
            return Verdict(False, f"this root may not dial it: {why}")
        try:
            addresses = await self._destinations.addresses(place)
        except (OSError, UnicodeError):
            return Verdict(False, f"{place.host} has no address")
        if not all([await self._destinations.permits(place.host, one) for one in addresses]):
            return Verdict(False, f"{place.host} is not an address that this root may dial")
        nonce = secrets.token_hex(16)
        digest = digest_of(nonce)
        channel.send(challenge=nonce)
        while (await channel.receive()).get("challenged") != digest:
            pass
        verdict = Verdict(False, f"{place.host} has no address")
        for address in addresses:
            try:
                async with asyncio.timeout(REACH_SECONDS / len(addresses)):
                    return await self._ask(node, address, nonce)
            except TimeoutError:
                verdict = Verdict(False, f"not reached at {node}: no answer in time")
            except MoqError as error:
                verdict = Verdict(False, f"not reached at {node}: {error}")
        return verdict

    async def _ask(self, node: str, address: str, nonce: str) -> Verdict:
        target = targets.to_challenge(digest_of(nonce))
        async with self._dial(node, target, QUIET, address=address) as session:
            answer = (await (await open_channel(session, PROVE)).receive()).get("nonce")
        if isinstance(answer, str) and secrets.compare_digest(answer.encode(), nonce.encode()):
            return Verdict(True, "reached at its URL")
        return Verdict(False, f"another process answers at {node}")
