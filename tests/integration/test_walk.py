"""The walk in docs/walk.md is the way a frame really takes."""

import asyncio
import re
import traceback
from pathlib import Path

import pytest

from moq_relay.relay.access import Access
from moq_relay.relay.counters import Counters
from moq_relay.relay.feed import Demand, TrackInfo
from moq_relay.relay.group import Frame
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.relay.route import Route
from moq_relay.sessions.context import Context, Limits
from moq_relay.sessions.host import Host
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.transports import tls
from moq_relay.transports.quic.dialer import Trust, dial
from moq_relay.transports.quic.listener import listen
from moq_relay.wire.lite.versions import VERSIONS

ROOT = Path(__file__).parents[2]
WALKS = re.compile(r"^```\n(moq_relay/.*?)\n```$", re.MULTILINE | re.DOTALL)
REPLACED = "moq_relay/transports/quic/connection.py:event"
"""What the second drawing, WebTransport's, stands in the place of."""


def drawn(webtransport):
    """The calls that the document draws, a line each."""
    raw, instead = WALKS.findall((ROOT / "docs" / "walk.md").read_text())
    assert REPLACED in raw.splitlines()
    return raw.replace(REPLACED, instead) if webtransport else raw


def context(hop):
    loop, counters = asyncio.get_running_loop(), Counters()
    origin = Origin(hop, Cache(CacheLimits(), counters), loop.time, loop.call_later)
    return Context(origin, Limits(), lambda _target: Access(), counters)


class Publisher:
    """A source with one track that never ends."""

    def __init__(self):
        self.group = asyncio.get_running_loop().create_future()

    def describe(self, feed):
        feed.described(TrackInfo())

    def subscribe(self, feed):
        self.group.set_result(feed.open_group(0))

    def update(self, feed): ...
    def unsubscribe(self, feed): ...
    def fetch(self, path, track, group): ...


class Viewer:
    """Reads a track and says when a frame has come."""

    def __init__(self):
        self.came = asyncio.Event()

    def started(self, first): ...
    def datagram(self, sequence, timestamp, payload): ...
    def ended(self, error, final): ...

    def opened(self, group):
        self._group = group
        group.join(self)
        self.ready()

    def ready(self):
        if self._group.frames:
            self.came.set()


@pytest.mark.parametrize("path", [None, "/"], ids=["raw QUIC", "WebTransport"])
async def test_a_frame_takes_the_way_that_the_document_draws(path):
    # Given a relay between a publisher and a viewer, over real sockets.
    relay, here, there = context(1), context(2), context(3)
    certificate = tls.Credentials(tls.generate(["localhost"]))
    sent = []
    async with Host(relay) as host, Host(here) as publishing, Host(there) as watching:
        listener = await listen(
            "127.0.0.1",
            0,
            credentials=certificate,
            accept=host.acceptor(VERSIONS),
            protocols=[VERSIONS[0].alpn],
        )

        def join(side, own):
            def accept(_arrival, transport):
                return side.start(
                    LiteSession(transport, VERSIONS[0], own, target="/", dialled=True)
                )

            return dial(
                "127.0.0.1",
                listener.port,
                accept=accept,
                protocols=[VERSIONS[0].alpn],
                path=path,
                trust=Trust(verify=False),
            )

        async with listener, join(publishing, here), join(watching, there):
            source, viewer = Publisher(), Viewer()
            here.origin.announce("room", Route(source))
            async with asyncio.timeout(5):
                while not there.origin.paths():
                    await asyncio.sleep(0.005)
            there.origin.subscribe("room", "video", viewer, Demand())
            async with asyncio.timeout(5):
                group = await source.group
            for session in host.sessions:
                transport = session.transport
                transport.send = spy(transport.send, sent)

            # When a frame is published.
            group.append(Frame(b"a frame", 1))
            async with asyncio.timeout(5):
                await viewer.came.wait()

    # Then it was handed to the viewer's transport by just the calls that the document names.
    stack = next(stack for data, stack in sent if b"a frame" in bytes(data))
    walked = [
        f"{Path(frame.filename).relative_to(ROOT)}:{frame.name}"
        for frame in stack
        if frame.filename.startswith(str(ROOT / "moq_relay"))
    ]
    assert "\n".join(walked) == drawn(webtransport=path is not None)


def spy(send, sent):
    def spied(stream, data, start=0, stop=None, *, fin=False):
        sent.append((bytes(data[start:stop]), traceback.extract_stack()))
        send(stream, data, start, stop, fin=fin)

    return spied
