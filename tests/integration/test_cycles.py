"""Ten thousand subscriptions that come and go on one session leave nothing behind."""

import asyncio

import pytest

from moq_relay.sessions.transport import Transport
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.lite.versions import LITE_04, LITE_05, LITE_06
from moq_relay.wire.version import Version
from tests.support.node import node, until
from tests.support.peer import Peer

CYCLES = 10_000
BATCH = 50


class Forgetful(Peer):
    """A peer that answers requests as a publisher does, and keeps no stream that is over."""

    def __init__(self, transport: Transport, version: Version) -> None:
        super().__init__(transport, version)
        self.answering = False
        self.subscriptions = 0

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        super().stream_data(stream, data, fin)
        if not self.answering or stream & 3 != 1 or self.streams[stream].at:
            return
        heard = self.streams[stream]
        heard.at = 1
        match heard.data[0]:
            case BiStream.TRACK:
                heard.write(wire.TrackInfo(priority=1, max_age=5000, timescale=1000), fin=True)
            case BiStream.SUBSCRIBE:
                features = self.version.features
                heard.write(wire.SubscribeOk() if features.subscribe_ok else wire.SubscribeStart(0))
                self.group(self.subscriptions, 0, b"x", fin=self.subscriptions % 3 > 0)
                self.subscriptions += 1

    def forget(self) -> None:
        for number, stream in tuple(self.streams.items()):
            if stream.over or (number & 3 == 2 and stream.acknowledged):
                del self.streams[number]


@pytest.mark.parametrize("version", [LITE_06, LITE_05, LITE_04], ids=lambda version: version.name)
@pytest.mark.timeout(180)
async def test_ten_thousand_subscriptions_leave_nothing_behind(version):
    async with node() as relay:
        publisher = await relay.publisher(version, "a")
        source = Forgetful(publisher.peer.transport, version)
        source.answering = True
        viewer = await relay.viewer(version)
        sink = Forgetful(viewer.peer.transport, version)
        sessions = [relay.session(peer) for peer in (source, sink)]
        await until(lambda: not any(session._deaf for session in sessions))

        for start in range(0, CYCLES, BATCH):
            streams = [
                sink.open(BiStream.SUBSCRIBE, wire.Subscribe(number, "a", f"t{number % 7}", 0))
                for number in range(start, start + BATCH)
            ]
            for _ in range(start // BATCH % 9):
                await asyncio.sleep(0)
            for number, stream in enumerate(streams):
                match number % 4:
                    case 0:
                        stream.finish()
                    case 1:
                        stream.stop(0)
                    case _:
                        stream.reset(1)
            await until(lambda s=streams: all(stream.over for stream in s))
            for number, stream in enumerate(streams):
                if number % 4 == 1:
                    stream.finish()
            source.forget()
            sink.forget()

        await until(lambda: relay.counters.viewers == relay.counters.upstream == 0)
        await until(lambda: not any(session._deaf for session in sessions))
        for session in sessions:
            assert len(session._requests) <= 1, session._requests
            assert not session.publisher._tracks
            assert not session.subscriber._requests
            assert not session.subscriber._questions
            assert not session.subscriber._pending
            assert not session._inlet.feeds
            assert len(session.scheduler) == 0
            assert len(session._tasks._tasks) <= 1
        relay.origin.sweep(relay.origin.clock() + 1000)
        assert len(relay.origin.cache) == 0
        assert len(relay.origin.broadcasts["a"].tracks) <= 7
