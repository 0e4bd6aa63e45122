"""A client made of the relay's own sessions: what it publishes and sees is an origin here."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from moq_relay.relay.access import Access
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.relay.route import Route, Source
from moq_relay.sessions.context import Context, Limits
from moq_relay.sessions.host import Host
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.transport import Arrival, Transport
from moq_relay.transports.quic.dialer import Trust, dial
from moq_relay.wire.version import Version

PATIENCE = 20.0
"""Seconds for anything that a busy machine may delay."""


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Let the loop turn until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def make_origin(hop: int | None = None, *, kept: float = 2.0, **options: float) -> Origin:
    """An origin of this process, by default with a hop of its own; ``linger`` is an option.

    It keeps groups for ``kept`` seconds.
    """
    loop = asyncio.get_running_loop()
    return Origin(
        hop or 1 + secrets.randbelow(2**62 - 1),
        Cache(CacheLimits(duration=kept), Counters()),
        loop.time,
        loop.call_later,
        **options,
    )


def make_context(origin: Origin, limits: Limits | None = None, *publish: str) -> Context:
    """What sessions over ``origin`` share; their peers may publish under ``publish`` only."""
    access = Access(publish=publish or ("",))
    return Context(origin, limits or Limits(), lambda _target: access, Counters())


@asynccontextmanager
async def connected(
    port: int, version: Version, *, path: str | None = None, origin: Origin | None = None
) -> AsyncIterator[Origin]:
    """A session with the relay at ``port``: raw QUIC, or WebTransport where there is a path.

    What is announced at the origin that it yields is published to the relay, and what the relay
    announces appears there.
    """
    origin = origin or make_origin(linger=0.0)
    context = make_context(origin)
    failure: BaseException | None = None
    async with Host(context) as host:

        def accept(arrival: Arrival, transport: Transport) -> LiteSession:
            assert arrival.protocol == version.alpn, f"the relay chose {arrival.protocol}"
            session = LiteSession(transport, version, context, target=path, dialled=True)
            return host.start(session)

        async with dial(
            "127.0.0.1",
            port,
            accept=accept,
            protocols=[version.alpn],
            path=path,
            trust=Trust(verify=False),
            server_name="localhost",
        ):
            try:
                yield origin
            except BaseException as error:  # a task group would wrap it
                failure = error
    if failure is not None:
        raise failure


def publish(origin: Origin, path: str, source: Source) -> None:
    """Announce ``source`` as the first publisher of ``path``."""
    origin.announce(path, Route(source, since=origin.clock()))
