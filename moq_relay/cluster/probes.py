"""A session to one node of every region, so that it is known how far it is without any traffic.

Nothing is taken over it: it looks to the other node like a link that is idle. Which node of a
region it is differs from node to node, so that no one of them answers to all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from hashlib import blake2b

from moq_relay.cluster.backoff import Backoff, pause
from moq_relay.cluster.table import MemberView
from moq_relay.errors import MoqError, SessionClosed

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often it is looked whether a probe is still of use, and where one is missing."""
LONGEST_SECONDS = 30.0
"""The longest pause before another node of a region is tried."""
USABLE = ("up", "stale")
"""States of members that probes go to: a node that drains is not kept waiting."""

Dial = Callable[[str, Callable[[], None]], AbstractAsyncContextManager[object]]
"""A session to a node; the second argument is called when it ends. Raises ``MoqError``."""


class Probes:
    """The probes of one node; ``run`` owns them."""

    def __init__(
        self,
        dial: Dial,
        node: str,
        members: Callable[[], Mapping[str, MemberView]],
        covered: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """Nothing is dialled before ``run``.

        Args:
            dial: reaches a node.
            node: name of this one.
            members: of the cluster, by name.
            covered: nodes to which another session measures: their regions need no probe.
        """
        self._dial = dial
        self._node = node
        self._members = members
        self._covered = covered
        self._usable: dict[str, set[str]] = {}

    async def run(self) -> None:
        """Keep a probe in every region that needs one; ends only by cancellation."""
        kept: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._usable = self._look()
                for region in [
                    r for r, task in kept.items() if r not in self._usable or task.done()
                ]:
                    kept.pop(region).cancel()
                for region in [one for one in self._usable if one not in kept]:
                    kept[region] = tasks.create_task(self._keep(region), name=f"probe-{region}")
                await pause(LOOK_SECONDS)

    def _look(self) -> dict[str, set[str]]:
        """The regions that need a probe, and the nodes there that one may go to."""
        found: dict[str, set[str]] = {}
        members = self._members()
        for node, view in members.items():
            if node != self._node and view.state in USABLE:
                found.setdefault(view.member.region, set()).add(node)
        for node in self._covered():
            if node in members:
                found.pop(members[node].member.region, None)
        return found

    async def _keep(self, region: str) -> None:
        """Be in ``region``, for ever, with one of its nodes after the other."""
        backoff, turn = Backoff(cap=LONGEST_SECONDS, first=LOOK_SECONDS), 0
        while True:
            # Before the first one too: nodes that start together do not dial together.
            await backoff.pause()
            nodes = sorted(self._usable.get(region, ()), key=self._rank)
            if not nodes:
                continue
            node = nodes[turn % len(nodes)]
            try:
                await self._live(region, node, backoff)
            except MoqError as error:
                logger.debug("probe failed region=%s node=%s reason=%s", region, node, error)
                turn += 1
            except Exception:
                logger.exception("probe broken region=%s node=%s", region, node)
                turn += 1

    async def _live(self, region: str, node: str, backoff: Backoff) -> None:
        """One session, until its node is of no use any more.

        Raises:
            MoqError: there was none, or it ended.
        """
        gone = asyncio.Event()
        async with self._dial(node, gone.set):
            backoff.succeeded()
            logger.debug("probe up region=%s node=%s", region, node)
            while node in self._usable.get(region, ()):
                if await pause(LOOK_SECONDS, gone):
                    raise SessionClosed("the session ended")

    def _rank(self, node: str) -> bytes:
        return blake2b(f"{self._node} {node}".encode()).digest()
