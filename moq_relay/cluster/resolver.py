"""Paths that nobody is known to have: asked for at the registry, and then waited for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Literal

from moq_relay.cluster.registry import Registry
from moq_relay.errors import MoqError
from moq_relay.relay.histogram import Histogram
from moq_relay.relay.path import ancestors, covers

logger = logging.getLogger(__name__)

LOOKUP_SECONDS = 5.0
"""How long a request for a path that nobody has claimed waits for somebody to do so."""
LOOKUPS = 64
"""Questions to the registry at a time; what peers invent must not keep it busy."""

Outcome = Literal["known", "found", "unknown", "unavailable"]
"""It came by itself before the registry answered; the registry had it; it did not; nobody said."""
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
OUTCOMES: tuple[Outcome, ...] = ("known", "found", "unknown", "unavailable")


class _Waiting:
    """Those who wait for one path."""

    def __init__(self, since: float) -> None:
        self.count = 0
        self.since: float | None = since
        """When the first of them came; None once the outcome was counted."""
        self.asked = False
        """Whether the registry has answered already."""
        self.came = asyncio.Event()


class Resolver:
    """Waits for paths; somebody has to tell it what appeared."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = {outcome: Histogram(BOUNDS) for outcome in OUTCOMES}
        """How long it took until the outcome was clear: one for all who wait for a path."""
        self._registry = registry
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}
        self._turns = asyncio.Semaphore(LOOKUPS)

    def __len__(self) -> int:
        return len(self._waiting)

    def appeared(self, path: str) -> None:
        """Somebody has ``path``, here or elsewhere."""
        for wanted, waiting in self._waiting.items():
            if covers(path, wanted):
                waiting.came.set()

    async def resolve(self, path: str) -> None:
        """Return once a broadcast covers ``path``, or when it is clear that none will soon.

        The registry is asked once for all who wait; then somebody's announce is waited for.
        """
        waiting = self._waiting.setdefault(path, _Waiting(self._clock()))
        waiting.count += 1
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                await self._look_up(path, waiting)
                await waiting.came.wait()
        except TimeoutError:
            logger.debug("nobody came path=%s", path)
        finally:
            waiting.count -= 1
            if not waiting.count:
                del self._waiting[path]

    async def _look_up(self, path: str, waiting: _Waiting) -> None:
        for covering in ancestors(path):
            if waiting.came.is_set():
                self._count(waiting, "known")
            if waiting.asked or waiting.came.is_set():
                return
            try:
                async with self._turns:
                    # The copy has what it finds, so the routes are there when it returns.
                    found = await self._registry.lookup(covering)
            except MoqError as error:
                logger.debug("lookup failed path=%s reason=%s", covering, error)
                self._count(waiting, "unavailable")
                return
            if found:
                self._count(waiting, "found")
        waiting.asked = True
        self._count(waiting, "known" if waiting.came.is_set() else "unknown")

    def _count(self, waiting: _Waiting, outcome: Outcome) -> None:
        if waiting.since is not None:
            self.seconds[outcome].observe(self._clock() - waiting.since)
            waiting.since = None
