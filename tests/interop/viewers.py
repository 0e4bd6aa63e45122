"""Viewers of PyPI's moq-rs that check every byte and say what they missed."""

import asyncio
from collections.abc import Mapping, Sequence

import moq

from tests.interop.clients import PATIENCE, connected, described, spans
from tests.support.media import MAX_AGE_US, Track

FOLLOW_SECONDS = 0.1
SHOWN = 12
"""Faults of one viewer that are worth reading; the rest is counted."""


class TrackView:
    """What one viewer got of one track."""

    def __init__(self, track: Track, *, timestamps: bool, start: int | None = None) -> None:
        self.track = track
        self.arrived: list[int] = []
        """Sequences in the order in which recv_group gave them."""
        self.complete: set[int] = set()
        self.faults: list[str] = []
        self.ended = False
        self.changed = asyncio.Condition()
        self._timestamps = timestamps
        self._wish = moq.Subscription(max_age_us=MAX_AGE_US, group_start=start)

    async def subscribe(self, broadcast: moq.BroadcastConsumer) -> None:
        """Subscribe and read until the track ends or breaks off."""
        try:
            consumer = await broadcast.subscribe_track(self.track.name, self._wish)
        except moq.Error as error:
            self.faults.append(f"{self.track.name}: subscription refused: {described(error)}")
        else:
            async with consumer:
                await self._read(consumer)
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

    async def _read(self, consumer: moq.TrackConsumer) -> None:
        """Take groups as they arrive, each in a task of its own."""
        async with asyncio.TaskGroup() as groups:
            while (group := await self._next(consumer)) is not None:
                self.arrived.append(group.sequence)
                groups.create_task(self._read_group(group))

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
    track end; on versions without SUBSCRIBE_END it waits its whole max age first. `start`: the
    first group to ask for, else the latest.
    """

    def __init__(
        self,
        url: str,
        path: str,
        tracks: Sequence[Track],
        *,
        timestamps: bool = False,
        ends: bool = True,
        start: int | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.url = url
        self.path = path
        self.views = [TrackView(track, timestamps=timestamps, start=start) for track in tracks]
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
            reading = [tasks.create_task(view.subscribe(broadcast)) for view in self.views]
            watching = tasks.create_task(self._watch_for_first_groups())
            await self._leave.wait()
            for task in (watching, *reading):
                task.cancel()

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


class Follower:
    """moq-rs as an application uses it: what ended is asked for again, by the same name."""

    def __init__(self, url: str, path: str, tracks: Sequence[Track], *, timestamps: bool) -> None:
        self.url = url
        self.path = path
        self.timestamps = timestamps
        self.tracks = tracks
        """What the next instance of the broadcast should hold."""
        self.instances: list[list[TrackView]] = []
        """The views of each time that the broadcast was found."""

    async def run(self) -> None:
        """Watch until cancelled."""
        async with connected(self.url) as connection:
            while True:
                broadcast = await connection.announced_broadcast(self.path)
                views = [TrackView(track, timestamps=self.timestamps) for track in self.tracks]
                self.instances.append(views)
                async with asyncio.TaskGroup() as reading:
                    for view in views:
                        reading.create_task(view.subscribe(broadcast))
                await asyncio.sleep(FOLLOW_SECONDS)

    async def has(self, groups: int, seconds: float, *, after: int = 0) -> None:
        """Wait until an instance later than the first `after` has so many groups of each track."""
        async with asyncio.timeout(seconds):
            while not any(
                all(len(view.complete) >= groups for view in views)
                for views in self.instances[after:]
            ):
                await asyncio.sleep(FOLLOW_SECONDS)

    def __str__(self) -> str:
        return "\n".join(
            f"instance {number}, {view.track.name}: complete {spans(sorted(view.complete))}, "
            f"{'ended' if view.ended else 'open'}; {'; '.join(view.faults[:SHOWN]) or 'no fault'}"
            for number, views in enumerate(self.instances, 1)
            for view in views
        )
