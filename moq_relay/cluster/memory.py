"""The registry in this process: one relay by itself, and tests. The scripts, in Python."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from moq_relay.cluster.keys import Shard
from moq_relay.cluster.revocations import MOST, NOWHERE, Extent
from moq_relay.cluster.road import Connected, Lost, Message, RoadEvent
from moq_relay.errors import RegistryUnavailable

_CLAIM = re.compile(r"(\S+) \d+ (\d+) \S+")
Answer = list[Any]
Args = Sequence[str]


@dataclass(slots=True)
class _Feed:
    """The keys of one feed; see ``keys``."""

    meta: dict[str, str] = field(default_factory=dict)
    table: dict[str, str] = field(default_factory=dict)
    log: deque[tuple[int, str]] = field(default_factory=deque)
    own: dict[str, dict[str, str]] = field(default_factory=dict)
    lease: dict[str, int] = field(default_factory=dict)
    grave: dict[str, str] = field(default_factory=dict)
    revoked: dict[str, Extent] = field(default_factory=dict)


class MemoryStore:
    """What Redis would hold, with the scripts' semantics. Several roads may share one."""

    def __init__(
        self,
        *,
        shards: int = 16,
        log_entries: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        """Seconds on the clock that stands for Redis'."""
        self.history = secrets.token_hex(20)
        """Stands for the primary's replication id."""
        self.listeners: list[Callable[[Message], None]] = []
        self._shards = shards
        self._log_entries = log_entries
        self._feeds: dict[Shard, _Feed] = {}

    def clear(self) -> None:
        """Forget everything, as FLUSHALL does."""
        self._feeds.clear()

    def run(self, script: str, shard: Shard, args: Args) -> Answer:
        """One script, whole."""
        feed = self._feeds.setdefault(shard, _Feed())
        result: Answer = getattr(self, f"_{script}")(feed, shard, args)
        return result

    # Feeds.

    def _attach(self, feed: _Feed, shard: Shard, args: Args) -> Answer:
        meta = feed.meta
        if shard is None:
            meta.setdefault("shards", str(self._shards))
        count = int(meta.get("shards", "0"))
        if "e" in meta and meta["r"] == self.history:
            return ["OK", meta["e"], int(meta.get("s", "0")), count, 0]
        meta["e"], meta["r"] = secrets.token_hex(6), self.history
        feed.log.clear()
        meta["s"] = str(max(int(meta.get("s", "0")), int(args[0])))
        return ["OK", meta["e"], self._emit(feed, shard, "A"), count, 1]

    def _delta(self, feed: _Feed, _shard: Shard, args: Args) -> Answer:
        if "e" not in feed.meta:
            return ["EPOCH"]
        epoch, sequence, start = feed.meta["e"], int(feed.meta.get("s", "0")), int(args[1])
        if epoch != args[0] or start > sequence:
            return ["RESYNC", epoch, sequence]
        lines = [text for number, text in feed.log if number > start]
        if len(lines) != sequence - start:
            return ["RESYNC", epoch, sequence]
        return ["OK", epoch, sequence, lines]

    def _snapshot(self, feed: _Feed, _shard: Shard, _args: Args) -> Answer:
        if "e" not in feed.meta:
            return ["EPOCH"]
        table = [word for item in feed.table.items() for word in item]
        ends = [
            word
            for name, value in feed.meta.items()
            if name.startswith("E:")
            for word in (name[2:], value)
        ]
        return ["OK", feed.meta["e"], int(feed.meta.get("s", "0")), table, ends]

    def _lookup(self, feed: _Feed, _shard: Shard, args: Args) -> Answer:
        return ["OK", feed.table.get(args[0], "")]

    # Membership.

    def _register(self, feed: _Feed, shard: Shard, args: Args) -> Answer:
        node, epoch, instance, known, lease_ms, takeover, tail = args
        if feed.meta.get("e") != epoch:
            return ["EPOCH"]
        now, held = self._now_ms(), feed.table.get(node)
        if held is not None and takeover != "1":
            generation, _, rest = held.partition(" ")
            left = feed.lease.get(node, 0) - now
            if generation.isdigit() and rest.partition(" ")[0] != instance and left > 0:
                return ["OWNED", left, int(generation)]
        stored = int(feed.meta.get(f"g:{node}", "0"))
        number = max(now, stored + 1, int(known) + 1)
        record = f"{number} {instance} {tail}"
        feed.meta[f"g:{node}"] = str(number)
        feed.table[node] = record
        feed.lease[node] = now + int(lease_ms)
        sequence = self._emit(feed, shard, f"M {node} {record}")
        return ["OK", epoch, sequence, number, str(self._now_us())]

    def _renew(self, feed: _Feed, shard: Shard, args: Args) -> Answer:
        node, generation, instance, lease_ms, tail, leases = args
        now_us = self._now_us()
        now, held = now_us // 1000, feed.table.get(node)
        if held is None or "e" not in feed.meta:
            return ["GONE", str(now_us)]
        owner = held.split(" ")[:2]
        if owner != [generation, instance]:
            return ["FENCED", *owner, feed.lease.get(node, 0) - now]
        feed.lease[node] = now + int(lease_ms)
        record = f"{generation} {instance} {tail}"
        if record != held:
            feed.table[node] = record
            self._emit(feed, shard, f"M {node} {record}")
        told = [str(word) for item in feed.lease.items() for word in item] if leases == "1" else []
        return ["OK", feed.meta["e"], int(feed.meta.get("s", "0")), str(now_us), told]

    def _unregister(self, feed: _Feed, shard: Shard, args: Args) -> Answer:
        node, generation, instance = args
        if "e" not in feed.meta:
            return ["EPOCH"]
        if feed.table.get(node, "").split(" ")[:2] != [generation, instance]:
            return ["OLD"]
        self._bury(feed, shard, node, generation)
        return ["OK"]

    def _reap(self, feed: _Feed, shard: Shard, args: Args) -> Answer:
        if "e" not in feed.meta:
            return ["EPOCH"]
        lease, most = int(args[0]), int(args[1])
        for node, generation in zip(args[2::2], args[3::2], strict=True):
            if feed.grave.get(node) == generation:
                del feed.grave[node]
        now, last = self._now_ms(), int(feed.meta.get("t", "-1"))
        calm = int(feed.meta.get("calm", "-1"))
        if last < 0 or calm < 0 or now < last or now - last > lease / 4:
            calm = now
        feed.meta["t"], feed.meta["calm"] = str(now), str(calm)
        reaped: list[str] = []
        if now - calm >= lease:
            for node in [name for name, end in feed.lease.items() if end <= now][:most]:
                generation = feed.table.get(node, "").split(" ")[0] or feed.meta[f"g:{node}"]
                self._bury(feed, shard, node, generation)
                reaped += [node, generation]
        elif 0 <= now < last:
            for node, end in feed.lease.items():
                feed.lease[node] = min(end, now + lease)
        buried = [word for item in feed.grave.items() for word in item]
        return ["OK", int(now - calm >= lease), reaped, buried]

    def _bury(self, feed: _Feed, shard: Shard, node: str, generation: str) -> None:
        feed.table.pop(node, None)
        feed.lease.pop(node, None)
        feed.grave[node] = generation
        self._emit(feed, shard, f"X {node} {generation}")

    def _revoke(self, feed: _Feed, shard: Shard, args: Args) -> Answer:
        if "e" not in feed.meta:
            return ["EPOCH"]
        lines, refused = [], 0
        for name, before, until in zip(args[::3], args[1::3], args[2::3], strict=True):
            held = feed.revoked.get(name)
            wide = Extent(int(before), int(until)).merged(held or NOWHERE)
            if held is None and len(feed.revoked) >= MOST:
                refused += 1
            elif wide != held:
                feed.revoked[name] = wide
                lines.append(f"R {name} {wide.before} {wide.until}")
        if lines:
            self._emit(feed, shard, "\n".join(lines))
        return ["OK", refused]

    def _revoked(self, feed: _Feed, _shard: Shard, _args: Args) -> Answer:
        now = self.clock()
        feed.revoked = {name: one for name, one in feed.revoked.items() if one.until > now}
        words = [(name, f"{one.before} {one.until}") for name, one in feed.revoked.items()]
        return ["OK", [word for entry in words for word in entry]]

    # Claims.

    def _drop(self, feed: _Feed, shard: Shard, args: Args) -> Answer:
        node, generation = args[0], int(args[1])
        if "e" not in feed.meta:
            return ["EPOCH"]
        if self._fence(feed, node)[0] > generation:
            return ["NEWER"]
        paths = feed.own.pop(node, {})
        for path in paths:
            self._put(feed, path, self._others(feed, path, node)[0])
        feed.meta[f"f:{node}"] = f"{generation + 1} 0"
        if paths:
            self._emit(feed, shard, f"D {node} {generation}")
        return ["OK", len(paths)]

    def _write(self, feed: _Feed, shard: Shard, args: Args) -> Answer:
        node, epoch, generation, number = args[:4]
        if feed.meta.get("e") != epoch:
            return ["EPOCH"]
        fence = self._fence(feed, node)
        if (int(generation), int(number)) <= fence:
            return ["OLD", *fence]
        feed.meta[f"f:{node}"] = f"{generation} {number}"
        lines: list[str] = []
        told: list[str] = []
        own, rest = feed.own.setdefault(node, {}), list(args[4:])
        while rest:
            match rest.pop(0):
                case "+":
                    (path, token, age, since, hops), rest = rest[:5], rest[5:]
                    others, newest = self._others(feed, path, node)
                    since = since or self._since(own.get(path), token, int(age), newest)
                    record = f"{node} {generation} {since} {hops}"
                    self._put(feed, path, [*others, record])
                    own[path] = f"{since} {token}"
                    lines.append(f"+ {path} {record}")
                    told.append(since)
                case "-":
                    path = rest.pop(0)
                    self._put(feed, path, self._others(feed, path, node)[0])
                    own.pop(path, None)
                    lines.append(f"- {path} {node} {generation}")
                case _:
                    feed.meta[f"E:{node}"] = f"{epoch} {generation}"
                    lines.append(f"E {node} {generation}")
        if lines:
            self._emit(feed, shard, "\n".join(lines))
        return ["OK", epoch, int(feed.meta.get("s", "0")), told]

    def _since(self, own: str | None, token: str, age_us: int, newest: int) -> str:
        kept, _, whose = (own or "").partition(" ")
        if whose == token:
            return kept
        start = self._now_us() - age_us
        if age_us < 1_000_000:
            start = max(start, newest + 1)
        return str(start)

    def _audit(self, feed: _Feed, _shard: Shard, args: Args) -> Answer:
        node, generation = args[:2]
        if "e" not in feed.meta:
            return ["EPOCH"]
        own = feed.own.get(node, {})
        missing: list[str] = []
        learned: list[str] = []
        wanted = set()
        for path, token, since, hops in zip(
            args[2::4], args[3::4], args[4::4], args[5::4], strict=True
        ):
            wanted.add(path)
            kept, _, whose = own.get(path, "").partition(" ")
            record = f"{node} {generation} {kept} {hops}"
            lines = [
                line for line in feed.table.get(path, "").split("\n") if line.startswith(f"{node} ")
            ]
            if whose != token or (since and since != kept) or lines != [record]:
                missing.append(path)
            elif not since:
                learned += [path, kept]
        ghosts = [path for path in own if path not in wanted]
        ended = feed.meta.get(f"E:{node}") == f"{feed.meta['e']} {generation}"
        fence = self._fence(feed, node)
        return ["OK", feed.meta["e"], *fence, int(ended), missing, ghosts, learned]

    def _canary(self, feed: _Feed, shard: Shard, args: Args) -> Answer:
        if "e" not in feed.meta:
            return ["EPOCH"]
        return ["OK", feed.meta["e"], self._emit(feed, shard, f"A {args[0]}")]

    # What they share.

    def _now_us(self) -> int:
        return int(self.clock() * 1_000_000)

    def _now_ms(self) -> int:
        return self._now_us() // 1000

    def _fence(self, feed: _Feed, node: str) -> tuple[int, int]:
        generation, _, number = feed.meta.get(f"f:{node}", "0 0").partition(" ")
        return int(generation), int(number)

    def _others(self, feed: _Feed, path: str, node: str) -> tuple[list[str], int]:
        lines, newest = [], 0
        for line in feed.table.get(path, "").split("\n"):
            found = _CLAIM.match(line)
            if found is not None and found[1] != node:
                lines.append(line)
                newest = max(newest, int(found[2]))
        return lines, newest

    def _put(self, feed: _Feed, path: str, lines: list[str]) -> None:
        if lines:
            feed.table[path] = "\n".join(lines)
        else:
            feed.table.pop(path, None)

    def _emit(self, feed: _Feed, shard: Shard, lines: str) -> int:
        sequence = int(feed.meta.get("s", "0")) + 1
        feed.meta["s"] = str(sequence)
        feed.log.append((sequence, lines))
        while len(feed.log) > self._log_entries:
            feed.log.popleft()
        message = Message(shard, f"{feed.meta['e']} {sequence} {lines}")
        for listener in tuple(self.listeners):
            listener(message)
        return sequence


class MemoryRoad:
    """A road that ends in this process."""

    straight = True

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self._deliver: Callable[[RoadEvent], None] | None = None

    async def run(self, deliver: Callable[[RoadEvent], None]) -> None:
        loop = asyncio.get_running_loop()

        # A message comes later than the call that caused it, as it does over a socket.
        def tell(message: Message) -> None:
            loop.call_soon(deliver, message)

        count = self.store.run("attach", None, ["0"])[3]
        self.store.listeners.append(tell)
        self._deliver = deliver
        deliver(Connected(count))
        try:
            await asyncio.Event().wait()
        finally:
            self._deliver = None
            self.store.listeners.remove(tell)
            deliver(Lost("stopped"))

    async def call(self, script: str, shard: Shard, args: Sequence[str]) -> Answer:
        if self._deliver is None:
            raise RegistryUnavailable("the road is not up")
        return self.store.run(script, shard, args)
