"""Two thousand kinds of nonsense over real sockets, beside viewers that must not notice."""

import asyncio
import contextlib
import gc
import logging
import socket
from collections import deque
from random import Random

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from moq_relay.errors import MoqError
from moq_relay.sessions.context import Limits
from moq_relay.sessions.host import Host
from moq_relay.transports import tls
from moq_relay.transports.quic import endpoint
from moq_relay.transports.quic.dialer import DialFailed, Trust, dial
from moq_relay.transports.quic.listener import listen
from moq_relay.wire.lite.versions import LITE_05, LITE_06, VERSIONS
from tests.support.junk import mutate
from tests.support.own_client import connected, make_context, make_origin, publish, until
from tests.support.station import EVERYTHING, Listening, Station
from tests.support.wild_peer import WildHttp, WildPeer

pytestmark = pytest.mark.timeout(170)

SEED = 20
CASES = 2000
VISIT = 12
"""Cases of one connection, unless the relay ends it before."""
FRAMES, FRAME_BYTES = 2, 300
UNDER_WAY = 20
"""Streams of groups that the good viewers have not acknowledged at some moment."""
KINDS = ("quic", "webtransport", "http", "packets")
"""Who makes the cases, in turn: moq-lite over raw QUIC, moq-lite and what lies below it over
WebTransport, HTTP/3 without a session, and datagrams that belong to no connection."""


class Reading:
    """Subscribes to whatever the wild peers announce, so that the relay asks them for it."""

    def __init__(self, origin):
        self.origin = origin
        self.tracks = {}

    def announced(self, path, route):
        if path.startswith("junk/"):
            asyncio.get_running_loop().call_soon(self._subscribe, path)

    def updated(self, path, route): ...

    def withdrawn(self, path):
        reader, track = self.tracks.pop(path, (None, None))
        if track is not None:
            track.leave(reader)

    def _subscribe(self, path):
        reader = Listening(frames=FRAMES, size=FRAME_BYTES)
        with contextlib.suppress(MoqError):
            self.tracks[path] = reader, self.origin.subscribe(path, "x", reader, EVERYTHING)
            self.origin.fetch(path, "x", 3)


class Relay:
    """A relay in this process, a broadcast that it carries, and its good viewers."""

    def __init__(self, listener, host, context):
        self.listener = listener
        self.host = host
        self.context = context
        self.station = Station(frames=FRAMES, size=FRAME_BYTES)
        self.viewers = []
        self.stopped = asyncio.Event()

    async def play(self):
        """Fifty frames a second until told to stop; the last group is whole then."""
        while not self.stopped.is_set() or self.station.written % FRAMES:
            self.station.write()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await self.stopped.wait()

    def counts(self):
        """Everything that a leak would make grow."""
        live, counters = self.listener.live(), self.context.counters
        return {
            "connections": live.connections,
            "streams": live.streams,
            "senders": live.senders,
            "h3_objects": live.h3_objects,
            "unfinished": self.listener._endpoint.unfinished,
            "routes": len(self.listener._endpoint._routes),
            "sessions": len(self.host.sessions),
            "broadcasts": len(self.context.origin.broadcasts),
            "viewers": counters.viewers,
            "upstream": counters.upstream,
            "tasks": len(asyncio.all_tasks()),
        }

    def grown(self, before):
        """What there is more of than there was."""
        spare = {"streams": UNDER_WAY, "senders": UNDER_WAY}
        now = self.counts()
        return {
            name: now[name] - count
            for name, count in before.items()
            if now[name] - count > spare.get(name, 0)
        }


@contextlib.asynccontextmanager
async def relaying():
    origin = make_origin(linger=0.05)
    context = make_context(origin, Limits(handshake_seconds=2.0), "junk")
    async with contextlib.AsyncExitStack() as stack:
        host = await stack.enter_async_context(Host(context))
        listener = await stack.enter_async_context(
            await listen(
                "127.0.0.1",
                0,
                credentials=tls.Credentials(tls.generate(["localhost"])),
                accept=host.acceptor(VERSIONS),
                protocols=[version.alpn for version in VERSIONS],
                limits=endpoint.Limits(handshake_seconds=2.0),
            )
        )
        relay = Relay(listener, host, context)
        publish(origin, "live", relay.station)
        origin.watch("", reading := Reading(origin))
        relay.station.write()
        for version, path in ((LITE_05, None), (LITE_06, "/")):
            seen = await stack.enter_async_context(connected(listener.port, version, path=path))
            await until(lambda seen=seen: "live" in seen.broadcasts)
            viewer = Listening(frames=FRAMES, size=FRAME_BYTES)
            seen.subscribe("live", "x", viewer, EVERYTHING)
            relay.viewers.append(viewer)
        await until(lambda: all(viewer.first is not None for viewer in relay.viewers))
        yield relay
        for path in list(reading.tracks):
            reading.withdrawn(path)


class Packets:
    """Datagrams for no connection, and some that pretend to be of one."""

    def __init__(self, relay, random):
        self._relay = relay
        self._random = random
        self._seen = deque(maxlen=64)
        self._to = "127.0.0.1", relay.listener.port
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def close(self):
        self._socket.close()

    def tap(self, transport):
        """Overhear what a client sends, to send it again or wrong."""
        io = transport._connection._host._io
        send = io.send

        def heard(datagrams):
            self._seen.extend(data for data, _ in datagrams)
            send(datagrams)

        io.send = heard

    def act(self):
        """One case; what it was."""
        random = self._random
        kind = random.randrange(7)
        match kind:
            case 0:
                data = random.randbytes(random.choice((0, 1, 8, 20, 60, 1200, 1472, 9000)))
            case 1:
                data = random.choice(self._initial())
            case 2:
                data = mutate(random, random.choice(self._initial()))
            case 3:
                # The padding stays, so that it is taken for the first packet of a connection.
                data = bytearray(random.choice(self._initial()))
                for _ in range(random.randint(1, 5)):
                    data[random.randrange(60)] = random.randrange(256)
            case 4:
                route = random.choice(list(self._relay.listener._endpoint._routes))
                data = b"\x40" + route + random.randbytes(random.choice((0, 4, 30, 1100)))
            case 5:
                route = random.choice(list(self._relay.listener._endpoint._routes))
                head = random.choice((b"\xc0", b"\xd0", b"\xe0", b"\xf0", b"\x80"))
                version = random.choice((b"\0\0\0\1", b"\0\0\0\0", b"\x6b\x33\x43\xcf", b"abcd"))
                data = head + version + bytes((len(route),)) + route + random.randbytes(1300)
            case _:
                seen = random.choice(self._seen) if self._seen else b"\x40"
                data = seen if random.random() < 0.3 else mutate(random, seen)
        with contextlib.suppress(OSError):
            self._socket.sendto(data, self._to)
        return f"packet {kind} {bytes(data[:40])!r}"

    def _initial(self):
        """The first flight of a client that will never answer."""
        alpns = [self._random.choice(("h3", "moq-lite-05", "nonsense"))]
        quic = QuicConnection(
            configuration=QuicConfiguration(alpn_protocols=alpns, server_name="localhost")
        )
        quic.connect(self._to, now=0.0)
        return [data for data, _ in quic.datagrams_to_send(now=0.0)]


async def visit(relay, kind, random, packets):
    """Up to ``VISIT`` cases of one kind; yields what each was."""
    if kind == "packets":
        for _ in range(VISIT):
            yield packets.act()
        return
    version = random.choice(VERSIONS)
    peer = WildPeer(version, random)

    def accept(_arrival, transport):
        peer.transport = transport
        return peer

    try:
        async with dial(
            "127.0.0.1",
            relay.listener.port,
            accept=accept,
            protocols=["h3"] if kind == "http" else [version.alpn],
            path="/" if kind == "webtransport" else None,
            trust=Trust(verify=False),
            server_name="localhost",
        ) as transport:
            packets.tap(transport)
            below = WildHttp(transport, random)
            if kind != "http":
                peer.begin()
            for _ in range(VISIT):
                deep = kind == "http" or (kind == "webtransport" and random.random() < 0.5)
                yield below.act() if deep else peer.act()
                await asyncio.sleep(0.002)
                if peer.over:
                    return
    except DialFailed as error:
        yield f"dial failed: {error}"


async def test_nonsense_over_sockets_costs_nobody_else_anything(caplog):
    caplog.set_level(logging.ERROR)
    recent = deque(maxlen=30)

    def calm():
        errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert not errors, "\n".join([errors[0].getMessage(), *recent])

    async with relaying() as relay, asyncio.TaskGroup() as tasks:
        # given good viewers, and counts that have settled
        player = tasks.create_task(relay.play())
        packets = Packets(relay, Random(SEED))
        await until(lambda: all(len(viewer.whole) > 5 for viewer in relay.viewers))
        before = relay.counts()

        # when peers of all kinds come and say what they like
        done = number = 0
        while done < CASES:
            kind = KINDS[number % len(KINDS)]
            random = Random(f"{SEED}/{number}")
            async for case in visit(relay, kind, random, packets):
                recent.append(f"{kind} {number}: {case}")
                done += 1
                calm()
            number += 1

        # then all is as it was when they have gone
        packets.close()
        assert relay.context.counters.violations > 0
        with contextlib.suppress(TimeoutError):
            await until(lambda: not relay.grown(before))
        assert relay.grown(before) == {}
        relay.stopped.set()
        await player
        last = relay.station.sequence
        await until(lambda: all(last in viewer.whole for viewer in relay.viewers))
        assert [viewer.faults for viewer in relay.viewers] == [[], []]
        assert [viewer.missing for viewer in relay.viewers] == [[], []]
    gc.collect()
    calm()
