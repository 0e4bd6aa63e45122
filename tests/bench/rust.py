"""moq-rs, the Rust rival: ``python -m tests.bench.rust relay`` or ``… rust viewers --port P``."""

import argparse
import asyncio
import json
import sys
import time

import moq
import uvloop

from moq_relay.daemon.load.window import Window
from tests.bench import workload

HANDSHAKES = 8
FIELD = 8


async def relay() -> None:
    """Print the port, then relay between all sessions until killed."""
    origin = moq.OriginProducer()
    server = moq.Server("127.0.0.1:0", tls_generate=["localhost"], publish=origin, subscribe=origin)
    async with server, asyncio.TaskGroup() as sessions:
        print(server.local_addr.rsplit(":", 1)[1], flush=True)
        async for request in server:
            sessions.create_task(hold(request))


async def hold(request: moq.Request) -> None:
    """A session lives as long as its handle does."""
    session = await request.accept()
    await session.closed()


class Viewers:
    """Clients that watch both tracks, each on its own connection."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._ready = 0
        self._pace = asyncio.Semaphore(HANDSHAKES)
        self._window = Window()

    async def run(self) -> None:
        """Watch until killed; a report per window on standard input."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._count):
                tasks.create_task(self._watch())
            while line := await asyncio.to_thread(sys.stdin.readline):
                moment = self._window.follow(line)
                await asyncio.sleep(max(0.0, moment - time.monotonic()))
                print(json.dumps(self._window.report()), flush=True)

    async def _watch(self) -> None:
        subscription = moq.Subscription(max_age_us=workload.MAX_AGE_US)
        client = moq.Client(
            f"moqt://127.0.0.1:{self._port}/",
            tls_verify=False,
            bind="127.0.0.1:0",
            websocket_enabled=False,
            subscribe=moq.OriginProducer(),
        )
        async with self._pace:
            await client.__aenter__()
            broadcast = await client.announced_broadcast(workload.BROADCAST)
            video = await broadcast.subscribe_track(workload.VIDEO, subscription)
            audio = await broadcast.subscribe_track(workload.AUDIO, subscription)
        self._ready += 1
        if self._ready == self._count:
            print(json.dumps({"ready": self._count}), flush=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pictures(video))
            tasks.create_task(self._sounds(audio))

    async def _pictures(self, track: moq.TrackConsumer) -> None:
        async for group in track:
            async for frame in group:
                self._seen(workload.VIDEO, frame.payload)

    async def _sounds(self, track: moq.TrackConsumer) -> None:
        while (frame := await track.read_frame()) is not None:
            self._seen(workload.AUDIO, frame.payload)

    def _seen(self, track: str, payload: bytes) -> None:
        self._window.seen(track, int.from_bytes(payload[:FIELD], "big"), len(payload))


async def watch(port: int, count: int) -> None:
    """All viewers of one run."""
    await Viewers(port, count).run()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rust", description=__doc__)
    parser.add_argument("role", choices=["relay", "viewers"])
    parser.add_argument("--port", type=int)
    parser.add_argument("--viewers", type=int, default=1)
    options = parser.parse_args()
    if options.role == "relay":
        asyncio.run(relay())
    else:
        uvloop.run(watch(options.port, options.viewers))


if __name__ == "__main__":
    main()
