"""The sinks as a process of their own, asked for reports; and what a process keeps in memory."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 45.0
REPORT_SECONDS = 15.0


class SinkProcess:
    """Viewers that watch until `sinks` ends."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def ready(self) -> None:
        """Wait until every viewer has its subscriptions answered."""
        said = await self._line(START_SECONDS)
        assert "ready" in said, f"the sinks say {said}"

    async def viewers(self, track: str) -> list[dict[str, Any]]:
        """What each viewer has of a track since it joined."""
        now = time.monotonic_ns()
        assert self._child.stdin is not None
        self._child.stdin.write(f"window {now} {now}\n".encode())
        report = await self._line(REPORT_SECONDS)
        assert "viewers" in report, f"the sinks say {report}"
        return [viewer[track] for viewer in report["viewers"]]

    async def _line(self, seconds: float) -> dict[str, Any]:
        assert self._child.stdout is not None
        async with asyncio.timeout(seconds):
            line = await self._child.stdout.readline()
        assert line, "the sinks ended"
        found: dict[str, Any] = json.loads(line)
        return found


@asynccontextmanager
async def sinks(
    port: int, viewers: int, broadcast: str, track: str, *more: str
) -> AsyncIterator[SinkProcess]:
    """Start ``viewers`` sinks, and say goodbye for them on leaving."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.sink",
        *("--port", str(port), "--viewers", str(viewers)),
        *("--broadcast", broadcast, "--tracks", track, *more),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield SinkProcess(child)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            async with asyncio.timeout(REPORT_SECONDS):
                await child.communicate()
        except TimeoutError:
            child.kill()
            await child.wait()


def resident_bytes(pid: int) -> int:
    """What the process has in RAM, without what it shares as a file."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not say RssAnon")
