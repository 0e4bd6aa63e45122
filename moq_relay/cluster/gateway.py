"""A root's part of the road: runs for a node what it may ask, and passes on what is published.

It keeps nothing that the registry does not have. A call is run at once or fails; none is queued,
and none is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from moq_relay.cluster.channel import Channel, Words
from moq_relay.cluster.keys import Shard
from moq_relay.cluster.records import encode
from moq_relay.cluster.revocations import are_entries
from moq_relay.cluster.road import Connected, Lost, Message, Road, RoadEvent
from moq_relay.cluster.rootroad import VERSION
from moq_relay.cluster.scripts import OF_A_NODE, OPERATIONS
from moq_relay.errors import (
    RegistryError,
    RegistryUnavailable,
    TooFarBehind,
    Unsupported,
    WireError,
)
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.streams import RequestStream

logger = logging.getLogger(__name__)

OF_MEMBERSHIP = frozenset({"register", "renew", "unregister", "revoke", "revoked"})
OF_A_SHARD = frozenset({"write", "drop", "audit", "lookup"})
OF_ANY = frozenset({"attach", "delta", "snapshot"})
"""Scripts that a node may have run; to reap is a root's own business."""

CALLS = 256
"""Calls of one node under way at a time."""
FROM_NODE_BYTES = 16 << 20
"""Longest message of a node: an audit of all it has in one shard."""
BACKLOG = 64 << 20
"""Bytes that a node may leave unacknowledged before it has to begin anew."""
LONGEST = {"write": 4 + 6 * OPERATIONS + 1, "revoke": 3 * OPERATIONS}
"""Words of a ``write`` with as many claims as one may have and the end marker; of a ``revoke``."""


class Junction:
    """A road, and all who hear what comes along it: this node's registry, and nodes behind it."""

    def __init__(self, road: Road) -> None:
        self.connected: Connected | None = None
        """What the road said when it came up; None while it is down."""
        self.why_down = "it was not reached yet"
        self._road = road
        self._listeners: list[Callable[[RoadEvent], None]] = []

    @property
    def straight(self) -> bool:
        return self._road.straight

    async def run(self, deliver: Callable[[RoadEvent], None]) -> None:
        await self._road.run(partial(self._pass_on, deliver))

    async def call(self, script: str, shard: Shard, args: Sequence[str]) -> list[Any]:
        return await self._road.call(script, shard, args)

    def listen(self, listener: Callable[[RoadEvent], None]) -> None:
        """Tell ``listener`` of every event from now on."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[RoadEvent], None]) -> None:
        """Tell it no more."""
        self._listeners.remove(listener)

    def _pass_on(self, deliver: Callable[[RoadEvent], None], event: RoadEvent) -> None:
        match event:
            case Connected():
                self.connected = event
            case Lost(reason):
                self.connected, self.why_down = None, reason
        deliver(event)
        for listener in tuple(self._listeners):
            listener(event)


class Gateway:
    """Serves the road to every node that has joined here."""

    def __init__(
        self,
        junction: Junction,
        joined: Callable[[LiteSession], str | None],
        *,
        timeout: float = 2.0,
    ) -> None:
        """Take what it stands between.

        Args:
            junction: the root's own road.
            joined: the URL of the node that has joined by a session; None when none has.
            timeout: seconds for one call.
        """
        self.nodes: dict[str, int] = {}
        """Nodes that come through here -> on how many streams."""
        self._junction = junction
        self._joined = joined
        self._timeout = timeout

    async def serve(self, session: LiteSession, request: RequestStream) -> None:
        """One node's road, until it leaves.

        Raises:
            WireError: it talks nonsense.
            RequestError: it left, did not join, or does not read.
        """
        node = self._joined(session)
        if node is None:
            raise Unsupported("a node joins first")
        channel = Channel(session, request, limit=FROM_NODE_BYTES)
        await _begin(channel)
        passing = _Passing(channel, request)
        self.nodes[node] = self.nodes.get(node, 0) + 1
        logger.info("node comes through node=%s session=%d", node, session.number)
        now = self._junction.connected
        passing.hear(Lost(self._junction.why_down) if now is None else now)
        self._junction.listen(passing.hear)
        try:
            await self._follow(node, session, channel)
        finally:
            self._junction.unlisten(passing.hear)
            self.nodes[node] -= 1
            if not self.nodes[node]:
                del self.nodes[node]
            logger.info("node comes through no more node=%s session=%d", node, session.number)

    async def _follow(self, node: str, session: LiteSession, channel: Channel) -> None:
        under_way: set[int] = set()
        while True:
            words = await channel.receive()
            match words:
                case {"call": int(number)} if number not in under_way:
                    if len(under_way) >= CALLS:
                        channel.send(answer=number, unavailable="too many calls at a time")
                        continue
                    under_way.add(number)
                    work = self._answer(node, number, words, channel, under_way)
                    session.spawn(work, f"road-call-{number}")
                case {"ping": what}:
                    channel.send(pong=what)
                case {"call": _}:
                    raise WireError("a call without a number of its own")
                case _:
                    pass

    async def _answer(
        self, node: str, number: int, words: Words, channel: Channel, under_way: set[int]
    ) -> None:
        try:
            script, shard, args = self._checked(node, words)
            async with asyncio.timeout(self._timeout):
                value = await self._junction.call(script, shard, args)
        except (RegistryError, WireError) as error:
            channel.send(answer=number, refused=str(error))
        except TimeoutError:
            channel.send(answer=number, unavailable=f"no answer within {self._timeout:g} s")
        except RegistryUnavailable as error:
            channel.send(answer=number, unavailable=str(error))
        else:
            channel.send(answer=number, value=value)
        finally:
            under_way.discard(number)

    def _checked(self, node: str, words: Words) -> tuple[str, Shard, list[str]]:
        """A call that ``node`` may make, in its own name whatever it said.

        Raises:
            WireError: it is none.
            RegistryUnavailable: nobody knows how many shards there are.
        """
        if self._junction.connected is None:
            raise RegistryUnavailable(f"the root has no registry: {self._junction.why_down}")
        script, shard, args = words.get("script"), words.get("shard"), words.get("args")
        if script not in OF_MEMBERSHIP | OF_A_SHARD | OF_ANY:
            raise WireError("a node cannot have that script run")
        if not isinstance(args, list) or not all(isinstance(word, str) for word in args):
            raise WireError("the arguments of a call are words")
        if shard is None:
            fits = script not in OF_A_SHARD
        else:
            known = type(shard) is int and 0 <= shard < self._junction.connected.shards
            fits = known and script not in OF_MEMBERSHIP
        if not fits or len(args) > LONGEST.get(script, len(args)):
            raise WireError(f"no {script} is like that")
        if script in OF_A_NODE:
            args = [encode(node), *args[1:]]
        if script == "attach" and not (len(args) == 1 and args[0].isascii() and args[0].isdigit()):
            raise WireError("no attach is like that")
        if script == "revoke" and not are_entries(args):
            raise WireError("no revoke is like that")
        return script, shard, args


class _Passing:
    """Passes events on to one node, unless it does not read them."""

    def __init__(self, channel: Channel, request: RequestStream) -> None:
        self._channel = channel
        self._request = request

    def hear(self, event: RoadEvent) -> None:
        if self._channel.backlog > BACKLOG:
            self._request.interrupt(TooFarBehind("the node does not read"))
            return
        match event:
            case Message(shard, text):
                self._channel.send(message=[shard, text])
            case Connected(shards, facts):
                self._channel.send(connected=shards, facts=asdict(facts))
            case Lost(reason):
                self._channel.send(lost=reason)


async def _begin(channel: Channel) -> None:
    """Agree on the version of the conversation.

    Raises:
        WireError: there is none in common.
    """
    match await channel.receive():
        case {"road": int(version)} if version >= VERSION:
            channel.send(road=VERSION)
        case _:
            raise WireError("a road begins with its version")
