"""The certificate of this node: from files, or generated and renewed while the node runs."""

import datetime
import logging
from pathlib import Path

from moq_relay.daemon.sources import Loaded
from moq_relay.errors import ConfigError
from moq_relay.transports import tls

RENEW_BEFORE = datetime.timedelta(days=3)
"""A generated certificate is replaced this long before it ends."""

log = logging.getLogger(__name__)


def obtain(loaded: Loaded) -> tls.Certificate:
    """The certificate that the settings name.

    Raises:
        ConfigError: it cannot be read or used; the text says which setting, and why.
    """
    settings = loaded.settings.server.tls
    try:
        if settings.generate:
            return tls.generate(settings.generate)
        return tls.load(Path(settings.cert[0]), Path(settings.key[0]))
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
