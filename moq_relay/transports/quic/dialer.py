"""Connections to other servers, raw or with WebTransport: links between nodes, and tests."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from aioquic import tls
from aioquic.h3.connection import H3_ALPN
from cryptography import x509

from moq_relay.errors import SessionError
from moq_relay.sessions.transport import Accept, Arrival, Events, Transport
from moq_relay.transports import verification
from moq_relay.transports.quic import proof
from moq_relay.transports.quic.connection import QuicTransport, RawBinding
from moq_relay.transports.quic.datagram_io import Address, bind
from moq_relay.transports.quic.driver import Binding, Connection
from moq_relay.transports.quic.endpoint import Endpoint, Limits, configuration
from moq_relay.transports.quic.engine import Engine
from moq_relay.transports.quic.webtransport import Request, WebTransportBinding
from moq_relay.transports.tls import Certificate

ADDRESS_SECONDS = 1.5
"""How long an address of a name has to answer while there are others to try."""


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
    """Which servers a client believes, and what it shows of itself."""

    verify: bool = True
    """Whether the certificate must be valid for the name, from a root that is known."""
    roots: bytes | None = None
    """Certificates in PEM to believe; None: those of the system's usual list."""
    own: Certificate | None = None
    """What a server that asks is shown, once it is believed."""


class Dialer:
    """What all attempts of one dial have in common."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        accept: Accept,
        protocols: Sequence[str],
        path: str | None,
        trust: Trust,
        server_name: str,
        limits: Limits,
    ) -> None:
        """Prepare to connect; `dial` explains the rest."""
        self._accept = accept
        self._path = path
        self._protocols = protocols
        self._limits = limits
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        alpns = list(protocols) if path is None else H3_ALPN
        self._settings = configuration(limits, alpns, is_client=True)
        self._settings.server_name = server_name
        # Ours, which is stricter, takes the place of aioquic's check.
        self._settings.verify_mode = ssl.CERT_NONE
        if trust.own is not None:
            self._settings.certificate = trust.own.leaf
            self._settings.certificate_chain = list(trust.own.chain)
            self._settings.private_key = trust.own.key
        self._name = server_name
        self._roots = verification.roots_in(trust.roots) if trust.verify else None
        self._ready: asyncio.Future[QuicTransport] = asyncio.get_running_loop().create_future()

    async def attempt(self, family: int, address: Address) -> tuple[Endpoint, QuicTransport]:
        """Connect to one address; the caller closes the endpoint.

        Raises:
            DialFailed: there is no session.
        """
        self._ready = asyncio.get_running_loop().create_future()
        any_address = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104
        try:
            sock = bind(family, (any_address, 0))
        except OSError as error:
            raise DialFailed(f"can't open a socket: {error.strerror}") from error
        endpoint = Endpoint(
            sock, self._limits, ended=lambda code, reason: self._fail(reason, code=code)
        )
        engine = Engine(self._settings, streams=self._limits.streams)
        engine.prepare = self._prepare
        connection = endpoint.add(engine, self._choose, address)
        try:
            engine.connect(address, now=connection.started_at)
            connection.touch()
            return endpoint, await self._ready
        except BaseException:
            endpoint.close()
            raise

    def _prepare(self, context: tls.Context) -> None:
        if self._roots is not None:
            proof.dial(context, self._check)

    def _check(self, leaf: x509.Certificate, chain: Sequence[x509.Certificate]) -> None:
        assert self._roots is not None
        self._roots.check_server(leaf, chain, self._name)

    def _fail(self, reason: str, *, code: int | None = None, status: int | None = None) -> None:
        if not self._ready.done():
            self._ready.set_exception(DialFailed(reason, code=code, status=status))

    def _accepted(self, arrival: Arrival, transport: Transport) -> Events:
        events = self._accept(arrival, transport)
        assert isinstance(transport, QuicTransport)
        if not self._ready.done():
            self._ready.set_result(transport)
        return events

    def _choose(self, connection: Connection, alpn: str | None) -> Binding:
        if self._path is None:
            return RawBinding(connection, alpn, self._accepted)
        request = Request(
            authority=self._authority,
            path=self._path,
            protocols=self._protocols,
            refused=lambda status: self._fail(f"refused with status {status}", status=status),
        )
        return WebTransportBinding(connection, self._accepted, request=request)


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
    permits: Callable[[str], Awaitable[bool]] | None = None,
) -> AsyncIterator[QuicTransport]:
    """Connect to a server, and end the connection on leaving.

    Args:
        host: a name or an address; the addresses of a name are tried in turn, each but the last
            for ``ADDRESS_SECONDS``.
        accept: called once, when there is a session to be had.
        protocols: versions to offer, best first.
        path: ``/path?query`` of a WebTransport session; None for raw QUIC.
        server_name: name to ask for and to verify, when it is not ``host``.
        permits: whether an address may be dialled; those that may not are passed over.

    Raises:
        DialFailed: there is no session, for a reason that its text, code or status tells.
    """
    loop = asyncio.get_running_loop()
    dialer = Dialer(
        host,
        port,
        accept=accept,
        protocols=protocols,
        path=path,
        trust=trust or Trust(),
        server_name=server_name or host,
        limits=limits or Limits(),
    )
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise DialFailed(f"can't find {host}: {error.strerror}") from error
    if permits is not None:
        found = [one for one in found if await permits(str(one[4][0]))]
        if not found:
            raise DialFailed(f"{host} is at no address that may be dialled")
    for family, _, _, _, address in found[:-1]:
        with contextlib.suppress(DialFailed, TimeoutError):
            async with asyncio.timeout(ADDRESS_SECONDS):
                endpoint, transport = await dialer.attempt(family, address)
            break
    else:
        endpoint, transport = await dialer.attempt(found[-1][0], found[-1][4])
    try:
        yield transport
    finally:
        endpoint.close()
