"""The groups that one track keeps: those that a feed told of, and those asked for by number."""

from __future__ import annotations

from collections.abc import Callable

from moq_relay.errors import Internal, RequestError
from moq_relay.relay.group import Group
from moq_relay.relay.retention import Cache
from moq_relay.relay.route import Source
from moq_relay.relay.sampling import Sampling

LATE_SECONDS = 1.0
"""How much later than a newer group an older one may begin to arrive, each on its own stream."""


class Shelf:
    """Groups by sequence. What the cache gives up leaves the shelf by ``forget``."""

    def __init__(self, path: str, name: str, cache: Cache, clock: Callable[[], float]) -> None:
        self.path = path
        self.name = name
        """Of the track."""
        self.groups: dict[int, Group] = {}
        self.fetched: dict[int, Group] = {}
        self.latest: int | None = None
        self.heard_at: float | None = None
        """When frames last came over the wire, from any source; None before the first."""
        self.gone = -1
        """Highest group that has left the shelf since a feed began without another before it: who
        follows has had those up to here, or a part of them."""
        self._edge = -1
        """The latest group when the feed in use took over from another."""
        self._left: set[int] = set()
        """Groups up to there that have left since: who followed has been told of them."""
        self._cache = cache
        self._clock = clock
        self._sampling = Sampling(clock)

    def cached(self, sequence: int | None) -> Group | None:
        """The group, from its first frame on, if it is here; None asks for the latest."""
        wanted = self.latest if sequence is None else sequence
        if wanted is None:
            return None
        for group in (self.groups.get(wanted), self.fetched.get(wanted)):
            if group is not None and group.first == 0:
                return group
        return None

    def fetch(self, sequence: int, source: Source) -> Group:
        """Ask ``source`` for one group; whoever asks while it is here gets the same one."""
        now = self._clock()
        group = Group(sequence, self._cache, now=now, track=self, fetched=True)
        self.fetched[sequence] = group
        source.fetch(self.path, self.name, group)
        return group

    def forget(self, group: Group) -> None:
        """Take ``group`` off the shelf."""
        held = self.fetched if group.fetched else self.groups
        if held.get(group.sequence) is group:
            del held[group.sequence]
            if not group.fetched:
                self.gone = max(self.gone, group.sequence)
                if group.sequence <= self._edge:
                    self._left.add(group.sequence)

    def enter(self, group: Group) -> None:
        """Put a new group where its number belongs; what it supersedes is told so."""
        sequence, latest = group.sequence, self.latest
        self.groups[sequence] = group
        group.times = self._sampling.begin(sequence, group.opened_at)
        if latest is None or sequence > latest:
            self.latest = sequence
            # All before the latest were superseded when they came, or when it did.
            if latest is not None and (old := self.groups.get(latest)) is not None:
                old.supersede(group.opened_at)
        else:
            newer = (g.opened_at for s, g in self.groups.items() if s > sequence)
            group.supersede(min(newer, default=group.opened_at))

    def wanted_from(self, max_age: float) -> int | None:
        """Where another source has to begin so that no group is missed; None: nothing was here.

        Behind the latest group. Or earlier, at the oldest group, not older than ``max_age``
        seconds, that is not complete, or that newer ones overtook a moment before the latest came.
        """
        if self.latest is None:
            return None
        first, above = self.latest + 1, self.latest + 1
        latest, now = self.groups.get(self.latest), self._clock()
        since = now if latest is None else latest.opened_at - LATE_SECONDS
        overtook = False
        for sequence in sorted(self.groups, reverse=True):
            if sequence <= self.gone:
                break
            group = self.groups[sequence]
            if overtook and sequence < above - 1:
                first = sequence + 1
            if group.open and (sequence == self.latest or group.age(now) < max_age):
                first = sequence
            above, overtook = sequence, group.opened_at >= since
        return first

    def begins(self) -> None:
        """A feed begins that has no other before it."""
        self.gone = self._edge = -1
        self._left.clear()

    def goes_on(self) -> None:
        """Another feed takes over, at a group above those that have left the shelf."""
        self._edge = -1 if self.latest is None else self.latest
        self._left.clear()

    def older_than_all(self, sequence: int) -> bool:
        """Whether ``sequence`` lies below all that is here, or ever was the latest."""
        return self.latest is not None and sequence < min(self.groups, default=self.latest)

    def start_over(self) -> None:
        """The publisher's numbers began anew while nobody followed: what is kept is of no use."""
        groups, self.groups, self.latest = self.groups, {}, None
        for group in groups.values():
            group.abort(Internal("the publisher's numbers began anew"))
        self.begins()

    def break_off(self, error: RequestError) -> None:
        """Abort every group that is not complete; those that were asked for by number go on."""
        for group in [group for group in self.groups.values() if group.open]:
            group.abort(error)

    def clear(self, error: RequestError) -> None:
        """Abort whatever is held."""
        held = *self.groups.values(), *self.fetched.values()
        self.groups, self.fetched = {}, {}
        for group in held:
            group.abort(error)
