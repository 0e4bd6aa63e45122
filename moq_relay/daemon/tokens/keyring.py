"""The keys that the settings name: files, URLs, and what is wrong with either at the start."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from moq_relay.daemon.config.sources import Loaded
from moq_relay.daemon.tokens.keyfiles import Document, Reader, key_set, one_key
from moq_relay.daemon.tokens.keys import Directory, Keyring, Pack
from moq_relay.daemon.tokens.places import FilePlace, Unread, UrlPlace, check_url, is_url
from moq_relay.errors import ConfigError

SOURCES = ("auth.key", "auth.key_dir", "auth.jwks")


def keyring(loaded: Loaded) -> Keyring | None:
    """The keys that the settings name; None: they name none.

    What is in files has been read; what servers have is read when the ring runs, or is asked.

    Raises:
        ConfigError: they name several places, or one that cannot be used.
    """
    auth = loaded.settings.auth
    written = dict(zip(SOURCES, (auth.key, auth.key_dir, auth.jwks), strict=True))
    named = [name for name in SOURCES if written[name] is not None]
    if not named:
        return None
    if len(named) > 1:
        both = " and ".join(loaded.where(name) for name in named[:2])
        raise ConfigError(f"{both} are both set; keep one of them")
    (name,) = named
    value = str(written[name])
    where = f"{loaded.where(name)} = "
    if name == "auth.jwks" and not auth.audience:
        raise ConfigError(
            f"{loaded.where(name)} is set without auth.audience: whoever has the set signs for "
            "others too, so say which tokens are for this relay"
        )
    if is_url(value):
        try:
            check_url(value)
        except ConfigError as error:
            # Not the URL: what it must not have is a password.
            raise ConfigError(f"{loaded.where(name)} {error}") from error
    trust = _trust(loaded)
    reads = Counter[str]()
    if name == "auth.key_dir":
        return _directory(value, where, trust, reads)
    reader: Reader = key_set if name == "auth.jwks" else one_key
    document = _document(value, where, reader, trust, reads)
    return Pack(document, named=name == "auth.jwks", reads=reads)


def _document(
    value: str, where: str, reader: Reader, trust: ssl.SSLContext | bool, reads: Counter[str]
) -> Document:
    if is_url(value):
        return Document(UrlPlace(value, trust), reader, counted=reads)
    place = FilePlace(Path(value))
    document = Document(place, reader, counted=reads)
    try:
        document.take(place.look(None))
    except (ConfigError, Unread) as error:
        raise ConfigError(f"{where}{error}") from error
    return document


def _directory(
    value: str, where: str, trust: ssl.SSLContext | bool, reads: Counter[str]
) -> Directory:
    if is_url(value):
        if "?" in value:
            raise ConfigError(f"{where}{value} has a query, and the names of keys come behind it")
        base = value.rstrip("/")

        def fetched(kid: str, loud: bool) -> Document:
            place = UrlPlace(f"{base}/{kid}.jwk", trust)
            return Document(place, one_key, loud=loud, counted=reads)

        return Directory(fetched, reads=reads)
    directory = Path(value)
    if not directory.is_dir():
        raise ConfigError(f"{where}{value}: is no directory")

    def filed(kid: str, loud: bool) -> Document:
        place = FilePlace(directory / f"{kid}.jwk")
        return Document(place, one_key, loud=loud, counted=reads)

    return Directory(filed, _names(directory), reads=reads)


def _names(directory: Path) -> Callable[[], Awaitable[Sequence[str]]]:
    def names() -> Sequence[str]:
        try:
            return sorted(path.stem for path in directory.glob("*.jwk"))
        except OSError:
            return ()

    async def listed() -> Sequence[str]:
        return await asyncio.to_thread(names)

    return listed


def _trust(loaded: Loaded) -> ssl.SSLContext | bool:
    """Which servers are believed to be what they say."""
    name = loaded.settings.auth.ca
    if name is None:
        return True
    try:
        return ssl.create_default_context(cafile=name)
    except ssl.SSLError as error:
        raise ConfigError(f"{loaded.where('auth.ca')} = {name}: holds no certificate") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"{loaded.where('auth.ca')} = {name}: cannot be read: {reason}"
        ) from error
