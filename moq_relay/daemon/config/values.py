"""What a setting's value may look like; each function reads one form, or says what is wrong.

They take what TOML, the environment or a flag holds, and raise ValueError with a text that ends the
line an operator reads: what is wrong, and what to write instead.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NamedTuple

from pydantic import SecretStr

from moq_relay.cluster.address import node_url
from moq_relay.cluster.destinations import host_pattern
from moq_relay.cluster.endpoint import parse_endpoint
from moq_relay.errors import ConfigError, WireError
from moq_relay.relay.path import normalise
from moq_relay.wire.lite.versions import VERSIONS, by_name

UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "kib": 2**10,
    "mb": 10**6,
    "mib": 2**20,
    "gb": 10**9,
    "gib": 2**30,
}
TIMES = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
KNOWN = ", ".join(known.name for known in VERSIONS)
HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
SWITCHES = {"true": True, "1": True, "yes": True, "on": True} | dict.fromkeys(
    ("false", "0", "no", "off"), False
)


def loopback(host: str) -> bool:
    """Whether a name or an IP address is one of those by which a machine reaches itself."""
    try:
        found = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return loopback(self.host)


@dataclass(frozen=True, slots=True)
class Listener:
    """One UDP socket of the relay."""

    address: Address
    versions: tuple[str, ...] = ()
    """Names of the versions it offers; empty: what ``server.version`` says."""

    def __str__(self) -> str:
        return (
            f"{self.address} ({', '.join(self.versions)})" if self.versions else str(self.address)
        )


@dataclass(frozen=True, slots=True)
class Public:
    """What everybody may do: prefixes of full paths; "" is everything, no prefix is nothing."""

    subscribe: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.subscribe == self.publish:
            return _listed(self.publish)
        return f"subscribe {_listed(self.subscribe)}, publish {_listed(self.publish)}"


def address(value: Any) -> Address:
    """``host:port``, ``[address]:port`` or ``name:port``."""
    if isinstance(value, Address):
        return value
    host, colon, digits = str(value).strip().rpartition(":")
    if not colon or not digits.isdecimal():
        raise ValueError('is not an address with a port; write host:port, like "[::]:4443"')
    port = int(digits)
    if port > 65535:
        raise ValueError(f"has port {port}; a port is at most 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError('is not clear about its port; write brackets, like "[::1]:4443"')
    if not host:
        raise ValueError(f'has no host; "[::]:{port}" listens on every address')
    if ":" not in host and not HOST_NAME.fullmatch(host):
        raise ValueError(f"has {host!r} where a host name or an IP address belongs")
    return Address(host, port)


def optional_address(value: Any) -> Address | None:
    """An address, or "" to listen nowhere."""
    return None if value is None or value == "" else address(value)


def version(value: Any) -> str:
    """The name of a version that this relay speaks, which may be given as its ALPN."""
    found = by_name(value) if isinstance(value, str) else None
    if found is None:
        names = ", ".join(known.name for known in VERSIONS)
        raise ValueError(
            f"names version {value!r}, which this relay does not speak; known: {names}"
        )
    return found.name


def versions(value: Any) -> tuple[str, ...]:
    """One name or several; their order does not matter."""
    chosen = tuple(dict.fromkeys(version(name) for name in strings(value)))
    if not chosen:
        raise ValueError(f"names no version; leave it out to offer all of them: {KNOWN}")
    return chosen


def listeners(value: Any) -> tuple[Listener, ...]:
    """An address, a table ``{listen, version}``, or a list of either."""
    entries = value if isinstance(value, list | tuple) else [value]
    if not entries:
        raise ValueError('is an empty list; write host:port, like "[::]:4443"')
    found = tuple(_listener(entry) for entry in entries)
    seen: set[Address] = set()
    for one in found:
        if one.address.port and one.address in seen:
            raise ValueError(f"has {one.address} twice; a socket has one entry")
        seen.add(one.address)
    return found


def _listener(entry: Any) -> Listener:
    if isinstance(entry, Listener):
        return entry
    if not isinstance(entry, Mapping):
        return Listener(address(entry))
    surplus = sorted(set(entry) - {"listen", "version"})
    if surplus:
        raise ValueError(f"has an entry with {surplus[0]!r}; an entry has listen and version")
    if "listen" not in entry:
        raise ValueError("has an entry without listen; an entry has listen and version")
    return Listener(
        address(entry["listen"]), versions(entry["version"]) if "version" in entry else ()
    )


def public(value: Any) -> Public | None:
    """A prefix, a list of prefixes, or a table ``{subscribe, publish}`` of either."""
    if value is None or isinstance(value, Public):
        return value
    if not isinstance(value, Mapping):
        prefixes = _prefixes(value)
        return Public(subscribe=prefixes, publish=prefixes)
    surplus = sorted(set(value) - {"subscribe", "publish"})
    if surplus:
        raise ValueError(f"has {surplus[0]!r}; the table has subscribe and publish")
    return Public(
        subscribe=_prefixes(value.get("subscribe", ())),
        publish=_prefixes(value.get("publish", ())),
    )


def _prefixes(value: Any) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(normalise(prefix) for prefix in strings(value)))
    except WireError as error:
        raise ValueError(f"is not a prefix of paths: {error}") from error


def _listed(prefixes: Sequence[str]) -> str:
    return ", ".join("everything" if prefix == "" else prefix for prefix in prefixes) or "nothing"


def strings(value: Any) -> tuple[str, ...]:
    """One string or several."""
    entries = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise ValueError("must be a string or a list of strings")
    return tuple(entries)


def named(value: Any) -> tuple[str, ...]:
    """One string or several; an empty one is as good as none."""
    return tuple(filter(None, strings(value)))


def text(value: Any) -> str | None:
    """A text; an empty one is as good as none."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 — pydantic passes a TypeError on
    return value


def node(value: Any) -> str | None:
    """A node's URL, from a host, host:port or URL; "" is none."""
    written = text(value)
    return None if written is None else node_url(written)


def nodes(value: Any) -> tuple[str, ...]:
    """URLs of nodes, each once, in their order."""
    return tuple(dict.fromkeys(node_url(one) for one in named(value)))


def host_patterns(value: Any) -> tuple[str, ...]:
    """Patterns of hosts, each once, in their order."""
    return tuple(dict.fromkeys(host_pattern(one) for one in named(value)))


def secret(value: Any) -> SecretStr | None:
    """A text that is never shown; an empty one is as good as none."""
    if isinstance(value, SecretStr):
        return value
    written = text(value)
    return None if written is None else SecretStr(written)


def redis_url(value: Any) -> SecretStr | None:
    """The URL of a Redis server. What is wrong with it is said without repeating it."""
    hidden = secret(value)
    if hidden is not None:
        try:
            parse_endpoint(hidden.get_secret_value())
        except (ConfigError, ValueError) as error:
            problem = str(error) if isinstance(error, ConfigError) else "is no URL"
            raise ValueError(problem.removeprefix("redis.url ")) from None
    return hidden


def prefix_of_keys(value: Any) -> str:
    """What keys and channels of a registry begin with."""
    written = text(value)
    if written is None or any(c in written for c in "{} \n") or not written.isprintable():
        raise ValueError('must be a text without spaces and braces, like "moq"')
    return written


def addresses(value: Any) -> tuple[str, ...]:
    """IP addresses of both families, each in its shortest form, in the order given."""
    found = []
    for word in strings(value):
        try:
            address = ipaddress.ip_address(word.strip())
        except ValueError:
            raise ValueError(f"has {word!r} where an IP address belongs") from None
        if address.is_unspecified or address.is_multicast or "%" in str(address):
            raise ValueError(f"has {word!r}, at which no client can reach anything")
        found.append(str(address))
    return tuple(dict.fromkeys(found))


def coordinates(value: Any) -> tuple[float, float] | None:
    """Degrees north and east."""
    if value is None or value == "":
        return None
    words = value.split(",") if isinstance(value, str) else value
    try:
        north, east = (round(float(word), 4) for word in words)
    except (TypeError, ValueError):
        north = east = 1000.0
    if not (abs(north) <= 90 and abs(east) <= 180):
        raise ValueError('must be degrees north and degrees east, like "50.11, 8.68"')
    return north, east


def size(value: Any) -> int:
    """Bytes: a whole number, or text with a unit."""
    amount = _quantity(value, UNITS, 'must be a size, like 1048576 or "256 MiB"')
    if amount != int(amount):
        raise ValueError("is not a whole number of bytes")
    return int(amount)


def optional_size(value: Any) -> int | None:
    """Bytes above zero; an empty text is none."""
    if value is None or value == "":
        return None
    return int(above_zero(size(value)))


def line_target(value: Any) -> str:
    """``none``, ``stdout`` or a path; an empty text is none."""
    return text(value) or "none"


def seconds(value: Any) -> float:
    """Seconds: a number, or text with a unit."""
    return _quantity(value, TIMES, 'must be a time in seconds, like 5, 0.5 or "500ms"')


def optional_duration(value: Any) -> float | None:
    """Seconds above zero; an empty text is none."""
    return None if value is None or value == "" else above_zero(seconds(value))


def count(value: Any) -> int:
    """A whole number from 1 on."""
    match value:
        case bool():
            pass
        case int():
            return value
        case str() if re.fullmatch(r"\s*-?\d+\s*", value):
            return int(value)
    raise ValueError("must be a whole number")


def switch(value: Any) -> bool:
    """True or false."""
    match value:
        case bool():
            return value
        case str() if value.strip().lower() in SWITCHES:
            return SWITCHES[value.strip().lower()]
    raise ValueError("must be true or false")


def one_of(choices: Sequence[str], aliases: Mapping[str, str]) -> Callable[[Any], str]:
    """A reader of one word out of ``choices``; an alias stands for one of them."""

    def choose(value: Any) -> str:
        word = value.strip().lower() if isinstance(value, str) else value
        word = aliases.get(word, word) if isinstance(word, str) else word
        if word not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return str(word)

    return choose


def above_zero(value: float) -> float:
    """Refuse zero and less."""
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


def _quantity(value: Any, units: Mapping[str, float], problem: str) -> float:
    match value:
        case str() if (found := QUANTITY.fullmatch(value.strip())) and found[2].lower() in units:
            return float(found[1]) * units[found[2].lower()]
        case bool() | str():
            raise ValueError(problem)
        case int() | float() if value < 0:
            raise ValueError("must not be negative")
        case int() | float() if value < float("inf"):
            return value
    raise ValueError(problem)
