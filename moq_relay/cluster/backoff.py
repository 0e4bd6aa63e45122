"""Waiting: capped, fully jittered delays between attempts; a pause that an event ends early."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

_chance = secrets.SystemRandom().random

STABLE_SECONDS = 30.0
"""Up for this long, an attempt counts as a success and the delays start anew."""


class Backoff:
    """Delays of one thing that is tried for ever.

    Fully jittered: each delay is drawn between nothing and a ceiling that doubles, so that many
    nodes that lost the same thing at once do not come back at once.
    """

    def __init__(
        self,
        *,
        cap: float = 10.0,
        first: float = 0.05,
        stable: float = STABLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = _chance,
    ) -> None:
        self.cap = cap
        """Seconds that no delay exceeds."""
        self._first = first
        self._stable = stable
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._up_since: float | None = None

    def succeeded(self) -> None:
        """It is up now; the delays start anew only if it stays so for 30 s."""
        if self._up_since is None:
            self._up_since = self._clock()

    def next_delay(self) -> float:
        """Seconds to wait after it failed, or was lost."""
        if self._up_since is not None and self._clock() - self._up_since >= self._stable:
            self._failures = 0
        self._up_since = None
        ceiling = min(self.cap, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._chance() * ceiling

    def reset(self) -> None:
        """The next delay is one of the first again."""
        self._failures = 0
        self._up_since = None

    async def pause(self) -> None:
        """Wait out the next delay."""
        await pause(self.next_delay())


async def pause(seconds: float, wake: asyncio.Event | None = None) -> bool:
    """Wait until ``wake`` is set, at most ``seconds``; whether it was set."""
    wake = asyncio.Event() if wake is None else wake
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        # Both may come in the same turn of the loop.
        return wake.is_set()
    return True
