"""Processes of the load: each answers a line of text with an object of JSON on one line."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moq_relay.cluster.embedded import dying_with_us


class Failed(Exception):
    """No figure came of this measurement."""


class Child:
    """A process that is spoken with."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self._process = process
        self._name = name
        self._heard = b""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def tell(self, line: str) -> None:
        """Send a line.

        Raises:
            Failed: it has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
        except BrokenPipeError:
            raise Failed(f"{self._name} ended") from None

    def hear(self, seconds: float) -> dict[str, Any]:
        """The next report.

        Raises:
            Failed: none comes in time, or it says that the relay was lost.
        """
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        deadline = time.monotonic() + seconds
        while b"\n" not in self._heard:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Failed(f"{self._name} said nothing for {seconds:.0f} s")
            piece = os.read(pipe, 1 << 20)
            if not piece:
                raise Failed(f"{self._name} ended")
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        if "lost" in report:
            raise Failed(f"{self._name}: {report['lost']}")
        return report


@contextmanager
def child(name: str, command: Sequence[str], directory: Path | None = None) -> Iterator[Child]:
    """Run a command until the end of the block, or of this process, and no longer."""
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603
        dying_with_us(command),
        bufsize=0,  # or what could not be sent would fail again when the pipe is closed
        stdin=pipe,
        stdout=pipe,
        cwd=directory,
        # Ctrl-C is for this process, which ends them in order.
        process_group=0,
    ) as process:
        try:
            yield Child(process, name)
        finally:
            process.kill()


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", name, *arguments]
