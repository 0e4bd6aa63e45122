"""One feed as this node knows it: how far it has read, what that says, and what waits for proof.

The membership and each shard are the same thing here. A record is kept by path and node; the
membership's only path is "". Messages may be lost, doubled or late: what follows on is applied,
what is old is dropped, and a gap makes the feed ``wanted``: it is read anew from the log, or whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moq_relay.cluster.keys import Shard
from moq_relay.cluster.records import (
    CLAIM_WORDS,
    MEMBER_WORDS,
    Claim,
    Member,
    Oddities,
    decode,
    read_claims,
    read_member,
)

Record = Member | Claim
Call = Callable[[str, Shard, Sequence[str]], Awaitable[list[Any]]]
Changed = Callable[[str, str, Record | None, Record | None], None]
"""Path, node, the record before and the one now."""

PENDING = 4096
"""Messages kept while a feed is read anew; more are read anew themselves."""


@dataclass(slots=True)
class FeedCounters:
    """What happened to the feeds of a registry."""

    events: int = 0
    gaps: int = 0
    deltas: int = 0
    snapshots: int = 0
    epoch_changes: int = 0


class Feed:
    """One feed's records and cursor. Only ``resync`` waits."""

    def __init__(
        self,
        shard: Shard,
        changed: Changed,
        counters: FeedCounters,
        odd: Oddities,
        *,
        retention: float,
        clock: Callable[[], float],
        said_all: Callable[[str], None] = lambda _node: None,
    ) -> None:
        self.shard = shard
        self.epoch: str | None = None
        self.sequence = 0
        self.attached = False
        """The epoch was bound to the history at the end of the road since that came up."""
        self.wanted = True
        """It must be read anew."""
        self.heard = False
        """A message came since this was last cleared."""
        self.records: dict[str, dict[str, Record]] = {}
        self.stale: dict[tuple[str, str], float] = {}
        """Records without proof since the registry lost data -> until when they are kept."""
        self.done: dict[str, int] = {}
        """Who has announced all it has here -> in which generation."""
        self.admits: Callable[[str], bool] = lambda _node: True
        """Whether a node may be a member; the records of others are counted and skipped."""
        self.revoked: Callable[[Sequence[str]], None] = lambda _words: None
        """Told of each token that is taken back; raises ``ValueError`` for what is none."""
        self._owned: dict[str, set[str]] = {}
        self._pending: list[tuple[str, int, str]] = []
        self._changed = changed
        self._said_all = said_all
        self._counters = counters
        self._odd = odd
        self._retention = retention
        self._clock = clock

    # What it says.

    def owned(self, node: str) -> frozenset[str]:
        """The paths of which ``node`` has a record."""
        return frozenset(self._owned.get(node, ()))

    def holdings(self, node: str) -> int:
        """How many those are."""
        return len(self._owned.get(node, ()))

    # What comes.

    def message(self, text: str) -> None:
        """Apply one event as it was published, if it is the next."""
        self.heard = True
        try:
            epoch, number, lines = text.split(" ", 2)
            sequence = int(number)
        except ValueError:
            self._odd.malformed += 1
            return
        if self.wanted:
            self._keep(epoch, sequence, lines)
        elif epoch == self.epoch and sequence == self.sequence + 1:
            self.sequence = sequence
            self._apply(lines)
        elif epoch != self.epoch or sequence > self.sequence:
            self._counters.gaps += 1
            self.wanted = True
            self._keep(epoch, sequence, lines)

    async def resync(self, call: Call) -> bool:
        """Read what came after the cursor, or everything; whether the epoch is another now.

        Raises:
            RegistryUnavailable, RegistryError: it is still wanted.
        """
        self.wanted = True
        # What came before we ask is in the answer; a message of a history that is over would
        # otherwise ask for another answer for ever.
        self._pending.clear()
        before = self.epoch
        if not self.attached:
            await call("attach", self.shard, [str(self.sequence)])
            self.attached = True
        if not (self.epoch is not None and await self._read_delta(call)):
            await self._read_whole(call)
        self.wanted = not self.attached
        pending, self._pending = self._pending, []
        for epoch, sequence, lines in pending:
            self.message(f"{epoch} {sequence} {lines}")
        if before is not None and before != self.epoch:
            self._counters.epoch_changes += 1
        return before != self.epoch

    async def poll(self, call: Call) -> None:
        """Ask whether something came that was not heard of, as the last message before silence.

        Raises:
            RegistryUnavailable, RegistryError: nobody knows.
        """
        at = self.epoch, self.sequence
        answer = await call("delta", self.shard, [self.epoch or "", str(self.sequence)])
        if self.wanted or at != (self.epoch, self.sequence):
            return  # it speaks; an older answer must not undo what was heard since
        if answer[0] != "OK":
            self.attached = self.attached and answer[0] != "EPOCH"
            self.wanted = True
        elif answer[3]:
            self._counters.deltas += 1
            self.sequence = answer[2]
            for lines in answer[3]:
                self._apply(lines)

    async def _read_delta(self, call: Call) -> bool:
        answer = await call("delta", self.shard, [self.epoch or "", str(self.sequence)])
        if answer[0] != "OK":
            self.attached = self.attached and answer[0] != "EPOCH"
            return False
        if answer[3]:
            self._counters.deltas += 1
        self.sequence = answer[2]
        for lines in answer[3]:
            self._apply(lines)
        return True

    async def _read_whole(self, call: Call) -> None:
        if not self.attached:
            await call("attach", self.shard, [str(self.sequence)])
            self.attached = True
        answer = await call("snapshot", self.shard, [])
        if answer[0] != "OK":
            self.attached = False  # flushed between the two; whoever runs us comes again
            return
        self._counters.snapshots += 1
        _, epoch, sequence, table, ends = answer
        self._load(epoch, sequence, table, ends)

    def _keep(self, epoch: str, sequence: int, lines: str) -> None:
        if len(self._pending) >= PENDING:
            self._pending.clear()
        self._pending.append((epoch, sequence, lines))

    # What changes.

    def mark_stale(self, node: str, below: int) -> None:
        """Keep what ``node`` has from before generation ``below``, but without proof."""
        for path in self.owned(node):
            record = self.records[path][node]
            if record.generation < below and (path, node) not in self.stale:
                self.stale[path, node] = self._clock() + self._retention
                self._changed(path, node, record, record)

    def mark_all_stale(self) -> None:
        """Nothing here has proof any more."""
        for path, nodes in self.records.items():
            for node in nodes:
                self.stale.setdefault((path, node), self._clock() + self._retention)

    def drop(self, node: str, *, below: int) -> None:
        """Forget what ``node`` has from before generation ``below``."""
        for path in self.owned(node):
            if self.records[path][node].generation < below:
                self._remove(path, node)

    def sweep(self, now: float, keep: Callable[[str], bool]) -> None:
        """Forget what has waited for its owner long enough, unless ``keep`` says to wait on."""
        for path, node in [key for key, end in self.stale.items() if end <= now]:
            if not keep(node):
                self._remove(path, node)

    def put(self, path: str, record: Record) -> None:
        """Take over a record."""
        nodes = self.records.setdefault(path, {})
        before = nodes.get(record.node)
        was_stale = self.stale.pop((path, record.node), None) is not None
        if before == record and not was_stale:
            return
        nodes[record.node] = record
        self._owned.setdefault(record.node, set()).add(path)
        self._changed(path, record.node, before, record)

    def _remove(self, path: str, node: str) -> None:
        nodes = self.records.get(path, {})
        before = nodes.pop(node, None)
        self.stale.pop((path, node), None)
        if before is None:
            return
        if not nodes:
            del self.records[path]
        owned = self._owned[node]
        owned.discard(path)
        if not owned:
            del self._owned[node]
        self._changed(path, node, before, None)

    def _apply(self, lines: str) -> None:
        self._counters.events += 1
        for line in lines.split("\n"):
            words = line.split(" ")
            try:
                self._line(words)
            except ValueError:
                self._odd.malformed += 1

    def _line(self, words: list[str]) -> None:
        match words[0]:
            case "+":
                claim = Claim.read(words[1], words[2:])
                self._odd.fields += len(words) - 2 - CLAIM_WORDS
                self.put(claim.path, claim)
            case "-":
                _, path, node, generation = words[:4]
                self._remove_upto(decode(path), decode(node), int(generation))
            case "M":
                member = Member.read(words[1], words[2:])
                self._odd.fields += max(0, len(words) - 2 - MEMBER_WORDS)
                if self._admitted(member):
                    self.put("", member)
            case "X":
                _, node, generation = words[:3]
                self._remove_upto("", decode(node), int(generation))
            case "D":
                _, node, generation = words[:3]
                self.drop(decode(node), below=int(generation) + 1)
            case "E":
                _, node, generation = words[:3]
                self._ended(decode(node), int(generation))
            case "R":
                self.revoked(words[1:])
            case "A":
                pass
            case _:
                self._odd.lines += 1

    def _remove_upto(self, path: str, node: str, generation: int) -> None:
        record = self.records.get(path, {}).get(node)
        if record is not None and record.generation <= generation:
            self._remove(path, node)

    def _ended(self, node: str, generation: int) -> None:
        """``node`` has re-announced all it has: what it did not is gone."""
        self.done[node] = generation
        self._said_all(node)
        for path in self.owned(node):
            if (path, node) in self.stale or self.records[path][node].generation < generation:
                self._remove(path, node)

    def _load(self, epoch: str, sequence: int, table: list[str], ends: list[str]) -> None:
        """Take over a snapshot, and keep what it lacks for as long as its owner may be on the way.

        In the same epoch a record that is missing was removed; in another the registry lost data,
        and only its owner knows.
        """
        fresh = dict(self._read_table(table))
        before, self.done = self.done, self._owners_done(epoch, ends)
        lost_data = self.epoch is not None and epoch != self.epoch
        self.epoch, self.sequence = epoch, sequence
        for path, nodes in list(self.records.items()):
            for node, record in list(nodes.items()):
                if (path, node) in fresh:
                    continue
                waits = lost_data or (path, node) in self.stale
                if not waits or self.done.get(node, -1) >= record.generation:
                    self._remove(path, node)
                elif (path, node) not in self.stale:
                    self.stale[path, node] = self._clock() + self._retention
                    self._changed(path, node, record, record)
        for (path, _), record in fresh.items():
            self.put(path, record)
        for node in [node for node, number in self.done.items() if before.get(node) != number]:
            self._said_all(node)

    def _read_table(self, table: list[str]) -> Iterator[tuple[tuple[str, str], Record]]:
        for field, value in zip(table[::2], table[1::2], strict=True):
            if self.shard is None:
                member = read_member(field, value, self._odd)
                if member is not None and self._admitted(member):
                    yield ("", member.node), member
            else:
                for claim in read_claims(field, value, self._odd):
                    yield (claim.path, claim.node), claim

    def _admitted(self, member: Member) -> bool:
        admitted = self.admits(member.node)
        self._odd.malformed += not admitted
        return admitted

    def _owners_done(self, epoch: str, ends: list[str]) -> dict[str, int]:
        """Who has re-announced all in this epoch -> in which generation."""
        done = {}
        for node, value in zip(ends[::2], ends[1::2], strict=True):
            of_epoch, _, generation = value.partition(" ")
            if of_epoch == epoch and generation.isdigit():
                done[decode(node)] = int(generation)
        return done
