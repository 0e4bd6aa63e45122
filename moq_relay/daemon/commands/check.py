"""What ``moq-relay check`` prints: every setting in force, as TOML that can be used as it is."""

import json
from typing import Any

from moq_relay.daemon.auth import OPEN
from moq_relay.daemon.config.sources import Key, Loaded, keys
from moq_relay.daemon.config.values import Address, Listener, Public

UNSET = {
    "web.http.listen": "public HTTP is not served",
    "auth.public": f"nobody may publish or watch; {OPEN}",
}
"""What it means that a setting has no value."""

HIDDEN = '"***"'


def in_force(loaded: Loaded) -> str:
    """A line for each setting: its value, and where that came from."""
    lines = [(_line(loaded, key), loaded.origin(key.name)) for key in keys() if not key.part]
    width = max(len(line) for line, _ in lines if len(line) <= 60)
    return "".join(f"{line:<{width}}  # {origin}\n" for line, origin in lines)


def _line(loaded: Loaded, key: Key) -> str:
    value: Any = loaded.settings
    for part in key.name.split("."):
        value = getattr(value, part)
    if value is None or value == ():
        return f"# {key.name} is not set" + (f": {UNSET[key.name]}" if key.name in UNSET else "")
    return f"{key.name} = {HIDDEN if key.secret else toml(value)}"


def toml(value: Any) -> str:
    """A setting's value as it would be written in the file."""
    match value:
        case Address() | Listener(versions=()):
            written = json.dumps(str(value))
        case Listener(address, versions):
            written = f"{{listen = {toml(address)}, version = {toml(versions)}}}"
        case Public(subscribe, publish) if subscribe != publish:
            written = f"{{subscribe = {_several(subscribe)}, publish = {_several(publish)}}}"
        case Public(publish=(one,)) | (one,):
            written = toml(one)
        case Public(publish=several) | tuple(several):
            written = _several(several)
        case float() if value.is_integer():
            written = str(int(value))
        case _:
            written = json.dumps(value, ensure_ascii=False)
    return written


def _several(values: tuple[Any, ...]) -> str:
    return f"[{', '.join(toml(value) for value in values)}]"
