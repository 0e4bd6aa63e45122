"""Who gets a session at a listener, who is turned away and how, and what junk costs."""

import asyncio
import os
import socket
import time

import pytest
from aioquic.quic.packet import QuicErrorCode, QuicProtocolVersion

from moq_relay.errors import ConfigError
from moq_relay.sessions.gate import Answer, Gate, GateLimits
from moq_relay.sessions.transport import Refused
from moq_relay.transports import tls
from moq_relay.transports.quic import dialer, handshake
from moq_relay.transports.quic.dialer import DialFailed, Trust, dial
from moq_relay.transports.quic.endpoint import Limits
from moq_relay.transports.quic.listener import listen
from tests.contract.transports import CREDENTIALS, PROTOCOLS, Recorder, keep, listening, until

ANYONE = Trust(verify=False)


class Doorman:
    """Accepts or refuses, and remembers who came."""

    def __init__(self, refusal=None):
        self.arrivals = []
        self.transports = []
        self.refusal = refusal

    def __call__(self, arrival, transport):
        self.arrivals.append(arrival)
        self.transports.append(transport)
        if self.refusal is not None:
            raise self.refusal
        return Recorder()


def call(listener, **options):
    settings = {"accept": keep([]), "protocols": PROTOCOLS, "trust": ANYONE}
    return dial("127.0.0.1", listener.port, **settings | options)


# --- who arrives ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        (["moq-lite-04", "moq-lite-05"], "moq-lite-05"),
        (["other", "moq-lite-04"], "moq-lite-04"),
        (["moq-lite-05", "h3"], "moq-lite-05"),
    ],
)
async def test_our_order_of_versions_wins_on_raw_quic(offers, chosen):
    gate, theirs = Doorman(), Doorman()
    async with (
        listening(accept=gate) as (listener, _),
        call(listener, protocols=offers, accept=theirs),
    ):
        await until(lambda: gate.arrivals)

    for arrival in (*gate.arrivals, *theirs.arrivals):
        assert (arrival.binding, arrival.protocol, arrival.target) == ("quic", chosen, None)
    assert gate.arrivals[0].peer.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        (["moq-lite-04", "moq-lite-05"], "moq-lite-05"),
        (["other", "moq-lite-04"], "moq-lite-04"),
        (["other"], None),
        ([], None),
    ],
)
async def test_our_order_of_versions_wins_on_webtransport(offers, chosen):
    gate, theirs = Doorman(), Doorman()
    async with (
        listening(accept=gate) as (listener, _),
        call(listener, protocols=offers, accept=theirs, path="/a/b?jwt=x%20y"),
    ):
        [arrival] = gate.arrivals

    assert (arrival.binding, arrival.protocol) == ("webtransport", chosen)
    assert arrival.target == "/a/b?jwt=x%20y"
    assert theirs.arrivals[0].protocol == chosen


async def test_nothing_in_common_is_a_handshake_failure():
    failures = []
    async with listening(failed=failures.append, webtransport=False) as (listener, served):
        for options in ({"protocols": ["other"]}, {"path": "/"}):
            with pytest.raises(DialFailed, match="No common ALPN"):
                async with call(listener, **options):
                    pass

        assert served == []
        assert len(failures) == listener.counters.handshake_failures == 2
        await until(lambda: listener.connections == 0)


async def test_a_session_may_send_while_it_is_being_accepted():
    def accept(arrival, transport):
        transport.send(transport.open_uni(), b"hello", fin=True)
        return Recorder()

    for path in (None, "/"):
        async with listening(accept=accept) as (listener, _), call(listener, path=path) as client:
            await until(lambda: client.events.fins)
            assert list(client.events.data.values()) == [b"hello"]


# --- who is turned away ---------------------------------------------------------------------------


async def test_a_refusal_ends_raw_quic_with_its_code():
    gate = Doorman(Refused(401, 2, "no token"))
    async with listening(accept=gate) as (listener, _), call(listener) as client:
        events = client.events

        await until(lambda: events.calls)

        assert events.calls == [("closed", 2, "no token")]
        assert gate.transports[0].events.closed(0, "") is None  # nobody listens there


async def test_a_refusal_answers_a_webtransport_request_with_its_status():
    gate = Doorman(Refused(401, 2, "no token"))
    async with listening(accept=gate) as (listener, _):
        with pytest.raises(DialFailed) as raised:
            async with call(listener, path="/x"):
                pass

        assert raised.value.status == 401


async def test_an_acceptor_that_fails_costs_its_connection(caplog):
    gate = Doorman(ZeroDivisionError())
    async with listening(accept=gate) as (listener, _):
        async with call(listener) as client:
            events = client.events
            await until(lambda: events.calls)
            assert events.calls == [("closed", 1, "internal error")]
        with pytest.raises(DialFailed):
            async with call(listener, path="/x"):
                pass

    assert len([r for r in caplog.records if r.exc_info]) == 2


async def test_a_listener_that_drains_refuses_new_connections_and_keeps_the_others():
    async with listening() as (listener, served), call(listener) as client:
        await until(lambda: served)
        listener.refuse()

        for path in (None, "/"):
            with pytest.raises(DialFailed) as raised:
                async with call(listener, path=path):
                    pass
            assert raised.value.code == 2  # CONNECTION_REFUSED

        client.send(client.open_uni(), b"x", fin=True)
        await until(lambda: served[0].events.fins)


async def test_a_peer_that_never_says_what_it_wants_is_let_go():
    failures = []
    limits = Limits(handshake_seconds=0.2)
    async with listening(limits=limits, failed=failures.append) as (listener, _):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
            mute.sendto(await first_datagram(), ("127.0.0.1", listener.port))
            await until(lambda: listener.connections == 1)

            await until(lambda: listener.connections == 0)

    assert failures == ["handshake timeout"]


async def test_a_dial_that_nobody_answers_fails_in_time():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        began = time.monotonic()

        with pytest.raises(DialFailed, match="handshake timeout"):
            async with dial(
                "127.0.0.1",
                mute.getsockname()[1],
                accept=keep([]),
                protocols=PROTOCOLS,
                limits=Limits(handshake_seconds=0.2),
            ):
                pass

    assert time.monotonic() - began < 2


async def test_an_address_that_is_taken_is_a_configuration_error():
    async with listening() as (listener, _):
        with pytest.raises(ConfigError, match=f"can't listen on udp 127.0.0.1:{listener.port}"):
            await listen(
                "127.0.0.1",
                listener.port,
                credentials=CREDENTIALS,
                accept=keep([]),
                protocols=PROTOCOLS,
            )


async def test_the_addresses_of_a_name_are_tried_in_turn(monkeypatch):
    async with listening() as (listener, served):
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
            mute.bind(("127.0.0.1", 0))
            port = mute.getsockname()[1]
            found = [
                (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", port, 0, 0)),
                (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", port)),
                (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", listener.port)),
            ]

            async def getaddrinfo(*_, **__):
                return found

            monkeypatch.setattr(dialer, "ADDRESS_SECONDS", 0.1)
            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)

            async with call(listener):
                await until(lambda: served)


async def test_a_name_that_nobody_knows_is_a_failed_dial():
    with pytest.raises(DialFailed, match="can't find"):
        async with dial("relay.invalid", 1, accept=keep([]), protocols=PROTOCOLS):
            pass


# --- certificates ---------------------------------------------------------------------------------


async def test_a_certificate_is_verified_and_can_be_replaced_while_running():
    first, second = (tls.generate(["localhost", "127.0.0.1"]) for _ in range(2))
    credentials = tls.Credentials(first)
    async with listening(credentials=credentials) as (listener, _):
        async with call(listener, trust=Trust(roots=first.pem)) as client:
            credentials.replace(second)

            with pytest.raises(DialFailed):
                async with call(listener, trust=Trust(roots=first.pem)):
                    pass
            async with call(listener, trust=Trust(roots=second.pem)):
                pass
            assert client.can_open_uni()
        with pytest.raises(DialFailed, match="is not for other"):
            async with call(listener, trust=Trust(roots=second.pem), server_name="other.example"):
                pass


# --- junk -----------------------------------------------------------------------------------------


async def first_datagram():
    """What a client sends first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as catcher:
        catcher.bind(("127.0.0.1", 0))
        catcher.setblocking(False)
        dialled = dial("127.0.0.1", catcher.getsockname()[1], accept=keep([]), protocols=PROTOCOLS)
        opening = asyncio.ensure_future(dialled.__aenter__())
        data = await asyncio.get_running_loop().sock_recv(catcher, 65535)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
    return data


async def test_junk_costs_nothing_and_stops_nobody():
    initial = await first_datagram()
    junk = [
        b"",
        b"x",
        bytes(8),
        bytes(9),
        b"\xff" * 1200,
        b"\xc0" + bytes(1199),
        os.urandom(1200),
        initial[:100],
        initial[:1199],
        bytes([initial[0]]) + initial[1:300] + bytes(900),
        b"\x40" + os.urandom(60),
        b"\xc0\x00\x00\x00\x00" + initial[5:],
    ]
    async with listening() as (listener, served), call(listener) as client:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for data in junk:
                sender.sendto(data, ("127.0.0.1", listener.port))
            await until(lambda: listener.counters.unroutable >= len(junk))

        assert listener.connections == 1
        client.send(client.open_uni(), b"x", fin=True)
        await until(lambda: served[0].events.fins)


async def test_junk_for_a_connection_does_not_touch_it():
    async with listening() as (listener, served), call(listener) as client:
        await until(lambda: served)
        route = next(iter(listener._endpoint._routes))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for size in (0, 1, 20, 40, 1000):
                sender.sendto(b"\x40" + route + bytes(size), ("127.0.0.1", listener.port))
                head = b"\xc0\x00\x00\x00\x01\x08" + route
                sender.sendto(head + os.urandom(size), ("127.0.0.1", listener.port))

        client.send(client.open_uni(), b"x", fin=True)
        await until(lambda: served[0].events.fins)


async def ask(listener, data, seconds=20.0):
    """Send one datagram and return the answer, or None when there is none in that time."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.bind(("127.0.0.1", 0))
        sender.sendto(data, ("127.0.0.1", listener.port))
        try:
            async with asyncio.timeout(seconds):
                return await loop.sock_recv(sender, 65535)
        except TimeoutError:
            return None


async def test_another_version_is_answered_with_ours_but_only_once_and_not_cheaply():
    initial = await first_datagram()
    unknown = bytes([initial[0]]) + b"\x0a\x0a\x0a\x0a" + initial[5:]
    async with listening() as (listener, _):
        answer = await ask(listener, unknown)

        assert answer[1:5] == bytes(4)
        assert QuicProtocolVersion.VERSION_1.to_bytes(4, "big") in answer
        assert await ask(listener, unknown[:1000], 0.2) is None
        assert await ask(listener, answer + bytes(1200), 0.2) is None
        assert listener.connections == 0


@pytest.mark.parametrize("path", [None, "/"])
async def test_under_pressure_a_client_proves_its_address_first(path):
    async with (
        listening(retry_above=0, gate=(gate := Gate())) as (listener, served),
        call(listener, path=path) as client,
    ):
        client.send(client.open_uni(), b"x", fin=True)
        await until(lambda: served and served[0].events.fins)

        assert gate.counters.retries == 1


async def test_a_token_that_is_not_ours_is_dropped_in_silence_and_counted():
    initial = await first_datagram()
    header = handshake.opening(initial, 8)
    assert header.token == b""
    cids = 6 + initial[5]
    cids += 1 + initial[cids]
    forged = initial[:cids] + b"\x08forged!!" + initial[cids + 1 :]
    gate = Gate()
    async with listening(gate=gate) as (listener, _):
        assert await ask(listener, forged, 0.2) is None

        assert listener.connections == 0
        assert gate.counters.handshakes_refused == {"token": 1}


async def test_an_address_that_may_begin_no_more_is_refused_and_one_beyond_the_rate_hears_nothing():
    initial = await first_datagram()
    gate = Gate(GateLimits(sessions_per_address=1))
    async with listening(gate=gate) as (listener, _):
        gate.entered(1, "127.0.0.1:1")
        answer = await ask(listener, initial)
        assert answer is not None
        assert len(answer) < len(initial)
        with pytest.raises(DialFailed) as refusal:
            async with call(listener):
                pass
        assert refusal.value.code == QuicErrorCode.CONNECTION_REFUSED

        gate.limits = GateLimits(handshakes=1)
        assert gate.knock("192.0.2.1") is Answer.COME
        assert await ask(listener, initial, 0.2) is None
        assert gate.counters.handshakes_refused == {"address": 2, "rate": 1}
        assert listener.connections == 0


async def test_who_is_beyond_the_rate_comes_in_its_turn():
    gate = Gate(GateLimits(handshakes=2))
    async with listening(gate=gate) as (listener, served):
        async with call(listener), call(listener):
            await until(lambda: len(served) == 2)

        assert gate.counters.handshakes_refused["rate"] > 0


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, "/"])
async def test_closing_a_listener_tells_every_peer_and_every_session(path):
    async with listening() as (listener, served), call(listener, path=path) as client:
        await until(lambda: served)
        at_client, at_server = client.events, served[0].events

        listener.close(3, "going")
        listener.close(4, "again")

        assert at_server.calls == [("closed", 3, "going")]
        await until(lambda: at_client.calls)
        assert at_client.calls == [("closed", 3, "going")]
        assert listener.live() == type(listener.live())(0, 0, 0, 0)


async def test_a_reason_of_any_length_reaches_the_peer_as_far_as_it_fits():
    async with listening() as (listener, served), call(listener) as client:
        await until(lambda: served)
        at_client = client.events

        served[0].close(5, "ü" * 5000)

        await until(lambda: at_client.calls)
        assert at_client.calls == [("closed", 5, "ü" * 128)]


async def test_a_full_socket_lets_the_connections_that_waited_go_first():
    async with (
        listening() as (listener, served),
        call(listener) as one,
        call(listener) as two,
    ):
        await until(lambda: len(served) == 2)
        io = listener._endpoint._io
        sent, send = [], io.send
        io.send = lambda datagrams: sent.append(datagrams[0][1])
        io._keep([b""], ("127.0.0.1", 9))  # as if the kernel had refused it
        for transport in served:
            transport.send(transport.open_uni(), b"x")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sent == []
        io.send = send

        await until(lambda: one.events.data and two.events.data)


async def test_what_was_not_read_is_not_granted_again():
    limits = Limits(connection_bytes=100_000, stream_bytes=60_000)
    async with listening(limits=limits) as (listener, served), call(listener) as client:
        await until(lambda: served)
        at_client = client.events
        engine = client._engine
        engine._remote_max_data = 10**9
        for _ in range(5):
            stream = client.open_uni()
            client.send(stream, bytes(50_000))
            engine._streams[stream].sender.highest_offset = 49_999  # as if the rest were lost

        await until(lambda: at_client.calls)
        assert at_client.calls == [("closed", 1, "Over connection data limit")]


async def test_what_was_read_is_granted_again():
    limits = Limits(connection_bytes=100_000, stream_bytes=60_000)
    async with listening(limits=limits) as (listener, served), call(listener) as client:
        await until(lambda: served)
        events = served[0].events
        for n in range(20):
            stream = client.open_uni()
            client.send(stream, bytes(50_000), fin=n % 2 == 0)
            if n % 2:
                await until(lambda: len(events.data.get(stream, b"")) == 50_000)  # noqa: B023
                client.reset(stream, 1)

        await until(lambda: len(events.fins) == len(events.calls) == 10)


async def test_a_close_that_is_lost_is_said_again():
    async with listening() as (listener, served), call(listener) as client:
        await until(lambda: served)
        at_client = client.events
        send, listener._endpoint._io.send = listener._endpoint._io.send, lambda datagrams: None
        served[0].close(5, "lost")
        at_server = served[0].events
        await until(lambda: at_server.calls)
        listener._endpoint._io.send = send

        client.send(client.open_uni(), b"are you there?")

        await until(lambda: at_client.calls)
        assert at_client.calls == [("closed", 5, "lost")]


async def test_a_silent_peer_is_asked_and_one_that_is_gone_is_given_up():
    limits = Limits(keep_alive_seconds=0.1, idle_seconds=1.0)
    async with listening(limits=limits) as (listener, served):
        async with call(listener, limits=Limits(keep_alive_seconds=100)) as client:
            await until(lambda: served)
            at_server = served[0].events
            await asyncio.sleep(1.3)
            await until(lambda: served[0].silent_seconds < 0.5)
            assert at_server.calls == []

            client._connection._host._io.close()

            await until(lambda: at_server.calls)
            assert at_server.calls == [("closed", 1, "Idle timeout")]
        await until(lambda: listener.connections == 0)


async def test_many_connections_leave_nothing_behind():
    async with listening() as (listener, _):
        for n in range(20):
            async with call(listener, path="/" if n % 2 else None) as client:
                client.send(client.open_uni(), b"x", fin=True)

        await until(lambda: listener.connections == 0)
        census = listener.live()
        assert (census.streams, census.senders, census.h3_objects) == (0, 0, 0)
        assert listener._endpoint._routes == {}
        assert listener.counters.established == 20
        assert listener.counters.handshake_failures == 0
