"""A node's own way to Redis, which can be cut in either direction, slowed, or led elsewhere."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.resp import Replies, channel_of

Target = Path | tuple[str, int]
CHUNK = 65536
PIECES = 64
"""Under way in one direction of a connection; then its sender has to wait."""


class Wire:
    """Listens on a unix socket and carries bytes to the target and back.

    Cut, it keeps its connections and carries nothing: what a network does that fell apart.
    """

    def __init__(self, socket: Path, target: Target, chance: random.Random | None = None) -> None:
        self.target = target
        """Where new connections go."""
        self.delay = 0.0
        """Seconds that each piece takes, either way."""
        self.jitter = 0.0
        """Seconds that a piece may take more or less; none overtakes another."""
        self.loses: Callable[[bytes], bool] | None = None
        """Asked with its channel for every published message; one for which it says yes is lost."""
        self.lost = 0
        """How many were."""
        self._socket = socket
        self._chance = chance or random.Random()
        self._open = {"there": asyncio.Event(), "back": asyncio.Event()}
        self._tasks: set[asyncio.Task[None]] = set()
        self.mend()

    def cut(self, *directions: str) -> None:
        """Carry nothing ``there`` or ``back``, by default either."""
        for name in directions or ("there", "back"):
            self._open[name].clear()

    def mend(self) -> None:
        """Carry again, and first what was held."""
        for event in self._open.values():
            event.set()

    def drop(self) -> None:
        """End all connections, as a server that goes away does."""
        for task in tuple(self._tasks):
            task.cancel()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self._socket)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.drop()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            if isinstance(self.target, Path):
                back, far = await asyncio.open_unix_connection(self.target)
            else:
                back, far = await asyncio.open_connection(*self.target)
            async with asyncio.TaskGroup() as pumps:
                for name, source, sink in (("there", reader, far), ("back", back, writer)):
                    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES)
                    pumps.create_task(self._take(name, source, pieces))
                    pumps.create_task(self._give(name, pieces, sink))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            if far is not None:
                far.close()

    async def _take(
        self, name: str, reader: asyncio.StreamReader, pieces: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        """Say of every piece when it arrives; an end arrives too."""
        loop, replies, due = asyncio.get_running_loop(), Replies(), 0.0
        while True:
            data = await reader.read(CHUNK)
            late = self.delay + self._chance.uniform(-self.jitter, self.jitter)
            due = max(due, loop.time() + late)
            if not data:
                await pieces.put((due, b""))
                return
            if name == "back":
                data = b"".join(one for one in replies.whole(data) if not self._loses(one))
            if data:
                await pieces.put((due, data))

    async def _give(
        self, name: str, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await pieces.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await self._open[name].wait()
            if not data:
                raise ConnectionResetError(f"the end {name}")
            writer.write(data)
            await writer.drain()

    def _loses(self, reply: bytes) -> bool:
        if self.loses is None or (channel := channel_of(reply)) is None:
            return False
        lost = self.loses(channel)
        self.lost += lost
        return lost
