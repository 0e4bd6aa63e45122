"""The real client, PyPI's moq-rs: its sessions and its publishers."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import moq

from tests.support.media import MAX_AGE_US, Track

PATIENCE = 12
"""Seconds for each of: a session, the announcement, the first groups."""


def client(url: str) -> moq.Client:
    """A client whose two sides are apart: one with neither set would loop back to itself."""
    return moq.Client(
        url,
        tls_verify=False,
        bind="127.0.0.1:0",
        websocket_enabled=False,
        publish=moq.OriginProducer(),
        subscribe=moq.OriginProducer(),
    )


@asynccontextmanager
async def connected(url: str, patience: float = PATIENCE) -> AsyncIterator[moq.Client]:
    """A client with a session, or TimeoutError; moq-rs itself would go on dialling."""
    connection = client(url)
    try:
        async with asyncio.timeout(patience):
            await connection.__aenter__()
        yield connection
    finally:
        await connection.__aexit__(None, None, None)


class Publisher:
    """moq-rs sending tracks in real time until told to finish."""

    def __init__(self, connection: moq.Client, path: str, tracks: Sequence[Track]) -> None:
        self.path = path
        self.tracks = tracks
        self.session = connection.session
        self.groups = dict.fromkeys((track.name for track in tracks), 0)
        """Finished groups of each track so far; after the end, how many there are."""
        self.sent = asyncio.Event()
        """Set once every track has ended."""
        self._finishing = asyncio.Event()
        self._broadcast = connection.create_broadcast(path)
        self._producers = {
            track.name: self._broadcast.publish_track(
                track.name, moq.TrackInfo(max_age_us=MAX_AGE_US)
            )
            for track in tracks
        }
        self._broadcast.announce()

    async def run(self) -> None:
        """Send until `finish`, then to the end of each track's current group."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as sending:
            for track in self.tracks:
                sending.create_task(self._send(track, start))
        self.sent.set()

    def finish(self) -> None:
        """End every track after its current group."""
        self._finishing.set()

    async def wanted(self, track: Track) -> None:
        """Return once somebody is subscribed to the track."""
        await self._producers[track.name].demand().used()

    async def send_all(self, track: Track, groups: int) -> None:
        """Send a finite track as fast as its frame rate says, and end it."""
        start = time.monotonic()
        for group in range(groups):
            await self._send_group(track, group, start)
        self._producers[track.name].finish()

    def close(self) -> None:
        """Withdraw the broadcast."""
        self._broadcast.close()

    async def _send(self, track: Track, start: float) -> None:
        group = 0
        while not self._finishing.is_set():
            await self._send_group(track, group, start)
            group += 1
        self._producers[track.name].finish()

    async def _send_group(self, track: Track, group: int, start: float) -> None:
        producer = self._producers[track.name].create_group(group)
        for frame in range(track.frames_per_group):
            timestamp = track.timestamp_us(group, frame)
            ahead = start + timestamp / 1e6 - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
            producer.write_frame(track.payload(group, frame), timestamp)
        producer.finish()
        self.groups[track.name] = group + 1


@asynccontextmanager
async def publishing(
    url: str, path: str, tracks: Sequence[Track], patience: float = PATIENCE
) -> AsyncIterator[Publisher]:
    """A publisher that is already sending; leaving withdraws it and closes its session."""
    async with connected(url, patience) as connection:
        publisher = Publisher(connection, path, tracks)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publisher.run())
            try:
                yield publisher
            finally:
                publisher.finish()
        publisher.close()


def described(error: moq.Error) -> str:
    """What a moq error holds; its own text shows no fields."""
    protocol = moq.protocol_error(error)
    if protocol is not None:
        return f"{protocol.scope.name.lower()} code {protocol.code:#x} {protocol.message}"
    return f"{type(error).__name__} {error}"


def spans(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1-3, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)
