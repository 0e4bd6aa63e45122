"""Who came and went leaves nothing behind: no object of any kind, and no memory."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from moq_relay.sessions.transport import UNI
from moq_relay.transports.quic.dialer import Trust, dial
from moq_relay.wire.lite.versions import LITE_05, LITE_06
from tests.support import lite05
from tests.support.own_client import PATIENCE, connected, publish, until
from tests.support.relay_process import RelayProcess
from tests.support.sink_process import resident_bytes, sinks
from tests.support.station import EVERYTHING, Listening, Station

pytestmark = [pytest.mark.alone, pytest.mark.timeout(150)]

WARM_UP, ROUNDS = 2, 5
SINKS, BROWSERS = 60, 12
"""Viewers of a round by raw QUIC and by WebTransport; half as many again come to warm up.

An allocator keeps what it has once needed, so that rounds as large as all before would still find
new peaks now and then, and be taken for leaks.
"""
GROUPS, FRAMES, FRAME_BYTES = 12, 5, 2000
ALLOWED = 5 << 20

CYCLES, WARM_UP_CYCLES, BATCH = 10_000, 2_000, 100

LIVE = (
    "sessions",
    "connections",
    "streams",
    "h3_objects",
    "broadcasts",
    "tracks",
    "viewers",
    "upstream_subscriptions",
    "cache_groups",
    "cache_bytes",
)
"""Every metric that counts what is alive."""


@pytest.fixture
def relay(tmp_path):
    settings = """
        [cluster]
        linger = "200ms"
        [cache]
        duration = "1500ms"
    """
    process = RelayProcess(tmp_path, [LITE_05.name, LITE_06.name], settings)
    process.start()
    try:
        yield process
        process.stop()
    finally:
        process.kill()


def alive(relay):
    """What is alive in the relay, by metric; what is not is left out."""
    counts = {name: sum(relay.metric(f"moq_relay_{name}").values()) for name in LIVE}
    return {name: count for name, count in counts.items() if count}


async def gone(relay):
    """Wait until nothing is alive; says what still is."""
    try:
        await until(lambda: not alive(relay))
    except TimeoutError:
        raise AssertionError(f"still alive after {PATIENCE} s: {alive(relay)}") from None


async def test_rounds_of_coming_watching_and_leaving_leave_nothing_behind(relay):
    kept = []
    for number in range(WARM_UP + ROUNDS):
        await one_round(relay, 1.5 if number < WARM_UP else 1.0)
        await gone(relay)
        kept.append(resident_bytes(relay.pid))

    growth = kept[-1] - kept[WARM_UP - 1]
    assert growth < ALLOWED, f"MiB after each round: {[round(n / 2**20, 2) for n in kept]}"


async def one_round(relay, scale):
    """A publisher and its viewers, from the first handshake to the last goodbye."""
    station = Station(frames=FRAMES, size=FRAME_BYTES)
    port = relay.ports[LITE_05.name]
    raw, browsers = int(SINKS * scale), int(BROWSERS * scale)
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(connected(port, LITE_05))
        publish(origin, "live", station)
        station.write()
        await until(lambda: "broadcasts" in alive(relay))
        watching = await stack.enter_async_context(sinks(port, raw, "live", "video"))
        await watching.ready()
        listeners = []
        for number in range(browsers):
            version = (LITE_05, LITE_06)[number % 2]
            seen = await stack.enter_async_context(
                connected(relay.ports[version.name], version, path="/")
            )
            await until(lambda seen=seen: "live" in seen.broadcasts)
            listeners.append(Listening(frames=FRAMES, size=FRAME_BYTES))
            seen.subscribe("live", "video", listeners[-1], EVERYTHING)
        await until(lambda: all(one.first is not None for one in listeners))

        for _ in range(GROUPS * FRAMES - 1):
            station.write()
            await asyncio.sleep(0.01)

        await until(lambda: all(GROUPS - 1 in one.whole for one in listeners))
        assert [(one.missing, one.faults) for one in listeners] == [([], [])] * browsers
        assert {viewer["groups"] for viewer in await watching.viewers("video")} == {GROUPS}


class Subscriptions:
    """One peer's own end of a WebTransport session, with nothing kept for what is over."""

    def __init__(self):
        self.answered = set()
        self.reset = 0
        self.groups = 0
        self.unfinished = set()
        self.over = None

    def stream_data(self, stream, data, fin):
        if stream & UNI:
            self.groups += fin
        elif data:
            self.answered.add(stream)

    def stream_reset(self, stream, code):
        if not stream & UNI:
            self.reset += 1

    def stream_stopped(self, stream, code): ...

    def stream_finished(self, stream):
        self.unfinished.discard(stream)

    def datagram(self, data): ...

    def transport_writable(self): ...

    def closed(self, code, reason):
        self.over = code, reason


async def test_ten_thousand_subscriptions_on_one_session_leave_nothing_behind(relay):
    station = Station(frames=2, size=300)
    heard = Subscriptions()
    port = relay.ports[LITE_05.name]
    async with (
        connected(port, LITE_05) as origin,
        dial(
            "127.0.0.1",
            port,
            accept=lambda _arrival, _transport: heard,
            protocols=[LITE_05.alpn],
            path="/",
            trust=Trust(verify=False),
            server_name="localhost",
        ) as transport,
    ):
        publish(origin, "live", station)
        station.write()
        transport.send(transport.open_uni(), lite05.setup(lite05.SUBSCRIBER), fin=True)
        await until(lambda: "broadcasts" in alive(relay))
        idle = alive(relay)

        before = 0
        for done in range(0, CYCLES, BATCH):
            if done == WARM_UP_CYCLES:
                await until(lambda: "tracks" not in alive(relay))
                before = resident_bytes(relay.pid)
            await come_and_go(transport, heard, done)
            station.write()
        await until(lambda: alive(relay) == idle)
        growth = resident_bytes(relay.pid) - before

        assert heard.over is None
        assert heard.groups > 0
        assert growth < ALLOWED, f"{growth / 2**20:.2f} MiB in {CYCLES - WARM_UP_CYCLES} cycles"
    await gone(relay)


async def come_and_go(transport, heard, first):
    """A batch of subscriptions, each answered, then ended in one of three ways."""
    heard.answered.clear()
    streams = []
    for number in range(first, first + BATCH):
        stream = transport.open_bi()
        transport.send(stream, lite05.subscribe(number, "live", f"track{number % 3}"))
        streams.append(stream)
    heard.unfinished.update(streams)
    await until(lambda: heard.answered.issuperset(streams))
    for number, stream in enumerate(streams):
        if number % 3 == 0:
            transport.send(stream, b"", fin=True)
        else:
            transport.reset(stream, 0)
        if number % 3 == 2:
            transport.stop(stream, 0)
    await until(lambda: not heard.unfinished)
