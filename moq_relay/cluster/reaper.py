"""Taking the dead out of the registry; any number of nodes may do it at once.

The script decides alone, on Redis' clock. Here it is only asked often, and the shards of whom it
found dead are cleaned: readers stopped counting those claims at the death itself.
"""

from __future__ import annotations

import asyncio
import logging

from moq_relay.cluster.cursor import Call
from moq_relay.cluster.keys import Shard
from moq_relay.cluster.table import Table
from moq_relay.errors import ClusterError

logger = logging.getLogger(__name__)

AT_ONCE = 100
"""Members that one run takes out at most."""


class Reaper:
    """One process' share in it."""

    def __init__(self, table: Table, *, lease_seconds: float) -> None:
        self.reaped = 0
        """Members that runs of this process took out."""
        self._table = table
        self._lease_ms = str(round(lease_seconds * 1000))
        self._buried: list[str] = []

    async def run(self, call: Call) -> None:
        """Reap once; without the registry nothing happens."""
        try:
            answer = await call("reap", None, [self._lease_ms, str(AT_ONCE), *self._buried])
            if answer[0] != "OK":
                return
            self._buried = []
            for node, generation in zip(answer[2][::2], answer[2][1::2], strict=True):
                self.reaped += 1
                logger.info("reaped node=%s generation=%s", node, generation)
            for node, generation in zip(answer[3][::2], answer[3][1::2], strict=True):
                if await self._drop(call, node, generation):
                    self._buried += [node, generation]
        except ClusterError as error:
            logger.debug("reap failed reason=%s", error)

    async def _drop(self, call: Call, node: str, generation: str) -> bool:
        done: list[bool] = []

        async def drop(shard: Shard) -> None:
            try:
                await call("drop", shard, [node, generation])
            except ClusterError as error:
                logger.debug("drop failed shard=%s reason=%s", shard, error)
            else:
                done.append(True)

        async with asyncio.TaskGroup() as tasks:
            for feed in self._table.shards:
                tasks.create_task(drop(feed.shard), name="registry-drop")
        return len(done) == len(self._table.shards)
