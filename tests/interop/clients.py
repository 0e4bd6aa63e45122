"""The real client, PyPI's moq-rs: publishers and viewers that say what they missed."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import moq

from tests.support.media import MAX_AGE_US, Track

PATIENCE = 12
"""Seconds for each of: a session, the announcement, the first groups."""
SHOWN = 12
"""Faults of one viewer that are worth reading; the rest is counted."""


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


class TrackView:
    """What one viewer got of one track."""

    def __init__(self, track: Track, *, timestamps: bool) -> None:
        self.track = track
        self.arrived: list[int] = []
        """Sequences in the order in which recv_group gave them."""
        self.complete: set[int] = set()
        self.faults: list[str] = []
        self.ended = False
        self.changed = asyncio.Condition()
        self._timestamps = timestamps

    async def read(self, consumer: moq.TrackConsumer) -> None:
        """Take groups as they arrive, each in a task of its own, until the track ends."""
        async with asyncio.TaskGroup() as groups:
            while (group := await self._next(consumer)) is not None:
                self.arrived.append(group.sequence)
                groups.create_task(self._read_group(group))
        self.ended = True
        await self._tell()

    def covers(self, since: int, until: int) -> bool:
        """Whether all groups from the first received (or `since`) to `until` are complete."""
        return self.complete >= set(range(min([since, *self.arrived]), until))

    def missing(self, since: int, until: int) -> list[str]:
        """The sentences about what `covers` finds lacking."""
        name = self.track.name
        if not self.arrived:
            return [f"{name}: no group arrived"]
        first = min([since, *self.arrived])
        lacking = sorted(set(range(first, until)) - self.complete)
        begun = [number for number in lacking if number in self.arrived]
        absent = [number for number in lacking if number not in self.arrived]
        said = []
        if absent:
            said.append(f"{name}: groups {spans(absent)} of {first}-{until - 1} never arrived")
        if begun:
            said.append(f"{name}: groups {spans(begun)} of {first}-{until - 1} never completed")
        return said

    async def until(self, since: int, until: int, ends: bool) -> None:
        """Wait for all that `covers` asks for and, where the client sees it, the track's end."""
        async with self.changed:
            await self.changed.wait_for(
                lambda: self.covers(since, until) and (self.ended or not ends)
            )

    async def _next(self, consumer: moq.TrackConsumer) -> moq.GroupConsumer | None:
        try:
            return await consumer.recv_group()
        except moq.Error as error:
            self.faults.append(f"{self.track.name}: the track broke off: {described(error)}")
            return None

    async def _read_group(self, group: moq.GroupConsumer) -> None:
        number, frame = group.sequence, 0
        if number in self.complete or self.arrived.count(number) > 1:
            self.faults.append(f"{self.track.name} group {number} arrived twice")
        try:
            async for got in group:
                self._check(number, frame, got)
                frame += 1
        except moq.Error as error:
            self.faults.append(
                f"{self.track.name} group {number} broke off after {frame} frames: "
                f"{described(error)}"
            )
        else:
            if frame == self.track.frames_per_group:
                self.complete.add(number)
            else:
                self.faults.append(
                    f"{self.track.name} group {number} ended after {frame} of "
                    f"{self.track.frames_per_group} frames, as if it were complete"
                )
        await self._tell()

    def _check(self, group: int, frame: int, got: moq.Frame) -> None:
        wrong = self.track.mismatch(group, frame, got.payload)
        if wrong is not None:
            self.faults.append(wrong)
            return
        due = self.track.timestamp_us(group, frame)
        if self._timestamps and got.timestamp_us != due:
            self.faults.append(
                f"{self.track.name} group {group} frame {frame}: "
                f"timestamp {got.timestamp_us} instead of {due}"
            )

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


class Viewer:
    """moq-rs watching tracks of one broadcast; it collects faults and raises none.

    `timestamps`: frames must come with the publisher's media time. `ends`: the client can see a
    track end; on versions without SUBSCRIBE_END it waits its whole max age first.
    """

    def __init__(
        self,
        url: str,
        path: str,
        tracks: Sequence[Track],
        *,
        timestamps: bool = False,
        ends: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        self.url = url
        self.path = path
        self.views = [TrackView(track, timestamps=timestamps) for track in tracks]
        self.joined = asyncio.Event()
        """Set when each track's first group is complete, or when there is no hope of it."""
        self.faults: list[str] = []
        self.epoch = 0
        """Sessions that it needed; 1 is one without a break."""
        self._ends = ends
        self._patience = patience
        self._leave = asyncio.Event()

    async def run(self) -> None:
        """Connect, find the broadcast, read every track until all ended or `leave` is called."""
        try:
            async with connected(self.url, self._patience) as connection:
                broadcast = await self._find(connection)
                if broadcast is not None:
                    await self._read(broadcast)
                self.epoch = connection.session.epoch()
        except TimeoutError:
            self.faults.append(f"no session with {self.url} within {self._patience} s")
        except moq.Error as error:
            self.faults.append(f"the session failed: {described(error)}")
        finally:
            self.joined.set()

    def leave(self) -> None:
        """Stop reading and close the session."""
        self._leave.set()

    async def caught_up(
        self, since: Mapping[str, int], until: Mapping[str, int], seconds: float
    ) -> None:
        """Wait until each track has ended and has every group from the first received.

        Each must hold at least the groups from `since` on. What is still lacking after so many
        seconds becomes a fault.
        """
        try:
            async with asyncio.timeout(seconds):
                for view in self.views:
                    await view.until(since[view.track.name], until[view.track.name], self._ends)
        except TimeoutError:
            for view in self.views:
                self.faults += view.missing(since[view.track.name], until[view.track.name])
                if self._ends and not view.ended:
                    self.faults.append(
                        f"{view.track.name}: the end of the track never came ({seconds} s)"
                    )

    async def has_all(self, track: Track, groups: int, seconds: float) -> None:
        """Wait for every group of a finite track; what is lacking then becomes a fault."""
        (view,) = (view for view in self.views if view.track is track)
        try:
            async with asyncio.timeout(seconds):
                await view.until(0, groups, ends=False)
        except TimeoutError:
            self.faults += [f"after {seconds} s {lack}" for lack in view.missing(0, groups)]

    def report(self) -> str:
        """Every fault, a line each; empty when there is none."""
        faults = self.faults + [fault for view in self.views for fault in view.faults]
        more = [f"… and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        return "\n".join(faults[:SHOWN] + more)

    async def _find(self, connection: moq.Client) -> moq.BroadcastConsumer | None:
        try:
            async with asyncio.timeout(self._patience):
                return await connection.announced_broadcast(self.path)
        except TimeoutError:
            self.faults.append(f"{self.path} was not announced within {self._patience} s")
            return None

    async def _read(self, broadcast: moq.BroadcastConsumer) -> None:
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(self._read_track(broadcast, view)) for view in self.views]
            watching = tasks.create_task(self._watch_for_first_groups())
            await self._leave.wait()
            for task in (watching, *reading):
                task.cancel()

    async def _read_track(self, broadcast: moq.BroadcastConsumer, view: TrackView) -> None:
        wish = moq.Subscription(max_age_us=MAX_AGE_US)
        try:
            consumer = await broadcast.subscribe_track(view.track.name, wish)
        except moq.Error as error:
            self.faults.append(f"{view.track.name}: subscription refused: {described(error)}")
            return
        async with consumer:
            await view.read(consumer)

    async def _watch_for_first_groups(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                for view in self.views:
                    async with view.changed:
                        await view.changed.wait_for(lambda view=view: view.complete)
        except TimeoutError:
            for view in self.views:
                if not view.complete:
                    self.faults.append(
                        f"{view.track.name}: no complete group within {self._patience} s"
                    )
        self.joined.set()


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
