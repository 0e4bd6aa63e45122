"""Connections to other servers, raw or with WebTransport: links between nodes, and tests."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from aioquic.h3.connection import H3_ALPN

from moq_relay.errors import SessionError
from moq_relay.sessions.transport import Accept, Arrival, Events, Transport
from moq_relay.transports.quic.connection import QuicTransport, RawBinding
from moq_relay.transports.quic.datagram_io import bind
from moq_relay.transports.quic.driver import Binding, Connection
from moq_relay.transports.quic.endpoint import Endpoint, Limits, configuration
from moq_relay.transports.quic.engine import Engine
from moq_relay.transports.quic.webtransport import Request, WebTransportBinding


class DialFailed(SessionError):
    """No session came of a dial."""

    def __init__(self, reason: str, *, code: int | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.code = code
        """Code of the close that ended the connection."""
        self.status = status
        """HTTP status of the answer to a CONNECT request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Which servers a client believes."""

    verify: bool = True
    """Whether the certificate must be valid for the name, from a root that is known."""
    roots: bytes | None = None
    """Certificates in PEM to believe; None: those of the system's usual list."""


@contextlib.asynccontextmanager
async def dial(
    host: str,
    port: int,
    *,
    accept: Accept,
    protocols: Sequence[str],
    path: str | None = None,
    trust: Trust | None = None,
    server_name: str | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[QuicTransport]:
    """Connect to a server, and end the connection on leaving.

    Args:
        accept: called once, when there is a session to be had.
        protocols: versions to offer, best first.
        path: ``/path?query`` of a WebTransport session; None for raw QUIC.
        server_name: name to ask for and to verify, when it is not ``host``.

    Raises:
        DialFailed: there is no session, for a reason that its text, code or status tells.
    """
    loop = asyncio.get_running_loop()
    limits = limits or Limits()
    trust = trust or Trust()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, address = found[0][0], found[0][4]
        sock = bind(family, ("::" if family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104
    except OSError as error:
        raise DialFailed(f"can't reach udp {host}:{port}: {error.strerror}") from error

    ready: asyncio.Future[QuicTransport] = loop.create_future()

    def fail(reason: str, *, code: int | None = None, status: int | None = None) -> None:
        if not ready.done():
            ready.set_exception(DialFailed(reason, code=code, status=status))

    def accepted(arrival: Arrival, transport: Transport) -> Events:
        events = accept(arrival, transport)
        assert isinstance(transport, QuicTransport)
        if not ready.done():
            ready.set_result(transport)
        return events

    def choose(connection: Connection, alpn: str | None) -> Binding:
        if path is None:
            return RawBinding(connection, alpn, accepted)
        request = Request(
            authority=f"{f'[{host}]' if ':' in host else host}:{port}",
            path=path,
            protocols=protocols,
            refused=lambda status: fail(f"refused with status {status}", status=status),
        )
        return WebTransportBinding(connection, accepted, request=request)

    settings = configuration(limits, list(protocols) if path is None else H3_ALPN, is_client=True)
    settings.server_name = server_name or host
    settings.cadata = trust.roots
    settings.verify_mode = ssl.CERT_REQUIRED if trust.verify else ssl.CERT_NONE
    endpoint = Endpoint(sock, limits, ended=lambda code, reason: fail(reason, code=code))
    engine = Engine(settings, streams=limits.streams)
    connection = endpoint.add(engine, choose, address)
    try:
        engine.connect(address, now=connection.started_at)
        connection.touch()
        yield await ready
    finally:
        endpoint.close()
