"""The road through a root: calls and events over one stream to it, for a node without Redis.

Which root it is makes no difference: cursors are of the registry, so a node goes from one root to
another without reading anything anew. A root that says nothing for a while is given up, and so is
one that has lost its own road while there are others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from moq_relay.cluster.apart import apart
from moq_relay.cluster.backoff import Backoff, pause
from moq_relay.cluster.channel import Channel, Words
from moq_relay.cluster.keys import Shard
from moq_relay.cluster.road import Connected, Lost, Message, RoadEvent, ServerFacts
from moq_relay.errors import MoqError, RegistryError, RegistryUnavailable, WireError

logger = logging.getLogger(__name__)

VERSION = 1
"""Of this conversation."""
SILENCE_SECONDS = 3.0
"""A root that says nothing for so long is given up."""

Connect = Callable[[str], AbstractAsyncContextManager[Channel]]
"""A channel along which a root, by its URL, serves the registry. Raises ``MoqError``."""


class _GivenUp(MoqError):
    """This root is no way to the registry now; its text says why."""


class RootRoad:
    """Through one of several roots, for ever: every loss is followed by another attempt."""

    straight = False

    def __init__(
        self,
        roots: Sequence[str],
        connect: Connect,
        *,
        timeout: float = 2.0,
        silence: float = SILENCE_SECONDS,
        max_backoff: float = 1.0,
    ) -> None:
        """Nothing is connected before ``run``.

        Args:
            roots: URLs, tried in turn.
            connect: reaches one of them.
            timeout: seconds for one call.
            silence: seconds after which a root that says nothing is given up.
            max_backoff: the longest pause between two attempts.
        """
        self.root: str | None = None
        """The root through which the registry is reached now."""
        self._roots = tuple(roots)
        self._connect = connect
        self._timeout = timeout
        self._silence = silence
        self._backoff = Backoff(cap=max_backoff)
        self._channel: Channel | None = None
        self._why_down = "no root was reached yet"
        self._down_since = 0.0
        self._calls: dict[int, asyncio.Future[list[Any]]] = {}
        self._last_call = 0

    async def run(self, deliver: Callable[[RoadEvent], None]) -> None:
        turn = 0
        told: dict[str, str] = {}
        try:
            while True:
                root = self._roots[turn % len(self._roots)]
                reason = await apart(self._live(root, deliver), "root-road")
                # Tried for ever, a root that stays away for one reason is one line.
                level = logging.DEBUG if told.get(root) == reason else logging.WARNING
                told[root] = reason
                logger.log(level, "no way through root=%s reason=%s", root, reason)
                self._fail(reason, deliver)
                turn += 1
                await self._backoff.pause()
        finally:
            self._fail("stopped", deliver)

    async def call(self, script: str, shard: Shard, args: Sequence[str]) -> list[Any]:
        if self._channel is None or self.root is None:
            raise RegistryUnavailable(self._why_down)
        self._last_call = number = self._last_call + 1
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        self._channel.send(call=number, script=script, shard=shard, args=list(args))
        try:
            async with asyncio.timeout(self._timeout):
                return await answer
        except TimeoutError:
            raise RegistryUnavailable(f"no answer within {self._timeout:g} s") from None
        finally:
            del self._calls[number]

    # One root, from the dial to its loss.

    async def _live(self, root: str, deliver: Callable[[RoadEvent], None]) -> str:
        """Use ``root`` until it is no way any more; why."""
        pinging: asyncio.Task[None] | None = None
        try:
            async with self._connect(root) as channel, asyncio.TaskGroup() as tasks:
                channel.send(road=VERSION)
                self._down_since = asyncio.get_running_loop().time()
                pinging = tasks.create_task(self._ping(channel), name="root-ping")
                reason = await self._follow(root, channel, deliver)
                pinging.cancel()
        except* MoqError as group:
            reason = str(_first(group)) or type(_first(group)).__name__
        return reason

    async def _follow(
        self, root: str, channel: Channel, deliver: Callable[[RoadEvent], None]
    ) -> str:
        """Take what comes until the root says nothing for too long, or has lost its own road."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(self._silence):
                    words = await channel.receive()
            except TimeoutError:
                return f"it said nothing for {self._silence:g} s"
            self._hear(root, channel, words, deliver)
            useless = self.root is None and loop.time() - self._down_since > self._silence
            if useless and len(self._roots) > 1:
                return f"it has no registry: {self._why_down}"

    async def _ping(self, channel: Channel) -> None:
        while True:
            await pause(self._silence / 3)
            channel.send(ping=1)

    def _hear(
        self, root: str, channel: Channel, words: Words, deliver: Callable[[RoadEvent], None]
    ) -> None:
        match words:
            case {"answer": int(number)}:
                self._answered(number, words)
            case {"message": [int() | None as shard, str(text)]}:
                deliver(Message(shard, text))
            case {"connected": int(shards)} if shards > 0:
                self._channel, self.root = channel, root
                self._backoff.succeeded()
                logger.info("registry reached root=%s", root)
                deliver(Connected(shards, _facts(words.get("facts"))))
            case {"lost": str(reason)}:
                self.root, self._why_down = None, reason
                self._down_since = asyncio.get_running_loop().time()
                deliver(Lost(reason))
            case {"road": int(version)} if version > VERSION:
                raise _GivenUp(f"it speaks version {version} of the road, not {VERSION}")
            case {"answer": _} | {"message": _} | {"connected": _} | {"lost": _}:
                raise WireError("the root talks nonsense")
            case _:
                pass

    def _answered(self, number: int, words: Words) -> None:
        answer = self._calls.get(number)
        if answer is None or answer.done():
            return  # it came too late for whoever asked
        match words:
            case {"value": list(value)}:
                answer.set_result(value)
            case {"refused": str(reason)}:
                answer.set_exception(RegistryError(reason))
            case {"unavailable": str(reason)}:
                answer.set_exception(RegistryUnavailable(reason))
            case _:
                raise WireError("an answer that says nothing")

    def _fail(self, reason: str, deliver: Callable[[RoadEvent], None]) -> None:
        self._channel, self.root, self._why_down = None, None, reason
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(RegistryUnavailable(reason))
        deliver(Lost(reason))


def _first(group: BaseExceptionGroup[MoqError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _facts(words: Any) -> ServerFacts:
    """What the root says of its server; what is missing or odd has its default."""
    told = words if isinstance(words, dict) else {}
    name, version = told.get("name"), told.get("version")
    return ServerFacts(
        name if isinstance(name, str) else "unknown",
        version if isinstance(version, str) else "",
        # A root warns of its server itself.
        persistent=told.get("persistent") is True,
    )
