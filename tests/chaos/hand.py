"""Somebody's hand in the registry: reads and writes that no node makes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

from moq_relay.cluster.endpoint import parse_endpoint
from moq_relay.cluster.keys import Keys, Shard
from moq_relay.cluster.redis import RedisRoad
from moq_relay.cluster.road import Connected, RoadEvent
from tests.chaos.store import Store

SHARDS = range(16)
KEYS = Keys()
NODES = KEYS.of(None, "")[1]


@asynccontextmanager
async def road(store: Store) -> AsyncIterator[RedisRoad]:
    """A straight road of the test's own."""
    at = store.socket
    url = f"unix://{at}" if isinstance(at, Path) else f"redis://{at[0]}:{at[1]}"
    mine, up = RedisRoad(parse_endpoint(url)), asyncio.Event()

    def deliver(event: RoadEvent) -> None:
        if isinstance(event, Connected):
            up.set()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(mine.run(deliver))
        try:
            await up.wait()
            yield mine
        finally:
            running.cancel()


def shard_keys(shard: int, node: str = "") -> tuple[str, str, str, str]:
    """Meta, table, log, and what a node has."""
    meta, table, log, own = KEYS.of(shard, node)
    return meta, table, log, own


def generations(store: Store) -> dict[str, int]:
    """Every member and the number of its registration, as Redis has them."""
    return {node: int(text.split(" ")[0]) for node, text in store.execute("HGETALL", NODES).items()}


def claims(store: Store) -> Iterator[tuple[str, str, int]]:
    """Path, node and generation of every claim, as Redis has them; the words are encoded."""
    for shard in SHARDS:
        for path, text in store.execute("HGETALL", shard_keys(shard)[1]).items():
            for line in text.split("\n"):
                node, generation = line.split(" ")[:2]
                yield path, node, int(generation)


def leftovers(store: Store) -> list[str]:
    """Claims of registrations that are none any more."""
    members = generations(store)
    return [
        f"{path} of {node} {generation}"
        for path, node, generation in claims(store)
        if members.get(node) != generation
    ]


def emit(store: Store, shard: Shard, lines: str) -> None:
    """An event with those lines, as a script would tell of it."""
    whole = files("moq_relay.cluster").joinpath("lua", "emit.lua").read_text("utf-8")
    whole += "return emit(redis.call('HGET', KEYS[1], 'e'), ARGV[3])"
    keys = KEYS.of(shard, "")
    store.execute("EVAL", whole, len(keys), *keys, KEYS.channel(shard), "1024", lines)
