"""How this node's copy is kept: whatever feed is wanted is read anew, and silent ones are asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from moq_relay.cluster.backoff import Backoff
from moq_relay.cluster.cursor import Call, Feed
from moq_relay.cluster.table import Table
from moq_relay.errors import ClusterError

logger = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS = 1.0
"""The longest pause before the registry is tried again."""


class Reader:
    """Brings a table to what the registry has. What it is told to read is marked at the feeds."""

    def __init__(
        self,
        table: Table,
        call: Call,
        connected: Callable[[], bool],
        read: Callable[[Feed, bool], None],
        caught_up: Callable[[], None],
    ) -> None:
        """Nothing is read before ``run`` or ``poll``.

        Args:
            table: the copy.
            call: asks the registry.
            connected: whether it can be asked now.
            read: called with each feed that was read, and whether it is of another epoch now.
            caught_up: called after each turn.
        """
        self.wake = asyncio.Event()
        """Set it when a feed is wanted, or the road came up."""
        self._table = table
        self._call = call
        self._connected = connected
        self._read = read
        self._caught_up = caught_up

    async def run(self) -> None:
        """Read what is wanted, each time it is woken, until cancelled."""
        backoff = Backoff(cap=MAX_BACKOFF_SECONDS)
        while True:
            await self.wake.wait()
            self.wake.clear()
            if not self._connected():
                continue
            wanted = [feed for feed in self._table.feeds() if feed.wanted]
            if not wanted:
                continue
            async with asyncio.TaskGroup() as tasks:
                for feed in wanted:
                    tasks.create_task(self._resync(feed), name=f"registry-sync-{feed.shard}")
            self._table.changes.tell()
            self._caught_up()
            if self.behind():
                await backoff.pause()
                self.wake.set()
            else:
                backoff.reset()

    def behind(self) -> bool:
        """Whether something has still to be read, and can be."""
        return self._connected() and any(feed.wanted for feed in self._table.feeds())

    async def poll(self) -> None:
        """Ask for the end of every feed that was silent since the last time."""
        feeds = [feed for feed in self._table.feeds() if not feed.wanted]
        async with asyncio.TaskGroup() as tasks:
            for feed in feeds:
                if not feed.heard:
                    tasks.create_task(self._poll_feed(feed), name="registry-poll")
                feed.heard = False

    async def _poll_feed(self, feed: Feed) -> None:
        try:
            await feed.poll(self._call)
        except ClusterError:
            feed.wanted = True

    async def _resync(self, feed: Feed) -> None:
        try:
            self._read(feed, await feed.resync(self._call))
        except ClusterError as error:
            logger.debug("sync failed feed=%s reason=%s", feed.shard, error)
