"""This node as a member: it registers, renews, and is fenced by who has its name.

A renewal counts only while the registry holds exactly this registration. Anything else, and every
new epoch of the membership, means to register again in a new generation and to re-assert all.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

from moq_relay.cluster.clock import RedisClock
from moq_relay.cluster.cursor import Call
from moq_relay.cluster.records import Member, Offer, State, decode, encode
from moq_relay.cluster.table import Leases, Table

logger = logging.getLogger(__name__)

NAME_TAKEN = "another live process has this node's name"
LEASES_AT_ONCE = 50
"""Members up to which the ends of all leases are asked for at each renewal; above, more rarely."""


class Membership:
    """One process' hold on its name. ``turn`` does what is due, and says when to come again."""

    def __init__(
        self,
        member: Member,
        table: Table,
        clock: Callable[[], float],
        redis_clock: RedisClock,
        registered: Callable[[], None],
        *,
        renew_seconds: float,
        lease_seconds: float,
    ) -> None:
        self.member = member
        self.confirmed = False
        """The registry said since the road came up that this registration stands."""
        self.name_taken = False
        self.registrations = 0
        self.fenced = 0
        """Renewals that found another registration in place of ours."""
        self._node = encode(member.node)
        self._table = table
        self._clock = clock
        self._redis_clock = redis_clock
        self._registered = registered
        self._renew_seconds = renew_seconds
        self._lease_ms = str(round(lease_seconds * 1000))
        self._epoch: str | None = None
        """Of the membership, under which we registered."""
        self._known = 0
        """The highest generation of our name that we heard of."""
        self._renewals = 0

    @property
    def generation(self) -> int | None:
        """Of the registration that we hold; None while we hold none."""
        return self.member.generation or None

    @property
    def settled(self) -> bool:
        """Whether the registration stands, as far as anybody can know: then claims are written."""
        return self.confirmed and self._epoch == self._table.members_feed.epoch

    def set_state(self, state: State) -> None:
        """What the next renewal says of us."""
        self.member = replace(self.member, state=state)

    def offer(self, offer: Offer) -> None:
        """What the next renewal says that we offer."""
        self.member = replace(self.member, offer=offer)

    def outdated(self, generation: int) -> None:
        """A shard has seen a later registration of our name."""
        self._known = max(self._known, generation)
        self._let_go()

    def road_changed(self) -> None:
        """Nothing is confirmed any more."""
        self.confirmed = False

    async def turn(self, call: Call) -> float:
        """Register or renew; seconds until that is due again.

        Raises:
            RegistryUnavailable, RegistryError: nothing is known to have happened.
        """
        feed = self._table.members_feed
        if feed.epoch is None or feed.wanted:
            return self._renew_seconds  # we are woken when it is read
        if self.generation is not None and self._epoch == feed.epoch and await self._renew(call):
            return self._renew_seconds
        if feed.wanted:
            return self._renew_seconds
        return await self._register(call)

    async def _register(self, call: Call) -> float:
        feed = self._table.members_feed
        self.confirmed = False
        first = self.registrations == 0
        # A new process takes its name over; one that was fenced does not take it back.
        args = [self._node, feed.epoch or "", self.member.instance, str(self._known)]
        args += [self._lease_ms, "1" if first else "0", self.member.tail()]
        sent = self._clock()
        answer = await call("register", None, args)
        if answer[0] == "EPOCH":
            feed.attached, feed.wanted = False, True
            return self._renew_seconds
        if answer[0] == "OWNED":
            if not self.name_taken:
                logger.error(
                    "name taken node=%s retry_seconds=%.1f", self.member.node, answer[1] / 1e3
                )
            self.name_taken = True
            return max(0.05, float(answer[1]) / 1000)
        self.member = replace(self.member, generation=answer[3])
        self._redis_clock.sample(sent, self._clock(), int(answer[4]))
        self._known = max(self._known, answer[3])
        self._epoch = answer[1]
        self.registrations += 1
        self.name_taken = False
        self.confirmed = True
        logger.info("registered node=%s generation=%d", self.member.node, answer[3])
        self._registered()
        return self._renew_seconds

    async def _renew(self, call: Call) -> bool:
        feed = self._table.members_feed
        every = math.ceil(len(feed.records.get("", ())) / LEASES_AT_ONCE) or 1
        leases = "1" if self._renewals % every == 0 else "0"
        args = [self._node, str(self.member.generation), self.member.instance, self._lease_ms]
        sent = self._clock()
        answer = await call("renew", None, [*args, self.member.tail(), leases])
        if answer[0] == "FENCED":
            self.fenced += 1
            self._known = max(self._known, int(answer[1]) if answer[1].isdigit() else 0)
            self._let_go()
            return False
        now_us = int(answer[1] if answer[0] == "GONE" else answer[3])
        self._redis_clock.sample(sent, self._clock(), now_us)
        if answer[0] == "GONE":
            self._let_go()
            return False
        if answer[1] != feed.epoch:
            feed.wanted = True
            self.confirmed = False
            return False
        self._renewals += 1
        self.confirmed = True
        if answer[4]:
            ends = zip(answer[4][::2], answer[4][1::2], strict=True)
            self._table.leases = Leases(
                {decode(node): float(end) / 1000 for node, end in ends}, now_us / 1e6
            )
        return True

    def _let_go(self) -> None:
        """The registration that we hold is none; the next turn makes another."""
        self._epoch = None
        self.confirmed = False

    async def leave(self, call: Call) -> None:
        """Unregister, and take our claims along.

        Raises:
            RegistryUnavailable, RegistryError: the lease will end it.
        """
        if self.generation is None or not self.confirmed:
            return
        self.confirmed = False
        mine = [self._node, str(self.member.generation)]
        await call("unregister", None, [*mine, self.member.instance])
        for feed in self._table.shards:
            await call("drop", feed.shard, mine)
