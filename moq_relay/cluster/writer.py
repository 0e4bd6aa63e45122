"""What this node claims: local truth first, the registry second.

A change here is only remembered; the registry gets the last word of each path a moment later,
many in one call. Nothing is queued for an outage: a shard of which it is not sure what the registry
holds is audited first, and what differs is written.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from moq_relay.cluster.cursor import Call, Feed
from moq_relay.cluster.keys import shard_of
from moq_relay.cluster.records import MICROSECONDS, decode, encode, write_hops
from moq_relay.cluster.scripts import OPERATIONS
from moq_relay.cluster.table import Table
from moq_relay.errors import ClusterError

logger = logging.getLogger(__name__)

SAME_PUBLISHER_SECONDS = 0.001
"""Two claims of a path whose publishers are this close in age are of one publisher."""


@dataclass(slots=True)
class LocalClaim:
    """One path that this node has."""

    born: float
    """When its publisher appeared, on this node's clock."""
    token: str
    """Names the publisher, so that a claim is told from the same claim again."""
    hops: tuple[int, ...]
    since_us: int | None = None
    """What the registry gave it; None until it said."""


@dataclass(slots=True)
class Repairs:
    """What an audit found that no outage and no registration explains."""

    missing: int = 0
    ghost: int = 0


@dataclass(frozen=True, slots=True)
class Registration:
    """What the writes of this node carry."""

    node: str
    """Encoded."""
    generation: int


@dataclass(slots=True)
class _Shard:
    """What is known of the registry's side of one shard."""

    dirty: set[str] = field(default_factory=set)
    unsure: bool = True
    routine: bool = False
    """Unsure for no other reason than that its turn came."""
    number: int = 0
    """Of the last write in this generation."""
    sequence: int = 0
    """Of the feed after the last write."""


class Writer:
    """This node's claims, and the writes that bring the registry to them."""

    def __init__(
        self,
        table: Table,
        instance: str,
        *,
        clock: Callable[[], float],
        outdated: Callable[[int], None],
    ) -> None:
        self.local: dict[str, LocalClaim] = {}
        self.repairs = Repairs()
        self.reasserted = 0
        """Claims written again after a registration or a loss of data."""
        self.refused = 0
        """Writes that the registry took for older than what it has."""
        self.wake = asyncio.Event()
        self._table = table
        self._clock = clock
        self._outdated = outdated
        """Called with the generation that fenced us."""
        self._tokens = (f"{instance[:6]}{number:x}" for number in itertools.count(1))
        self._shards: list[_Shard] = []
        self._turn = 0
        self.reshape()

    # Local truth.

    def claim(self, path: str, age_seconds: float, hops: Iterable[int]) -> None:
        """This node has ``path``, from a publisher that appeared ``age_seconds`` ago."""
        born, chain = self._clock() - age_seconds, tuple(hops)
        known = self.local.get(path)
        if known is None or abs(known.born - born) > SAME_PUBLISHER_SECONDS:
            self.local[path] = LocalClaim(born, next(self._tokens), chain)
        elif known.hops == chain:
            return
        else:
            known.hops = chain
        self._touch(path)

    def release(self, path: str) -> None:
        """This node no longer has ``path``. Harmless when it had not."""
        if self.local.pop(path, None) is not None:
            self._touch(path)

    def _touch(self, path: str) -> None:
        self._shards[shard_of(path, len(self._shards))].dirty.add(path)
        self.wake.set()

    # What is known of the other side.

    def reshape(self) -> None:
        """Take over the table's count of shards."""
        self._shards = [_Shard() for _ in self._table.shards]

    def registered(self) -> None:
        """A new generation: its writes are counted anew, and everything is re-asserted."""
        for shard in self._shards:
            shard.number = shard.sequence = 0
        self.unsure()

    def forget(self) -> None:
        """Nothing can be written now: keep no list of it, the audit finds out what is missing."""
        for shard in self._shards:
            if shard.dirty:
                shard.dirty.clear()
                shard.unsure, shard.routine = True, False

    def unsure(self, shard: int | None = None) -> None:
        """The registry may hold anything of ours in ``shard``, or in all."""
        for one in self._shards if shard is None else self._shards[shard : shard + 1]:
            one.unsure, one.routine = True, False
        self.wake.set()

    def next_turn(self) -> int:
        """Audit the next shard, though nothing is known to be wrong with it; which that is."""
        self._turn = (self._turn + 1) % len(self._shards)
        shard = self._shards[self._turn]
        if not shard.unsure:
            shard.unsure = shard.routine = True
            self.wake.set()
        return self._turn

    def pending(self) -> bool:
        """Whether the registry may differ from here."""
        return any(shard.dirty or shard.unsure for shard in self._shards)

    # Writes.

    async def flush(self, call: Call, registration: Registration) -> bool:
        """Bring every shard that needs it to the local truth; whether all worked."""
        results: list[bool] = []

        async def one(index: int) -> None:
            try:
                results.append(await self._flush_shard(index, call, registration))
            except ClusterError as error:
                self._shards[index].unsure, self._shards[index].routine = True, False
                self._shards[index].dirty.clear()
                logger.debug("write failed shard=%d reason=%s", index, error)
                results.append(False)

        async with asyncio.TaskGroup() as tasks:
            for index, shard in enumerate(self._shards):
                if shard.dirty or shard.unsure:
                    tasks.create_task(one(index), name=f"registry-write-{index}")
        return all(results)

    async def _flush_shard(self, index: int, call: Call, by: Registration) -> bool:
        feed, shard = self._table.shards[index], self._shards[index]
        if feed.epoch is None or feed.wanted:
            return False  # its epoch is about to be known; then we are woken
        end = False
        if shard.unsure:
            ended = await self._audit(index, call, by)
            if ended is None:
                return False
            end = not ended
        while shard.dirty or end:
            paths = [shard.dirty.pop() for _ in range(min(OPERATIONS, len(shard.dirty)))]
            last = end and not shard.dirty
            if not await self._write(index, call, by, paths, end=last):
                return False
            end = end and not last
        return True

    async def _audit(self, index: int, call: Call, by: Registration) -> bool | None:
        """Make dirty what differs; whether the end marker stands, None when it must be redone."""
        shard, feed = self._shards[index], self._table.shards[index]
        routine = shard.routine
        # Changes that come while the answer is under way are dirty on their own.
        shard.unsure = shard.routine = False
        mine = {
            path: local
            for path, local in self.local.items()
            if shard_of(path, len(self._shards)) == index
        }
        args = [by.node, str(by.generation)]
        for path, local in mine.items():
            since = "" if local.since_us is None else str(local.since_us)
            args += [encode(path), local.token, since, write_hops(local.hops)]
        answer = await call("audit", index, args)
        if answer[0] == "EPOCH":
            self._lost_epoch(index, feed)
            return None
        _, _, generation, number, ended, missing, ghosts, learned = answer
        if generation > by.generation:
            shard.unsure = True
            self._outdated(generation)
            return None
        if generation == by.generation:
            shard.number = max(shard.number, number)
        for path, since in zip(learned[::2], learned[1::2], strict=True):
            self._learn(decode(path), mine[decode(path)], int(since))
        absent = {decode(path) for path in missing}
        ghostly = {decode(path) for path in ghosts}
        if feed.sequence >= shard.sequence:
            # Our own copy has heard of our last write: what it has more was put there by a hand.
            ghostly |= feed.owned(decode(by.node)) - mine.keys()
        if routine and ended:
            self.repairs.missing += len(absent - shard.dirty)
            self.repairs.ghost += len(ghostly - shard.dirty)
        else:
            self.reasserted += len(absent)
        shard.dirty |= absent | ghostly
        # The fence must carry our generation even where we have nothing.
        return bool(ended) and generation == by.generation

    async def _write(
        self, index: int, call: Call, by: Registration, paths: list[str], *, end: bool
    ) -> bool:
        shard, feed = self._shards[index], self._table.shards[index]
        shard.number += 1
        args = [by.node, feed.epoch or "", str(by.generation), str(shard.number)]
        claimed: list[tuple[str, LocalClaim]] = []
        for path in paths:
            local = self.local.get(path)
            if local is None:
                args += ["-", encode(path)]
                continue
            claimed.append((path, local))
            age = max(0, round((self._clock() - local.born) * MICROSECONDS))
            since = "" if local.since_us is None else str(local.since_us)
            args += ["+", encode(path), local.token, str(age), since, write_hops(local.hops)]
        if end:
            args.append("E")
        answer = await call("write", index, args)
        match answer[0]:
            case "EPOCH":
                self._lost_epoch(index, feed)
                return False
            case "OLD":
                self.refused += 1
                shard.unsure, shard.routine = True, False
                if answer[1] > by.generation:
                    self._outdated(answer[1])
                else:
                    shard.number = max(shard.number, answer[2])
                return False
        shard.sequence = answer[2]
        for (path, local), since in zip(claimed, answer[3], strict=True):
            self._learn(path, local, int(since))
        return True

    def _learn(self, path: str, local: LocalClaim, since_us: int) -> None:
        if self.local.get(path) is local:
            local.since_us = since_us

    def _lost_epoch(self, index: int, feed: Feed) -> None:
        """The registry has another history than we have read."""
        self._shards[index].unsure, self._shards[index].routine = True, False
        self._shards[index].dirty.clear()
        feed.attached, feed.wanted = False, True
