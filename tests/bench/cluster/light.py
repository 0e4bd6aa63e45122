"""A member that only renews, claims and counts: what it costs is Redis' and the wire's share."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from moq_relay.cluster.keys import Keys, shard_of
from moq_relay.cluster.records import Member, encode
from moq_relay.cluster.redis import RedisRoad
from moq_relay.cluster.scripts import OPERATIONS

SHARDS = 16


class Counting(asyncio.Protocol):
    """A connection that listens to every feed and counts what it is told."""

    def __init__(self, keys: Keys) -> None:
        self.messages = 0
        self.received = 0
        self._keys = keys

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        channels = [self._keys.channel(shard) for shard in (None, *range(SHARDS))]
        words = ["SUBSCRIBE", *channels]
        request = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
        transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.messages += data.count(b"\r\n$7\r\nmessage\r\n") + data.startswith(b"$7\r\nmessage")


Ear = tuple[asyncio.BaseTransport, Counting]


class Light:
    """One such member; its commands share a road with those of others."""

    def __init__(self, name: str, road: RedisRoad, epochs: dict[int | None, str]) -> None:
        self.name = name
        self.paths: set[str] = set()
        self.renewed = 0
        self.alive = True
        self._road = road
        self._epochs = epochs
        self._word = encode(name)
        self._member = Member(node=name, generation=0, instance=secrets.token_hex(8))
        self._generation = ""
        self._numbers = dict.fromkeys(range(SHARDS), 0)

    async def register(self, lease: float) -> None:
        """Join in a generation of its own."""
        answer = await self._road.call(
            "register",
            None,
            [
                *(self._word, self._epochs[None], self._member.instance, "0"),
                *(str(int(lease * 1000)), "1", self._member.tail()),
            ],
        )
        assert answer[0] == "OK", answer
        self._generation = str(answer[3])

    async def renew(self, every: float, lease: float, offset: float) -> None:
        """Stay a member until it dies."""
        await asyncio.sleep(offset)
        while self.alive:
            begun = time.monotonic()
            await self.renew_once(lease)
            await asyncio.sleep(max(0.0, begun + every - time.monotonic()))

    async def renew_once(self, lease: float) -> None:
        """Stay a member for one more lease."""
        answer = await self._road.call(
            "renew",
            None,
            [
                *(self._word, self._generation, self._member.instance),
                *(str(int(lease * 1000)), self._member.tail(), "0"),
            ],
        )
        assert answer[0] == "OK", f"{self.name}: {answer}"
        self.renewed += 1

    async def claim(self, paths: Iterable[str]) -> None:
        """Have these too."""
        await self._write("+", paths)
        self.paths.update(paths)

    async def release(self, paths: Iterable[str]) -> None:
        """Have them no more."""
        self.paths.difference_update(paths)
        await self._write("-", paths)

    async def _write(self, sign: str, paths: Iterable[str]) -> None:
        by_shard: dict[int, deque[str]] = {}
        for path in paths:
            by_shard.setdefault(shard_of(path, SHARDS), deque()).append(path)
        for shard, waiting in by_shard.items():
            while waiting:
                some = [waiting.popleft() for _ in range(min(OPERATIONS, len(waiting)))]
                self._numbers[shard] += 1
                args = [self._word, self._epochs[shard], self._generation]
                args.append(str(self._numbers[shard]))
                for path in some:
                    args += [sign, encode(path)]
                    if sign == "+":
                        args += [secrets.token_hex(4), "0", "", "4242"]
                answer = await self._road.call("write", shard, args)
                assert answer[0] == "OK", f"{self.name}: {answer}"


async def counting(
    socket: Path, keys: Keys, count: int
) -> list[tuple[asyncio.Transport, Counting]]:
    """Connections of members that count."""
    loop = asyncio.get_running_loop()
    return [
        await loop.create_unix_connection(lambda: Counting(keys), str(socket)) for _ in range(count)
    ]
