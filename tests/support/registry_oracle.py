"""Eight registries under churn, and an oracle that knows what each of them should say.

The truth is what the publishers did, by their own log. Each change that a node hears of is judged
at once, and every 100 ms all that all of them know: what is missing, what should not be there.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from moq_relay.cluster.redis import RedisRoad
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.revocations import Revocation
from moq_relay.cluster.road import Message, RoadEvent
from tests.contract.roads import FaultyRoad

Pair = tuple[str, str]
"""Path and node."""


class FreezableRoad(FaultyRoad):
    """A road whose node can be stopped and go on, as by SIGSTOP and SIGCONT."""

    def __init__(self, inner: RedisRoad) -> None:
        super().__init__(inner)
        self.redis = inner
        self._awake = asyncio.Event()
        self._awake.set()
        self._held: list[RoadEvent] = []

    @property
    def is_frozen(self) -> bool:
        return not self._awake.is_set()

    def freeze(self) -> None:
        self._awake.clear()

    def thaw(self, *, overflowed: bool = False) -> None:
        """Go on; ``overflowed``: what came meanwhile was more than its connection could hold."""
        self._awake.set()
        held, self._held = self._held, []
        for event in held:
            if not (overflowed and isinstance(event, Message)):
                super()._heard(event)

    def _heard(self, event: RoadEvent) -> None:
        if self.is_frozen:
            self._held.append(event)
        else:
            super()._heard(event)

    async def call(self, script: str, shard: Any, args: Any) -> list[Any]:
        await self._awake.wait()
        answer = await super().call(script, shard, args)
        await self._awake.wait()
        return answer


class Station:
    """One node: its registry, what its publishers did, and what it told its listener."""

    def __init__(self, name: str, road: FreezableRoad, world: "Oracle", **options: Any) -> None:
        self.name = name
        self.road = road
        self.world = world
        self.registry = Registry(road, node=name, **options)
        self.registry.watch(self)
        self.published: set[str] = set()
        self.sees: dict[str, frozenset[str]] = {}
        self.alive = True
        self.task: asyncio.Task[None] | None = None

    @property
    def judged(self) -> bool:
        """Whether what it says counts now."""
        return self.alive and not self.road.is_frozen

    def publish(self, path: str) -> None:
        self.published.add(path)
        self.world.born[path, self.name] = time.monotonic()
        self.world.gone.pop((path, self.name), None)
        self.registry.claim(path, 0.0, (len(path),))

    def unpublish(self, path: str) -> None:
        self.published.discard(path)
        self.world.gone[path, self.name] = time.monotonic()
        self.registry.release(path)

    def revoke(self, digest: str) -> None:
        self.world.revoked[digest] = self.name, time.monotonic()
        self.registry.revocations.add(Revocation("jti", digest))

    def knows_revoked(self, digest: str) -> bool:
        return self.registry.revocations.covers(digest, None, None)

    def claims_changed(self, path: str) -> None:
        before = self.sees.get(path, frozenset())
        now = frozenset(view.claim.node for view in self.registry.claims(path))
        if now:
            self.sees[path] = now
        else:
            self.sees.pop(path, None)
        for node in before - now:
            if self.judged and self.world.is_true((path, node)):
                self.world.vanished.append((self.name, path, node))

    def members_changed(self, node: str) -> None:
        pass

    def table(self) -> set[tuple[str, str, float | None]]:
        """All that it says now."""
        return {
            (path, view.claim.node, view.claim.since)
            for path in self.registry.paths()
            for view in self.registry.claims(path)
        }


class Oracle:
    """The stations of one test."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.stations: list[Station] = []
        self.born: dict[Pair, float] = {}
        self.gone: dict[Pair, float] = {}
        self.revoked: dict[str, tuple[str, float]] = {}
        """Token -> the node that took it back, and when."""
        self.vanished: list[tuple[str, str, str]] = []
        """Known claims of live owners that a node stopped to know, even for a moment."""
        self.longest_lag = 0.0
        self.longest_ghost = 0.0
        self.churns = False
        self._number = 0

    def is_true(self, pair: Pair) -> bool:
        path, node = pair
        return any(s.name == node and s.judged and path in s.published for s in self.stations)

    def truth(self) -> set[Pair]:
        return {(path, s.name) for s in self.stations if s.judged for path in s.published}

    def judge(self) -> None:
        """Compare all that the nodes say with the truth."""
        now, truth = time.monotonic(), self.truth()
        living = {station.name for station in self.stations if station.judged}
        for station in self.stations:
            if not station.judged:
                continue
            seen = {(path, node) for path, nodes in station.sees.items() for node in nodes}
            for pair in truth - seen:
                self.longest_lag = max(self.longest_lag, now - self.born[pair])
            for pair in seen - truth:
                if pair in self.gone or pair[1] in living:
                    since = self.gone.get(pair, now)
                    self.longest_ghost = max(self.longest_ghost, now - since)

    def unseen(self, station: Station) -> list[Pair]:
        """Claims of other nodes, older than a second, that it does not see."""
        old = time.monotonic() - 1.0
        return [
            (path, node)
            for path, node in self.truth()
            if self.born[path, node] < old and node not in station.sees.get(path, ())
        ]

    def forget_figures(self) -> None:
        """Judge from now on."""
        self.vanished.clear()
        self.longest_lag = self.longest_ghost = 0.0

    def dead(self, station: Station) -> None:
        """All that a station published is gone from now on, and what only it may know is lost."""
        late = time.monotonic() - 1.0
        for digest, (node, when) in tuple(self.revoked.items()):
            if node == station.name and when >= late:
                del self.revoked[digest]
        for path in station.published:
            self.gone[path, station.name] = time.monotonic()

    async def watch(self) -> None:
        """Judge every 100 ms."""
        while True:
            await asyncio.sleep(0.1)
            self.judge()

    async def churn(self, per_second: int) -> None:
        """Publishers come and go; one in five publishes what another node has too."""
        while True:
            await asyncio.sleep(1 / per_second)
            living = [station for station in self.stations if station.judged]
            if self.churns and living:
                self.one_change(self.chance.choice(living))

    def one_change(self, station: Station) -> None:
        if self.chance.random() < 0.02:
            self._number += 1
            station.revoke(f"{self._number:032x}")
        if len(station.published) > 20 and self.chance.random() < 0.5:
            station.unpublish(self.chance.choice(sorted(station.published)))
            return
        self._number += 1
        path = f"acme{self._number % 37}/room {self._number}"
        other = self.chance.choice(self.stations)
        if other.published and self.chance.random() < 0.2:
            path = self.chance.choice(sorted(other.published))
        station.publish(path)

    def publish(self, station: Station, count: int) -> None:
        for _ in range(count):
            self._number += 1
            station.publish(f"acme{self._number % 37}/room {self._number}")

    def differences(self) -> list[str]:
        """Where a node's table is not the union of {(path, node, since)}; empty at the end.

        Nor may a node lack a token that was taken back anywhere.
        """
        wanted = {
            (path, station.name, station.registry.own_since(path))
            for station in self.stations
            if station.alive
            for path in station.published
        }
        found = []
        for station in self.stations:
            if station.alive and (wrong := station.table() ^ wanted):
                found.append(f"{station.name}: {len(wrong)} wrong, as {sorted(wrong, key=str)[:3]}")
            unknown = [d for d in self.revoked if not station.knows_revoked(d)]
            if station.alive and unknown:
                found.append(f"{station.name}: not known to be taken back: {unknown[:3]}")
        return found

    def standing(self) -> str:
        """How each of them stands, for a report of a failure."""
        lines = []
        for station in self.stations:
            wanted = [f.shard for f in station.registry._table.feeds() if f.wanted]
            unsure = [i for i, s in enumerate(station.registry._writer._shards) if s.unsure]
            lines.append(
                f"{station.name} wanted {wanted} unsure {unsure} {station.registry.status}"
            )
        return "\n".join(lines)

    def total(self, name: str) -> int:
        """A figure of the registries' status, over all that live."""
        return sum(getattr(s.registry.status, name) for s in self.stations if s.alive)


def drops(chance: random.Random, share: float) -> Callable[[Message], list[Message]]:
    """A reader that misses some of what it is told."""
    return lambda message: [] if chance.random() < share else [message]
