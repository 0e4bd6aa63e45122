"""Records that somebody wrote into Redis by hand: they win nothing, and are counted."""

import asyncio
import secrets

import pytest

from moq_relay.cluster import dialling
from moq_relay.cluster.dialling import Dialler
from moq_relay.cluster.endpoint import parse_endpoint
from moq_relay.cluster.joining import Challenges
from moq_relay.cluster.keys import Keys, shard_of
from moq_relay.cluster.records import Member
from moq_relay.cluster.redis import RedisRoad
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.status import RegistrySettings
from moq_relay.daemon.cluster import Cluster
from moq_relay.daemon.clustering import Part
from moq_relay.daemon.config.settings import Redis
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.sessions.context import Context, Limits
from moq_relay.sessions.host import Host
from moq_relay.transports.quic.dialer import DialFailed, Trust
from tests.support.node import until
from tests.support.redis_server import redis_binary, running

A, B, C = (f"https://{name}.example/" for name in "abc")
TIMES = RegistrySettings(renew=0.5, command_timeout=0.5, lease=2.0, audit=1.0)
REAL = "room/real"


@pytest.fixture
def redis(tmp_path):
    with running(redis_binary(), tmp_path / "redis") as server:
        yield server


class Hand:
    """Writes as a node does, without being one."""

    def __init__(self, redis):
        self._redis = redis
        self._keys = Keys()

    def member(self, node, region="evil", tail=None):
        record = Member(node=node, generation=9, instance="forged", region=region, hop=66)
        tail = tail or f"9 forged {record.tail()}"
        self._emit(None, f"M {node} {tail}", node, tail)
        self._redis.execute("ZADD", self._keys.of(None, "")[3], 10**15, node)

    def claim(self, node, path, generation):
        line = f"{node} {generation} {10**15} 66"
        self._emit(shard_of(path, 16), f"+ {path} {line}", path, line)

    def _emit(self, shard, event, field, value):
        meta, table, log, *_ = self._keys.of(shard, "")
        sequence = self._redis.execute("HINCRBY", meta, "s", 1)
        epoch = self._text("HGET", meta, "e")
        self._redis.execute("HSET", table, field, value)
        self._redis.execute("XADD", log, f"{sequence}-0", "d", event)
        message = f"{epoch} {sequence} {event}"
        self._redis.execute("PUBLISH", self._keys.channel(shard), message)

    def _text(self, *command):
        found = self._redis.execute(*command)
        return found.decode() if isinstance(found, bytes) else found


async def test_forged_records_lead_to_no_dial_no_token_and_no_wrong_route(redis, monkeypatch):
    dialled = []

    def nobody_answers(host, port, **_options):
        dialled.append(host)
        raise DialFailed("nobody answers")

    monkeypatch.setattr(dialling, "dial", nobody_answers)

    def registry(node):
        road = RedisRoad(
            parse_endpoint(redis.url), prefix="moq", shards=16, timeout=0.5, probe_seconds=0.5
        )
        return Registry(road, node=node, region="one", settings=TIMES)

    # Given an honest node, and a whole cluster's part of another one that knows whom to allow.
    honest = registry(A)
    part = Part(
        mode="direct",
        node=B,
        roots=("https://root.example:1/",),
        region="two",
        token=secrets.token_hex(),
        endpoint=parse_endpoint(redis.url),
        times=TIMES,
        allow=("a.example", "b.example", "c.example", "d.example"),
    )
    loop, counters = asyncio.get_running_loop(), Counters()
    origin = Origin(1, Cache(CacheLimits(), counters), loop.time, loop.call_later)
    context = Context(origin, Limits(), lambda _target: None, counters)

    def cluster(host):
        return Cluster(
            part,
            Redis(),
            origin=origin,
            dial=Dialler(host, context, Trust(), part.destinations()),
            challenges=Challenges(),
            extensions={},
        )

    async with Host(context) as host, asyncio.TaskGroup() as tasks:
        other = cluster(host)
        running = [tasks.create_task(one.run()) for one in (honest, other)]
        honest.claim(REAL, 0.0)
        await until(lambda: list(other.registry.paths()) == [REAL])
        before = other.registry.status.malformed

        # When six records are forged.
        hand = Hand(redis)
        hand.member("http://a.example:4443/")
        hand.member("https://evil.test/")
        hand.claim("https://evil.test/", "room/evil", 9)
        hand.member("https://127.0.0.1:6379/")
        hand.claim("https://127.0.0.1:6379/", "room/here", 9)
        hand.member(C, tail="who knows")
        hand.claim("https://d.example/", "room/ghost", 9)
        hand.claim(A, "room/stolen", honest.status.generation)

        # Then the audit of the one who is robbed mends it, and the others never counted.
        await until(lambda: honest.status.repaired_ghost == 1, seconds=10)
        await until(lambda: list(other.registry.paths()) == [REAL])
        assert set(other.registry.members) == {A, B}
        assert other.registry.status.malformed - before == 4
        # Probes have gone to every region by now, and to whom they should.
        await until(lambda: "a.example" in dialled, seconds=10)
        assert set(dialled) <= {"a.example", "root.example"}

        for task in running:
            task.cancel()

    # And who reads the whole table sees the same.
    async with Host(context) as host, asyncio.TaskGroup() as tasks:
        late = cluster(host)
        task = tasks.create_task(late.run())
        await until(lambda: late.registry.status.isolated is None and late.synced)
        assert B in late.registry.members
        assert set(late.registry.members) <= {A, B}
        assert late.registry.status.malformed >= 4
        assert set(late.registry.paths()) <= {REAL}
        task.cancel()
    assert set(dialled) <= {"a.example", "root.example"}
