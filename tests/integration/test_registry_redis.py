"""The straight road against a real server: access lists, Sentinel, TLS, and what it warns of."""

import asyncio
import logging
import subprocess
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from moq_relay.cluster.acl import acl_rules
from moq_relay.cluster.endpoint import Endpoint, parse_endpoint
from moq_relay.cluster.redis import RedisRoad
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.road import Connected, Looked, RoadEvent
from moq_relay.transports.tls import generate
from tests.chaos.wire import Wire
from tests.contract.roads import QUICK, until
from tests.support.redis_server import RedisServer, free_port, redis_binary, running

A, B = "https://a.example", "https://b.example"
ROOM = "room/alice"
FAR_SECONDS = 0.3
"""A round trip; with what the machine takes it is half of a timeout."""


@pytest.fixture
def server(tmp_path):
    with running(redis_binary(), tmp_path / "redis") as server:
        yield server


def road_to(endpoint: Endpoint | str, *, prefix: str = "moq", shards: int = 16) -> RedisRoad:
    if isinstance(endpoint, str):
        endpoint = parse_endpoint(endpoint)
    return RedisRoad(endpoint, prefix=prefix, shards=shards, timeout=0.5, probe_seconds=0.5)


@asynccontextmanager
async def nodes(*roads: RedisRoad):
    """A registry for each road, all of them running."""
    registries = [
        Registry(road, node=name, settings=QUICK) for road, name in zip(roads, (A, B), strict=False)
    ]
    async with asyncio.TaskGroup() as tasks:
        running_ones = [tasks.create_task(registry.run()) for registry in registries]
        try:
            yield registries
        finally:
            for task in running_ones:
                task.cancel()


async def test_exactly_the_access_list_is_enough(server: RedisServer):
    rules = acl_rules("clu[ster")
    server.execute("ACL", "SETUSER", "relay", "on", ">secret", *rules)
    endpoint = parse_endpoint(server.url, username="relay", password="secret")

    async with nodes(*(road_to(endpoint, prefix="clu[ster") for _ in range(2))) as (a, b):
        a.claim(ROOM, 0.0)
        await until(lambda: b.claims(ROOM))
        await b.lookup(ROOM)
        a.set_state("draining")
        await until(lambda: b.claims(ROOM)[0].state == "draining")
        server.execute("SCRIPT", "FLUSH")
        a.claim("room/bob", 0.0)
        await until(lambda: b.claims("room/bob"))
        await asyncio.sleep(QUICK.lease / 4)  # reap and probe have run

    assert server.execute("ACL", "LOG") == []
    assert all(key.startswith("clu[ster:") for key in server.execute("KEYS", "*"))


async def test_the_access_list_lets_nobody_out_of_its_prefix(server: RedisServer):
    server.execute("ACL", "SETUSER", "relay", "on", ">secret", *acl_rules("one"))
    endpoint = parse_endpoint(server.url, username="relay", password="secret")

    async with nodes(road_to(endpoint, prefix="two")) as (a,):
        await until(lambda: "permission" in (a.status.isolated or "").lower())

    assert server.execute("KEYS", "*") == []


async def test_a_wrong_password_is_an_outage_and_never_shown(server: RedisServer, caplog):
    server.execute("ACL", "SETUSER", "relay", "on", ">secret", *acl_rules())
    endpoint = parse_endpoint(server.url, username="relay", password="wr0ng")

    async with nodes(road_to(endpoint)) as (a,):
        await until(lambda: "password" in (a.status.isolated or ""))
        server.execute("ACL", "SETUSER", "relay", ">wr0ng")
        await until(lambda: a.status.isolated is None)

    assert "wr0ng" not in caplog.text


async def test_the_count_of_shards_is_that_of_who_came_first(server: RedisServer, caplog):
    async with nodes(road_to(server.url, shards=5), road_to(server.url, shards=16)) as (a, b):
        await until(lambda: a.status.isolated is None and b.status.isolated is None)
        for number in range(40):
            a.claim(f"room/{number}", 0.0)
        await until(lambda: len(list(b.paths())) == 40)

        counts = {len(registry._table.shards) for registry in (a, b)}
    assert counts in ({5}, {16})
    assert any("shards" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ["append-only"]),
        (("--maxmemory-policy", "allkeys-lru"), ["allkeys-lru", "append-only"]),
    ],
)
async def test_what_puts_the_registry_at_risk_is_said_once(tmp_path, caplog, options, words):
    with running(redis_binary(), tmp_path / "redis", *options) as server:
        async with nodes(road_to(server.url)) as (a,):
            await until(lambda: a.status.isolated is None)
            server.execute("CLIENT", "KILL", "TYPE", "normal")
            await until(lambda: a.status.lost == 1)
            await until(lambda: a.status.isolated is None)
            facts = a.status.facts

    assert [word for word in words for line in facts.warnings if word in line] == words
    said = [r for r in caplog.records if "at risk" in r.message and r.levelno == logging.WARNING]
    assert len(said) == len(words)
    assert facts.name == "redis"
    assert facts.version.startswith("7.")


async def test_what_is_changed_at_the_server_is_seen_while_the_road_is_up(
    server: RedisServer, caplog
):
    async with nodes(road_to(server.url)) as (a,):
        await until(lambda: a.status.isolated is None)
        server.execute("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        await until(lambda: "maxmemory_policy" in a.status.facts.faults)
        server.execute("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "64mb")
        await until(lambda: "maxmemory_policy" not in a.status.facts.faults)
        facts = a.status.facts
        assert a.status.lost == 0

    assert facts.memory_limit_bytes == 64 << 20
    assert 0 < facts.memory_bytes < 64 << 20
    said = [record.message for record in caplog.records if "at risk" in record.message]
    assert sum("allkeys-lru" in line for line in said) == 1


async def test_a_server_without_memory_keeps_what_it_has_and_takes_the_rest_later(
    server: RedisServer,
):
    async with nodes(road_to(server.url), road_to(server.url)) as (a, b):
        a.claim(ROOM, 0.0)
        await until(lambda: b.claims(ROOM))
        server.execute("CONFIG", "SET", "maxmemory", "1")
        a.claim("room/bob", 0.0)
        await asyncio.sleep(QUICK.renew * 2)
        assert b.claims("room/bob") == []
        assert [view.claim.node for view in b.claims(ROOM)] == [A]

        server.execute("CONFIG", "SET", "maxmemory", "0")

        await until(lambda: b.claims("room/bob"))
        await until(lambda: a.status.isolated is None)


async def test_sentinel_says_where_the_primary_is(tmp_path):
    binary = redis_binary()
    with (
        running(binary, tmp_path / "one", replicates=True) as primary,
        running(binary, tmp_path / "two", replicates=True) as replica,
    ):
        await asyncio.to_thread(replica.follow, primary)
        port = free_port()
        with sentinel(binary, tmp_path, port, primary):
            url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/live"
            async with nodes(road_to(url), road_to(url)) as (a, b):
                a.claim(ROOM, 0.0)
                await until(lambda: b.claims(ROOM))

                primary.kill()

                await until(lambda: b.status.epoch_changes > 0, seconds=20)
                a.claim("room/bob", 0.0)
                await until(lambda: b.claims("room/bob") and b.claims(ROOM))


async def test_tls_is_verified_against_the_authority_that_is_given(tmp_path):
    ours, others = generate(["127.0.0.1"]), generate(["127.0.0.1"])
    (tmp_path / "cert.pem").write_bytes(ours.pem)
    (tmp_path / "key.pem").write_bytes(ours.key_pem)
    (tmp_path / "other.pem").write_bytes(others.pem)
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file")
    files = (f"{tmp_path}/cert.pem", "--tls-cert-file", f"{tmp_path}/cert.pem")
    with running(
        redis_binary(), tmp_path / "redis", *tls, *files, "--tls-key-file", f"{tmp_path}/key.pem"
    ):
        trusted, wrong = (
            parse_endpoint(f"rediss://127.0.0.1:{port}", ca_file=f"{tmp_path}/{name}.pem")
            for name in ("cert", "other")
        )
        async with nodes(road_to(trusted), road_to(wrong)) as (a, b):
            await until(lambda: a.status.isolated is None)
            await until(lambda: "certificate" in (b.status.isolated or "").lower())


async def test_a_server_that_is_half_a_timeout_away_is_reached_and_stays_so(tmp_path, server):
    socket = tmp_path / "far.sock"
    events: list[RoadEvent] = []
    road = RedisRoad(Endpoint(path=str(socket)), timeout=2 * FAR_SECONDS, probe_seconds=0.05)
    async with Wire(socket, server.socket) as wire, asyncio.TaskGroup() as tasks:
        wire.delay = FAR_SECONDS / 2
        running_one = tasks.create_task(road.run(events.append))
        await until(lambda: events)
        await asyncio.sleep(5 * (FAR_SECONDS + 0.05))  # some probes are through
        kinds = [type(event) for event in events]
        running_one.cancel()

    assert kinds[0] is Connected
    assert set(kinds[1:]) == {Looked}


async def test_a_subscription_that_is_well_but_mute_is_found_and_laid_anew(
    server: RedisServer, tmp_path
):
    async with mutable(server.socket, tmp_path / "proxy.sock") as mute:
        proxied = road_to(f"unix://{tmp_path}/proxy.sock")
        async with nodes(road_to(server.url), proxied) as (a, b):
            await until(lambda: a.status.isolated is None and b.status.isolated is None)

            mute()

            await until(lambda: b.status.lost == 1, seconds=2)
            await until(lambda: b.status.isolated is None)
            a.claim(ROOM, 0.0)
            await until(lambda: b.claims(ROOM), seconds=0.3)


@asynccontextmanager
async def mutable(server: Path, path: Path):
    """A proxy that can stop to pass on what is published, on the connections of the moment."""
    muted: set[asyncio.StreamWriter] = set()
    subscribed: set[asyncio.StreamWriter] = set()

    async def passes(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while data := await source.read(65536):
            if b"SUBSCRIBE" in data:
                subscribed.add(client)
            if sink is not client or client not in muted:
                sink.write(data)
        sink.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(server)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(passes(reader, far_writer, writer))
            tasks.create_task(passes(far_reader, writer, writer))

    async with await asyncio.start_unix_server(accept, path):
        yield lambda: muted.update(subscribed)


@contextmanager
def sentinel(binary: str, directory: Path, port: int, primary: RedisServer) -> Iterator[None]:
    """A Sentinel that watches one primary, quickly."""
    config = directory / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
        f"sentinel monitor live 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds live 500\n"
        "sentinel failover-timeout live 2000\n"
    )
    with (directory / "sentinel.log").open("ab") as log:
        process = subprocess.Popen([binary, str(config), "--sentinel"], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()
