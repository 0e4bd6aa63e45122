"""A viewer of the one broadcast with media at each node, and what all of them missed."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

from moq_relay.errors import MoqError
from moq_relay.relay.group import Group
from moq_relay.relay.origin import Origin
from moq_relay.wire.lite.versions import LITE_05
from tests.bench.cluster.beacon import MAX_AGE, Beacon, Viewer
from tests.bench.cluster.stage import viewing
from tests.support.own_client import connected, make_origin

PATIENCE = 15.0
LATE_SECONDS = 3.0
"""How much later than a newer group an older one may come: relays send the newest first."""
LOOK_SECONDS = 0.01


class Newcomer(Viewer):
    """One for whom only counts what was sent after it came."""

    def __init__(self, origin: Origin, path: str) -> None:
        self._came = time.monotonic_ns()
        super().__init__(origin, path)

    def saw(self, group: Group) -> None:
        if int.from_bytes(group.frames[0].payload[:8], "big") >= self._came:
            super().saw(group)


class Audience:
    """At most one viewer a node."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._viewers: dict[str, tuple[Viewer, AsyncExitStack]] = {}
        self._since = time.monotonic()
        self.missed = 0
        """Groups between the first and the last that a viewer got, and never got."""
        self.rejoined = 0
        self.longest_gap = 0.0
        """Between two groups at one viewer."""

    async def join(self, node: str, port: int) -> float:
        """One more viewer; how long until a group came that was sent after it did.

        What was sent before is a present: there may be holes in what a node still has of it.
        """
        stack = AsyncExitStack()
        begun = time.monotonic()
        # What comes late because a way was gone is none of a client's own cache's business.
        origin = make_origin(kept=MAX_AGE, linger=0.0)
        await stack.enter_async_context(connected(port, LITE_05, origin=origin))
        viewer = Newcomer(origin, self._path)
        self._viewers[node] = viewer, stack
        await _until(lambda: bool(viewer.moments), f"a viewer at {node} has a group")
        return time.monotonic() - begun

    async def look_in(self, port: int, path: str | None = None) -> float:
        """A viewer who comes, sees one group and goes; how long that took."""
        begun = time.monotonic()
        async with viewing(port) as origin:
            viewer = Viewer(origin, path or self._path)
            await _until(lambda: bool(viewer.moments), f"a newcomer at port {port} has a group")
            viewer.leave()
        return time.monotonic() - begun

    async def leave(self, node: str) -> None:
        """It goes; what it missed until now counts."""
        if (found := self._viewers.pop(node, None)) is None:
            return
        viewer, stack = found
        self._count(viewer)
        viewer.leave()
        self.missed += len(viewer.missed)
        with suppress(MoqError, OSError):
            await stack.aclose()

    async def caught_up(self, beacon: Beacon) -> int:
        """Wait until every viewer has what was sent last, and count; how many they are."""
        sent = beacon.sequence
        for node, (viewer, _) in self._viewers.items():
            await _until(
                lambda v=viewer: max(v.arrived, default=-1) >= sent,
                f"the viewer at {node} has group {sent}",
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(LATE_SECONDS):
                while any(_absent(viewer, sent) for viewer, _ in self._viewers.values()):
                    await asyncio.sleep(LOOK_SECONDS)
        for viewer, _ in self._viewers.values():
            self._count(viewer)
        for viewer, _ in self._viewers.values():
            self.missed += len(_absent(viewer, sent)) + len(viewer.missed)
            viewer.missed.clear()
            # What was counted is not counted again after the next fault.
            viewer.arrived = {number: at for number, at in viewer.arrived.items() if number >= sent}
        return len(self._viewers)

    def forget_figures(self) -> None:
        """Count from now on."""
        self._since = time.monotonic()
        self.missed, self.rejoined, self.longest_gap = 0, 0, 0.0
        for viewer, _ in self._viewers.values():
            viewer.missed.clear()
            viewer.joins = 1

    async def end(self) -> None:
        """All go."""
        for node in tuple(self._viewers):
            await self.leave(node)

    def _count(self, viewer: Viewer) -> None:
        self.rejoined += viewer.joins - 1
        viewer.joins = 1
        since = max(self._since, viewer.moments[0]) if viewer.moments else self._since
        self.longest_gap = max(self.longest_gap, viewer.longest_gap(since, time.monotonic()))


def _absent(viewer: Viewer, sent: int) -> set[int]:
    """Groups from its first to ``sent`` that it has not got."""
    return set(range(min(viewer.arrived, default=sent), sent + 1)) - viewer.arrived.keys()


async def _until(condition: Callable[[], bool], what: str) -> None:
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > PATIENCE:
            raise AssertionError(f"not within {PATIENCE:g} s: {what}")
        await asyncio.sleep(LOOK_SECONDS)
