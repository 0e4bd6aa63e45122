"""Sessions to other nodes: dialled by URL, in the newest version both speak, over raw QUIC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from moq_relay.cluster import targets
from moq_relay.cluster.address import host_port
from moq_relay.cluster.destinations import Destinations
from moq_relay.relay.route import Source
from moq_relay.sessions.context import Context, Use
from moq_relay.sessions.host import Host
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.transport import Arrival, Events, Transport
from moq_relay.transports.quic.dialer import DialFailed, Trust, dial
from moq_relay.transports.quic.endpoint import Limits
from moq_relay.wire.lite.messages import Role
from moq_relay.wire.lite.versions import VERSIONS
from moq_relay.wire.version import Version

GROUPS = 16_000
"""Groups that another node may have under way to here: it sends the tracks of many viewers."""


class Dial(Protocol):
    """Reaches a node. A session is over when its context is left."""

    def __call__(
        self, url: str, target: str, use: Use, *, address: str | None = None
    ) -> AbstractAsyncContextManager[LiteSession]:
        """A session to ``url``.

        Args:
            url: as ``node_url`` makes it.
            target: ``/path?query`` of the session. A token in it is sent once the certificate of
                the other side was verified, unless the settings say not to verify.
            use: what it is for; its ``peer`` is filled in.
            address: where to connect instead of asking for the addresses of the URL's host; the
                certificate has to be valid for the host all the same.

        Raises:
            MoqError: there is no session.
        """


class Dialler:
    """Dials over QUIC; a ``Dial``. Its sessions belong to ``host`` while they last."""

    def __init__(
        self,
        host: Host,
        context: Context,
        trust: Trust,
        destinations: Destinations | None = None,
        *,
        versions: Sequence[Version] = VERSIONS,
        limits: Limits | None = None,
    ) -> None:
        """Dial in the name of ``host``, whose context is ``context``.

        Args:
            trust: which servers are believed, and what they are shown.
            destinations: which nodes may be dialled; None: all.
            versions: what to offer.
            limits: of one session.
        """
        self._host = host
        self._context = context
        self._trust = trust
        self._destinations = destinations
        # Older versions have no place for a target on raw QUIC.
        self._versions = {v.alpn: v for v in versions if v.features.setup_stream}
        self._limits = limits or Limits(
            handshake_seconds=context.limits.handshake_seconds, streams=GROUPS
        )

    def believe(self, trust: Trust) -> None:
        """Dial with ``trust`` from now on."""
        self._trust = trust

    @asynccontextmanager
    async def __call__(
        self, url: str, target: str, use: Use, *, address: str | None = None
    ) -> AsyncIterator[LiteSession]:
        permits = None
        host, port = host_port(url)
        if self._destinations is not None:
            why = self._destinations.refusal(url)
            if why is not None:
                raise DialFailed(f"{url} may not be dialled: {why}")
            permits = partial(self._destinations.permits, host)
        sessions: list[LiteSession] = []
        use = replace(use, peer=f"node {url}")

        def accept(arrival: Arrival, transport: Transport) -> Events:
            version = self._versions[arrival.protocol or ""]
            session = LiteSession(
                transport, version, self._context, target=target, dialled=True, use=use
            )
            sessions.append(session)
            return self._host.start(session)

        try:
            async with dial(
                address or host,
                port,
                accept=accept,
                protocols=list(self._versions),
                trust=self._trust,
                server_name=host,
                limits=self._limits,
                permits=permits,
            ):
                try:
                    yield sessions[0]
                finally:
                    sessions[0].close(0, "")
        except UnicodeError as error:
            raise DialFailed(f"{host!r} cannot be looked up") from error


class Link:
    """A session that takes tracks from another node, with what its keeper wants to know."""

    def __init__(self, session: LiteSession) -> None:
        self.session = session
        self.subscriber: Source = session.subscriber

    @property
    def rtt_seconds(self) -> float | None:
        """Smoothed round trip; None before the first sample."""
        return self.session.transport.stats().rtt_seconds

    @property
    def latest_rtt_seconds(self) -> float | None:
        """The last sample by itself; None before the first."""
        return self.session.transport.stats().latest_rtt_seconds

    @property
    def silent_seconds(self) -> float:
        """How long nothing came from the peer."""
        return self.session.transport.silent_seconds

    def ping(self) -> None:
        """Make the peer answer."""
        self.session.transport.ping()

    async def ended(self) -> None:
        """Wait until the session is over."""
        await self.session.ended()


def links(
    dial: Dial,
    node: str,
    token: targets.Token | None,
    *,
    beside: Callable[[LiteSession], Coroutine[Any, Any, None]] | None = None,
) -> Callable[[str, Callable[[], None]], AbstractAsyncContextManager[Link]]:
    """What ``peers.Links`` dials with: this node, by its URL and its token.

    ``beside`` runs while the session of a link lasts.
    """

    @asynccontextmanager
    async def link(url: str, ending: Callable[[], None]) -> AsyncIterator[Link]:
        use = Use(role=Role.SUBSCRIBER, quiet=True, ending=ending)
        async with dial(url, targets.to_link(node, token), use) as session:
            session.subscriber.comes_from(url)
            if beside is not None:
                session.spawn(beside(session), "beside-link")
            yield Link(session)

    return link
