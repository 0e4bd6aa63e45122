"""Samples every node's table each 100 ms, and judges it by the publishers' own log."""

import asyncio
import http.client
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.journal import Journal, Pair
from tests.support.cluster_process import NodeProcess

SAMPLE_SECONDS = 0.1


@dataclass(slots=True)
class Judged:
    """What the samples of one scenario showed."""

    samples: int = 0
    vanished: list[str] = field(default_factory=list)
    """Known routes of live owners that a node did not know in its next sample."""
    invented: list[str] = field(default_factory=list)
    """Pairs that no publisher ever announced."""
    longest_lag: float = 0.0
    """From an announcement until the last node knew of it."""
    longest_ghost: float = 0.0
    """From a publisher's end until the last node had forgotten it."""
    longest_dead_ghost: float = 0.0
    """The same for what ended with its node."""


class Sampler:
    """Looks at one node for as long as it runs."""

    def __init__(self, node: NodeProcess, journal: Journal, judged: Judged) -> None:
        self.node = node
        self.judged = judged
        self.known: set[Pair] = set()
        """What its last sample showed."""
        self.looks = True
        """Whether its answers count: not while it is dead or frozen."""
        self._journal = journal
        self._since = time.monotonic()
        """When the last sample that counted was asked for."""
        self._back = self._since

    def returns(self, *, anew: bool) -> None:
        """It was away, and counts again: what came to pass meanwhile is not held against it.

        Args:
            anew: whether it was started; then nothing that it knew binds it.
        """
        self.looks, self._back = True, time.monotonic()
        if anew:
            self.known.clear()

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            asked = time.monotonic()
            if self.looks:
                try:
                    facts = await asyncio.to_thread(self.node.facts, "/origins?limit=10000")
                except (OSError, http.client.HTTPException, ValueError):
                    facts = None
                if facts is not None and self.looks:
                    self._judge(asked, time.monotonic(), pairs(facts))
            await asyncio.sleep(max(0.0, asked + SAMPLE_SECONDS - time.monotonic()))

    def _judge(self, asked: float, answered: float, seen: set[Pair]) -> None:
        """Only what held, or did not, during all of the question and answer can be wrong."""
        judged, journal = self.judged, self._journal
        judged.samples += 1
        held = dict(journal.held(asked, answered))
        for pair in self.known - seen:
            span = held.get(pair)
            if span is not None and span.born < self._since:
                judged.vanished.append(f"{self.node} {pair} at {answered:.2f}")
        for pair, span in held.items():
            if pair not in seen:
                judged.longest_lag = max(judged.longest_lag, asked - max(span.born, self._back))
        for pair in seen:
            last = journal.last(pair)
            if last is None:
                judged.invented.append(f"{self.node} {pair}")
            elif last.gone < asked:
                age = asked - max(last.gone, self._back)
                if last.died:
                    judged.longest_dead_ghost = max(judged.longest_dead_ghost, age)
                else:
                    judged.longest_ghost = max(judged.longest_ghost, age)
        self.known, self._since = seen, asked


def pairs(facts: Any) -> set[Pair]:
    """What an answer of /origins says."""
    return {
        (origin["path"], claim["node"]) for origin in facts["origins"] for claim in origin["claims"]
    }


def with_since(facts: Any) -> dict[Pair, float]:
    """The same with since when, in seconds on Redis' clock."""
    return {
        (origin["path"], claim["node"]): claim["since"]
        for origin in facts["origins"]
        for claim in origin["claims"]
    }


def differences(
    nodes: Iterable[NodeProcess], journal: Journal, tolerance: float | None
) -> list[str]:
    """Where a node's table is not {(path, node, since)} of the log; empty when all is right.

    Args:
        tolerance: seconds between a publisher's own log and ``since``; None where Redis' clock
            was turned, and only all nodes' agreement can be asked for.
    """
    tables = {node: with_since(node.facts("/origins?limit=10000")) for node in nodes}
    truth = journal.truth()
    found = []
    agreed: dict[Pair, float] = {}
    for node, table in tables.items():
        if wrong := table.keys() ^ truth.keys():
            found.append(f"{node}: {len(wrong)} wrong, as {sorted(wrong)[:3]}")
        for pair, since in table.items():
            if agreed.setdefault(pair, since) != since:
                found.append(f"{node}: {pair} since {since}, elsewhere {agreed[pair]}")
            span = truth.get(pair)
            if tolerance is not None and span is not None and abs(since - span.wall) > tolerance:
                found.append(f"{node}: {pair} since {since - span.wall:+.2f} s from its log")
    return found
