"""The Redis that a scenario breaks: a process of this machine, or a container."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from tests.chaos.wire import Target
from tests.support.redis_server import redis_binary, running


class Store(Protocol):
    """What can be done to any; those that are processes replicate too, see ``RedisServer``."""

    @property
    def socket(self) -> Target: ...

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def execute(self, *words: Any) -> Any: ...


MakeStore = Callable[[Path, bool, bool], AbstractContextManager[Store]]
"""Directory, whether it replicates, whether it keeps what it knows -> a server that runs."""


def process(directory: Path, replicates: bool, aof: bool) -> AbstractContextManager[Store]:
    """A server process on this machine."""
    return running(redis_binary(), directory, aof=aof, replicates=replicates)
