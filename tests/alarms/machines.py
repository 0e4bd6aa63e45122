"""Faults of what a relay runs on: files, certificates, time, and what it may have."""

import asyncio
import datetime
import os
import resource
import shutil
import signal
from contextlib import AsyncExitStack

from aiohttp import web
from aiohttp.test_utils import TestServer

from moq_relay.daemon.tokens.places import SHORTEST
from moq_relay.daemon.watched import SETTLE_SECONDS
from moq_relay.transports.tls import generate
from moq_relay.wire.lite.versions import LITE_06
from ops.prometheus.alerts import DAYS_TO_RENEW, FULL_SHARE, SATURATED_SHARE
from tests.alarms.fault import Plan, fault
from tests.alarms.world import World
from tests.support.cluster_process import eventually
from tests.support.own_client import connected

FILES = 100
SESSIONS = 25
STANDS_SECONDS, RUNS_SECONDS = 0.15, 0.20
LOOKS_SECONDS = 1.0
"""How often a relay looks at its files, and whether keys are due."""
STARTED_SECONDS = 5.0
"""A relay's start on a machine that does everything at once."""


@fault("a relay has nine in ten of the files open that it may have", "MoqFilesShort")
async def files_short(world: World) -> None:
    node = world["asia"]
    has = int(node.counter("process_open_fds"))
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (has + FILES, has + FILES))
    async with AsyncExitStack() as stack:
        world.begins()
        while node.counter("process_open_fds") < (FULL_SHARE + 0.1) * (has + FILES):
            _, writer = await asyncio.open_connection("127.0.0.1", node.web_port)
            stack.callback(writer.close)
        await asyncio.Event().wait()


@fault(
    "a relay may have few sessions, and has nearly as many",
    "MoqSaturated",
    regions=("asia",),
    labels={"resource": "sessions"},
    plan=Plan(toml=f"\n[limits]\nsessions = {SESSIONS}\n"),
)
async def sessions_full(world: World) -> None:
    node = world["asia"]

    def share() -> float:
        found = node.metric("moq_relay_saturation_ratio")
        return found[frozenset({("resource", "sessions")})]

    async with AsyncExitStack() as stack:
        world.begins()
        while await asyncio.to_thread(share) < SATURATED_SHARE + 0.05:
            await stack.enter_async_context(connected(node.port, LITE_06))
        await asyncio.Event().wait()


@fault(
    f"a relay's process stands still for {1000 * STANDS_SECONDS:.0f} ms, again and again",
    "MoqLoopLate",
    regions=("asia",),
    windows=("pair",),
)
async def loop_late(world: World) -> None:
    pid = world["asia"].pid
    world.begins()
    try:
        while True:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(STANDS_SECONDS)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(RUNS_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


async def certified(world: World, lasts: datetime.timedelta) -> None:
    """Start a relay again with another certificate, whom all others trust by then."""
    made = generate(["localhost"], lasts)
    node, directory = world["asia"], world.directory
    (directory / "short.pem").write_bytes(made.pem)
    (directory / "short.key").write_bytes(made.key_pem)
    whole = f'cert = "{directory}/cert.pem"\nkey = "{directory}/cert.key"'
    short = f'cert = "{directory}/short.pem"\nkey = "{directory}/short.key"'
    assert whole in node.toml
    node.toml = node.toml.replace(whole, short)
    world.begins()
    await world.restart("asia")
    await eventually(node.ready, "it is back")


@fault(
    f"a relay is started with a certificate that ends in {DAYS_TO_RENEW - 1} days",
    "MoqCertificateEnds",
    relays=STARTED_SECONDS,
)
async def certificate_ends(world: World) -> None:
    await certified(world, datetime.timedelta(days=DAYS_TO_RENEW - 1))


@fault(
    "a relay is started with a certificate that ends in 12 hours",
    "MoqCertificateEndsToday",
    relays=STARTED_SECONDS,
)
async def certificate_ends_today(world: World) -> None:
    await certified(world, datetime.timedelta(hours=12))


@fault(
    "a relay's new certificate is given a key that belongs to another",
    "MoqCertificateRefused",
    regions=("asia",),
    relays=SETTLE_SECONDS + LOOKS_SECONDS,
)
async def certificate_refused(world: World) -> None:
    node, directory = world["asia"], world.directory
    for kind in ("pem", "key"):
        shutil.copy(directory / f"cert.{kind}", directory / f"own.{kind}")
        assert f"{directory}/cert.{kind}" in node.toml
        node.toml = node.toml.replace(f'"{directory}/cert.{kind}"', f'"{directory}/own.{kind}"', 1)
    await world.restart("asia")
    await eventually(node.ready, "it is back")
    world.begins()
    (directory / "own.key").write_bytes(generate(["localhost"]).key_pem)


@fault(
    f"the server of a relay's key, which is good for {SHORTEST:g} s, answers no more",
    "MoqKeysStale",
    regions=("asia",),
    relays=SHORTEST + LOOKS_SECONDS,
)
async def keys_stale(world: World) -> None:
    node, file = world["asia"], world.directory / "key.jwk"

    async def answer(_request: web.Request) -> web.Response:
        fresh = {"Cache-Control": f"max-age={SHORTEST:g}"}
        return web.Response(text=file.read_text(), headers=fresh)

    app = web.Application()
    app.router.add_get("/key.jwk", answer)
    async with TestServer(app) as server:
        assert f'key = "{file}"' in node.toml
        node.toml = node.toml.replace(f'"{file}"', f'"{server.make_url("/key.jwk")}"')
        await world.restart("asia")
        await eventually(node.ready, "it is back")
        await eventually(lambda: "keys read place=http" in node.log(), "it has its key")
    world.begins()
