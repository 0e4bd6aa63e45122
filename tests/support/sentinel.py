"""Sentinels that watch a replicated Redis, on loopback, quick enough for a test."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from tests.support.redis_server import START_SECONDS, client, free_port

SERVICE = "registry"
"""By which they know the primary."""
DOWN_MILLISECONDS = 1000
"""Of silence, until one holds the primary for dead."""
FAILOVER_MILLISECONDS = 4000
PERIODS = {
    "info-period": 200,
    "ask-period": 200,
    "publish-period": 200,
}
"""Milliseconds between what they ask and tell; the usual ones make a failover last half a minute.
Four publish periods pass before they make a returned primary a replica."""


class Sentinel:
    """One process of ``redis-server --sentinel``."""

    def __init__(self, binary: str, directory: Path, primary: int, quorum: int) -> None:
        """Nothing runs before ``start``; ``primary`` is a port of loopback."""
        self.port = free_port()
        self._log = directory / "sentinel.log"
        self._process: subprocess.Popen[bytes] | None = None
        # It writes down there what it knows.
        file = directory / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\nprotected-mode no\ndir {directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MILLISECONDS}\n"
            f"sentinel failover-timeout {SERVICE} {FAILOVER_MILLISECONDS}\n"
        )
        self._command = [binary, str(file), "--sentinel"]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self.wait(lambda: bool(self.execute("PING")))
        for name, milliseconds in PERIODS.items():
            self.execute("SENTINEL", "DEBUG", name, str(milliseconds))

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until it holds; who does not answer yet says no."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(redis.RedisError, OSError):
                if condition():
                    return
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"no Sentinel: {self._log.read_text()}")
            time.sleep(0.02)

    def execute(self, *words: str) -> Any:
        """One command, by a connection of its own."""
        with client(port=self.port, decode_responses=True) as asking:
            return asking.execute_command(*words)

    def primary(self) -> int:
        """The port of the one that it names."""
        return int(self.execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def ready(self, replicas: int, others: int) -> bool:
        """Whether it could replace the primary: it knows all, and does nothing else now."""
        words = self.execute("SENTINEL", "MASTER", SERVICE)
        facts = dict(zip(words[::2], words[1::2], strict=True))
        wanted = {"num-slaves": str(replicas), "num-other-sentinels": str(others)}
        return (wanted | {"flags": "master"}).items() <= facts.items()

    def kill(self) -> None:
        """kill -9. Harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def over(
    binary: str, directory: Path, servers: Sequence[Any], *, count: int = 3
) -> Iterator[list[Sentinel]]:
    """Sentinels that know each other, the first server as primary and the others as its replicas.

    They are gone afterwards.
    """
    primary, *replicas = servers
    for replica in replicas:
        replica.follow(primary)
    sentinels = []
    try:
        for number in range(count):
            place = directory / f"sentinel{number}"
            place.mkdir()
            sentinels.append(Sentinel(binary, place, primary.port, count // 2 + 1))
            sentinels[-1].start()
        for one in sentinels:
            one.wait(lambda one=one: one.ready(len(replicas), count - 1))
        yield sentinels
    finally:
        for one in sentinels:
            one.kill()


def url(sentinels: list[Sentinel]) -> str:
    """``redis.url`` for who asks them."""
    return f"redis+sentinel://{','.join(f'127.0.0.1:{one.port}' for one in sentinels)}/{SERVICE}"
