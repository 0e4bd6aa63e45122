"""Every link of this node, one for each other node that claims anything."""

from __future__ import annotations

import asyncio

from moq_relay.cluster.peerlink import TIMES, Dial, LinkListener, LinkTimes, PeerLink

DOUBT_SECONDS = 5.0
"""How long a link is held and pinged after somebody asked whether its node lives."""


class Links:
    """Every link of this node, by the URL of the other."""

    def __init__(self, dial: Dial, listener: LinkListener, times: LinkTimes = TIMES) -> None:
        self._dial = dial
        self._listener = listener
        self._times = times
        self._links: dict[str, PeerLink] = {}
        self._unclaimed: set[str] = set()
        self._starting: list[PeerLink] = []
        self._tasks: asyncio.TaskGroup | None = None

    def link(self, node: str) -> PeerLink:
        """The link to ``node``; it dials when something is asked of it."""
        self._unclaimed.discard(node)
        link = self._links.get(node)
        if link is None:
            link = PeerLink(node, self._dial, self._listener, self._start, self._times)
            self._links[node] = link
        return link

    def known(self, node: str) -> PeerLink | None:
        """The link to ``node``, if there is one already."""
        return self._links.get(node)

    def all(self) -> list[PeerLink]:
        """Every link, for metrics."""
        return list(self._links.values())

    def is_up(self, node: str) -> bool:
        """Whether there is a session to ``node``, so that it lives, whatever the table says."""
        link = self._links.get(node)
        return link is not None and link.connected and link.state != "suspect"

    def vouches_for(self, node: str) -> bool:
        """Whether a session to ``node`` speaks for its life though the table lacks proof of it.

        A session that carries nothing seems up for long after its node died, and is closed after a
        while. From now on, and for as long as this is asked every other second, it is held and
        pinged, so that later answers are true.
        """
        link = self._links.get(node)
        if link is not None:
            link.doubted_until = asyncio.get_running_loop().time() + DOUBT_SECONDS
        return self.is_up(node)

    def forget(self, node: str) -> None:
        """Nothing is claimed by ``node``: its link goes as soon as nothing is taken over it."""
        link = self._links.get(node)
        if link is not None and link.running:
            self._unclaimed.add(node)
            link.try_now()
        else:
            self._links.pop(node, None)

    async def run(self) -> None:
        """Own the tasks of all links, for ever; ends only by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                starting, self._starting = self._starting, []
                for link in starting:
                    self._start(link)
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def _start(self, link: PeerLink) -> None:
        if self._tasks is None:
            self._starting.append(link)
        else:
            self._tasks.create_task(self._run(link), name=f"link-{link.node}")

    async def _run(self, link: PeerLink) -> None:
        await link.run()
        if link.node in self._unclaimed and not link.running:
            self._unclaimed.discard(link.node)
            self._links.pop(link.node, None)
