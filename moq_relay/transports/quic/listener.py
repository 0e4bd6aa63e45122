"""A QUIC listener: raw QUIC and WebTransport on one UDP port, told apart by ALPN."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType

from aioquic import tls
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.packet import QuicErrorCode, QuicHeader
from cryptography import x509

from moq_relay.errors import ConfigError
from moq_relay.sessions.gate import Answer, Gate
from moq_relay.sessions.transport import Accept
from moq_relay.transports.quic import proof
from moq_relay.transports.quic.connection import RawBinding
from moq_relay.transports.quic.connection_ids import ID_BYTES
from moq_relay.transports.quic.datagram_io import Address, bind, readable
from moq_relay.transports.quic.door import beside
from moq_relay.transports.quic.driver import Binding, Connection
from moq_relay.transports.quic.endpoint import (
    Census,
    Endpoint,
    EndpointCounters,
    Limits,
    configuration,
)
from moq_relay.transports.quic.engine import Engine
from moq_relay.transports.quic.handshake import Retry, opening, other_versions, refusal
from moq_relay.transports.quic.webtransport import WebTransportBinding
from moq_relay.transports.tls import Certificate, Credentials
from moq_relay.transports.verification import Roots, Untrusted

RETRY_ABOVE = 50
"""Unfinished handshakes from which on a client must first prove its address."""

QUIET_SECONDS = 60.0
"""How rarely the log says that a client's certificate was refused."""

log = logging.getLogger(__name__)


class Listener:
    """Takes connections at one UDP address until it is closed."""

    def __init__(
        self,
        sock: socket.socket,
        credentials: Credentials,
        accept: Accept,
        limits: Limits,
        *,
        protocols: Sequence[str],
        webtransport: bool,
        failed: Callable[[str], None] | None = None,
        retry_above: int = RETRY_ABOVE,
        peers: Callable[[], Roots] | None = None,
        gate: Gate | None = None,
    ) -> None:
        """Serve ``sock``; `listen` makes it from an address and explains the rest."""
        self._credentials = credentials
        self._certificate: Certificate | None = None
        self._accept = accept
        self._protocols = tuple(protocols)
        self._retry = Retry()
        self._retry_above = retry_above
        self._peers = peers
        self._quiet_until = 0.0
        self._gate = gate or Gate()
        self._refusing = False
        alpns = [*protocols, *(H3_ALPN if webtransport else ())]
        self._configuration = configuration(limits, alpns, is_client=False)
        sorted_out = beside(sock)
        self._endpoint = Endpoint(
            sock if sorted_out is None else sorted_out,
            limits,
            unrouted=self._unrouted,
            failed=failed,
            share=self._gate.loop,
            strangers=None if sorted_out is None else sock,
        )

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._endpoint.address

    @property
    def port(self) -> int:
        """The UDP port; chosen by the system when 0 was asked for."""
        return int(self.address[1])

    @property
    def connections(self) -> int:
        """Connections that are not gone, ending ones included."""
        return len(self._endpoint.connections)

    @property
    def counters(self) -> EndpointCounters:
        """What happened so far."""
        return self._endpoint.counters

    def live(self) -> Census:
        """Count what is alive."""
        return self._endpoint.live()

    def refuse(self) -> None:
        """Turn every new connection away from now on; the others stay."""
        self._refusing = True

    def close(self, code: int = 0, reason: str = "") -> None:
        """End every connection with ``code``, and stop listening."""
        self._endpoint.close(code, reason)

    async def __aenter__(self) -> "Listener":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _unrouted(self, data: bytes, address: Address, now: float) -> None:
        endpoint = self._endpoint
        self._gate.counters.strangers += 1
        header = opening(data, ID_BYTES)
        if header is None:
            endpoint.counters.unroutable += 1
            return
        versions = other_versions(header)
        if versions is not None:
            endpoint.send(versions, address)
            return
        if self._refusing:
            endpoint.send(refusal(header, QuicErrorCode.CONNECTION_REFUSED), address)
            return
        original: bytes | None = header.destination_cid
        retried: bytes | None = None
        if header.token or endpoint.unfinished >= self._retry_above:
            if not header.token:
                self._gate.retried()
                endpoint.send(self._retry.packet(header, address), address)
                return
            original = self._retry.original(header, address)
            if original is None:
                # Whoever forges tokens gets nothing for it, and whoever else sent it asks again.
                self._gate.forged()
                return
            retried = header.destination_cid
        if not self._may_begin(header, address):
            return
        self._apply_certificate()
        engine = Engine(
            self._configuration,
            streams=endpoint.limits.streams,
            original_destination_connection_id=original,
            retry_source_connection_id=retried,
        )
        engine.prepare = partial(self._prepare, address)
        connection = endpoint.add(engine, self._bind, address, header.destination_cid)
        connection.receive(data, address, now)
        if engine.understood_nothing:
            endpoint.counters.unroutable += 1
            endpoint.gone(connection)

    def _may_begin(self, header: QuicHeader, address: Address) -> bool:
        answer = self._gate.knock(address[0])
        if answer is Answer.REFUSED:
            self._endpoint.send(refusal(header, QuicErrorCode.CONNECTION_REFUSED), address)
        return answer is Answer.COME

    def _apply_certificate(self) -> None:
        certificate = self._credentials.current
        if certificate is not self._certificate:
            self._certificate = certificate
            self._configuration.certificate = certificate.leaf
            self._configuration.certificate_chain = list(certificate.chain)
            self._configuration.private_key = certificate.key

    def _prepare(self, address: Address, context: tls.Context) -> None:
        credentials = self._credentials
        proof.serve(
            context,
            choose=credentials.choose if len(credentials.all) > 1 else None,
            check=None if self._peers is None else partial(self._check, self._peers, address),
        )

    def _check(
        self,
        peers: Callable[[], Roots],
        address: Address,
        leaf: x509.Certificate,
        chain: Sequence[x509.Certificate],
    ) -> tuple[str, ...]:
        try:
            return peers().check_client(leaf, chain)
        except Untrusted as error:
            now = time.monotonic()
            if now >= self._quiet_until:
                # Somebody who tries again and again fills no log.
                self._quiet_until = now + QUIET_SECONDS
                log.warning("client refused peer=%s certificate=%s", readable(address), error)
            raise

    def _bind(self, connection: Connection, alpn: str | None) -> Binding:
        if alpn in H3_ALPN:
            return WebTransportBinding(connection, self._accept, protocols=self._protocols)
        return RawBinding(connection, alpn, self._accept)


async def listen(
    host: str,
    port: int,
    *,
    credentials: Credentials,
    accept: Accept,
    protocols: Sequence[str],
    webtransport: bool = True,
    limits: Limits | None = None,
    failed: Callable[[str], None] | None = None,
    retry_above: int = RETRY_ABOVE,
    peers: Callable[[], Roots] | None = None,
    gate: Gate | None = None,
) -> Listener:
    """Listen for QUIC at a UDP address; ``::`` takes IPv4 as well.

    Args:
        protocols: versions in order of preference: the ALPNs of raw QUIC, and what a
            WebTransport client may choose from.
        webtransport: whether HTTP/3 is offered, after all of ``protocols``.
        failed: called with the reason of each handshake that came to nothing.
        retry_above: unfinished handshakes from which on clients prove their address first.
        peers: authorities whose certificates clients may show, as they are at that moment; None:
            clients are not asked for any.
        gate: says for each address whether it may begin; without one, all may.

    Raises:
        ConfigError: the address can't be listened on.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            host or "::", port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )
        sock = bind(found[0][0], found[0][4])
    except OSError as error:
        raise ConfigError(f"can't listen on udp {host}:{port}: {error.strerror}") from error
    return Listener(
        sock,
        credentials,
        accept,
        limits or Limits(),
        protocols=protocols,
        webtransport=webtransport,
        failed=failed,
        retry_above=retry_above,
        peers=peers,
        gate=gate,
    )
