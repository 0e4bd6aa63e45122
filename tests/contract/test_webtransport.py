"""WebTransport at its edges, against a client that says whatever the test wants, when it wants."""

import socket
import ssl
from contextlib import asynccontextmanager

import pytest
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic import events as quic_events

from moq_relay.sessions.transport import Refused
from moq_relay.transports.quic import codes
from moq_relay.transports.quic.capsules import close_capsule
from moq_relay.transports.quic.datagram_io import bind
from moq_relay.transports.quic.endpoint import Endpoint, Limits, configuration
from moq_relay.transports.quic.engine import Engine
from moq_relay.wire import varint
from tests.contract.transports import listening, until

CONNECT = [
    (b":method", b"CONNECT"),
    (b":protocol", b"webtransport"),
    (b":scheme", b"https"),
    (b":authority", b"localhost"),
    (b":path", b"/room"),
]
GREASE = varint.encode(0x1F * 7 + 0x17) + varint.encode(5) + b"12345"


class Browser:
    """A client's HTTP/3 connection, by hand; a `Binding`."""

    has_session = True
    h3_objects = 0

    def __init__(self, connection, alpn):
        self.connection = connection
        self.engine = connection.engine
        self.h3 = H3Connection(self.engine, enable_webtransport=True)
        self.statuses = {}
        self.headers = {}
        self.data = {}
        self.resets = {}
        self.stops = {}
        self.datagrams = []
        self.end = None

    def established(self): ...
    def flushed(self): ...
    def leave(self, code, reason): ...

    def ended(self, code, reason, *, by_application):
        self.end = (code, reason)

    def event(self, event):
        match event:
            case quic_events.StreamReset(code, stream):
                self.resets[stream] = code
            case quic_events.StopSendingReceived(code, stream):
                self.stops[stream] = code
            case quic_events.DatagramFrameReceived(data):
                self.datagrams.append(data)
            case quic_events.StreamDataReceived(data, _, stream) if stream & 3 == 0 and (
                stream in self.data or data[:2] == b"\x40\x41"
            ):
                self.data[stream] = self.data.get(stream, b"") + data
                return
        for h3_event in self.h3.handle_event(event):
            match h3_event:
                case HeadersReceived(headers=headers, stream_id=stream):
                    self.statuses[stream] = int(dict(headers)[b":status"])
                    self.headers[stream] = dict(headers)
                case DataReceived(data=data, stream_id=stream):
                    self.data[stream] = self.data.get(stream, b"") + data

    def request(self, headers=CONNECT, *, stream=None, end=False):
        stream = self.engine.get_next_available_stream_id() if stream is None else stream
        self.h3.send_headers(stream, headers, end_stream=end)
        self.connection.touch()
        return stream

    def send(self, stream, data, *, end=False):
        self.engine.send_stream_data(stream, data, end)
        self.connection.touch()

    def open(self, data, *, unidirectional=False, end=False):
        stream = self.engine.open(unidirectional=unidirectional)
        if not unidirectional:
            self.data[stream] = b""
        self.send(stream, data, end=end)
        return stream


@asynccontextmanager
async def browsing(**options):
    """A listener, its transports, and a browser connected to it with SETTINGS exchanged."""
    browsers = []

    def choose(connection, alpn):
        browsers.append(Browser(connection, alpn))
        return browsers[0]

    async with listening(**options) as (listener, served):
        limits = Limits()
        endpoint = Endpoint(bind(socket.AF_INET, ("127.0.0.1", 0)), limits)
        settings = configuration(limits, ["h3"], is_client=True)
        settings.verify_mode = ssl.CERT_NONE
        connection = endpoint.add(Engine(settings, streams=100), choose, listener.address)
        connection.engine.connect(listener.address, now=connection.started_at)
        connection.touch()
        try:
            await until(lambda: browsers and browsers[0].h3.received_settings)
            yield browsers[0], served, listener
        finally:
            endpoint.close()


@asynccontextmanager
async def session(**options):
    """As `browsing`, with a session; yields the browser, the server's transport and its events."""
    async with browsing(**options) as (browser, served, _):
        stream = browser.request()
        await until(lambda: stream in browser.statuses)
        assert browser.statuses[stream] == 200
        yield browser, served[0], served[0].events


async def test_the_answer_names_a_version_only_when_one_was_chosen():
    async with browsing() as (browser, _, _):
        offer = (b"wt-available-protocols", b'"nonsense", "moq-lite-04"')
        stream = browser.request([*CONNECT, offer])
        await until(lambda: stream in browser.headers)
        assert browser.headers[stream][b"wt-protocol"] == b'"moq-lite-04"'
    async with browsing() as (browser, _, _):
        stream = browser.request()
        await until(lambda: stream in browser.headers)
        assert b"wt-protocol" not in browser.headers[stream]


@pytest.mark.parametrize(
    "headers",
    [
        [(b":method", b"GET"), *CONNECT[2:]],
        [(b":method", b"CONNECT"), (b":protocol", b"connect-udp"), *CONNECT[2:]],
        [(b":method", b"CONNECT"), (b":authority", b"localhost")],
    ],
)
async def test_other_requests_find_nothing_and_leave_nothing(headers):
    async with browsing() as (browser, served, listener):
        await until(lambda: listener.live().h3_objects == 3)  # control and QPACK
        before = listener.live()
        stream = browser.request(headers, end=True)
        await until(lambda: stream in browser.statuses)

        assert browser.statuses[stream] == 404
        assert served == []
        await until(lambda: listener.live() == before)


async def test_a_second_session_on_a_connection_is_too_many():
    async with session() as (browser, transport, events):
        second = browser.request()
        await until(lambda: second in browser.statuses)

        assert browser.statuses[second] == 429
        assert events.calls == []
        assert transport.can_open_uni()


async def test_a_refused_session_gets_its_status_and_the_connection_ends_soon():
    def refuse(arrival, transport):
        raise Refused(403, 2, "no")

    async with browsing(accept=refuse) as (browser, _, _):
        stream = browser.request()
        await until(lambda: browser.end)

        assert browser.statuses[stream] == 403
        assert browser.end == (codes.NO_ERROR, "")


async def test_unknown_capsules_are_passed_over_and_a_close_ends_the_session():
    async with session() as (browser, _, events):
        capsule = close_capsule(7, "bye")
        browser.h3.send_data(0, GREASE, end_stream=False)
        browser.h3.send_data(0, GREASE[:3], end_stream=False)
        browser.h3.send_data(0, GREASE[3:] + capsule[:4], end_stream=False)
        browser.h3.send_data(0, capsule[4:], end_stream=True)
        browser.connection.touch()

        await until(lambda: events.calls)
        assert events.calls == [("closed", 7, "bye")]
        await until(lambda: browser.end)
        assert browser.end[0] == codes.NO_ERROR
        assert events.calls == [("closed", 7, "bye")]


async def test_the_servers_close_is_a_capsule_and_the_connection_stays_for_it_to_be_read():
    async with session() as (browser, transport, events):
        transport.close(9, "gone")

        await until(lambda: 0 in browser.data)
        assert browser.data[0] == close_capsule(9, "gone")
        assert events.calls == [("closed", 9, "gone")]
        assert browser.end is None
        await until(lambda: browser.end)
        assert browser.end == (codes.NO_ERROR, "")


async def end_by_fin(browser):
    browser.send(0, b"", end=True)


async def end_by_reset(browser):
    browser.engine.reset_stream(0, 0x10C)
    browser.connection.touch()


async def end_by_stop(browser):
    browser.engine.stop_stream(0, 0x10C)
    browser.connection.touch()


async def end_by_close(browser):
    browser.connection.close(codes.NO_ERROR, "")


@pytest.mark.parametrize("end", [end_by_fin, end_by_reset, end_by_stop, end_by_close])
async def test_a_session_without_last_words_ends_without_error(end):
    async with session() as (browser, transport, events):
        await end(browser)

        await until(lambda: events.calls)
        assert [call[:2] for call in events.calls] == [("closed", 0)]
        transport.close(1, "late")
        await until(lambda: browser.end)


async def test_an_http3_error_of_the_peer_is_an_error_of_the_session():
    async with session() as (browser, _, events):
        browser.connection.close(0x102, "broken")

        await until(lambda: events.calls)
        assert events.calls == [("closed", 1, "broken")]


async def test_a_peer_that_breaks_http3_loses_its_connection_only():
    async with session() as (browser, _, events):
        browser.send(browser.engine.open(unidirectional=True), b"\x00")

        await until(lambda: events.calls)
        assert [call[:2] for call in events.calls] == [("closed", 1)]
        await until(lambda: browser.end)
        assert browser.end[0] == 0x103


async def test_codes_are_mapped_both_ways():
    async with session() as (browser, transport, events):
        stream = browser.open(b"\x40\x41\x00hello")
        await until(lambda: stream in events.data)

        transport.reset(stream, 99)
        transport.stop(stream, 98)
        await until(lambda: stream in browser.resets and stream in browser.stops)
        assert browser.resets == {stream: codes.to_http3(99)}
        assert browser.stops == {stream: codes.to_http3(98)}

        plain, own = (browser.open(b"\x40\x54\x00x", unidirectional=True) for _ in range(2))
        await until(lambda: {plain, own} <= events.data.keys())
        browser.engine.reset_stream(plain, codes.to_http3(77))
        browser.engine.reset_stream(own, 0x10C)
        browser.connection.touch()
        await until(lambda: len(events.calls) >= 3)
        assert set(events.calls) >= {("reset", plain, 77), ("reset", own, 0)}


@pytest.mark.parametrize("head", [b"\x40\x54\x00", b"\x80\x00\x00\x54\x40\x00"])
async def test_the_head_of_a_stream_may_come_in_pieces(head):
    async with session() as (browser, _, events):
        stream = browser.engine.open(unidirectional=True)
        for n, byte in enumerate(head + b"ab"):
            browser.send(stream, bytes([byte]))
            await until(lambda: browser.engine.ledger.unacknowledged == 0)
            assert (stream in events.data) is (n >= len(head))
        browser.send(stream, b"", end=True)

        await until(lambda: stream in events.fins)
        assert events.data == {stream: b"ab"}


async def test_streams_and_datagrams_that_overtake_the_request_are_kept_or_dropped():
    async with browsing() as (browser, served, _):
        request = browser.engine.open(unidirectional=False)
        early = browser.open(b"\x40\x54\x00early", unidirectional=True, end=True)
        both = browser.open(b"\x40\x41\x00both")
        await until(lambda: browser.engine.ledger.unacknowledged == 0)
        assert served == []

        browser.request(stream=request)

        await until(lambda: served)
        events = served[0].events
        await until(lambda: early in events.fins)
        assert events.data == {early: b"early", both: b"both"}
        served[0].send(both, b"answer", fin=True)
        await until(lambda: browser.data[both] == b"answer")


async def test_what_is_kept_for_a_session_to_come_is_bounded():
    async with browsing() as (browser, served, _):
        streams = [
            browser.open(b"\x40\x54\x00" + bytes(8000), unidirectional=True) for _ in range(12)
        ]

        await until(lambda: browser.stops)
        assert served == []
        assert set(browser.stops) < set(streams)
        assert set(browser.stops.values()) == {codes.REFUSED_STREAM}
        await until(lambda: browser.engine.ledger.unacknowledged == 0)
        request = browser.request()
        await until(lambda: request in browser.statuses)
        kept = served[0].events.data
        assert kept.keys() == set(streams) - browser.stops.keys()
        assert sum(map(len, kept.values())) <= 64 * 1024


async def test_a_stream_of_another_session_is_refused():
    async with session() as (browser, _, events):
        uni = browser.open(b"\x40\x54\x04x", unidirectional=True)
        both = browser.open(b"\x40\x41\x04x")

        await until(lambda: {uni, both} <= browser.stops.keys())
        await until(lambda: both in browser.resets)
        assert events.data == {}


async def test_unknown_streams_and_strange_datagrams_do_no_harm():
    async with session() as (browser, transport, events):
        browser.open(varint.encode(0x1F * 3 + 0x21) + bytes(5000), unidirectional=True, end=True)
        browser.open(b"\x40", unidirectional=True, end=True)
        for data in (b"", b"\x40", b"\x01other", b"\x00ours"):
            browser.engine.send_datagram_frame(data)
        browser.connection.touch()

        await until(lambda: events.datagrams)
        assert events.datagrams == [b"ours"]
        assert transport.send_datagram(b"answer")
        await until(lambda: browser.datagrams)
        assert browser.datagrams == [b"\x00answer"]
        assert events.calls == []


async def test_http3_keeps_no_object_for_streams_of_a_session():
    async with session() as (browser, transport, events):
        connection = transport._connection
        await until(lambda: connection.binding.h3_objects == 4)
        before = connection.binding.h3_objects
        for _ in range(150):
            stream = browser.open(b"\x40\x41\x00q", end=True)
            await until(lambda: stream in events.fins)  # noqa: B023
            transport.send(stream, b"a", fin=True)
        await until(lambda: transport.unacknowledged() == 0)

        assert connection.binding.h3_objects == before
        await until(lambda: not connection.binding._inbound)
