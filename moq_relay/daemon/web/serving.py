"""An application of aiohttp behind connections that are counted."""

import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import web

from moq_relay.daemon.web.accepting import Entrance
from moq_relay.daemon.web.connections import Connections

IDLE_SECONDS = 75.0
"""Longer than Prometheus and probes leave between two requests."""


@asynccontextmanager
async def serving(
    application: web.Application,
    listening: Iterable[socket.socket],
    connections: Connections,
    *,
    idle: float = IDLE_SECONDS,
) -> AsyncIterator[None]:
    """Serve on sockets, which are closed in the end.

    Connections that have sent no whole request for ``idle`` seconds are ended.
    """
    application.middlewares.insert(0, connections.attend)
    runner = web.AppRunner(
        application,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=idle,
        shutdown_timeout=1.0,
        lingering_time=connections.linger,
        auto_decompress=False,
    )
    await runner.setup()
    server = runner.server
    assert server is not None, "it is there after setup"
    entrance = Entrance(listening, partial(connections.take, serve=server))
    try:
        yield
    finally:
        entrance.close()
        await connections.begun()
        await runner.cleanup()
