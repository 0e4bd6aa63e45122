"""Where a Redis is: ``redis.url`` taken apart, and what its INFO says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from moq_relay.cluster.road import ServerFacts
from moq_relay.errors import ConfigError

Address = tuple[str, int]

FORMS = (
    "redis://host:port, rediss://host:port, unix:///path or "
    "redis+sentinel://host:port,host:port/name"
)
LOWEST_VERSION = (7, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A Redis server, or the Sentinels that know which one it is."""

    addresses: tuple[Address, ...] = ()
    """Of the server, or of the Sentinels; empty for a unix socket."""
    path: str = ""
    """Of the unix socket."""
    service: str = ""
    """By which the Sentinels know it; empty without Sentinels."""
    database: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: str | None = None
    """Certificates that the server's must descend from; None for the system's."""
    cert_file: str | None = None
    key_file: str | None = None

    def __repr__(self) -> str:
        """The place without the password."""
        places = ",".join(f"{host}:{port}" for host, port in self.addresses) or self.path
        return f"Endpoint({places}{'/' + self.service if self.service else ''})"


def parse_endpoint(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    ca_file: str | None = None,
    cert_file: str | None = None,
    key_file: str | None = None,
) -> Endpoint:
    """The endpoint that a URL names; what is given beside it outranks what is in it.

    Raises:
        ConfigError: it has none of the four forms. The text holds no password.
    """
    parts = urlsplit(url)
    scheme, _, sentinel = parts.scheme.partition("+")
    if scheme not in {"redis", "rediss", "unix"} or sentinel not in {"", "sentinel"}:
        raise ConfigError(f"redis.url takes {FORMS}")
    addresses: tuple[Address, ...] = ()
    path = service = database = ""
    if scheme == "unix":
        path = unquote(parts.path)
        database = parse_qs(parts.query).get("db", [""])[0]
    else:
        addresses = _addresses(parts, 26379 if sentinel else 6379)
        below = unquote(parts.path).strip("/")
        service, _, database = below.partition("/") if sentinel else ("", "", below)
    if (sentinel and not service) or (scheme == "unix" and not path):
        raise ConfigError(f"redis.url takes {FORMS}")
    if database and not database.isdecimal():
        raise ConfigError("the database in redis.url is a number")
    return Endpoint(
        addresses=addresses,
        path=path,
        service=service,
        database=int(database or "0"),
        username=username or (unquote(parts.username) if parts.username else None),
        password=password or (unquote(parts.password) if parts.password else None),
        tls=scheme == "rediss",
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )


def _addresses(parts: SplitResult, default_port: int) -> tuple[Address, ...]:
    found = []
    for place in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{place}")
        try:
            port = one.port or default_port
        except ValueError as error:
            raise ConfigError(f"redis.url has no such port: {place}") from error
        if not one.hostname:
            raise ConfigError(f"redis.url takes {FORMS}")
        found.append((one.hostname, port))
    return tuple(found)


def parse_info(text: str) -> dict[str, str]:
    """The fields of an INFO answer."""
    pairs = (line.partition(":") for line in text.splitlines() if line and line[0] != "#")
    return {name: value for name, _, value in pairs}


def server_facts(info: Mapping[str, str]) -> ServerFacts:
    """What of INFO an operator should know, and be warned of."""
    name = "valkey" if "valkey_version" in info else "redis"
    version = info.get("valkey_version") or info.get("redis_version", "")
    policy = info.get("maxmemory_policy", "")
    persistent = info.get("aof_enabled") == "1"
    warnings = {}
    numbers = tuple(int(word) for word in version.split(".")[:2] if word.isdecimal())
    if numbers < LOWEST_VERSION:
        warnings["version"] = f"{name} {version} is older than 7.0, the oldest that is tested"
    if policy != "noeviction":
        warnings["maxmemory_policy"] = (
            f"maxmemory-policy is {policy}: under memory pressure {name} drops part of the "
            "registry; set it to noeviction"
        )
    if not persistent:
        warnings["persistence"] = (
            f"{name} keeps no append-only file: after its restart every node has to claim "
            "everything again; set appendonly yes"
        )
    return ServerFacts(
        name,
        version,
        policy,
        persistent,
        tuple(warnings.values()),
        tuple(warnings),
        memory_bytes=_bytes(info.get("used_memory")),
        memory_limit_bytes=_bytes(info.get("maxmemory")) or _bytes(info.get("total_system_memory")),
    )


def _bytes(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
