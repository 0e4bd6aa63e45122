"""What one address and one tenant may ask by HTTP, over an origin whose source the test plays."""

import asyncio
import contextlib
import ipaddress
import logging

import pytest
from aiohttp.test_utils import TestClient, TestServer

from moq_relay.daemon.auth import Authority
from moq_relay.daemon.config.values import Public
from moq_relay.daemon.tokens.jwk import Key
from moq_relay.daemon.tokens.keys import OneKey
from moq_relay.daemon.web.http import PublicHttp
from moq_relay.daemon.web.requests import Requests
from moq_relay.relay.access import Access, Holder
from moq_relay.relay.counters import Counters
from moq_relay.relay.group import Frame
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.relay.route import Route
from moq_relay.sessions.gate import Gate, GateLimits
from moq_relay.sessions.tenants import WINDOW, TenantLimits, Tenants
from tests.support.node import Clock, until

HERE = (ipaddress.ip_network("127.0.0.0/8"),)
KEY = Key("HS256", b"s" * 32, b"s" * 32)
SIZE = 200_000
FETCH = "/fetch/room/a/video?group=5"


class Source:
    """Has every group, or, below ``late``, none yet."""

    def __init__(self):
        self.waiting = []

    def fetch(self, path, _track, group):
        if path.startswith("late"):
            self.waiting.append(group)
            return
        group.append(Frame(bytes(SIZE), 0))
        group.finish()


class World:
    """One relay's HTTP, its limits and its clock."""

    def __init__(self, *, requests=None, trusted=(), fetches=9, **tenant):
        self.clock = Clock()
        self.gate = Gate(GateLimits(requests=requests, trusted=trusted), clock=self.clock)
        self.counters = self.gate.counters
        self.tenants = Tenants(TenantLimits(**tenant))
        self.source = Source()
        origin = Origin(1, Cache(CacheLimits(), Counters()), float, lambda _seconds, _call: None)
        self.origin = origin
        for path in ("room/a", "hall/b", "late/c"):
            origin.announce(path, Route(self.source))
        requests = Requests(self.gate, self.tenants, fetches=fetches)
        authority = Authority(Public(("",), ()), keys=OneKey(KEY))
        self.http = PublicHttp(origin, authority, lambda: "0" * 64, requests=requests)

    def announce(self, count):
        for number in range(count):
            self.origin.announce(f"more/{number}", Route(self.source))

    def turn(self):
        self.clock.now += 1
        self.tenants.turn((), self.clock.now)

    @contextlib.asynccontextmanager
    async def client(self):
        app = self.http.application()
        async with (
            asyncio.timeout(10),
            TestClient(TestServer(app, handler_cancellation=True)) as client,
        ):
            yield client


async def said(getting):
    answer = await getting
    return answer.status, answer.headers.get("Retry-After"), len(await answer.read())


async def told(getting):
    answer = await getting
    return answer.status, answer.headers.get("Retry-After"), await answer.text()


# --- an address -----------------------------------------------------------------------------------


async def test_one_address_asks_so_often_a_second_and_is_told_when_to_come_again(caplog):
    caplog.set_level(logging.INFO)
    world = World(requests=2)
    async with world.client() as client:
        assert [(await client.get("/announced")).status for _ in range(4)] == [200] * 4

        answer = await client.get(FETCH)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert answer.headers["Connection"] == "close"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert await answer.text() == "too many requests by HTTP a second of one address\n"
        assert (await client.get("/certificate.sha256")).status == 429

        world.clock.now += 0.5
        assert [(await client.get("/announced")).status for _ in range(2)] == [200, 429]
    assert world.counters.requests_refused == {"rate": 3}
    assert caplog.text.count("refused peer=127.0.0.1 reason=too many requests by HTTP") == 1


async def test_a_long_list_counts_for_more_than_one_request():
    world = World(requests=5)
    world.announce(10_000)
    async with world.client() as client:
        assert [(await client.get("/announced/room")).status for _ in range(2)] == [200, 429]
        assert (await client.get(FETCH)).status == 429
        # 20 for the list, less what was left of the burst
        world.clock.now += 2.0
        assert (await client.get(FETCH)).status == 429
        world.clock.now += 0.5
        assert (await client.get(FETCH)).status == 200


async def test_an_address_that_is_trusted_asks_as_often_as_it_likes():
    world = World(requests=1, trusted=HERE)
    world.gate.saturated = "loop"
    async with world.client() as client:
        assert [(await client.get("/announced")).status for _ in range(20)] == [200] * 20
        assert (await client.get(FETCH)).status == 200


@pytest.mark.parametrize("path", [FETCH, "/announced"])
async def test_while_the_relay_is_saturated_nothing_is_begun(path):
    world = World()
    world.gate.saturated = "loop"
    async with world.client() as client:
        answer = await told(client.get(path))
        assert answer == (503, str(WINDOW), "the relay is saturated: loop\n")
        # And probes go on.
        assert (await client.get("/health")).status == 200

        world.gate.saturated = None
        assert (await client.get(path)).status == 200
    assert world.counters.sessions_refused == {"saturation": 1}


# --- a tenant -------------------------------------------------------------------------------------


async def test_what_a_tenant_fetches_counts_for_its_egress_and_only_for_its_own():
    world = World(egress=SIZE // 2)
    world.turn()
    async with world.client() as client:
        assert await said(client.get(FETCH)) == (200, None, SIZE)
        world.turn()

        status, later, text = await told(client.get(FETCH))
        assert (status, later) == (429, str(WINDOW))
        assert text == "the tenant is sent more than limits.tenant.egress allows\n"
        assert (await client.get("/fetch/hall/b/video?group=5")).status == 200
        assert world.counters.requests_refused == {"tenant": 1}

        # And it goes on once that was long enough ago.
        world.turn()
        assert (await client.get(FETCH)).status == 200
    assert world.counters.fetch_bytes == 3 * SIZE


async def test_a_session_of_a_tenant_that_fetches_too_much_begins_nothing_either():
    world = World(egress=SIZE // 2)
    world.turn()
    async with world.client() as client:
        assert (await said(client.get(FETCH)))[0] == 200
    world.turn()

    assert world.tenants.overdrawn(Access(holder=Holder("room")))


async def test_the_root_of_the_token_says_whose_fetch_it_is():
    world = World(egress=SIZE // 2)
    world.turn()
    async with world.client() as client:
        bearer = {"Authorization": f"Bearer {KEY.sign(root='room/a', get='')}"}
        assert (await said(client.get(FETCH, headers=bearer)))[0] == 200
        world.turn()

        assert (await client.get(FETCH, headers=bearer)).status == 429
        assert (await client.get(FETCH)).status == 200


async def test_a_fetch_is_a_session_of_its_tenant_while_it_lasts():
    world = World(sessions=1)
    late = "/fetch/late/c/video?group=5"
    async with world.client() as client, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(said(client.get(late)))
        await until(lambda: world.source.waiting)

        answer = await told(client.get(late))
        assert answer == (429, "1", "too many sessions of one tenant\n")
        assert (await client.get(FETCH)).status == 200

        world.source.waiting[0].append(Frame(b"now", 0))
        world.source.waiting[0].finish()
        assert await first == (200, None, 3)
        assert (await said(client.get(late)))[2] == 3
    assert world.counters.sessions_refused == {"tenant": 1}


async def test_a_fetch_that_is_left_counts_no_more():
    world = World(sessions=1, fetches=1)
    async with world.client() as client:
        leaving = asyncio.create_task(client.get("/fetch/late/c/video?group=5"))
        await until(lambda: world.source.waiting)
        leaving.cancel()

        async with asyncio.timeout(5):
            while (await client.get("/fetch/hall/b/video?group=5")).status != 200:
                await asyncio.sleep(0.001)


# --- all of them ----------------------------------------------------------------------------------


async def test_there_are_only_so_many_fetches_at_a_time_and_the_others_come_again():
    world = World(fetches=1)
    async with world.client() as client, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(said(client.get("/fetch/late/c/video?group=5")))
        await until(lambda: world.source.waiting)

        answer = await told(client.get(FETCH))
        assert answer == (503, "1", "too many fetches at a time; try again\n")
        assert world.counters.requests_refused == {"fetches": 1}
        world.source.waiting[0].finish()
        await first
        assert (await client.get(FETCH)).status == 200
