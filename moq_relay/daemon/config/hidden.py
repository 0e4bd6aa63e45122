"""Secrets among the settings: each is text that is never shown, or a file that holds it."""

from pathlib import Path

from pydantic import SecretStr

from moq_relay.daemon.config.sources import Loaded
from moq_relay.errors import ConfigError


def hidden(loaded: Loaded, name: str, value: SecretStr | None, file: str | None) -> str | None:
    """A secret that is a setting, or in the file that ``<name>_file`` names; None: neither.

    Raises:
        ConfigError: it is both, or the file cannot be read.
    """
    if value is not None and file is not None:
        raise ConfigError(
            f"{loaded.where(name)} and {loaded.where(f'{name}_file')} are both set; keep one"
        )
    if file is None:
        return None if value is None else value.get_secret_value()
    try:
        return Path(file).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"{loaded.where(f'{name}_file')} = {file}: cannot be read: {str(reason).lower()}"
        ) from error
