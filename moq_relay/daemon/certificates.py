"""The certificates of this node: from files, or generated; kept current while the node runs."""

import datetime
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from moq_relay.daemon import clustering
from moq_relay.daemon.clustering import authorities
from moq_relay.daemon.config.sources import Loaded
from moq_relay.daemon.watched import Watched
from moq_relay.errors import ConfigError
from moq_relay.transports import tls
from moq_relay.transports.quic.dialer import Trust
from moq_relay.transports.verification import Roots, roots_in

RENEW_BEFORE = datetime.timedelta(days=3)
"""A generated certificate is replaced this long before it ends."""

log = logging.getLogger(__name__)


class Certificates:
    """What listeners show, and whom they and dials believe; ``turn`` keeps it current."""

    def __init__(self, loaded: Loaded) -> None:
        """Read them, or make one.

        Raises:
            ConfigError: they cannot be read or used; the text says which setting, and why.
        """
        settings = loaded.settings.server.tls
        self._loaded = loaded
        self._hostnames = settings.generate
        self.reloads: Counter[str] = Counter()
        """New files, by what became of them."""
        # Watched before they are read, so that no change goes unseen.
        client = loaded.settings.client.tls
        own = [name for name in (client.cert, client.key) if name is not None]
        self._watched = [
            Watched(name, [Path(file) for file in files], load, self.reloads)
            for name, files, load in (
                ("server.tls", (*settings.cert, *settings.key), self._reload),
                ("server.tls.root", settings.root, self._reload_roots),
                ("client.tls", (*client.root, *own), self._reload_trust),
            )
            if files
        ]
        self.credentials = tls.Credentials(*obtain(loaded))
        self._roots = _roots(loaded)
        self.trust = clustering.trust(loaded)
        """Of sessions to other nodes."""
        self._followers: list[Callable[[Trust], None]] = []

    @property
    def fingerprint(self) -> str:
        """Of the one that is shown to who asks for none by name."""
        return self.credentials.current.fingerprint

    @property
    def expires_at(self) -> datetime.datetime:
        """When the first of them ends."""
        return self.credentials.expires_at

    @property
    def expired(self) -> bool:
        """Whether one has ended."""
        return self.expires_at <= datetime.datetime.now(datetime.UTC)

    def expiry(self) -> float:
        """When the first ends of these and of what other relays are shown, seconds since 1970."""
        own = self.trust.own
        ends = self.expires_at if own is None else min(self.expires_at, own.expires_at)
        return ends.timestamp()

    def refused(self) -> int:
        """How many settings of theirs name files that cannot be used as they are now."""
        return sum(watched.refused for watched in self._watched)

    def turn(self) -> None:
        """Look whether something has to be taken or renewed; called about once a second."""
        for watched in self._watched:
            watched.turn()
        renew(self.credentials, self._hostnames, datetime.datetime.now(datetime.UTC))

    @property
    def peers(self) -> Callable[[], Roots] | None:
        """The authorities of other nodes, as they are when it is called; None: there are none."""
        return None if self._roots is None else self._believed

    def follow(self, follower: Callable[[Trust], None]) -> None:
        """Have ``follower`` called whenever ``trust`` is another."""
        self._followers.append(follower)

    def _believed(self) -> Roots:
        assert self._roots is not None
        return self._roots

    def _reload_roots(self) -> str:
        self._roots = _roots(self._loaded)
        return "authorities of other relays"

    def _reload_trust(self) -> str:
        self.trust = clustering.trust(self._loaded)
        for follower in self._followers:
            follower(self.trust)
        own = self.trust.own
        return "authorities" if own is None else f"sha256={own.fingerprint}"

    def _reload(self) -> str:
        self.credentials.replace(*obtain(self._loaded))
        return f"sha256={self.fingerprint} expires={self.expires_at.isoformat()}"


def _roots(loaded: Loaded) -> Roots | None:
    found = authorities(loaded, "server.tls.root", loaded.settings.server.tls.root)
    return None if found is None else roots_in(found)


def obtain(loaded: Loaded) -> tuple[tls.Certificate, ...]:
    """The certificates that the settings name.

    Raises:
        ConfigError: one cannot be read or used; the text says which setting, and why.
    """
    settings = loaded.settings.server.tls
    try:
        if settings.generate:
            return (tls.generate(settings.generate),)
        pairs = zip(settings.cert, settings.key, strict=True)
        return tuple(tls.load(Path(cert), Path(key)) for cert, key in pairs)
    except ConfigError as error:
        name = "server.tls.generate" if settings.generate else "server.tls"
        where = loaded.where(name) if settings.generate else name
        raise ConfigError(f"{where}: {error}") from error


def renew(credentials: tls.Credentials, hostnames: tuple[str, ...], now: datetime.datetime) -> bool:
    """Replace a generated certificate that is about to end; whether that was due."""
    if not hostnames or now < credentials.current.expires_at - RENEW_BEFORE:
        return False
    certificate = tls.generate(hostnames)
    credentials.replace(certificate)
    log.info(
        "certificate renewed sha256=%s expires=%s",
        certificate.fingerprint,
        certificate.expires_at.isoformat(),
    )
    return True
