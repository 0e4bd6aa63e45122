"""Connections by HTTP over loopback, whose addresses are as good as any from elsewhere."""

import asyncio
import contextlib
import ipaddress
import logging
import os
import resource
import socket
from pathlib import Path

import pytest
from aiohttp import web

from moq_relay.daemon.config.values import Address
from moq_relay.daemon.sockets import bind_tcp
from moq_relay.daemon.web.accepting import Entrance
from moq_relay.daemon.web.connections import Connections
from moq_relay.daemon.web.serving import serving
from moq_relay.sessions.gate import Gate, GateLimits
from tests.support.node import Clock, until

NEAR = (ipaddress.ip_network("127.0.1.0/24"),)
REQUEST = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = 16 << 20


class Door:
    """A listener, and clients that stay until the test is over."""

    def __init__(self, gate, connections, place):
        self.gate = gate
        self.connections = connections
        self.place = place
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.clients = []

    async def come(self, host="127.0.0.1", said=b""):
        """One more client; whether its connection stays is for the test to see."""
        client = await asyncio.open_connection(*self.place, local_addr=(host, 0))
        self.clients.append(client[1])
        client[1].write(said)
        return client

    async def wait(self, host="127.0.0.1"):
        """One more client with a request under way."""
        self.begun.clear()
        client = await self.come(host, REQUEST % b"wait")
        await self.begun.wait()
        return client

    def refused(self):
        return dict(self.gate.counters.sessions_refused)


@contextlib.asynccontextmanager
async def door(*, requests=None, **limits):
    gate = Gate(GateLimits(requests=requests, trusted=NEAR), clock=Clock())
    paced = requests is not None
    options = {"most": 9, "per_address": 9, "grace": 0.0, "paced": paced} | limits
    connections = Connections(gate, **options)
    (listening,) = await bind_tcp(Address("127.0.0.1", 0), "here")
    found = Door(gate, connections, listening.getsockname())

    async def wait(_request):
        found.begun.set()
        await found.go_on.wait()
        return web.Response()

    async def at_once(_request):
        return web.Response(body=b"here")

    async def large(_request):
        return web.Response(body=bytes(LARGE))

    app = web.Application()
    app.router.add_get("/wait", wait)
    app.router.add_get("/at-once", at_once)
    app.router.add_get("/large", large)
    async with asyncio.timeout(10), serving(app, [listening], connections):
        try:
            yield found
        finally:
            found.go_on.set()
            for client in found.clients:
                client.close()


async def ended(client):
    """Wait until a connection ends; what came of it."""
    with contextlib.suppress(ConnectionError):
        return await client[0].read()
    return b""


async def answered(client, path=b"at-once"):
    """Whether one more request on a connection is answered."""
    client[1].write(REQUEST % path)
    return (await client[0].read(12)) == b"HTTP/1.1 200"


# --- how many -------------------------------------------------------------------------------------


async def test_one_address_has_only_so_many_connections_and_others_have_theirs():
    async with door(per_address=2) as at:
        for _ in range(2):
            await at.wait()
        assert await ended(await at.come()) == b""
        assert at.refused() == {"http_address": 1}

        # And others come in, and it does again once it has left
        assert await answered(await at.come("127.0.0.2"))
        at.go_on.set()
        at.clients[0].close()
        await until(lambda: len(at.connections) == 2)
        assert await answered(await at.come())


async def test_a_listener_has_only_so_many_connections():
    async with door(most=2) as at:
        for host in ("127.0.0.1", "127.0.0.2"):
            await at.wait(host)

        assert await ended(await at.come("127.0.0.3")) == b""
        assert (at.refused(), len(at.connections)) == ({"http_connections": 1}, 2)


async def test_a_refusal_is_said_once_and_not_a_byte_is_read(caplog):
    caplog.set_level(logging.INFO)
    async with door(per_address=1) as at:
        await at.wait()
        for _ in range(3):
            assert await ended(await at.come(said=REQUEST % b"at-once")) == b""

    lines = [r.getMessage() for r in caplog.records if "refused" in r.getMessage()]
    assert len(lines) == 1
    assert "peer=127.0.0.1:" in lines[0]
    assert "reason=too many connections by HTTP of one address" in lines[0]


async def test_who_asks_for_nothing_goes_for_a_newcomer_the_longest_idle_first():
    async with door(per_address=3) as at:
        first, second, third = [await at.come() for _ in range(3)]
        await until(lambda: len(at.connections) == 3)
        assert await answered(first)

        fourth = await at.come()
        assert await ended(second) == b""
        assert await answered(third)
        assert await answered(fourth)
        await at.come()
        await ended(first)
        assert (at.refused(), len(at.connections)) == ({}, 3)


async def test_who_came_just_now_is_not_ended_for_another():
    async with door(per_address=1, grace=60.0) as at:
        first = await at.come()

        assert await ended(await at.come()) == b""
        assert await answered(first)
        assert at.refused() == {"http_address": 1}


async def test_who_is_trusted_is_limited_in_all_only_and_gives_way_to_nobody_else():
    async with door(most=3, per_address=1) as at:
        trusted = [await at.come("127.0.1.1") for _ in range(3)]
        await until(lambda: len(at.connections) == 3)

        assert await ended(await at.come("127.0.0.2")) == b""
        assert at.refused() == {"http_connections": 1}
        await at.come("127.0.1.1")
        assert await ended(trusted[0]) == b""
        assert await answered(trusted[1])


async def test_what_is_reserved_is_for_who_is_trusted():
    async with door(most=3, reserved=1) as at:
        for host in ("127.0.0.1", "127.0.0.2"):
            await at.wait(host)

        assert await ended(await at.come("127.0.0.3")) == b""
        assert await answered(await at.come("127.0.1.1"))


async def test_one_address_begins_only_so_many_connections_a_second():
    async with door(requests=1) as at:
        for _ in range(4):
            _, writer = await at.come()
            writer.close()
        await ended(await at.come())
        await until(lambda: at.refused() == {"http_rate": 1})

        assert await answered(await at.come("127.0.0.2"))
        assert all([await answered(await at.come("127.0.1.1")) for _ in range(6)])


# --- how long -------------------------------------------------------------------------------------


async def test_who_reads_nothing_of_an_answer_is_cut_off():
    async with door(stalled=0.2) as at:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(at.place)
            deaf.sendall(REQUEST % b"large")
            await until(lambda: len(at.connections) == 1)

            await until(lambda: len(at.connections) == 0)


async def test_who_reads_slowly_gets_all_of_it():
    async with door(stalled=0.2) as at:
        reader, _ = await at.come(said=REQUEST % b"large")
        count = 0
        while count < LARGE and (data := await reader.read(1 << 17)):
            count += len(data)
            await asyncio.sleep(0.005)
        assert count > LARGE


async def test_a_body_that_nobody_wants_is_not_read():
    async with door() as at:
        endless = b"GET /at-once HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n"
        reader, writer = await at.come(said=endless)
        assert await reader.read(12) == b"HTTP/1.1 200"

        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 999_999_999:
                writer.write(bytes(1 << 16))
                await writer.drain()
                sent += 1 << 16

        assert sent < 100 << 20
        await until(lambda: len(at.connections) == 0)


# --- descriptors ----------------------------------------------------------------------------------


@contextlib.contextmanager
def no_descriptors():
    """The process can open nothing until the context is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(one.name) for one in Path("/proc/self/fd").iterdir())
    filling = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
        with contextlib.suppress(OSError):
            while True:
                filling.append(os.dup(0))
        yield
    finally:
        for one in filling:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_connections_wait_and_it_is_said_once(caplog, monkeypatch):
    taken, tries = [], []
    accept = socket.socket.accept

    def counted(listening):
        tries.append(asyncio.get_running_loop().time())
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", counted)
    (listening,) = await bind_tcp(Address("127.0.0.1", 0), "here")
    entrance = Entrance([listening], lambda one, _address: taken.append(one), pause=0.02)
    client = socket.socket()
    client.setblocking(False)
    try:
        with no_descriptors():
            with contextlib.suppress(BlockingIOError):
                client.connect(listening.getsockname())
            await until(lambda: len(tries) == 4)
            assert taken == []
            assert tries[-1] - tries[0] >= 3 * 0.02
        await until(lambda: len(taken) == 1)
    finally:
        entrance.close()
        for one in (client, *taken):
            one.close()

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Too many open files" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_closed_entrance_takes_nothing_more():
    (listening,) = await bind_tcp(Address("127.0.0.1", 0), "here")
    place = listening.getsockname()
    Entrance([listening], pytest.fail).close()

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*place)
