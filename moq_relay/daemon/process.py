"""A relay as this process."""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence

from moq_relay.daemon.config.sources import Loaded
from moq_relay.daemon.node import Node

log = logging.getLogger(__name__)


def run(loaded: Loaded, warnings: Sequence[str], *, greet: bool) -> int:
    """Run one relay in this process until SIGTERM or SIGINT; the exit code.

    Raises:
        ConfigError: something that the settings name cannot be had.
    """
    node = Node.load(loaded)
    for warning in warnings:
        log.warning("%s", warning)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(node.run(greet=greet))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 — there is none for Windows

    return uvloop.new_event_loop
