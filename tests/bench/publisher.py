"""Publishes W1 with moq-rs, for every relay: ``python -m tests.bench.publisher --port P``."""

import argparse
import asyncio
import json
import os
import sys
import time

import moq

from moq_relay.daemon.load.window import Window, stamp
from tests.bench import workload

FIELD = 8
"""Bytes of the timestamp that a frame starts with."""


class Publisher:
    """Two tracks, each frame written when it is due, stamped when it is written."""

    def __init__(self, client: moq.Client, window: Window) -> None:
        info = moq.TrackInfo(max_age_us=workload.MAX_AGE_US)
        self._window = window
        self._broadcast = client.create_broadcast(workload.BROADCAST)
        self._video = self._broadcast.publish_track(workload.VIDEO, info)
        self._audio = self._broadcast.publish_track(workload.AUDIO, info)
        self._group: moq.GroupProducer | None = None
        self._picture = os.urandom(workload.VIDEO_BYTES - FIELD)
        self._sound = os.urandom(workload.AUDIO_BYTES - FIELD)
        self._broadcast.announce()

    async def run(self) -> None:
        """Write frames at their time, for ever; late ones at once."""
        start = time.monotonic()
        pictures = sounds = 0
        while True:
            elapsed = time.monotonic() - start
            while pictures <= elapsed * workload.VIDEO_FPS:
                self._write_picture(pictures)
                pictures += 1
            while sounds <= elapsed * workload.AUDIO_FPS:
                self._write_sound(sounds)
                sounds += 1
            due = min(pictures / workload.VIDEO_FPS, sounds / workload.AUDIO_FPS)
            await asyncio.sleep(max(0.0, start + due - time.monotonic()))

    def _write_picture(self, number: int) -> None:
        if self._group is None:
            self._group = self._video.append_group()
        mark = stamp()
        media_time = number * 1_000_000 // workload.VIDEO_FPS
        self._group.write_frame(mark + self._picture, media_time)
        self._count(workload.VIDEO, mark, workload.VIDEO_BYTES)
        if number % workload.GROUP_FRAMES == workload.GROUP_FRAMES - 1:
            self._group.finish()
            self._group = None

    def _write_sound(self, number: int) -> None:
        mark = stamp()
        self._audio.write_frame(mark + self._sound, number * 1_000_000 // workload.AUDIO_FPS)
        self._count(workload.AUDIO, mark, workload.AUDIO_BYTES)

    def _count(self, track: str, mark: bytes, size: int) -> None:
        self._window.seen(track, int.from_bytes(mark, "big"), size)


async def publish(port: int) -> None:
    """Connect, publish until killed, answer each window on standard input with a report."""
    window = Window()
    client = moq.Client(
        f"moqt://127.0.0.1:{port}/",
        tls_verify=False,
        bind="127.0.0.1:0",
        websocket_enabled=False,
        publish=moq.OriginProducer(),
    )
    async with client, asyncio.TaskGroup() as tasks:
        publisher = Publisher(client, window)
        tasks.create_task(publisher.run())
        print(json.dumps({"ready": 1}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            moment = window.follow(line)
            await asyncio.sleep(max(0.0, moment - time.monotonic()))
            print(json.dumps(window.report()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.publisher", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(publish(parser.parse_args().port))


if __name__ == "__main__":
    main()
