"""Publishes the live stream: ``python -m moq_relay.daemon.load.publisher --port P --mbits M``.

It is the relay's own session over its own engine, whose frames begin with the time at which they
were written. Lines on standard input are those of ``viewers.py``; it ends with its input.
"""

import argparse
import asyncio
import os
import secrets
import sys
import time
from collections.abc import Coroutine, Mapping
from typing import Any

import uvloop

from moq_relay.daemon.load.groups import STAMP
from moq_relay.daemon.load.viewers import say
from moq_relay.daemon.load.window import Window, stamp
from moq_relay.daemon.load.workload import (
    AUDIO,
    AUDIO_BYTES,
    AUDIO_FPS,
    BROADCAST,
    GROUP_FRAMES,
    TRACKS,
    VIDEO,
    VIDEO_FPS,
    VIDEO_MBITS,
    Workload,
)
from moq_relay.errors import MoqError, NotFound
from moq_relay.relay.access import Access
from moq_relay.relay.counters import Counters
from moq_relay.relay.feed import Feed, TrackInfo
from moq_relay.relay.group import Frame, Group, GroupWriter
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.sessions.context import Context, Limits, Use
from moq_relay.sessions.host import Host
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.transport import Arrival, Transport
from moq_relay.transports.quic.dialer import Trust, dial
from moq_relay.wire.lite.messages import Role
from moq_relay.wire.lite.versions import VERSIONS

INFO = TrackInfo(max_age=30.0)
KEPT_SECONDS = 2.0
ENOUGH = Limits(frame_bytes=1 << 30, viewer_backlog=1 << 30)
"""What the relay cannot take at once waits here, and counts as late."""


class LiveSource:
    """Two tracks, each frame written when it is due, to whoever asked for its track."""

    def __init__(self, workload: Workload, window: Window) -> None:
        self._window = window
        self._picture = os.urandom(max(0, workload.video_bytes - STAMP))
        self._sound = os.urandom(AUDIO_BYTES - STAMP)
        self._feeds: dict[Feed, GroupWriter | None] = {}
        """Each with the group that is open there."""

    # What the relay's origin asks of a source.

    def describe(self, feed: Feed) -> None:
        """Both tracks are alike."""
        if feed.track.name in TRACKS:
            feed.described(INFO)
        else:
            feed.ended(NotFound(f"{BROADCAST} has the tracks {', '.join(TRACKS)}"))

    def subscribe(self, feed: Feed) -> None:
        """Feed a track, from its next group on."""
        self._feeds[feed] = None

    def update(self, feed: Feed) -> None:
        """Nothing depends on what exactly is wanted."""

    def unsubscribe(self, feed: Feed) -> None:
        """Nobody is left who watches the track."""
        self._feeds.pop(feed, None)

    def fetch(self, path: str, track: str, group: Group) -> None:
        """Nothing of the past is kept."""
        group.abort(NotFound(f"{path} keeps no past"))

    # Time.

    async def run(self) -> None:
        """Write frames at their time, late ones at once; ends only by cancellation."""
        start = time.monotonic()
        pictures = sounds = 0
        while True:
            elapsed = time.monotonic() - start
            while pictures <= elapsed * VIDEO_FPS:
                self._write(VIDEO, pictures, VIDEO_FPS, GROUP_FRAMES, self._picture)
                pictures += 1
            while sounds <= elapsed * AUDIO_FPS:
                self._write(AUDIO, sounds, AUDIO_FPS, 1, self._sound)
                sounds += 1
            due = min(pictures / VIDEO_FPS, sounds / AUDIO_FPS)
            await asyncio.sleep(max(0.0, start + due - time.monotonic()))

    def _write(self, track: str, number: int, rate: int, in_group: int, content: bytes) -> None:
        """Frame ``number`` of a track with so many frames a second and in a group."""
        mark = stamp()
        frame = Frame(mark + content, number * 1_000_000 // rate)
        sequence, index = divmod(number, in_group)
        for feed, group in tuple(self._feeds.items()):
            if feed.track.name != track:
                continue
            to = feed.open_group(sequence) if index == 0 else group
            if to is None:
                continue
            to.append(frame)
            last = index == in_group - 1
            if last:
                to.finish()
                feed.group_ended(to)
            self._feeds[feed] = None if last else to
        self._window.seen(track, int.from_bytes(mark, "big"), len(frame.payload))


async def publish(port: int, workload: Workload) -> str:
    """Publish until the input ends, or the session; what ended it."""
    loop = asyncio.get_running_loop()
    cache = Cache(CacheLimits(duration=KEPT_SECONDS), Counters())
    origin = Origin(1 + secrets.randbelow(2**62 - 1), cache, loop.time, loop.call_later)
    context = Context(origin, ENOUGH, lambda _target: Access(publish=()))
    window = Window()
    source = LiveSource(workload, window)
    origin.publish(BROADCAST, source)
    sessions: list[LiteSession] = []
    version = VERSIONS[0]

    def accept(_: Arrival, transport: Transport) -> LiteSession:
        use = Use(role=Role.PUBLISHER)
        session = LiteSession(transport, version, context, target=None, dialled=True, use=use)
        sessions.append(session)
        return host.start(session)

    async with Host(context) as host:
        try:
            async with dial(
                "127.0.0.1",
                port,
                accept=accept,
                protocols=[version.alpn],
                trust=Trust(verify=False),
                server_name="localhost",
            ):
                return await _first_end(
                    {
                        "its source ended": source.run(),
                        "its input ended": _talk(window),
                        "its session ended": sessions[0].ended(),
                    }
                )
        except MoqError as error:  # the group of sessions would wrap it
            return str(error)


async def _first_end(works: Mapping[str, Coroutine[Any, Any, None]]) -> str:
    """Let all of them work until one has ended; which it was."""
    async with asyncio.TaskGroup() as group:
        tasks = {group.create_task(work, name=name): name for name, work in works.items()}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    return tasks[done.pop()]


async def _talk(window: Window) -> None:
    """Answer each line of the input until that ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say({"ready": 1})
    while line := await reader.readline():
        moment = window.follow(line.decode())
        await asyncio.sleep(max(0.0, moment - time.monotonic()))
        say(window.report())


def main() -> int:
    """The exit code: 1, because it is killed or it fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mbits", type=float, default=VIDEO_MBITS)
    options = parser.parse_args()
    say({"lost": uvloop.run(publish(options.port, Workload(options.mbits)))})
    return 1


if __name__ == "__main__":
    sys.exit(main())
