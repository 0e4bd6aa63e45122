"""A registry whose table a test writes, and sessions to nodes that a test opens and breaks."""

import asyncio
from collections.abc import Iterator

from moq_relay.cluster.records import Claim, Member
from moq_relay.cluster.table import ClaimView, MemberView
from moq_relay.errors import RegistryUnavailable, SessionClosed
from moq_relay.relay.path import covers
from tests.unit.relay.fakes import FakeSource

NOW = 1_790_000_000.0
"""On Redis' clock."""


class FakeRegistry:
    """One node's end of the registry."""

    def __init__(self, node: str = "https://self.example/") -> None:
        self.node = node
        self.members: dict[str, MemberView] = {}
        self.complete: set[str] = set()
        """Members that have claimed all they have."""
        self.now = NOW
        self.said: list[tuple] = []
        """Claims and releases of this node."""
        self.since: dict[str, float] = {}
        """What the registry gave this node's claims."""
        self.lookups: list[str] = []
        self.known_elsewhere: dict[str, str] = {}
        """Path -> node: what the registry has and the copy lacks."""
        self.reachable = True
        self.answers = asyncio.Event()
        self.answers.set()
        self._table: dict[str, dict[str, ClaimView]] = {}
        self._listeners: list = []
        self._generations = iter(range(1, 1000))

    # What the product calls.

    def claims(self, path: str) -> list[ClaimView]:
        views = list(self._table.get(path, {}).values())
        return sorted(views, key=lambda v: (v.claim.since_us, v.claim.node), reverse=True)

    def said_all(self, node: str, path: str) -> bool:
        return node in self.complete

    def paths(self, prefix: str = "") -> Iterator[str]:
        return iter([path for path in self._table if covers(prefix, path)])

    def own_since(self, path: str) -> float | None:
        return self.since.get(path)

    def redis_now(self) -> float:
        return self.now

    def claim(self, path: str, age_seconds: float, hops=()) -> None:
        assert age_seconds >= 0, "from the future"
        self.said.append(("claim", path, round(age_seconds, 3), tuple(hops)))

    def release(self, path: str) -> None:
        self.said.append(("release", path))

    def watch(self, listener) -> None:
        self._listeners.append(listener)

    def unwatch(self, listener) -> None:
        self._listeners.remove(listener)

    async def lookup(self, path: str) -> list[ClaimView]:
        self.lookups.append(path)
        await self.answers.wait()
        if not self.reachable:
            raise RegistryUnavailable("a test says so")
        if path in self.known_elsewhere:
            self.put(path, self.known_elsewhere.pop(path), NOW)
        return self.claims(path)

    # What a test does.

    def join(self, node: str, *, region: str = "", hop: int = 0, instance: str = "i") -> None:
        """A member, or the same name with another process."""
        member = Member(
            node=node, generation=next(self._generations), instance=instance, region=region, hop=hop
        )
        self.members[node] = MemberView(member, "up", 8.0)
        self._tell("members_changed", node)

    def completes(self, node: str) -> None:
        """A member says that it has claimed all it has."""
        self.complete.add(node)
        self._tell("members_changed", node)

    def leave(self, node: str) -> None:
        self.complete.discard(node)
        del self.members[node]
        self._tell("members_changed", node)
        for path in [path for path, nodes in self._table.items() if node in nodes]:
            self.drop(path, node)

    def put(self, path: str, node: str, since: float, *hops: int, state: str = "live") -> None:
        """A claim in the table."""
        if node not in self.members and node != self.node:
            self.join(node, hop=len(self.members) + 1)
        claim = Claim(path, node, 1, round(since * 1e6), hops or (7,))
        self._table.setdefault(path, {})[node] = ClaimView(claim, state)
        self._tell("claims_changed", path)

    def drop(self, path: str, node: str) -> None:
        del self._table[path][node]
        if not self._table[path]:
            del self._table[path]
        self._tell("claims_changed", path)

    def _tell(self, call: str, about: str) -> None:
        for listener in tuple(self._listeners):
            getattr(listener, call)(about)


class FakeSession:
    """A session to a node, which answers pings until it is silenced."""

    def __init__(self, ending):
        self.subscriber = FakeSource()
        self.rtt_seconds = 0.01
        self.silent = False
        self.pings = 0
        self.over = asyncio.Event()
        self._ending = ending
        self._heard = asyncio.get_running_loop().time()

    @property
    def silent_seconds(self):
        return asyncio.get_running_loop().time() - self._heard

    def ping(self):
        assert not self.over.is_set(), "pinged when it was over"
        self.pings += 1
        if not self.silent:
            self._heard = asyncio.get_running_loop().time() + 0.001

    def lose(self):
        """As a session ends: the hook first, then every feed."""
        if not self.over.is_set():
            self.over.set()
            self._ending()
            self.subscriber.stop(SessionClosed("the session ended"))
