"""Server-sent events: how many may watch, what they share, and what a slow one costs."""

import asyncio
import contextlib
import json
import socket

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from moq_relay.daemon.web.live import Live

PATIENCE = 10.0


class Looks:
    """Something to look at; counts how often somebody did."""

    def __init__(self, size=0):
        self.count = 0
        self.filler = "x" * size

    async def __call__(self):
        self.count += 1
        return {"number": self.count, "filler": self.filler}


@contextlib.asynccontextmanager
async def served(live):
    app = web.Application()
    app.router.add_get("/live", live.stream)
    app.router.add_get("/once", live.once)
    app.on_shutdown.append(live.end)
    server = TestServer(app, handler_cancellation=True, shutdown_timeout=PATIENCE)
    async with TestClient(server) as client:
        yield client


async def picture(answer):
    """The next picture of a stream."""
    async with asyncio.timeout(PATIENCE):
        while True:
            line = (await answer.content.readline()).decode()
            assert line, "the stream ended"
            if line.startswith("data: "):
                return json.loads(line.removeprefix("data: "))


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_client_sees_one_picture_after_the_other():
    looks = Looks()
    async with served(Live(looks, period=0.02)) as client, client.get("/live") as answer:
        first, second = await picture(answer), await picture(answer)

        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        assert second["number"] == first["number"] + 1


async def test_all_who_watch_share_one_look():
    looks = Looks()
    async with served(Live(looks, period=60)) as client, contextlib.AsyncExitStack() as stack:
        answers = [await stack.enter_async_context(client.get("/live")) for _ in range(5)]
        seen = [(await picture(answer))["number"] for answer in answers]
        async with client.get("/once") as once:
            seen.append((await once.json())["picture"]["number"])

    assert seen == [1] * 6
    assert looks.count == 1


async def test_nothing_is_looked_at_while_nobody_watches():
    looks = Looks()
    live = Live(looks, period=0.01)
    async with served(live) as client:
        async with client.get("/live") as answer:
            await picture(answer)
        await until(lambda: not live.watching)
        before = looks.count
        await asyncio.sleep(0.1)

        assert looks.count == before


async def test_one_client_too_many_gets_a_line_and_comes_in_when_another_left():
    live = Live(Looks(), clients=2)
    async with served(live) as client, contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(client.get("/live"))
        await picture(first)
        await picture(await stack.enter_async_context(client.get("/live")))

        async with client.get("/live") as refused:
            assert refused.status == 503
            assert await refused.text() == "2 clients watch already; /topology has the same, once\n"
        async with client.get("/once") as once:
            assert (await once.json())["live"] == {"watching": 2, "most": 2}

        first.close()
        await until(lambda: live.watching == 1)
        await picture(await stack.enter_async_context(client.get("/live")))


async def test_thirty_two_may_watch():
    live = Live(Looks())
    async with served(live) as client, contextlib.AsyncExitStack() as stack:
        for _ in range(32):
            answer = await stack.enter_async_context(client.get("/live"))
            assert answer.status == 200
        async with client.get("/live") as refused:
            assert refused.status == 503


@pytest.mark.timeout(30)
async def test_a_client_that_does_not_read_is_dropped_and_delays_nobody():
    live = Live(Looks(200_000), period=0.01, patience=0.5)
    async with served(live) as client:
        with socket.create_connection((client.host, client.port)) as slow:
            slow.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: live.watching == 1)
            await until(lambda: not live.watching)
            assert live.dropped == 1

            slow.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionError):
                while await asyncio.to_thread(slow.recv, 1 << 20):
                    pass
        async with client.get("/live") as answer:
            await picture(answer)


@pytest.mark.timeout(30)
async def test_streams_end_at_once_when_the_relay_does():
    live = Live(Looks(), period=60)
    async with served(live) as client, client.get("/live") as answer:
        await picture(answer)
        began = asyncio.get_running_loop().time()
        await client.server.close()

        assert asyncio.get_running_loop().time() - began < PATIENCE / 2
        assert await answer.content.read() in (b"", b"\n")
