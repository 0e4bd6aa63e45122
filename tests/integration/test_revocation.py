"""Tokens that are taken back at one relay: on another, and after the registry lost everything."""

import asyncio
import json
import subprocess
import time
import urllib.request
from contextlib import AsyncExitStack

import pytest

from moq_relay.transports.quic.dialer import DialFailed
from moq_relay.wire.lite.versions import LITE_06
from tests.support.cluster_process import ClusterProcess, eventually
from tests.support.own_client import connected, publish, until
from tests.support.redis_server import redis_binary, running
from tests.support.relay_process import EXECUTABLE, environment
from tests.support.station import EVERYTHING, Listening, Station

OPERATOR = "a secret of the operator"
REVOKED_SECONDS = 1.0


@pytest.fixture
def redis(tmp_path):
    with running(redis_binary(), tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def cluster(tmp_path, redis):
    """A root and a node through it that run, and one with its own way to Redis for later."""
    made = ClusterProcess(tmp_path, ["eu", "us", "ap"])
    for name in ("eu", "us", "ap"):
        joining = f'root = "{made.address("eu")}"\ntoken = "{tmp_path}/{name}.jwt"\n'
        straight = f'url = "{redis.url}"\n' if name != "us" else ""
        node = made.add(
            name,
            cluster=joining if name != "eu" else "",
            rest=f"[redis]\n{straight}timeout = 0.5\n",
        )
        node.environment = {"MOQ_INTERNAL_TOKEN": OPERATOR}
        # Who has no token may do nothing.
        node.toml = node.toml.replace('public = ""\n', "")
    await made.start("eu", "us")
    try:
        yield made
        made.stop()
    finally:
        made.kill()


def target(cluster, **claims):
    """Where who has a token with these claims connects."""
    return f"/room?jwt={cluster.key.sign(root='room', put='', get='', **claims)}"


def revoke(node, *words):
    """By the command, as an operator does."""
    return subprocess.run(
        [
            *(str(EXECUTABLE), "token", "revoke", *words),
            *("--internal", f"http://127.0.0.1:{node.internal_port}"),
        ],
        env=environment() | {"MOQ_INTERNAL_TOKEN": OPERATOR},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def post(node, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{node.internal_port}/revoke",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {OPERATOR}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


async def refused(node, path):
    """Whether nobody gets in there."""
    inside, statuses = False, []
    try:
        async with asyncio.timeout(10), connected(node.port, LITE_06, path=path):
            inside = True
    except* DialFailed as group:
        statuses = [error.status for error in group.exceptions]
    assert inside or statuses == [403]
    return not inside


async def test_who_is_revoked_on_one_node_is_out_on_another_within_a_second_and_stays_out(
    cluster, redis
):
    eu, us = cluster["eu"], cluster["us"]
    station, heard = Station(frames=2, size=300), Listening(frames=2, size=300)
    async with AsyncExitStack() as stack:

        async def client(node, **claims):
            path = target(cluster, **claims)
            return await stack.enter_async_context(connected(node.port, LITE_06, path=path))

        publisher = await client(eu, jti="publisher")
        publish(publisher, "live", station)
        viewers = {name: await client(us, jti=name, sub="bob", iat=1_000) for name in ("a", "b")}
        for viewer in viewers.values():
            await until(lambda viewer=viewer: "live" in viewer.broadcasts)
        good = await client(us, jti="good", sub="eve", iat=2_000)
        await until(lambda: "live" in good.broadcasts)
        good.subscribe("live", "video", heard, EVERYTHING)
        station.write()
        await until(lambda: heard.first is not None)

        told = time.monotonic()
        post(eu, {"jti": "a"})
        await until(lambda: "live" not in viewers["a"].broadcasts)
        assert time.monotonic() - told < REVOKED_SECONDS
        told = time.monotonic()
        post(eu, {"sub": ["bob", "eve"], "issued_until": 1_500})
        await until(lambda: "live" not in viewers["b"].broadcasts)
        assert time.monotonic() - told < REVOKED_SECONDS

        # The publisher and who has a newer token are not concerned.
        for _ in range(3):
            station.write()
        await until(lambda: station.sequence - 1 in heard.whole)
        assert (heard.missing, heard.faults) == ([], [])
        assert await refused(us, target(cluster, jti="a"))
        assert await refused(us, target(cluster, sub="eve", iat=1_500))
        assert not await refused(us, target(cluster, sub="eve", iat=1_501))
        ended = us.metric("moq_relay_sessions_ended_total")
        assert ended[frozenset({("reason", "revoked")})] == 2


async def test_what_the_registry_lost_is_brought_back_and_a_node_that_comes_later_knows(
    cluster, redis
):
    eu, us, ap = cluster["eu"], cluster["us"], cluster["ap"]
    path = target(cluster, jti="a", sub="bob")
    done = await asyncio.to_thread(revoke, us, "--token-id", "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "taken back on every relay that is in touch with the registry\n"
    assert await refused(eu, path)

    await asyncio.to_thread(redis.execute, "FLUSHALL")
    await eventually(lambda: kept(redis) == 1, "it is in the registry again")
    await asyncio.to_thread(redis.kill)
    post(eu, {"sub": "bob"})
    assert eu.facts("/revocations")["pending"] == 1
    assert await refused(eu, target(cluster, sub="bob"))
    await asyncio.to_thread(redis.start)
    await eventually(lambda: kept(redis) == 2, "both are in a registry that started empty")

    await cluster.start("ap")
    assert await refused(ap, path)
    assert await refused(ap, target(cluster, sub="bob"))
    assert not await refused(ap, target(cluster, sub="eve"))


def kept(redis):
    return redis.execute("HLEN", "moq:{m}:revoked")
