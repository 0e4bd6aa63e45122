"""The feeds together: who is a member, what each has, and who wants to hear of a change.

A claim counts only with its member: not without one, and not when it is from before the
registration that the member is known by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from moq_relay.cluster.changes import Changes
from moq_relay.cluster.cursor import Feed, FeedCounters, Record
from moq_relay.cluster.keys import Shard, shard_of
from moq_relay.cluster.records import Claim, Member, Oddities
from moq_relay.relay.path import covers


@dataclass(frozen=True, slots=True)
class MemberView:
    """A member as this node sees it."""

    member: Member
    state: Literal["up", "draining", "stale", "expired"]
    """Stale: without proof since the registry lost data. Expired: its lease ended, not reaped."""
    lease_remaining_seconds: float


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A claim as this node sees it."""

    claim: Claim
    state: Literal["live", "stale", "draining"]


@dataclass(slots=True)
class Leases:
    """Ends of leases as the registry told them last."""

    ends: dict[str, float]
    """Node -> end, seconds on Redis' clock."""
    told: float
    """When, on the same clock."""


class Table:
    """The registry's content here. Plain calls: nothing waits."""

    def __init__(
        self,
        shards: int,
        *,
        retention: float,
        clock: Callable[[], float],
        redis_now: Callable[[], float],
    ) -> None:
        self.counters = FeedCounters()
        self.odd = Oddities()
        self.leases = Leases({}, 0.0)
        self._retention = retention
        self._clock = clock
        self._redis_now = redis_now
        self._floors: dict[str, int] = {}
        """Node -> lowest generation whose claims count."""
        self.changes = Changes()
        self.members_feed = self._feed(None, self._member_changed)
        self.shards = self._shard_feeds(shards)

    def _feed(
        self, shard: Shard, changed: Callable[[str, str, Record | None, Record | None], None]
    ) -> Feed:
        return Feed(
            shard,
            changed,
            self.counters,
            self.odd,
            retention=self._retention,
            clock=self._clock,
            said_all=self._said_all,
        )

    def _shard_feeds(self, count: int) -> list[Feed]:
        return [self._feed(shard, self._claim_changed) for shard in range(count)]

    def admit(self, admits: Callable[[str], bool]) -> None:
        """Take for members, of what is read from now on, only nodes that ``admits`` is true of."""
        self.members_feed.admits = admits

    def reshape(self, shards: int) -> None:
        """Go over to another count of shards; what is known stays, without proof."""
        if shards == len(self.shards):
            return
        before, self.shards = self.shards, self._shard_feeds(shards)
        for feed in before:
            for path, nodes in feed.records.items():
                for record in nodes.values():
                    self.feed_of(path).put(path, record)
        for feed in self.shards:
            feed.mark_all_stale()
        self.changes.tell()

    def feeds(self) -> list[Feed]:
        """The membership and every shard."""
        return [self.members_feed, *self.shards]

    def feed(self, shard: Shard) -> Feed | None:
        """One feed; None when there is no such shard."""
        if shard is None:
            return self.members_feed
        return self.shards[shard] if shard < len(self.shards) else None

    def feed_of(self, path: str) -> Feed:
        """The feed that holds the claims of ``path``."""
        return self.shards[shard_of(path, len(self.shards))]

    # What it says.

    def member(self, node: str) -> Member | None:
        """The record of a member."""
        return cast("Member | None", self.members_feed.records.get("", {}).get(node))

    def members(self) -> dict[str, MemberView]:
        """Every member, by name."""
        return {node: self._view(node) for node in self.members_feed.records.get("", {})}

    def holdings(self, node: str) -> int:
        """How many claims of ``node`` are known."""
        return sum(feed.holdings(node) for feed in self.shards)

    def size(self) -> int:
        """How many paths are known."""
        return sum(len(feed.records) for feed in self.shards)

    def _view(self, node: str) -> MemberView:
        member = cast("Member", self.members_feed.records[""][node])
        end = self.leases.ends.get(node)
        remaining = 0.0 if end is None else max(0.0, end - self._redis_now())
        if ("", node) in self.members_feed.stale:
            return MemberView(member, "stale", remaining)
        if end is not None and end <= self.leases.told:
            return MemberView(member, "expired", 0.0)
        return MemberView(member, member.state, remaining)

    def claims(self, path: str) -> list[ClaimView]:
        """The claims of a path that count, newest publisher first."""
        feed = self.feed_of(path)
        found = [
            ClaimView(claim, self._state(feed, claim))
            for claim in cast("Mapping[str, Claim]", feed.records.get(path, {})).values()
            if self._counts(claim)
        ]
        found.sort(key=lambda view: (view.claim.since_us, view.claim.node), reverse=True)
        return found

    def said_all(self, node: str, path: str) -> bool:
        """Whether a member has claimed all it has in the shard of ``path``, since it registered."""
        member = self.member(node)
        done = self.feed_of(path).done.get(node, -1)
        return member is not None and done >= member.generation

    def paths(self, prefix: str = "") -> Iterator[str]:
        """The paths under ``prefix`` that have a claim that counts; in no order."""
        for feed in self.shards:
            for path, claims in feed.records.items():
                if covers(prefix, path) and any(map(self._counts, claims.values())):
                    yield path

    def known(self) -> list[str]:
        """Every path that there is a claim of, whether it counts or not."""
        return [path for feed in self.shards for path in feed.records]

    def stale_routes(self) -> int:
        """Claims without proof."""
        return sum(len(feed.stale) for feed in self.shards)

    def _counts(self, claim: Record) -> bool:
        return claim.generation >= self._floors.get(claim.node, 0) and (
            self.member(claim.node) is not None
        )

    def _state(self, feed: Feed, claim: Claim) -> Literal["live", "stale", "draining"]:
        stale = self.members_feed.stale
        if (claim.path, claim.node) in feed.stale or ("", claim.node) in stale:
            return "stale"
        member = self.member(claim.node)
        return "draining" if member is not None and member.state == "draining" else "live"

    # What changes it.

    def sweep(self, now: float, vouched_for: Callable[[str], bool]) -> None:
        """Let go of what waited for its owner long enough; never while a link to it is up."""
        for feed in self.feeds():
            feed.sweep(now, vouched_for)
        self.changes.tell()

    def _claim_changed(
        self, path: str, _node: str, _before: Record | None, _now: Record | None
    ) -> None:
        self.changes.of_path(path)

    def _member_changed(
        self, _path: str, node: str, before: Record | None, now: Record | None
    ) -> None:
        self.changes.of_node(node)
        for feed in self.shards:
            for path in feed.owned(node):
                self.changes.of_path(path)
        if now is None:
            assert before is not None, "a member that was not there can't go"
            self._floors[node] = before.generation + 1
        elif (
            isinstance(now, Member)
            and isinstance(before, Member)
            and before.instance == now.instance
        ):
            # The same process registered anew: what it had it has, until it says what of it.
            for feed in self.shards:
                feed.mark_stale(node, now.generation)
            return
        else:
            self._floors[node] = max(self._floors.get(node, 0), now.generation)
        for feed in self.shards:
            feed.drop(node, below=self._floors[node])

    def _said_all(self, node: str) -> None:
        self.changes.of_node(node)
