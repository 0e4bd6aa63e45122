"""Lines for a file or for stdout, written by a thread: who has them written never waits."""

import contextlib
import logging
import os
import queue
import select
import sys
import threading
from pathlib import Path

from moq_relay.daemon.config.sources import Loaded
from moq_relay.errors import ConfigError

NONE, STDOUT = "none", "stdout"
WAITING = 16_384
"""Lines that may wait to be written; what comes then is lost, and counted."""
BATCH_BYTES = 64 << 10
CLOSE_SECONDS = 2.0
"""How long the end of the relay waits for what is not written yet."""
POLL_SECONDS = 0.5
MODE = 0o640
"""Nobody but the relay's user and group reads who watched what."""

log = logging.getLogger(__name__)


class LineFile:
    """Appends lines. A file that was moved away, as log rotation does, is made anew."""

    def __init__(self, target: str, *, waiting: int = WAITING) -> None:
        """Open ``target``, a path, ``stdout``, or ``none`` which drops all lines.

        Raises:
            OSError: it cannot be written to.
        """
        self.wanted = target != NONE
        """Whether anybody reads what is put here."""
        self.written = 0
        self._path = None if target in {NONE, STDOUT} else Path(target).absolute()
        self._fd = 1 if self._path is None else _open(self._path)
        self._queue: queue.Queue[bytes | None] = queue.Queue(waiting)
        self._dropped = 0
        self._failed = 0
        self._torn = False
        """The last line was written in part."""
        self._well = True
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, loaded: Loaded) -> "LineFile":
        """The file of ``log.sessions``.

        Raises:
            ConfigError: it cannot be written to.
        """
        target = loaded.settings.log.sessions
        try:
            # All sessions may end at once.
            return cls(target, waiting=max(WAITING, 2 * loaded.settings.limits.sessions))
        except (OSError, ValueError) as error:
            why = (isinstance(error, OSError) and error.strerror) or str(error)
            where = loaded.where("log.sessions")
            raise ConfigError(f"{where} = {target}: cannot be written to: {why.lower()}") from error

    @property
    def lost(self) -> int:
        """Lines that nobody will find: the file was full or gone, or the writing too slow."""
        return self._dropped + self._failed

    def counts(self) -> tuple[int, int]:
        """Lines that were written, and lost."""
        return self.written, self.lost

    def put(self, line: str) -> None:
        """Have ``line``, which has no line break, written soon; returns at once."""
        if not self.wanted:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(line.encode() + b"\n")
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, for at most ``CLOSE_SECONDS``; then it is lost."""
        self._closing.set()
        thread = self._thread
        if thread is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(None)
            thread.join(CLOSE_SECONDS)
            if thread.is_alive():
                log.warning("lines are not written waiting=%d", self._queue.qsize())

    # In the thread.

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            lines, size, last = [line], len(line), False
            while size < BATCH_BYTES and not last:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    last = True
                else:
                    lines.append(more)
                    size += len(more)
            self._write(lines)
            if last:
                return

    def _write(self, lines: list[bytes]) -> None:
        """Write all of them, or count those that were not."""
        data = (b"\n" if self._torn else b"") + b"".join(lines)
        done = 0
        try:
            self._follow_rotation()
            while done < len(data):
                done += self._some(data[done:])
        except OSError as error:
            # A line that was begun is no line; the next one must not go on where it ended.
            whole = data[:done].count(b"\n") - bool(self._torn and done)
            if done:
                self._torn = not data[:done].endswith(b"\n")
            self.written += whole
            self._failed += len(lines) - whole
            if self._well:
                log.warning("lines are lost file=%s reason=%s", self._path or STDOUT, error)
            self._well = False
        else:
            self._torn, self._well = False, True
            self.written += len(lines)

    def _some(self, data: bytes) -> int:
        """Write what goes at once; a descriptor that somebody made not to block is waited for."""
        while True:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:
                if self._closing.is_set():
                    raise
                select.select([], [self._fd], [], POLL_SECONDS)

    def _follow_rotation(self) -> None:
        if self._path is None:
            return
        ours = os.fstat(self._fd)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            opened = _open(self._path)
            os.close(self._fd)
            self._fd, self._torn = opened, False


def _open(path: Path) -> int:
    """A descriptor that appends to ``path``; of a FIFO only when somebody reads it."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    if sys.platform == "win32":
        return os.open(path, flags, MODE)
    fd = os.open(path, flags | os.O_NONBLOCK, MODE)
    os.set_blocking(fd, True)
    return fd
