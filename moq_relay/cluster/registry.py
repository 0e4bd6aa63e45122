"""The registry as a node uses it: who is there, who has what, and what this node has.

What it says of others is the node's own copy, kept by events and proven by cursors; what it says
of this node is the truth, and is brought to the registry. Without the registry the copy stays, the
node is *isolated*, and everything is re-asserted when the road is up again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from moq_relay.cluster.apart import apart
from moq_relay.cluster.backoff import Backoff, pause
from moq_relay.cluster.changes import Listener
from moq_relay.cluster.clock import RedisClock
from moq_relay.cluster.cursor import Feed
from moq_relay.cluster.endless import endless
from moq_relay.cluster.keys import Shard
from moq_relay.cluster.lookup import Lookups
from moq_relay.cluster.membership import NAME_TAKEN, Membership
from moq_relay.cluster.onlooker import Onlooker
from moq_relay.cluster.reader import MAX_BACKOFF_SECONDS, Reader
from moq_relay.cluster.reaper import Reaper
from moq_relay.cluster.records import Member, State, encode
from moq_relay.cluster.revocations import Revocations
from moq_relay.cluster.road import Connected, Looked, Lost, Message, Road, RoadEvent, ServerFacts
from moq_relay.cluster.status import RegistrySettings, RegistryStatus
from moq_relay.cluster.table import ClaimView, MemberView, Table
from moq_relay.cluster.writer import Registration, Writer
from moq_relay.errors import ClusterError, RegistryUnavailable

logger = logging.getLogger(__name__)

IDLE_SECONDS = 3600.0


class Registry:
    """One node's end of the registry, over any road."""

    def __init__(
        self,
        road: Road,
        *,
        node: str,
        region: str = "",
        hop: int = 0,
        roles: Sequence[str] = (),
        version: str = "",
        settings: RegistrySettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        vouched_for: Callable[[str], bool] = lambda _node: False,
        instance: str | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        """Nothing is asked before ``run``. Without a name (``node`` "") it only looks on."""
        self.settings = settings = settings or RegistrySettings()
        self._road = road
        self._clock = clock
        self._vouched_for = vouched_for
        self.redis_clock = RedisClock(clock)
        """The clock by which nodes compare moments."""
        self._table = Table(
            settings.shards,
            retention=settings.lease + MAX_BACKOFF_SECONDS,
            clock=clock,
            redis_now=self.redis_clock.now,
        )
        self.revocations = Revocations(self.redis_now) if revocations is None else revocations
        """The tokens that were taken back, as far as is known here."""
        self._table.members_feed.revoked = self.revocations.heard
        member = Member(
            node=node,
            generation=0,
            instance=instance or secrets.token_hex(8),
            region=region,
            hop=hop,
            roles=tuple(roles),
            version=version,
        )
        self._writer = Writer(
            self._table, member.instance, clock=clock, outdated=self._claims_outdated
        )
        self._membership = (Membership if node else Onlooker)(
            member,
            self._table,
            clock,
            self.redis_clock,
            self._writer.registered,
            renew_seconds=settings.renew,
            lease_seconds=settings.lease,
        )
        self.offer = self._membership.offer
        """Say to all what this node offers to clients, from the next renewal on."""
        self._reaper = Reaper(self._table, lease_seconds=settings.lease)
        self._connected, self._why_lost = False, "not reached yet"
        self._lost = 0
        self._facts = ServerFacts()
        self._proven = clock()
        self._version = 0
        self._reader = Reader(
            self._table, self._call, lambda: self._connected, self._was_read, self._caught_up
        )
        self._member_wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._lookups = Lookups(self._table, self._call, self._after_sync)

    # What it says.

    @property
    def node(self) -> str:
        """This node's name."""
        return self._membership.member.node

    @property
    def members(self) -> dict[str, MemberView]:
        """Every member known here, by name; this node too, once it is registered."""
        return self._table.members()

    @property
    def table(self) -> Table:
        """The copy itself, for who counts and shows it."""
        return self._table

    @property
    def version(self) -> int:
        """The cluster's version: how many changes of the membership there were. Never goes back."""
        self._version = max(self._version, self._table.members_feed.sequence)
        return self._version

    def claims(self, path: str) -> list[ClaimView]:
        """Who has ``path``, newest publisher first; from the copy, at once."""
        return self._table.claims(path)

    def said_all(self, node: str, path: str) -> bool:
        """Whether ``node``, a member, has claimed all it has in the shard of ``path``."""
        return self._table.said_all(node, path)

    def paths(self, prefix: str = "") -> Iterator[str]:
        """The paths under ``prefix`` that somebody has, in no order."""
        return self._table.paths(prefix)

    def own_since(self, path: str) -> float | None:
        """When this node's publisher of ``path`` appeared, on Redis' clock; None until it said."""
        local = self._writer.local.get(path)
        return None if local is None or local.since_us is None else local.since_us / 1e6

    def redis_now(self) -> float:
        """Seconds on Redis' clock; 0 before the first renewal."""
        return self.redis_clock.now()

    def watch(self, listener: Listener) -> None:
        """Tell ``listener`` of every change from now on."""
        self._table.changes.watch(listener)

    def unwatch(self, listener: Listener) -> None:
        """Tell it no more."""
        self._table.changes.unwatch(listener)

    @property
    def status(self) -> RegistryStatus:
        """How it stands."""
        counters, odd = self._table.counters, self._table.odd
        return RegistryStatus(
            connected=self._connected,
            isolated=self._isolated(),
            staleness_seconds=self._clock() - self._proven,
            generation=self._membership.generation,
            facts=self._facts,
            members=len(self._table.members_feed.records.get("", ())),
            events=counters.events,
            epoch_changes=counters.epoch_changes,
            gaps=counters.gaps,
            deltas=counters.deltas,
            snapshots=counters.snapshots,
            refused=self._writer.refused,
            registrations=self._membership.registrations,
            fenced=self._membership.fenced,
            reasserted=self._writer.reasserted,
            repaired_missing=self._writer.repairs.missing,
            repaired_ghost=self._writer.repairs.ghost,
            reaped=self._reaper.reaped,
            stale_routes=self._table.stale_routes(),
            lost=self._lost,
            unknown_lines=odd.lines,
            unknown_fields=odd.fields,
            malformed=odd.malformed + self.revocations.malformed,
            clock_error_seconds=self.redis_clock.error_seconds,
        )

    @property
    def hears_of_revocations(self) -> bool:
        """Whether all that the registry has of them is known here, and more would be heard of."""
        return self._connected and self.revocations.known

    def _isolated(self) -> str | None:
        if not self._connected:
            return f"the registry is unreachable: {self._why_lost}"
        if self._membership.name_taken:
            return NAME_TAKEN
        if not self._membership.settled:
            return "not registered yet"
        return None

    # What this node has.

    def claim(self, path: str, age_seconds: float, hops: Iterable[int] = ()) -> None:
        """This node has ``path``; returns at once, the others hear of it a moment later.

        Said again of another publisher (of another age) it moves the claim to that one.

        Args:
            path: of the broadcast.
            age_seconds: how long its newest publisher has been here.
            hops: ids that the announcement passed, publisher first.
        """
        self._writer.claim(path, age_seconds, hops)

    def release(self, path: str) -> None:
        """This node no longer has ``path``."""
        self._writer.release(path)

    def set_state(self, state: State) -> None:
        """Say to all that this node drains, or is up again."""
        self._membership.set_state(state)
        self._member_wake.set()

    # What is asked.

    async def lookup(self, path: str) -> list[ClaimView]:
        """Who has ``path`` by the registry itself; one question for all who ask at once.

        Raises:
            RegistryUnavailable: nobody knows.
        """
        if self._tasks is None or not self._connected:
            raise RegistryUnavailable(self._isolated() or "the registry is not running")
        return await self._lookups.ask(path, self._tasks)

    # Its life.

    async def run(self) -> None:
        """Keep it all going until cancelled; then unregister. No outage raises."""
        async with asyncio.TaskGroup() as outer:
            road = outer.create_task(self._road.run(self._deliver), name="registry-road")
            try:
                async with asyncio.TaskGroup() as tasks:
                    self._tasks = tasks
                    tasks.create_task(endless(self._reader.run()), name="registry-sync")
                    tasks.create_task(endless(self._hold()), name="registry-hold")
                    tasks.create_task(endless(self._write()), name="registry-write")
                    tasks.create_task(endless(self._sweep()), name="registry-sweep")
                    revoking = self.revocations.run(self._call, lambda: self._connected)
                    tasks.create_task(endless(revoking), name="registry-revoke")
            finally:
                self._tasks = None
                await apart(self._leave(), "registry-leave")
                road.cancel()

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(self.settings.command_timeout):
                await self._membership.leave(self._call)
        except (ClusterError, TimeoutError) as error:
            logger.info("not unregistered node=%s reason=%s", self.node, error)

    async def _call(self, script: str, shard: Shard, args: Sequence[str]) -> list[Any]:
        return await self._road.call(script, shard, args)

    def _deliver(self, event: RoadEvent) -> None:
        match event:
            case Message(shard, text):
                if (feed := self._table.feed(shard)) is not None:
                    feed.message(text)
                    self._after_sync(feed)
            case Connected(shards, facts):
                self._connected, self._facts = True, facts.after(self._facts)
                self._membership.road_changed()
                if shards != len(self._table.shards):
                    self._table.reshape(shards)
                    self._writer.reshape()
                for feed in self._table.feeds():
                    feed.attached, feed.wanted = False, True
                logger.info("registry up server=%s version=%s", facts.name, facts.version)
                self._reader.wake.set()
            case Looked(facts):
                self._facts = facts.after(self._facts)
            case Lost(reason):
                if self._tasks is not None and (self._connected or reason != self._why_lost):
                    logger.warning("registry lost reason=%s", reason)
                self._lost += self._connected
                self._connected, self._why_lost = False, reason
                self._membership.road_changed()

    def _after_sync(self, feed: Feed) -> None:
        if feed.wanted:
            self._reader.wake.set()
        self._table.changes.tell()

    def _claims_outdated(self, generation: int) -> None:
        self._membership.outdated(generation)
        self._member_wake.set()

    def _was_read(self, feed: Feed, anew: bool) -> None:
        if feed.shard is None:
            self.revocations.unsure()
        elif anew:
            self._writer.unsure(feed.shard)

    def _caught_up(self) -> None:
        if not self._membership.settled:
            self._member_wake.set()
        if self._writer.pending():
            self._writer.wake.set()

    async def _hold(self) -> None:
        """Stay a member, and prove the copy."""
        backoff = Backoff(cap=MAX_BACKOFF_SECONDS)
        while True:
            seconds = IDLE_SECONDS
            if self._connected:
                try:
                    seconds = await self._membership.turn(self._call)
                    await self._reader.poll()
                    if self._membership.settled and not self._reader.behind():
                        self._proven = self._clock()
                    self._table.changes.tell()
                    backoff.reset()
                except ClusterError as error:
                    logger.debug("renewal failed node=%s reason=%s", self.node, error)
                    seconds = backoff.next_delay()
                self._reader.wake.set()
                if self._writer.pending():
                    self._writer.wake.set()
            await pause(seconds, self._member_wake)
            self._member_wake.clear()

    async def _write(self) -> None:
        """Bring the registry to what this node has."""
        backoff = Backoff(cap=MAX_BACKOFF_SECONDS)
        while True:
            await self._writer.wake.wait()
            self._writer.wake.clear()
            generation = self._membership.generation
            if not self._connected or not self._membership.settled or generation is None:
                self._writer.forget()
                continue
            by = Registration(encode(self.node), generation)
            if await self._writer.flush(self._call, by):
                backoff.reset()
                # Behind the write, not before it: only who comes in a crowd has to wait.
                await pause(self.settings.coalesce)
                continue
            self._reader.wake.set()
            await backoff.pause()
            self._writer.wake.set()

    async def _sweep(self) -> None:
        """Let go of what is over, here and, on a straight road, in the registry."""
        audit_due = self._clock()
        while True:
            await pause(self.settings.sweep)
            self._table.sweep(self._clock(), self._vouched_for)
            self.revocations.sweep()
            if not self._connected:
                continue
            if self._clock() >= audit_due:
                audit_due = self._clock() + self.settings.audit / len(self._table.shards)
                if self._writer.next_turn() == 0:
                    self.revocations.next_turn()
            if self._road.straight:
                await self._reaper.run(self._call)
