"""The keys that verify tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from moq_relay.daemon.jwk import Key
from moq_relay.daemon.sources import Loaded
from moq_relay.errors import ConfigError


class Keyring(Protocol):
    """Knows keys by the name that a token gives its own."""

    def find(self, kid: str | None) -> Sequence[Key] | None:
        """The keys with that name, or for tokens without one; None: they have to be looked up."""

    async def look_up(self, kid: str | None) -> Sequence[Key]:
        """The same, from where they are kept.

        Raises:
            Unauthorized: nobody knows them, or nobody can say now.
        """


class OneKey:
    """A key for every token, whatever name that gives it."""

    def __init__(self, key: Key) -> None:
        self._keys = (key,)

    def find(self, _kid: str | None) -> Sequence[Key]:
        return self._keys

    async def look_up(self, _kid: str | None) -> Sequence[Key]:
        return self._keys


def keyring(loaded: Loaded) -> Keyring | None:
    """The keys that the settings name; None: they name none.

    Raises:
        ConfigError: one cannot be used.
    """
    name = loaded.settings.auth.key
    if name is None:
        return None
    if "://" in name:
        raise ConfigError(f"{loaded.where('auth.key')} = {name}: a URL is not supported; save it")
    try:
        return OneKey(Key.read(Path(name)))
    except ConfigError as error:
        raise ConfigError(f"{loaded.where('auth.key')} = {error}") from error
