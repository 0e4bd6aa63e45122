"""`/fetch` over a real origin whose source the test plays; no relay runs."""

import asyncio
import contextlib
import socket

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from moq_relay.daemon.auth import Authority
from moq_relay.daemon.config.values import Address, Public
from moq_relay.daemon.sockets import bind_tcp
from moq_relay.daemon.tokens.jwk import Key
from moq_relay.daemon.tokens.keys import OneKey
from moq_relay.daemon.web.connections import Connections
from moq_relay.daemon.web.http import PublicHttp
from moq_relay.daemon.web.requests import Requests
from moq_relay.daemon.web.serving import serving
from moq_relay.errors import (
    ControlTimeout,
    DeliveryTimeout,
    Evicted,
    Internal,
    NotFound,
    Old,
    Unroutable,
)
from moq_relay.relay.counters import Counters
from moq_relay.relay.feed import TrackInfo
from moq_relay.relay.group import Frame
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.relay.route import Route
from moq_relay.sessions.gate import Gate


class Source:
    """Does nothing by itself; the test answers through the feed, or the group, it was handed."""

    def __init__(self):
        self.feeds = []
        self.fetched = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    def describe(self, feed):
        feed.described(TrackInfo())

    def subscribe(self, feed):
        self.feeds.append(feed)
        self.asked.set()

    def update(self, feed):
        pass

    def unsubscribe(self, feed):
        self.feeds.remove(feed)
        self.left.set()

    def fetch(self, path, track, group):
        self.fetched.append((path, track, group))
        self.asked.set()


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def requests():
    return Requests(fetches=2)


@pytest.fixture
async def client(source, requests, request):
    origin = Origin(1, Cache(CacheLimits(), Counters()), float, lambda _seconds, _call: None)
    origin.announce("room/a", Route(source))
    authority = Authority(Public(("",), ("",)))
    seconds = getattr(request, "param", 0.3)
    public = PublicHttp(
        origin, authority, lambda: "0" * 64, requests=requests, fetch_seconds=seconds
    )
    async with TestClient(TestServer(public.application(), handler_cancellation=True)) as client:
        yield client


async def asked(source):
    async with asyncio.timeout(5):
        await source.asked.wait()


async def said(getting):
    answer = await getting
    return answer.status, await answer.text()


async def test_the_latest_group_is_waited_for_until_it_is_complete(client, source):
    async with asyncio.TaskGroup() as tasks:
        getting = tasks.create_task(said(client.get("/fetch/room/a/video")))
        await asked(source)
        group = source.feeds[0].open_group(7)
        group.append(Frame(b"one ", 0))
        group.append(Frame(b"two", 1))
        group.finish()

    assert getting.result() == (200, "one two")
    assert source.feeds == []


async def test_a_numbered_group_is_asked_of_the_source(client, source):
    async with asyncio.TaskGroup() as tasks:
        getting = tasks.create_task(said(client.get("/fetch/room/a/video?group=5")))
        await asked(source)
        path, track, group = source.fetched[0]
        group.append(Frame(b"five", 0))
        group.finish()

    assert (path, track, group.sequence) == ("room/a", "video", 5)
    assert getting.result() == (200, "five")


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (NotFound("no such group"), (404, "no such group\n")),
        (Evicted("gone"), (404, "gone\n")),
        (Old("superseded"), (404, "superseded\n")),
        (Unroutable("nobody has it"), (404, "nobody has it\n")),
        (DeliveryTimeout("slow"), (504, "slow\n")),
        (ControlTimeout("mute"), (504, "mute\n")),
        (Internal("broken"), (502, "broken\n")),
    ],
)
async def test_a_group_that_fails_is_a_status_and_a_reason(client, source, error, answer):
    async with asyncio.TaskGroup() as tasks:
        getting = tasks.create_task(said(client.get("/fetch/room/a/video?group=5")))
        await asked(source)
        source.fetched[0][2].abort(error)

    assert getting.result() == answer


async def test_a_track_that_the_source_refuses_is_a_status_and_a_reason(client, source):
    async with asyncio.TaskGroup() as tasks:
        getting = tasks.create_task(said(client.get("/fetch/room/a/video")))
        await asked(source)
        source.feeds[0].ended(NotFound("no such track"))

    assert getting.result() == (404, "no such track\n")


async def test_a_track_that_ends_without_a_group_is_not_found(client, source):
    async with asyncio.TaskGroup() as tasks:
        getting = tasks.create_task(said(client.get("/fetch/room/a/video")))
        await asked(source)
        source.feeds[0].ended(None, 0)

    assert getting.result() == (404, "the track has ended\n")


async def test_a_group_that_takes_too_long_is_given_up_and_the_track_is_left(client, source):
    assert await said(client.get("/fetch/room/a/video")) == (
        504,
        "the group was not complete within 0.3 s\n",
    )
    assert source.feeds == []


async def test_who_hangs_up_leaves_the_track(client, source):
    async with asyncio.TaskGroup() as tasks:
        getting = tasks.create_task(client.get("/fetch/room/a/video"))
        await asked(source)
        getting.cancel()

    async with asyncio.timeout(5):
        await source.left.wait()
    assert source.feeds == []


async def test_fetches_are_bounded(client):
    async with asyncio.TaskGroup() as tasks:
        getting = [tasks.create_task(said(client.get("/fetch/room/a/video"))) for _ in range(3)]

    assert sorted(one.result()[0] for one in getting) == [503, 504, 504]
    assert (await client.get("/fetch/room/a/video")).status == 504


# Long enough for a third to ask while the two are there, on a busy machine too.
@pytest.mark.parametrize("client", [1.0], indirect=True)
async def test_a_fetch_counts_until_it_was_sent_and_is_cut_off_when_nobody_reads(
    client, source, requests
):
    # Given two who ask for a large group and read nothing of it
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in waiting:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect((client.host, client.port))
            one.sendall(b"GET /fetch/room/a/video?group=5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked(source)
        async with asyncio.timeout(5):
            while requests._fetches_free:  # the third must not come before the second
                await asyncio.sleep(0)
        group = source.fetched[0][2]
        for _ in range(16):
            group.append(Frame(bytes(1 << 20), 0))
        group.finish()

        async def third():
            answer = await client.get("/fetch/room/a/video?group=5")
            return answer.status, len(await answer.read())

        async with asyncio.timeout(5):
            # Then a third is told to come again
            while (await third())[0] != 503:
                await asyncio.sleep(0)

            # And is served whole once these are cut off
            while (served := await third())[0] == 503:
                await asyncio.sleep(0.01)
        assert served == (200, 16 << 20)
        for one in waiting:
            assert await asyncio.to_thread(everything, one) < 16 << 20


def everything(sock):
    """How many bytes come until the connection ends."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(1 << 20):
            count += len(data)
    return count


async def test_a_fetch_is_asked_for_by_head_without_its_bytes(client, source):
    async with asyncio.TaskGroup() as tasks:
        getting = tasks.create_task(client.head("/fetch/room/a/video?group=5"))
        await asked(source)
        source.fetched[0][2].append(Frame(b"five", 0))
        source.fetched[0][2].finish()
    answer = getting.result()

    assert (answer.status, answer.headers["Content-Length"]) == (200, "4")
    # And the connection can be used again.
    assert (await client.get("/health")).status == 200


async def test_a_connection_without_a_whole_request_is_ended():
    origin = Origin(1, Cache(CacheLimits(), Counters()), float, lambda _seconds, _call: None)
    public = PublicHttp(origin, Authority(Public(("",), ("",))), lambda: "0" * 64)
    (listening,) = await bind_tcp(Address("127.0.0.1", 0), "here")
    place = listening.getsockname()
    connections = Connections(Gate(), most=9, per_address=9)
    whole = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"

    async def answered(said):
        reader, writer = await asyncio.open_connection(*place)
        with contextlib.closing(writer):
            writer.write(said)
            return (await reader.read()).count(b"200 OK")

    async with (
        asyncio.timeout(5),
        serving(public.application(), [listening], connections, idle=0.1),
    ):
        said = [await answered(text) for text in (b"", whole[:9], whole, whole + whole[:9])]

    assert said == [0, 0, 1, 1]
    assert len(connections) == 0


async def test_without_doors_there_is_no_demo(client):
    assert (await client.get("/demo")).status == 404
    assert (await client.get("/")).status == 404


async def test_a_token_opens_what_is_not_public(source):
    origin = Origin(1, Cache(CacheLimits(), Counters()), float, lambda _seconds, _call: None)
    for path in ("room/a", "room/b", "hall/c"):
        origin.announce(path, Route(source))
    key = Key("HS256", b"s" * 32, b"s" * 32)
    public = PublicHttp(origin, Authority(None, keys=OneKey(key)), lambda: "0" * 64)
    token = key.sign(root="room", get="")

    async with TestClient(TestServer(public.application(), handler_cancellation=True)) as client:
        bearer = {"Authorization": f"Bearer {token}"}
        assert await said(client.get("/announced", headers=bearer)) == (200, "room/a\nroom/b\n")
        assert await said(client.get(f"/announced/room/b?jwt={token}")) == (200, "room/b\n")
        refused = [
            await said(client.get("/announced")),
            await said(client.get("/announced/hall", headers=bearer)),
            await said(client.get("/fetch/hall/c/video", headers=bearer)),
            await said(client.get("/fetch/room/a/video", headers={"Authorization": "Basic eDp5"})),
        ]
        assert [status for status, _ in refused] == [403] * 4
        assert not source.asked.is_set()


async def test_a_fetch_does_not_outlive_the_token_that_it_came_with(source):
    origin = Origin(1, Cache(CacheLimits(), Counters()), float, lambda _seconds, _call: None)
    origin.announce("room/a", Route(source))
    key = Key("HS256", b"s" * 32, b"s" * 32)
    authority = Authority(None, keys=OneKey(key), now=lambda: 99.9)
    public = PublicHttp(origin, authority, lambda: "0" * 64, now=lambda: 99.9)
    async with TestClient(TestServer(public.application(), handler_cancellation=True)) as client:
        bearer = {"Authorization": f"Bearer {key.sign(get='', exp=100)}"}
        async with asyncio.timeout(5):
            answer = await said(client.get("/fetch/room/a/video", headers=bearer))

    assert answer == (403, "the token has expired\n")
    assert source.asked.is_set()


@pytest.mark.parametrize(
    ("remote", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("192.0.2.1", 403), ("", 403)],
)
async def test_a_token_comes_over_plain_http_from_this_machine_alone(source, remote, status):
    origin = Origin(1, Cache(CacheLimits(), Counters()), float, lambda _seconds, _call: None)
    origin.announce("room/a", Route(source))
    key = Key("HS256", b"s" * 32, b"s" * 32)
    authority = Authority(Public(("",), ()), keys=OneKey(key))
    app = PublicHttp(origin, authority, lambda: "0" * 64).application()

    @web.middleware
    async def from_there(request, handler):
        return await handler(request.clone(remote=remote))

    app.middlewares.append(from_there)
    token = key.sign(get="")
    async with TestClient(TestServer(app)) as client:
        answers = [
            await said(client.get("/announced", headers={"Authorization": f"Bearer {token}"})),
            await said(client.get(f"/announced?jwt={token}")),
            await said(client.get(f"/fetch/room/a/video?group=x&jwt={token}")),
        ]
        assert [code for code, _ in answers] == [status, status, 400 if status == 200 else 403]
        assert not any(token in text for _, text in answers)
        assert (await client.get("/announced")).status == 200


async def test_the_cluster_is_asked_for_a_path_that_is_not_known_here():
    origin = Origin(1, Cache(CacheLimits(), Counters()), float, lambda _seconds, _call: None)
    source, asked_for = Source(), []

    async def resolve(path):
        asked_for.append(path)
        if path == "room/a":
            origin.announce("room", Route(source))

    public = PublicHttp(origin, Authority(Public(("",), ("",))), lambda: "0" * 64, resolve=resolve)
    async with (
        TestClient(TestServer(public.application())) as client,
        asyncio.TaskGroup() as tasks,
    ):
        getting = tasks.create_task(client.get("/fetch/room/a/video?group=3"))
        await asked(source)
        source.fetched[0][2].append(Frame(b"frame", 0))
        source.fetched[0][2].finish()

        assert (await getting).status == 200
        assert (await client.get("/fetch/hall/video?group=3")).status == 404
        assert asked_for == ["room/a", "hall"]
