"""A broadcast that goes on while something is changed, and viewers that come to it."""

import asyncio
from contextlib import AsyncExitStack

from moq_relay.wire.version import Version
from tests.support.own_client import connected, until
from tests.support.station import EVERYTHING, Listening, Station


async def keep_writing(station: Station) -> None:
    """A frame each 5 ms, until cancelled."""
    while True:
        station.write()
        await asyncio.sleep(0.005)


async def watching(
    stack: AsyncExitStack,
    port: int,
    version: Version,
    path: str | None,
    broadcast: str,
    heard: Listening,
) -> None:
    """Have ``heard`` watch a broadcast's video by a session of its own, which ``stack`` ends.

    Returns once the first group has begun.
    """
    seen = await stack.enter_async_context(connected(port, version, path=path))
    await until(lambda: broadcast in seen.broadcasts)
    seen.subscribe(broadcast, "video", heard, EVERYTHING)
    await until(lambda: heard.first is not None)
