"""A root that has no name of its own: it reads what the members say, and is none."""

from __future__ import annotations

from moq_relay.cluster.cursor import Call
from moq_relay.cluster.membership import Membership


class Onlooker(Membership):
    """In the place of a membership: nothing is registered, so nothing is ever claimed."""

    @property
    def settled(self) -> bool:
        return self.confirmed

    async def turn(self, call: Call) -> float:
        """See what time it is at Redis; seconds until that is due again.

        Raises:
            RegistryUnavailable, RegistryError: nobody says.
        """
        sent = self._clock()
        # Nobody has this name, so that nothing is renewed.
        answer = await call("renew", None, ["", "0", "-", self._lease_ms, "", "0"])
        self._redis_clock.sample(sent, self._clock(), int(answer[1]))
        feed = self._table.members_feed
        self.confirmed = feed.epoch is not None and not feed.wanted
        return self._renew_seconds
