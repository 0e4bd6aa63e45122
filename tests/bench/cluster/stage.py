"""What the parts play on: relay processes over one Redis, and our own clients at them."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from moq_relay.relay.access import Access
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin
from moq_relay.sessions.context import Context, Limits
from moq_relay.sessions.host import Host
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.transport import Arrival, Transport
from moq_relay.transports.quic.dialer import Trust, dial
from moq_relay.wire.lite.versions import LITE_05
from tests.support.cluster_process import ClusterProcess, NodeProcess
from tests.support.own_client import connected, make_origin
from tests.support.redis_server import RedisServer, redis_binary, running

LEASE_SECONDS = 8.0
"""The cluster's own default, which the parts measure with."""


def say(text: str) -> None:
    """How far it is, on standard error."""
    print(text, file=sys.stderr, flush=True)


class Wrong(AssertionError):
    """The cluster did something that no figure can excuse."""


def insist(holds: object, what: str) -> None:
    """Raise Wrong when it does not hold."""
    if not holds:
        raise Wrong(what)


@asynccontextmanager
async def cluster(*names: str) -> AsyncIterator[tuple[ClusterProcess, list[NodeProcess]]]:
    """The first is a root with a Redis of its own, the others join through it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        directory = Path(folder)
        with running(redis_binary(), directory / "redis") as server:
            made = ClusterProcess(directory, names, times="")
            made.add(names[0], rest=redis_settings(server))
            for name in names[1:]:
                made.add_through(name, names[0])
            try:
                await made.start()
                yield made, list(made.nodes.values())
            except BaseException:
                say(made.log())
                raise
            finally:
                made.kill()


def redis_settings(server: RedisServer) -> str:
    """The part of a node's file that says where the registry is."""
    return f'[redis]\nurl = "{server.url}"\ntimeout = 0.5\n'


@asynccontextmanager
async def viewing(port: int) -> AsyncIterator[Origin]:
    """A session with a node; what the node announces appears at the origin."""
    async with connected(port, LITE_05) as origin:
        yield origin


@asynccontextmanager
async def publishing(port: int, origin: Origin | None = None) -> AsyncIterator[Origin]:
    """A session of a publisher, which asks for no announcements; it sends what is announced."""
    origin = origin or make_origin(linger=0.0)
    context = Context(origin, Limits(), lambda _target: Access(), Counters())
    failure: BaseException | None = None
    async with Host(context) as host:

        def accept(_arrival: Arrival, transport: Transport) -> LiteSession:
            session = LiteSession(transport, LITE_05, context, target=None, dialled=True)
            session.opening.follows = False
            return host.start(session)

        async with dial(
            "127.0.0.1",
            port,
            accept=accept,
            protocols=[LITE_05.alpn],
            trust=Trust(verify=False),
            server_name="localhost",
        ):
            try:
                yield origin
            except BaseException as error:  # a task group would wrap it
                failure = error
    if failure is not None:
        raise failure


async def soon(condition: Callable[[], object], what: str, seconds: float = 20.0) -> float:
    """Look every few milliseconds until it holds; how long that took."""
    begun = time.monotonic()
    while not condition():
        insist(time.monotonic() - begun < seconds, f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.002)
    return time.monotonic() - begun
