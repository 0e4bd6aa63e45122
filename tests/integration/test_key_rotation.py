"""Keys change where a server has them, while somebody publishes and others watch."""

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt import algorithms

from moq_relay.daemon.tokens.jwk import Key
from moq_relay.wire.lite.versions import LITE_06
from tests.support.own_client import connected, publish, until
from tests.support.relay_process import RelayProcess
from tests.support.station import Listening, Station
from tests.support.traffic import keep_writing, watching

SIZE = 2_000


class Provider:
    """An identity provider: makes keys, publishes their public halves, and signs."""

    def __init__(self):
        self.published = {}
        self.away = False
        self.asked = 0
        self._keys = {}

    def make(self, kid):
        private = ed25519.Ed25519PrivateKey.generate()
        halves = [
            algorithms.OKPAlgorithm.to_jwk(half, as_dict=True) | {"kid": kid, "use": "sig"}
            for half in (private.public_key(), private)
        ]
        self.published[kid], self._keys[kid] = halves[0], Key.of(halves[1], kid, "sign")

    def token(self, kid, **claims):
        return self._keys[kid].sign(iss="me", aud="relay", **claims)

    async def answer(self, _request):
        self.asked += 1
        if self.away:
            raise web.HTTPServiceUnavailable
        return web.json_response(
            {"keys": list(self.published.values())}, headers={"Cache-Control": "max-age=600"}
        )


@pytest.fixture
async def provider():
    told = Provider()
    told.make("first")
    app = web.Application()
    app.router.add_get("/jwks.json", told.answer)
    async with TestServer(app) as server:
        told.url = str(server.make_url("/jwks.json"))
        yield told


async def test_a_key_is_changed_under_traffic_and_no_group_is_missed(provider, tmp_path):
    settings = f'jwks = "{provider.url}"\naudience = "relay"\nissuer = "me"'
    relay = RelayProcess(tmp_path, [LITE_06.name], settings)
    await asyncio.to_thread(relay.start)
    port, station = relay.ports[LITE_06.name], Station(frames=2, size=SIZE)
    heard = []

    async def watch(stack, kid):
        target = f"/room?jwt={provider.token(kid, root='room', get='')}"
        heard.append(Listening(frames=2, size=SIZE))
        await watching(stack, port, LITE_06, target, "live", heard[-1])

    try:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            target = f"/room?jwt={provider.token('first', root='room', put='')}"
            publisher = await stack.enter_async_context(connected(port, LITE_06, path=target))
            publish(publisher, "live", station)
            writing = tasks.create_task(keep_writing(station))
            await watch(stack, "first")

            provider.make("second")
            await watch(stack, "second")
            asked = provider.asked
            provider.away = True
            await watch(stack, "first")
            await watch(stack, "second")
            reached = station.sequence + 20
            await until(lambda: station.sequence >= reached)
            writing.cancel()
            last = station.sequence - 1
            await until(lambda: all(last in one.whole for one in heard))

            assert asked == provider.asked == 2
            for one in heard:
                assert (one.missing, one.faults) == ([], [])
            assert len(heard[0].whole) > len(heard[3].whole) >= 20
        relay.stop()
    finally:
        relay.kill()
    log = relay.log()
    assert log.count("keys read place=") == 2
    assert json.dumps(provider.published["second"]["x"]) not in log
