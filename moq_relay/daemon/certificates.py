"""The certificates of this node: from files, or generated; kept current while the node runs."""

import datetime
import logging
from collections import Counter
from pathlib import Path

from moq_relay.daemon.sources import Loaded
from moq_relay.daemon.watched import Watched
from moq_relay.errors import ConfigError
from moq_relay.transports import tls

RENEW_BEFORE = datetime.timedelta(days=3)
"""A generated certificate is replaced this long before it ends."""

log = logging.getLogger(__name__)


class Certificates:
    """What listeners show. ``turn`` takes new files, or renews what was generated."""

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
        self._watched: list[Watched] = []
        if not self._hostnames:
            # Before they are read, so that no change goes unseen.
            files = [Path(name) for name in (*settings.cert, *settings.key)]
            self._watched.append(Watched("server.tls", files, self._reload, self.reloads))
        self.credentials = tls.Credentials(*obtain(loaded))

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
        """The same in seconds since 1970."""
        return self.expires_at.timestamp()

    def turn(self) -> None:
        """Look whether something has to be taken or renewed; called about once a second."""
        for watched in self._watched:
            watched.turn()
        renew(self.credentials, self._hostnames, datetime.datetime.now(datetime.UTC))

    def _reload(self) -> str:
        self.credentials.replace(*obtain(self._loaded))
        return f"sha256={self.fingerprint} expires={self.expires_at.isoformat()}"


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
