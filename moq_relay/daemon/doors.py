"""Where clients and nodes come in: the UDP sockets of one `server.listen`."""

from moq_relay.daemon import sockets
from moq_relay.daemon.certificates import Certificates
from moq_relay.daemon.config.sources import Loaded
from moq_relay.daemon.config.values import Address, Listener
from moq_relay.daemon.guard import Guard
from moq_relay.daemon.web.http import Door
from moq_relay.errors import ConfigError
from moq_relay.sessions.host import Host
from moq_relay.transports.quic import listener as quic
from moq_relay.transports.quic.endpoint import Limits
from moq_relay.wire.lite.versions import VERSIONS


async def listen(
    entry: Listener, loaded: Loaded, certificates: Certificates, host: Host, guard: Guard
) -> list[tuple[quic.Listener, Door]]:
    """A listener for each address of ``entry``, and what it is as a door.

    Raises:
        ConfigError: none of them can be listened on, or one for a reason that somebody should mend.
    """
    settings = loaded.settings
    where = loaded.where("server.listen")
    names = entry.versions or settings.server.version
    versions = [v for v in VERSIONS if not names or v.name in names]
    opened: list[quic.Listener] = []
    failed: list[tuple[Address, OSError]] = []
    for address in await sockets.resolve(entry.address, where):
        try:
            listener = await quic.listen(
                address.host,
                address.port,
                credentials=certificates.credentials,
                accept=host.acceptor(versions),
                protocols=[version.alpn for version in versions],
                limits=Limits(handshake_seconds=settings.limits.handshake_seconds),
                failed=guard.handshake_failed,
                peers=certificates.peers,
                retry_above=settings.limits.handshakes_pending,
                gate=guard.gate,
            )
        except ConfigError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            failed.append((address, error.__cause__))
            continue
        opened.append(listener)
    serious = sockets.first_problem(failed) or (failed[0] if not opened else None)
    if serious is not None:
        for listener in opened:
            listener.close()
        raise sockets.problem(where, "UDP", *serious) from serious[1]
    spoken = tuple(version.name for version in versions)
    return [(listener, Door(listener.port, spoken)) for listener in opened]
