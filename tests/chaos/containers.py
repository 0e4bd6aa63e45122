"""The same Redis in a container, broken through the Docker engine that runs it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from tests.chaos.store import Store
from tests.support.redis_server import IMAGE, START_SECONDS, client, free_port

if TYPE_CHECKING:
    from testcontainers.community.redis import RedisContainer

PORT = 6379


class Container:
    """One that runs. Its port outside stays the same when it is killed and started."""

    def __init__(self, container: "RedisContainer") -> None:
        self.socket = container.get_container_host_ip(), container.get_exposed_port(PORT)
        self._container = container
        self._engine = container.get_wrapped_container()

    def start(self) -> None:
        """Start it, with the files that it had, and wait until it answers."""
        self._engine.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, self._engine.logs().decode()
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9 of all in it."""
        self._engine.kill()
        self._engine.wait()

    def freeze(self) -> None:
        """It keeps its connections, and none of its processes runs."""
        self._engine.pause()

    def thaw(self) -> None:
        """It goes on."""
        self._engine.unpause()

    def execute(self, *words: Any) -> str:
        """One command, by the client inside; its answer as text."""
        done = self._container.exec(["redis-cli", *map(str, words)])
        answer = done.output.decode().strip()
        assert done.exit_code == 0, answer
        return answer

    def _answers(self) -> bool:
        host, port = self.socket
        try:
            with client(host=host, port=port) as asking:
                return bool(asking.ping())
        except (redis.RedisError, OSError):
            return False


@contextmanager
def container(_directory: Path, replicates: bool, aof: bool) -> Iterator[Store]:
    """A server in a container, which is gone afterwards."""
    from testcontainers.community.redis import RedisContainer

    assert not replicates, "a container of its own has no replica"
    command = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]
    command += ["--appendonly", "yes" if aof else "no"]
    wanted = RedisContainer(IMAGE).with_bind_ports(PORT, free_port()).with_command(command)
    with wanted as running:
        yield Container(running)
