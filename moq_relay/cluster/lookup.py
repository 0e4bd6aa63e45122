"""One question at the registry for all who look for the same path at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from moq_relay.cluster.cursor import Call, Feed
from moq_relay.cluster.keys import shard_of
from moq_relay.cluster.records import Oddities, encode, read_claims
from moq_relay.cluster.table import ClaimView, Table
from moq_relay.errors import ClusterError, RegistryUnavailable


class Lookups:
    """The questions under way."""

    def __init__(self, table: Table, call: Call, read: Callable[[Feed], None]) -> None:
        self._table = table
        self._call = call
        self._read = read
        """Called after a feed was read on."""
        self._asking: dict[str, list[asyncio.Future[list[ClaimView]]]] = {}

    async def ask(self, path: str, tasks: asyncio.TaskGroup) -> list[ClaimView]:
        """The claims of ``path``; the copy has them too, once this returns.

        The question is a task of the registry's, so that it does not end with who asked first.

        Raises:
            RegistryUnavailable: nobody knows.
        """
        answer: asyncio.Future[list[ClaimView]] = asyncio.get_running_loop().create_future()
        waiting = self._asking.setdefault(path, [])
        waiting.append(answer)
        if len(waiting) == 1:
            tasks.create_task(self._ask(path), name="registry-lookup")
        return await answer

    async def _ask(self, path: str) -> None:
        error: RegistryUnavailable | None = None
        try:
            await self._look(path)
        except ClusterError as reason:
            error = RegistryUnavailable(str(reason))
        except asyncio.CancelledError:
            error = RegistryUnavailable("the registry was stopped")
            raise
        finally:
            for answer in self._asking.pop(path, []):
                if answer.done():
                    continue
                if error is None:
                    answer.set_result(self._table.claims(path))
                else:
                    answer.set_exception(error)

    async def _look(self, path: str) -> None:
        feed = self._table.feed_of(path)
        shard = shard_of(path, len(self._table.shards))
        value = (await self._call("lookup", shard, [encode(path)]))[1]
        known = feed.records.get(path, {})
        if any(claim.node not in known for claim in read_claims(path, value, Oddities())):
            # The copy is behind: what it gets it gets in the order of the feed, not from here.
            await feed.poll(self._call)
            self._read(feed)
