"""How a node reaches the registry: two calls, the same for memory, Redis and a root between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from moq_relay.cluster.keys import Shard

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What stands at the end of a road, and what an operator should mend there."""

    name: str = "memory"
    version: str = ""
    maxmemory_policy: str = "noeviction"
    persistent: bool = False
    warnings: tuple[str, ...] = ()
    """One line for each thing that puts the registry's content at risk."""
    faults: tuple[str, ...] = ()
    """The same for machines: ``version``, ``maxmemory_policy``, ``persistence``."""
    memory_bytes: int = 0
    """What its content takes; 0 where that is not known."""
    memory_limit_bytes: int = 0
    """``maxmemory``, or all of its machine's where that sets no limit; 0 where it is not known."""

    def after(self, before: ServerFacts) -> ServerFacts:
        """These, once each warning that is news has been logged."""
        for warning in self.warnings:
            if warning not in before.warnings:
                logger.warning("registry at risk reason=%s", warning)
        return self


@dataclass(frozen=True, slots=True)
class Connected:
    """The road is up: from here on every message of every feed comes through it."""

    shards: int
    """The count that was fixed when the registry was created."""
    facts: ServerFacts = field(default_factory=ServerFacts)


@dataclass(frozen=True, slots=True)
class Looked:
    """The road is still up, and this is how its end stands now."""

    facts: ServerFacts


@dataclass(frozen=True, slots=True)
class Message:
    """One event of a feed, as it was published: ``epoch sequence lines``."""

    shard: Shard
    text: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The road is down. What was under way may or may not have been done."""

    reason: str


RoadEvent = Connected | Looked | Message | Lost


class Road(Protocol):
    """One way to the registry. A configuration has one, and nothing falls back to another."""

    @property
    def straight(self) -> bool:
        """Whether it ends at Redis itself; whoever has such a road reaps."""

    async def run(self, deliver: Callable[[RoadEvent], None]) -> None:
        """Keep the road up until cancelled, and say what comes along it, by plain calls in order.

        After ``Connected`` calls are possible and messages follow; ``Lost`` ends both. A road that
        looks at its end now and then says ``Looked``. No outage raises. Messages may be lost,
        doubled or late: the cursor sees to that.
        """

    async def call(self, script: str, shard: Shard, args: Sequence[str]) -> list[Any]:
        """Run a script on a feed and return its answer: text, whole numbers and lists of them.

        Args:
            script: its name; see ``scripts``.
            shard: the feed; None is the membership.
            args: the script's own, from its third on. ``attach`` takes the first of its own only;
                the road adds what it alone knows. Where the script works for a node, its name,
                encoded, is the first.

        Raises:
            RegistryUnavailable: the road is down, or no answer came in time. It may have been done.
            RegistryError: the registry refused.
        """
