"""The groups that one track keeps: those that a feed told of, and those asked for by number."""

from __future__ import annotations

from collections.abc import Callable

from moq_relay.errors import Internal, RequestError
from moq_relay.relay.group import Group
from moq_relay.relay.retention import Cache
from moq_relay.relay.route import Source
from moq_relay.relay.sampling import Sampling


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

    def older_than_all(self, sequence: int) -> bool:
        """Whether ``sequence`` lies below all that is here, or ever was the latest."""
        return self.latest is not None and sequence < min(self.groups, default=self.latest)

    def start_over(self) -> None:
        """The publisher's numbers began anew while nobody followed: what is kept is of no use."""
        groups, self.groups, self.latest = self.groups, {}, None
        for group in groups.values():
            group.abort(Internal("the publisher's numbers began anew"))

    def clear(self, error: RequestError) -> None:
        """Abort whatever is held."""
        held = *self.groups.values(), *self.fetched.values()
        self.groups, self.fetched = {}, {}
        for group in held:
            group.abort(error)
