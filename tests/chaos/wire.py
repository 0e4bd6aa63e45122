"""A node's own way to Redis, which can be cut in either direction, slowed, or led elsewhere."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

Target = Path | tuple[str, int]
CHUNK = 65536


class Wire:
    """Listens on a unix socket and carries bytes to the target and back.

    Cut, it keeps its connections and carries nothing: what a network does that fell apart.
    """

    def __init__(self, socket: Path, target: Target) -> None:
        self.target = target
        """Where new connections go."""
        self.delay = 0.0
        """Seconds that each piece takes, either way."""
        self._socket = socket
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
                pumps.create_task(self._pump("there", reader, far))
                pumps.create_task(self._pump("back", back, writer))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            if far is not None:
                far.close()

    async def _pump(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._open[name].wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError(f"the end {name}")
