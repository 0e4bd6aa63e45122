"""Publishers that come and go at a node, each with its line in the journal."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress

from moq_relay.errors import MoqError
from tests.bench.cluster.beacon import MAX_AGE, Beacon
from tests.bench.cluster.stage import publishing
from tests.chaos.journal import Journal
from tests.support.cluster_process import NodeProcess
from tests.support.own_client import make_origin, publish

AGAIN_SECONDS = 0.2


class Crowd:
    """All publishers of one node, over one session, which is begun anew when the node is.

    Crowds with the same hop are one publisher that is connected to several nodes.
    """

    def __init__(self, node: NodeProcess, journal: Journal, hop: int) -> None:
        self.node = node
        self.paths: dict[str, Beacon] = {}
        self.connected = False
        self.rests = False
        """Whether nothing changes by chance: nobody would hear of it."""
        self._kept: set[str] = set()
        self._journal = journal
        self._source = Beacon()
        self._origin = make_origin(hop, kept=MAX_AGE, linger=0.0)
        self._session = AsyncExitStack()

    async def connect(self) -> None:
        """Connect, as soon as the node is there, and announce everything."""
        while not self.connected:
            with suppress(MoqError, OSError):
                await self._session.enter_async_context(publishing(self.node.port, self._origin))
                self.connected = True
                break
            await asyncio.sleep(AGAIN_SECONDS)
        for path in self.paths:
            self._journal.announced(path, self.node.url)

    async def disconnect(self) -> None:
        """The session ends; what it had ends with its node."""
        self.connected = False
        self._journal.lost(self.node.url)
        session, self._session = self._session, AsyncExitStack()
        with suppress(MoqError, OSError):
            await session.aclose()

    @property
    def passing(self) -> list[str]:
        """Broadcasts that may end by chance."""
        return sorted(self.paths.keys() - self._kept)

    def announce(self, path: str, source: Beacon | None = None) -> None:
        """One more broadcast; one with a source of its own stays until it is withdrawn by name."""
        if source is not None:
            self._kept.add(path)
        self.paths[path] = source or self._source
        publish(self._origin, path, self.paths[path])
        self._journal.announced(path, self.node.url)

    def withdraw(self, path: str) -> None:
        """One less."""
        self._kept.discard(path)
        self._origin.withdraw(path, self.paths.pop(path), clean=True)
        self._journal.withdrew(path, self.node.url)


class Churn:
    """Changes at a rate, at crowds by chance; one path in five is another crowd's too."""

    def __init__(self, crowds: list[Crowd], chance: random.Random, least: int) -> None:
        self.goes_on = False
        self._crowds = crowds
        self._chance = chance
        self._least = least
        """Broadcasts that each crowd keeps."""
        self._names = names()

    def fill(self) -> None:
        """Give each crowd what it keeps."""
        for crowd in self._crowds:
            while len(crowd.paths) < self._least:
                crowd.announce(next(self._names))

    async def run(self, per_second: float) -> None:
        """Change until cancelled, whenever it goes on."""
        while True:
            await asyncio.sleep(1 / per_second)
            crowds = [crowd for crowd in self._crowds if crowd.connected and not crowd.rests]
            if self.goes_on and crowds:
                self._change(self._chance.choice(crowds))

    def _change(self, crowd: Crowd) -> None:
        chance = self._chance
        if len(crowd.paths) > self._least and chance.random() < 0.5:
            crowd.withdraw(chance.choice(crowd.passing))
            return
        path = next(self._names)
        other = chance.choice(self._crowds)
        if other.paths and chance.random() < 0.2:
            path = chance.choice(other.passing)
        if path not in crowd.paths:
            crowd.announce(path)


def names() -> Iterator[str]:
    """Paths that are all different, over many shards; some need escaping in a record."""
    number = 0
    while True:
        number += 1
        yield f"acme{number % 37}/room {number}" + (
            "\n\x00é"[number % 3] if number % 11 == 0 else ""
        )
