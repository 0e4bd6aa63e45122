"""Eight nodes, 1,200 claims and churn on a real Redis, while it or they break.

In every one: no known claim of a live owner is ever missing, no ghost outlives its bound, and at
the end each node's table is {(path, node, since)} of what the publishers did.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from moq_relay.cluster.endpoint import parse_endpoint
from moq_relay.cluster.redis import RedisRoad
from tests.contract.roads import QUICK, until
from tests.support.redis_server import RedisServer, redis_binary, running
from tests.support.registry_oracle import FreezableRoad, Oracle, Station, drops

pytestmark = pytest.mark.alone  # half a second without an answer is an outage here

NODES = 8
CLAIMS = 150
CHANGES_PER_SECOND = 100
LEASE = QUICK.lease
BACKOFF = 1.0
SEED = int(os.environ.get("MOQ_TEST_SEED", "7"))


class World(Oracle):
    """The oracle's stations, on servers that each reaches by a link of its own."""

    def __init__(
        self, directory: Path, servers: list[RedisServer], tasks: asyncio.TaskGroup, log: int
    ) -> None:
        super().__init__(SEED)
        self.directory = directory
        self.servers = servers
        self.tasks = tasks
        self.log = log

    @property
    def redis(self) -> RedisServer:
        return self.servers[0]

    def lead(self, name: str, server: RedisServer) -> None:
        """From now on a connection of this node reaches that server."""
        link = self.directory / f"{name}.new"
        link.symlink_to(server.socket)
        link.rename(self.directory / f"{name}.sock")

    def lead_all(self, server: RedisServer) -> None:
        for station in self.stations:
            self.lead(station.name, server)

    def start(self, name: str, **options: Any) -> Station:
        self.lead(name, self.redis)
        road = RedisRoad(
            parse_endpoint(f"unix://{self.directory}/{name}.sock"),
            timeout=QUICK.command_timeout,
            probe_seconds=QUICK.renew,
            max_backoff=BACKOFF,
            log_entries=self.log,
        )
        station = Station(name, FreezableRoad(road), self, settings=QUICK, **options)
        station.task = self.tasks.create_task(station.registry.run())
        self.stations.append(station)
        return station

    async def crash(self, station: Station) -> None:
        station.alive = False
        self.dead(station)
        station.road.cut()
        station.task.cancel()
        await asyncio.wait([station.task])

    async def end(self) -> None:
        for station in self.stations:
            station.road.thaw()
            if station.alive:
                await self.crash(station)


@asynccontextmanager
async def world_of(
    directory: Path, *, aof: bool = False, servers: int = 1, log: int = 1024
) -> AsyncIterator[World]:
    """Nodes that are members, have their claims, know each other's, and churn."""
    with ExitStack() as stack:
        binary = redis_binary()
        processes = [
            stack.enter_context(
                running(binary, directory / f"redis{number}", aof=aof, replicates=servers > 1)
            )
            for number in range(servers)
        ]
        async with asyncio.TaskGroup() as tasks:
            world = World(directory, processes, tasks, log)
            for number in range(NODES):
                world.start(f"n{number}")
            background = [
                tasks.create_task(world.watch()),
                tasks.create_task(world.churn(CHANGES_PER_SECOND)),
            ]
            try:
                await until(lambda: world.total("members") == NODES * NODES)
                for station in world.stations:
                    world.publish(station, CLAIMS)
                await until(lambda: not world.differences(), every=0.05)
                world.churns = True
                # Nobody is reaped before a lease of calm, so a death would prove nothing yet.
                await asyncio.sleep(LEASE)
                world.forget_figures()
                yield world
            finally:
                for task in background:
                    task.cancel()
                await world.end()


async def settle(
    world: World, name: str, *, outage: float = 0.0, ghosts: float = LEASE + 1
) -> None:
    """Let the churn end, and hold the world to what every fault has to end with."""
    await asyncio.sleep(0.5)
    world.churns = False
    stopped = time.monotonic()
    try:
        await until(lambda: not world.differences(), seconds=6, every=0.05)
    except AssertionError:
        pytest.fail(f"{name} (seed {SEED}): {world.differences()}\n{world.standing()}")
    _, kept = await world.stations[0].road.call("revoked", None, [])
    assert {name.removeprefix("jti:") for name in kept[::2]} >= set(world.revoked)
    assert world.revoked, "nobody was revoked"
    figures = {name: world.total(name) for name in ("gaps", "deltas", "snapshots", "epoch_changes")}
    print(
        f"{name}: seed {SEED}, lag {world.longest_lag:.2f} s, ghost {world.longest_ghost:.2f} s, "
        f"vanished {len(world.vanished)}, settled in {time.monotonic() - stopped:.2f} s, "
        f"{figures}, reaped {world.total('reaped')}, "
        f"repaired {world.total('repaired_missing')}/{world.total('repaired_ghost')}"
    )
    assert world.vanished == []
    assert world.longest_lag <= outage + BACKOFF + 2 * QUICK.renew + 0.5
    assert world.longest_ghost <= max(ghosts, outage + BACKOFF + 2 * QUICK.renew + 0.5)


async def rejoined(world: World) -> None:
    """All nodes are members at one primary again; only from here on a split is judged.

    Who could not renew there for a lease was rightly reaped; as long as nobody was, all counts.
    """
    await until(lambda: not any(s.registry.status.isolated for s in world.stations))
    await until(lambda: all(len(s.registry.members) == NODES for s in world.stations))
    if world.total("reaped"):
        await until(lambda: not any(world.unseen(s) for s in world.stations), every=0.05)
        world.forget_figures()


async def test_lost_messages(tmp_path):
    async with world_of(tmp_path) as world:
        for station in world.stations:
            station.road.hear = drops(world.chance, 0.05)

        await asyncio.sleep(1.5)
        for station in world.stations:
            station.road.hear = lambda message: [message]

        await settle(world, "5 % of messages lost")
        assert world.total("gaps") > 0
        assert world.total("reaped") == 0


@pytest.mark.parametrize("aof", [True, False], ids=["aof", "empty"])
async def test_redis_killed_and_started_again(tmp_path, aof):
    async with world_of(tmp_path, aof=aof) as world:
        world.redis.kill()
        await asyncio.sleep(1.0)
        await asyncio.to_thread(world.redis.start)

        await settle(world, f"kill -9, aof {aof}", outage=1.0)
        assert world.total("reaped") == 0


async def test_redis_gone_for_longer_than_a_lease(tmp_path):
    async with world_of(tmp_path, aof=True) as world:
        world.redis.kill()
        await asyncio.sleep(LEASE + 1)
        await asyncio.to_thread(world.redis.start)

        await settle(world, "kill -9 for longer than a lease", outage=LEASE + 1)
        assert world.total("reaped") == 0


async def test_redis_flushed(tmp_path):
    async with world_of(tmp_path) as world:
        await asyncio.to_thread(world.redis.execute, "FLUSHALL")

        await settle(world, "FLUSHALL", outage=QUICK.renew)
        assert world.total("reaped") == 0


async def test_subscriptions_killed_ten_times(tmp_path):
    async with world_of(tmp_path) as world:
        for _ in range(10):
            await asyncio.to_thread(world.redis.execute, "CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(0.2)

        await settle(world, "subscriptions killed", outage=BACKOFF)
        assert world.total("reaped") == 0
        assert world.total("epoch_changes") == 0


@pytest.mark.parametrize("seconds", [1.0, LEASE + 1.0])
async def test_redis_frozen(tmp_path, seconds):
    async with world_of(tmp_path) as world:
        world.redis.freeze()
        await asyncio.sleep(seconds)
        world.redis.thaw()

        await settle(world, f"SIGSTOP for {seconds:g} s", outage=seconds)
        assert world.total("reaped") == 0


async def test_a_node_killed(tmp_path):
    async with world_of(tmp_path) as world:
        await world.crash(world.stations[6])
        died = time.monotonic()

        await until(lambda: all("n6" not in s.registry.members for s in world.stations if s.alive))
        assert time.monotonic() - died < LEASE + 1
        await settle(world, "a node killed")
        assert world.total("reaped") == 1


async def test_a_node_frozen_for_longer_than_its_lease(tmp_path):
    async with world_of(tmp_path) as world:
        frozen = world.stations[6]
        frozen.road.freeze()
        await until(lambda: all("n6" not in s.registry.members for s in world.stations if s.judged))

        frozen.road.thaw()
        await until(lambda: frozen.registry.status.isolated is None)
        await until(lambda: all("n6" in s.registry.members for s in world.stations))
        world.forget_figures()

        await settle(world, "a node frozen", outage=LEASE)
        assert world.total("reaped") == 1


@pytest.mark.parametrize("half", [False, True], ids=["all", "half of them first"])
async def test_a_replica_promoted_without_the_last_writes(tmp_path, half):
    async with world_of(tmp_path, servers=2) as world:
        primary, replica = world.servers
        await asyncio.to_thread(replica.follow, primary)
        await asyncio.sleep(QUICK.renew * 2)
        replica.promote()
        await asyncio.sleep(0.7)  # what is written now is lost

        late = world.stations[NODES // 2 :] if half else []
        for station in late:
            (world.directory / f"{station.name}.sock").unlink()
        for station in world.stations:
            if station not in late:
                world.lead(station.name, replica)
        primary.kill()
        if half:
            # The new primary counts past what the others knew before they come back.
            await until(lambda: all(s.registry.status.connected for s in world.stations[:4]))
            for _ in range(200):
                world.one_change(world.chance.choice(world.stations[:4]))
            await asyncio.sleep(0.3)
            world.lead_all(replica)
            await rejoined(world)

        await settle(world, f"promotion, {'half first' if half else 'all'}", outage=3.0)
        assert half or world.total("reaped") == 0


async def test_a_split_brain(tmp_path):
    async with world_of(tmp_path, servers=2) as world:
        primary, replica = world.servers
        await asyncio.to_thread(replica.follow, primary)
        await asyncio.sleep(QUICK.renew * 2)
        replica.promote()
        for station in world.stations[::2]:
            world.lead(station.name, replica)
            station.road.redis._commands.fail("moved by the test")
        await asyncio.sleep(1.2)

        await asyncio.to_thread(primary.follow, replica)
        world.lead_all(replica)
        await rejoined(world)

        await settle(world, "split brain", outage=1.2 + QUICK.renew + BACKOFF)


async def test_the_first_replica_of_a_healthy_primary(tmp_path):
    async with world_of(tmp_path, servers=2) as world:
        primary, replica = world.servers
        await asyncio.to_thread(replica.follow, primary)
        await until(lambda: world.total("epoch_changes") >= 17 * NODES)

        await settle(world, "the first replica", outage=QUICK.renew)
        assert world.total("reaped") == 0


async def test_scripts_forgotten(tmp_path):
    async with world_of(tmp_path) as world:
        await asyncio.to_thread(world.redis.execute, "SCRIPT", "FLUSH")
        await asyncio.sleep(0.5)

        await settle(world, "SCRIPT FLUSH")
        assert world.total("lost") == 0


async def test_a_log_too_short_for_who_was_away(tmp_path):
    async with world_of(tmp_path, log=2) as world:
        frozen = world.stations[5]
        snapshots = frozen.registry.status.snapshots
        frozen.road.freeze()
        await asyncio.sleep(LEASE / 2)
        frozen.road.thaw(overflowed=True)
        world.forget_figures()

        await settle(world, "the log trimmed", outage=LEASE / 2)
        assert frozen.registry.status.snapshots > snapshots
        assert world.total("reaped") == 0
