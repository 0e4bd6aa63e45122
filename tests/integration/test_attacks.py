"""What one bad client can do to a live relay, beside a good viewer that has to miss nothing."""

import asyncio
import contextlib
import os
import re
import resource
import socket
from pathlib import Path
from random import Random
from urllib.parse import quote

import pytest

from moq_relay.transports.quic.dialer import DialFailed
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.lite.versions import LITE_06
from tests.support.own_client import connected, publish, until
from tests.support.relay_process import EXECUTABLE, RelayProcess
from tests.support.rogue import Strangers, initials, rogue, with_token
from tests.support.station import EVERYTHING, Listening, Station

FRAMES, SIZE = 2, 300
SUBSCRIPTIONS = int(os.environ.get("ATTACK_SUBSCRIPTIONS", "1500"))
HANDSHAKE_SECONDS = 1
FILES = 96
"""That a relay may have open."""
CONNECTION_REFUSED = 2
"""Of QUIC (RFC 9000 section 20.1)."""
LIMITS = f"""
[limits]
trusted_networks = []
handshakes = 200
handshakes_pending = 50
handshake_seconds = {HANDSHAKE_SECONDS}
sessions_per_address = 20
requests_per_session = 60
announces_per_session = 20
announces_per_second = 5
"""
LINE = re.compile(r"\d{4}-\d\d-\d\dT")
"""How each line of the log begins."""
PATHS = (
    "..",
    "../..",
    "a/../../b",
    "a//b",
    "/",
    "%2e%2e/%2e%2e",
    "\0",
    "a\nsession opened session=1",
    "a\r\nX: y",
    "\x1b[2J",
    "\u202eevil",
    "a/" * 40,
    "x" * 4000,
)


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    """One for all attacks; it must end cleanly, with no trace of a failure in its log."""
    relay = RelayProcess(tmp_path_factory.mktemp("relay"), [LITE_06.name], LIMITS)
    relay.start()
    try:
        yield relay
        assert [line for line in relay.log(10_000).splitlines() if not LINE.match(line)] == []
        relay.stop()
    finally:
        relay.kill()


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A relay that may open only so many files; it must end cleanly, too."""
    relay = RelayProcess(tmp_path_factory.mktemp("narrow"), [LITE_06.name], LIMITS)
    relay.command = ["/bin/sh", "-c", f'ulimit -n {FILES}; exec "$0" "$@"', str(EXECUTABLE)]
    relay.start()
    try:
        yield relay
        assert [line for line in relay.log(10_000).splitlines() if not LINE.match(line)] == []
        relay.stop()
    finally:
        relay.kill()


@pytest.fixture
def cleanup():
    """What is entered here is left when the test is over."""
    with contextlib.ExitStack() as stack:
        yield stack


class Good:
    """A publisher and a viewer of the relay, that were there before anybody else."""

    def __init__(self, station, heard):
        self.station = station
        self.heard = heard
        self.stopped = asyncio.Event()

    async def play(self):
        while not self.stopped.is_set() or self.station.written % FRAMES:
            self.station.write()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await self.stopped.wait()


@contextlib.asynccontextmanager
async def beside(relay):
    """A viewer that watches all the while, and has missed nothing at the end."""
    port = relay.ports[LITE_06.name]
    station, heard = Station(frames=FRAMES, size=SIZE), Listening(frames=FRAMES, size=SIZE)
    async with (
        connected(port, LITE_06) as publisher,
        connected(port, LITE_06, path="/") as viewer,
        asyncio.TaskGroup() as tasks,
    ):
        publish(publisher, "good", station)
        station.write()
        await until(lambda: "good" in viewer.broadcasts)
        viewer.subscribe("good", "video", heard, EVERYTHING)
        await until(lambda: heard.first is not None)
        good = Good(station, heard)
        playing = tasks.create_task(good.play())
        await until(lambda: len(heard.whole) > 3)
        yield good
        good.stopped.set()
        await playing
        await until(lambda: station.sequence in heard.whole)
        assert (heard.faults, heard.missing) == ([], [])


async def ask(call, *arguments):
    """What blocks, while the viewer goes on."""
    return await asyncio.to_thread(call, *arguments)


async def metric(relay, name, **labels):
    return (await ask(relay.metric, name))[frozenset(labels.items())]


async def settled(relay, name, most):
    """Wait until a gauge without labels has fallen to ``most``."""
    async with asyncio.timeout(10):
        while await metric(relay, name) > most:
            await asyncio.sleep(0.05)


# --- before a session -----------------------------------------------------------------------------


async def test_a_flood_of_handshakes_is_held_off_not_amplified_and_a_newcomer_comes_in(
    relay, cleanup
):
    port = relay.ports[LITE_06.name]
    strangers = cleanup.enter_context(Strangers(port, 50))
    begun = initials(150, LITE_06.alpn)
    async with beside(relay) as good:
        before = len(good.heard.whole)
        most = 0.0

        async def newcomers():
            nonlocal most
            for _ in range(3):
                most = max(most, await metric(relay, "moq_relay_connections"))
                async with connected(port, LITE_06) as one:
                    await until(lambda one=one: "good" in one.broadcasts)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(strangers.flood(begun, 4000))
            tasks.create_task(newcomers())

        assert len(good.heard.whole) > before
        assert most <= 60
        assert await metric(relay, "moq_relay_retries_total") > 1000
        await settled(relay, "moq_relay_connections", 2)
        strangers.listen()
    assert len(strangers.sent) == 50
    for host, sent in strangers.sent.items():
        assert strangers.received.get(host, 0) <= 3 * sent


async def test_one_address_has_only_so_many_sessions_and_who_is_here_stays(relay):
    port = relay.ports[LITE_06.name]
    async with beside(relay):
        before = await metric(relay, "moq_relay_handshakes_refused_total", reason="address")
        async with contextlib.AsyncExitStack() as stack:
            # the two that are good have the same address as these
            for _ in range(18):
                await stack.enter_async_context(rogue(port, LITE_06))
            with pytest.raises(DialFailed) as refusal:
                async with rogue(port, LITE_06):
                    pass
            assert refusal.value.code == CONNECTION_REFUSED
            refused = await metric(relay, "moq_relay_handshakes_refused_total", reason="address")
            assert refused == before + 1
        await settled(relay, "moq_relay_connections", 2)
    assert "too many sessions of one address" in relay.log()


async def test_forged_tokens_and_noise_are_dropped_in_silence(relay, cleanup):
    dice = Random(5)
    strangers = cleanup.enter_context(Strangers(relay.ports[LITE_06.name], 10))
    (first,) = initials(1, LITE_06.alpn)
    forged = [with_token(first, dice.randbytes(61)) for _ in range(50)]
    noise = [dice.randbytes(dice.choice((1, 40, 1200))) for _ in range(50)]
    # no version negotiation: a long header with an unknown version may be answered
    noise = [bytes((data[0] & 0x7F,)) + data[1:] for data in noise]
    async with beside(relay):
        before = await metric(relay, "moq_relay_handshakes_refused_total", reason="token")
        await strangers.flood(forged + noise, 2000)

        after = await metric(relay, "moq_relay_handshakes_refused_total", reason="token")
        assert after - before == 1000
        await settled(relay, "moq_relay_connections", 2)
        strangers.listen()
    assert not any(strangers.received.values())


async def test_who_never_finishes_a_handshake_or_a_setup_is_let_go(relay, cleanup):
    port = relay.ports[LITE_06.name]
    strangers = cleanup.enter_context(Strangers(port, 5))
    async with beside(relay):
        await strangers.flood(initials(40, LITE_06.alpn), 40)
        async with rogue(port, LITE_06, setup=False) as silent, rogue(port, LITE_06) as half:
            # half a SETUP, and half a request
            silent.transport.send(silent.transport.open_uni(), b"\x01")
            half.transport.send(half.transport.open_bi(), b"\x02\x40")

            await silent.until(lambda: silent.code is not None)
            assert silent.code == 0x11
            assert half.code is None
        await settled(relay, "moq_relay_connections", 2)


# --- in a session ---------------------------------------------------------------------------------


async def test_streams_that_are_never_ended_cost_their_session_at_most(relay):
    async with beside(relay):
        async with rogue(relay.ports[LITE_06.name], LITE_06) as bad:
            opened = 0
            while bad.code is None and opened < 5000:
                if not bad.transport.can_open_uni():
                    break
                bad.transport.send(bad.transport.open_uni(), b"\x00")
                opened += 1
                if opened % 200 == 0:
                    await asyncio.sleep(0.002)
            assert opened > 1000
        await settled(relay, "moq_relay_connections", 2)
        await settled(relay, "moq_relay_streams", 200)


async def test_requests_that_are_reset_at_once_leave_nothing(relay):
    async with beside(relay):
        async with rogue(relay.ports[LITE_06.name], LITE_06) as bad:
            subscribe = wire.Subscribe(0, "good", "video", 0)
            for number in range(1500):
                await bad.until(bad.transport.can_open_bi)
                if bad.code is not None:
                    break
                bad.transport.reset(bad.ask(BiStream.SUBSCRIBE, subscribe), 1)
                if number % 50 == 0:
                    await asyncio.sleep(0.002)
        await settled(relay, "moq_relay_viewers", 1)
        await settled(relay, "moq_relay_connections", 2)


async def test_subscribing_and_leaving_without_end_leaves_nothing(relay):
    async with beside(relay):
        async with rogue(relay.ports[LITE_06.name], LITE_06) as bad:
            for number in range(SUBSCRIPTIONS):
                await bad.until(bad.transport.can_open_bi)
                wanted = wire.Subscribe(number, "good", f"t{number % 7}", 0)
                stream = bad.ask(BiStream.SUBSCRIBE, wanted)
                bad.transport.send(stream, b"", fin=True)
                if number % 20 == 0:
                    await asyncio.sleep(0.005)
            assert bad.code is None
        await settled(relay, "moq_relay_viewers", 1)
        await settled(relay, "moq_relay_upstream_subscriptions", 1)


async def test_more_requests_than_one_may_have_are_reset_with_a_code(relay):
    async with beside(relay), rogue(relay.ports[LITE_06.name], LITE_06) as bad:
        streams = [bad.ask(BiStream.ANNOUNCE, wire.AnnounceRequest("x")) for _ in range(100)]
        await bad.until(lambda: len(bad.reset) >= 30)

        assert set(bad.reset.values()) == {9}
        assert set(bad.reset) <= set(streams)
        assert bad.code is None


async def test_a_flapping_publisher_with_endless_hops_is_ended_and_leaves_nothing(relay):
    port = relay.ports[LITE_06.name]
    async with beside(relay):
        async with rogue(port, LITE_06) as bad:
            await bad.until(lambda: any(not stream & 2 for stream in bad.heard))
            bad.answer(bad.announce_stream, wire.AnnounceOk(77, 0))
            for number in range(100):
                hops = tuple(range(1000, 1000 + number % 32))
                announce = wire.AnnounceStart("evil", hops, 0, 0)
                bad.answer(bad.announce_stream, announce, wire.AnnounceEnd(number))
            await bad.until(lambda: bad.code is not None)
            assert bad.code == 7

        async with rogue(port, LITE_06) as bad:
            await bad.until(lambda: any(not stream & 2 for stream in bad.heard))
            bad.answer(bad.announce_stream, wire.AnnounceOk(77, 0))
            bad.transport.send(bad.announce_stream, b"\x00\x7f\xff" + b"\x01" * 60_000)
            await bad.until(lambda: bad.code is not None)
            assert bad.code == 3
        assert (await ask(lambda: relay.get("/announced", internal=False))).split() == ["good"]


async def test_a_path_is_only_ever_a_name(relay):
    port = relay.ports[LITE_06.name]
    async with beside(relay):
        async with rogue(port, LITE_06) as bad:
            for number, path in enumerate(PATHS):
                bad.ask(BiStream.SUBSCRIBE, wire.Subscribe(number, path, path, 0))
            await bad.until(lambda: len(bad.reset) == len(PATHS))
            assert set(bad.reset.values()) <= {0x36, 1}
        for path in PATHS[:12]:
            with contextlib.suppress(Exception):
                async with rogue(port, LITE_06, path="/" + quote(path)):
                    pass
            for face in ("/fetch/", "/announced/", "/demo/"):
                status = await ask(http, relay.web_port, face + quote(path, safe=""))
                assert status in {200, 400, 403, 404}, (face, path, status)


# --- HTTP -----------------------------------------------------------------------------------------


def http(port, target, *headers, timeout=5.0):
    """The status of one request; None when the connection ended without."""
    head = "".join(
        f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers)
    )
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
        try:
            sock.sendall(f"{head}Connection: close\r\n\r\n".encode())
            answer = sock.recv(100)
        except (ConnectionError, TimeoutError):
            return None
    return int(answer.split()[1]) if answer else None


async def test_bombs_of_headers_and_queries_are_refused_and_half_requests_hold_up_nobody(
    relay, cleanup
):
    async with beside(relay):
        for _ in range(50):
            half = cleanup.enter_context(socket.create_connection(("127.0.0.1", relay.web_port)))
            half.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        for port in (relay.web_port, relay.internal_port):
            for bomb in (
                ("/health", "X: " + "x" * 1_000_000),
                ("/health", *(f"X{n}: y" for n in range(20_000))),
                ("/health?" + "a=b&" * 100_000,),
                ("/" + "a" * 100_000,),
                ("/fetch/good/video?group=" + "9" * 5000,),
            ):
                status = await ask(http, port, *bomb)
                assert status in {None, 400, 404, 414, 431}, (bomb[0][:20], status)
            assert await ask(http, port, "/health") == 200
        assert await ask(http, relay.web_port, "/fetch/good/video?group=-1") == 400


async def test_who_asks_by_http_without_end_is_put_off_and_then_cut_off(relay):
    async with beside(relay):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", relay.web_port, local_addr=("127.0.0.9", 0)
        )
        one = b"GET /fetch/good/video?group=%d HTTP/1.1\r\nHost: a\r\n\r\n"
        writer.write(b"".join(one % number for number in range(1000)))
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                answers = await reader.read(1 << 16)
                while data := await reader.read(1 << 16):
                    answers += data
        writer.close()
        assert 200 <= answers.count(b"HTTP/1.1 ") < 900
        assert answers.count(b"HTTP/1.1 429") == 1
        assert await metric(relay, "moq_relay_requests_refused_total", reason="rate") == 1


def files(relay):
    return sum(1 for _ in Path(f"/proc/{relay.pid}/fd").iterdir())


def half_requests(cleanup, relay, port, hosts):
    """Ten from each address, that stay; the most files that the relay had open meanwhile."""
    most = 0
    for number in range(10 * len(hosts)):
        half = cleanup.enter_context(socket.socket())
        half.bind((hosts[number % len(hosts)], 0))
        half.connect(("127.0.0.1", port))
        with contextlib.suppress(ConnectionError):
            half.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        most = max(most, files(relay))
    return most


async def healthy(port):
    """Wait until a request is answered: who comes in the thick of a flood may be refused."""
    async with asyncio.timeout(5):
        while await ask(http, port, "/health") != 200:
            await asyncio.sleep(0.05)


async def test_a_flood_of_connections_by_http_leaves_descriptors_for_the_others(narrow, cleanup):
    async with beside(narrow):
        for port in (narrow.web_port, narrow.internal_port):
            hosts = [f"127.0.0.{n}" for n in range(2, 12)]
            assert await ask(half_requests, cleanup, narrow, port, hosts) < FILES - 5
            await healthy(port)
        refused = await metric(
            narrow, "moq_relay_sessions_refused_total", reason="http_connections"
        )
        assert refused > 50
        taken = await metric(narrow, "moq_relay_http_connections", listener="web.http")
        assert FILES / 2 - 5 < taken <= FILES / 2
    assert "reason=too many connections by HTTP" in narrow.log()


async def test_without_a_descriptor_left_who_is_here_goes_on_and_others_come_later(narrow, cleanup):
    async with beside(narrow) as good:
        resource.prlimit(narrow.pid, resource.RLIMIT_NOFILE, (files(narrow) + 5, FILES))
        await ask(half_requests, cleanup, narrow, narrow.web_port, ["127.0.0.2"])
        await until(lambda: "connections by HTTP have to wait" in narrow.log())
        before = len(good.heard.whole)
        await until(lambda: len(good.heard.whole) > before + 10)

        resource.prlimit(narrow.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        await healthy(narrow.web_port)
    assert narrow.log().count("have to wait") == 1
