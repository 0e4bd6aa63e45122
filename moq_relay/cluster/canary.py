"""A root's own measure of the registry: an event that says nothing, from here to here.

It takes the way of every other event, by a script and the channel of a shard, and is in each
shard's log; readers pass over it. Sender and reader have one clock.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable

from moq_relay.cluster.backoff import pause
from moq_relay.cluster.timing import TimedRoad
from moq_relay.errors import ClusterError
from moq_relay.relay.histogram import Histogram

logger = logging.getLogger(__name__)

CANARY_SECONDS = 10.0
"""Between two of them; each shard has its turn."""


class Canary:
    """Sends them along one road, which has to be straight, and waits for each to come back."""

    def __init__(
        self,
        road: TimedRoad,
        shards: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is sent before ``run``.

        Args:
            road: on which it leaves and comes back.
            shards: how many there are now.
            clock: monotonic seconds.
        """
        self.seconds = Histogram()
        """From the call until the event was here; one that was overtaken is not counted."""
        self._road = road
        self._shards = shards
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._number = 0
        self._waiting: str | None = None
        self._sent = 0.0
        road.on_mark = self._seen

    async def run(self) -> None:
        """Send one after the other; ends only by cancellation."""
        while True:
            await pause(CANARY_SECONDS)
            await self.turn()

    async def turn(self) -> None:
        """Send one; without the registry nothing happens."""
        self._number += 1
        self._waiting = word = f"{self._name}.{self._number}"
        self._sent = self._clock()
        try:
            await self._road.call("canary", self._number % self._shards(), [word])
        except ClusterError as error:
            logger.debug("canary not sent reason=%s", error)

    def _seen(self, word: str) -> None:
        if word == self._waiting:
            self._waiting = None
            self.seconds.observe(self._clock() - self._sent)
