"""What changed in the registry's copy, for who listens: a few things at a time.

When the registry lost all, or a large node died, a hundred thousand paths change at once, and what
follows from each takes a while. Viewers wait for the same loop: the rest is told in later turns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

logger = logging.getLogger(__name__)

AT_ONCE = 32
"""Paths told in one turn of the loop, which is a few milliseconds."""


class Listener(Protocol):
    """Is told, by plain calls, after a change was applied."""

    def claims_changed(self, path: str) -> None:
        """``claims(path)`` says something else than before."""

    def members_changed(self, node: str) -> None:
        """``node`` came, went or changed, or has said all that it has in some shard."""


def _in_next_turn(call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(call)


class Changes:
    """Collects what changed, and tells each thing once, however often it did until then."""

    def __init__(self, later: Callable[[Callable[[], None]], None] = _in_next_turn) -> None:
        """Nobody listens yet; ``later`` has a call made in another turn of the loop."""
        self._later = later
        self._listeners: list[Listener] = []
        self._paths: dict[str, None] = {}
        self._nodes: dict[str, None] = {}
        self._more = False
        """Whether the rest will be told in another turn."""

    def of_path(self, path: str) -> None:
        """Its claims changed."""
        self._paths[path] = None

    def of_node(self, node: str) -> None:
        """A member changed."""
        self._nodes[node] = None

    def watch(self, listener: Listener) -> None:
        """Tell ``listener`` of every change from now on."""
        self._listeners.append(listener)

    def unwatch(self, listener: Listener) -> None:
        """Tell it no more. Harmless when it does not watch."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def tell(self) -> None:
        """Tell of all members that changed and of some paths, and see that the rest is told.

        A listener that raises is left out.
        """
        nodes, self._nodes = self._nodes, {}
        paths = self._some()
        for listener in tuple(self._listeners):
            try:
                for node in nodes:
                    listener.members_changed(node)
                for path in paths:
                    listener.claims_changed(path)
            except Exception:
                logger.exception("a listener failed listener=%r", listener)
        if (self._paths or self._nodes) and not self._more:
            self._more = True
            self._later(self._go_on)

    def _some(self) -> Iterable[str]:
        """What changed last first: only what came in a crowd has to wait."""
        if len(self._paths) <= AT_ONCE:
            paths, self._paths = self._paths, {}
            return paths
        return [self._paths.popitem()[0] for _ in range(AT_ONCE)]

    def _go_on(self) -> None:
        self._more = False
        self.tell()
