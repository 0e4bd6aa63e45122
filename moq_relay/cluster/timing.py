"""A road that is timed: how long its answers take, and how old the news are that come along it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from moq_relay.cluster.keys import Shard
from moq_relay.cluster.records import Claim
from moq_relay.cluster.road import Message, Road, RoadEvent
from moq_relay.relay.histogram import Histogram

Kind = Literal["renew", "write", "read", "other"]
KINDS: tuple[Kind, ...] = ("renew", "write", "read", "other")
OF_SCRIPTS: dict[str, Kind] = {
    "renew": "renew",
    "write": "write",
    "drop": "write",
    "revoke": "write",
    "delta": "read",
    "snapshot": "read",
    "lookup": "read",
    "audit": "read",
    "revoked": "read",
}
"""Kinds of calls; of scripts that are not here it is ``other``."""


class TimedRoad:
    """Any road. What it is asked and what it says goes through unchanged."""

    def __init__(self, road: Road, clock: Callable[[], float] = time.monotonic) -> None:
        self.calls = {kind: Histogram() for kind in KINDS}
        """From a call to its answer, seconds; calls without an answer are not counted."""
        self.on_claim: Callable[[Claim], None] = lambda _claim: None
        """Told of every claim that an event is about, before the event is passed on."""
        self.on_mark: Callable[[str], None] = lambda _word: None
        """Told of the word in an event that says nothing else; see ``canary``."""
        self._road = road
        self._clock = clock

    @property
    def straight(self) -> bool:
        return self._road.straight

    async def run(self, deliver: Callable[[RoadEvent], None]) -> None:
        await self._road.run(partial(self._pass_on, deliver))

    async def call(self, script: str, shard: Shard, args: Sequence[str]) -> list[Any]:
        sent = self._clock()
        answer = await self._road.call(script, shard, args)
        self.calls[OF_SCRIPTS.get(script, "other")].observe(self._clock() - sent)
        if script == "delta" and answer[0] == "OK":
            for lines in answer[3]:
                self._look(lines)
        return answer

    def _pass_on(self, deliver: Callable[[RoadEvent], None], event: RoadEvent) -> None:
        if isinstance(event, Message):
            self._look(event.text.partition(" ")[2].partition(" ")[2])
        deliver(event)

    def _look(self, lines: str) -> None:
        for line in lines.split("\n"):
            kind, _, rest = line.partition(" ")
            if kind == "A" and rest:
                self.on_mark(rest)
            elif kind == "+":
                path, *words = rest.split(" ")
                # What is no claim is counted by who keeps the table.
                with suppress(ValueError):
                    self.on_claim(Claim.read(path, words))
