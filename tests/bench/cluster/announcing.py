"""From an announcement at one node to a viewer at another, while 500 a second change."""

import asyncio
import time
from collections import deque
from contextlib import AsyncExitStack

from moq_relay.relay.origin import Origin
from moq_relay.relay.route import Route
from tests.bench.cluster.beacon import Beacon
from tests.bench.cluster.figures import Figure, spread
from tests.bench.cluster.stage import cluster, insist, publishing, say, viewing
from tests.support.cluster_process import eventually
from tests.support.own_client import publish

PART = "announce"
PUBLISHERS = 4
RATE = 500
LIVE = 1000


class Crier:
    """A publisher whose broadcasts come and go; at most ``most`` are live."""

    def __init__(self, name: str, origin: Origin, most: int) -> None:
        self.live: deque[str] = deque()
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self._name = name
        self._origin = origin
        self._most = most
        self._number = 0
        self._source = Beacon()

    def change(self) -> None:
        """One announcement, or one end."""
        if len(self.live) >= self._most:
            path = self.live.popleft()
            self.ended[path] = time.monotonic()
            self._origin.withdraw(path, self._source, clean=True)
            return
        self._number += 1
        path = f"{self._name}/{self._number}"
        self.live.append(path)
        self.began[path] = time.monotonic()
        publish(self._origin, path, self._source)

    async def run(self, per_second: float, seconds: float) -> None:
        """Change at that rate; what is late is done at once."""
        begun, done = time.monotonic(), 0
        while (now := time.monotonic()) < begun + seconds:
            while done <= (now - begun) * per_second:
                self.change()
                done += 1
            await asyncio.sleep(max(0.0, begun + done / per_second - time.monotonic()))


class Listener:
    """Writes down when it was told."""

    def __init__(self) -> None:
        self.came: dict[str, float] = {}
        self.went: dict[str, float] = {}

    def announced(self, path: str, route: Route) -> None:
        self.came[path] = time.monotonic()

    def updated(self, path: str, route: Route) -> None: ...

    def withdrawn(self, path: str) -> None:
        self.went[path] = time.monotonic()


async def measure(seconds: float = 20.0) -> list[Figure]:
    """Two publishers at the root, two at a node; the viewer is at a third."""
    async with cluster("root", "east", "west") as (_, nodes), AsyncExitStack() as stack:
        root, east, west = nodes
        listener = Listener()
        (await stack.enter_async_context(viewing(west.port))).watch("", listener)
        criers = []
        for number in range(PUBLISHERS):
            origin = await stack.enter_async_context(publishing((root, east)[number % 2].port))
            criers.append(Crier(f"p{number}", origin, LIVE // PUBLISHERS))
        say(f"{PART}: {RATE}/s for {seconds:g} s")
        async with asyncio.TaskGroup() as tasks:
            for crier in criers:
                tasks.create_task(crier.run(RATE / PUBLISHERS, seconds))
        live = {path for crier in criers for path in crier.live}
        for node in nodes:
            await eventually(lambda n=node: n.table().keys() == live, f"{node} has the truth")
        began = {path: at for crier in criers for path, at in crier.began.items()}
        ended = {path: at for crier in criers for path, at in crier.ended.items()}
        missed = began.keys() - listener.came.keys()
        # Who came and went inside one pause of the writers may never have been told.
        insist(not missed & live, f"never announced at {west}: {sorted(missed & live)[:3]}")
        shown = listener.came.keys() - listener.went.keys()
        insist(shown == live, f"{west} shows {len(shown)} of {len(live)}")
        changes = len(began) + len(ended)
        up = [listener.came[path] - at for path, at in began.items() if path in listener.came]
        down = [listener.went[path] - at for path, at in ended.items() if path in listener.went]
        return [
            Figure(PART, "changes made", changes / seconds, "/s"),
            *spread(PART, "announce on one node to viewer on another", up, 10, 50),
            *spread(PART, "end on one node to viewer on another", down, None, None),
            Figure(PART, "announcements that no viewer saw", len(missed), "", 0, len(began)),
        ]
