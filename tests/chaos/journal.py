"""What the publishers did, by their own log: the truth that every table is held against."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

UNHEARD_SECONDS = 0.5
"""What a publisher ended so shortly before its node died, the node may never have heard of."""

Pair = tuple[str, str]
"""A path, and the URL of the node that its publisher is connected to."""


@dataclass(slots=True)
class Span:
    """One time that a pair was true, on the monotonic clock."""

    born: float
    wall: float
    """The same on the system's clock, which is Redis' too."""
    gone: float = inf
    died: bool = False
    """Whether it ended with its node, not by its publisher."""


class Journal:
    """Every pair that ever was, with its times."""

    def __init__(self) -> None:
        self._spans: dict[Pair, list[Span]] = {}
        self._lost: dict[str, list[Pair]] = {}
        self.changes = 0

    def announced(self, path: str, node: str) -> None:
        """The publisher has said so just now."""
        spans = self._spans.setdefault((path, node), [])
        if not spans or spans[-1].gone < inf:
            spans.append(Span(time.monotonic(), time.time()))
            self.changes += 1

    def withdrew(self, path: str, node: str, *, died: bool = False) -> None:
        """It ended just now."""
        span = self._spans[path, node][-1]
        if span.gone == inf:
            span.gone, span.died = time.monotonic(), died
            self.changes += 1

    def lost(self, node: str) -> None:
        """The node died, or will be taken for dead: all that it had ends just now."""
        self._lost[node] = [pair for pair in self.truth() if pair[1] == node]
        for path, owner in self._lost[node]:
            self.withdrew(path, owner, died=True)
        unheard = time.monotonic() - UNHEARD_SECONDS
        for (_, owner), spans in self._spans.items():
            if owner == node and unheard < spans[-1].gone < inf:
                spans[-1].died = True

    def returned(self, node: str) -> None:
        """The node lived: what it had when it was lost it has again, since when it had it."""
        for pair in self._lost.pop(node):
            spans = self._spans[pair]
            spans.append(Span(time.monotonic(), spans[-1].wall))
            self.changes += 1

    def truth(self) -> dict[Pair, Span]:
        """What holds now."""
        return {pair: spans[-1] for pair, spans in self._spans.items() if spans[-1].gone == inf}

    def held(self, since: float, until: float) -> Iterator[tuple[Pair, Span]]:
        """What held through the whole of that time."""
        for pair, spans in self._spans.items():
            for span in reversed(spans):
                if span.born <= since and span.gone >= until:
                    yield pair, span
                    break

    def last(self, pair: Pair) -> Span | None:
        """The latest time that it was true; None: it never was."""
        spans = self._spans.get(pair)
        return None if spans is None else spans[-1]
