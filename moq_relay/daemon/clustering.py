"""What the settings say of the cluster: this relay's part in it, and what it needs for that."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from moq_relay.cluster.address import host_port
from moq_relay.cluster.destinations import Destinations
from moq_relay.cluster.embedded import find_server
from moq_relay.cluster.endpoint import Endpoint, parse_endpoint
from moq_relay.cluster.records import Offer
from moq_relay.cluster.status import RegistrySettings
from moq_relay.cluster.targets import Token
from moq_relay.daemon.config.hidden import hidden
from moq_relay.daemon.config.sources import Loaded
from moq_relay.daemon.tokens.claims import TokenFile
from moq_relay.errors import ConfigError
from moq_relay.transports.quic.dialer import Trust
from moq_relay.transports.tls import Certificate, load, read_certificates
from moq_relay.transports.verification import Untrusted, client_names

Mode = Literal["standalone", "root", "direct", "through"]
"""Alone; a root with its registry; a node with its own way to it; a node whose way is a root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """This relay's part in the cluster."""

    mode: Mode
    node: str | None = None
    """Its name and URL; None: it keeps the registry, or is alone, and claims nothing."""
    roots: tuple[str, ...] = ()
    """URLs of the roots to join at, itself left out."""
    region: str = ""
    token: str | None = field(default=None, repr=False)
    """By which it joins, as it was at the start."""
    bearer: Token | None = field(default=None, repr=False)
    """The same, as it is by then."""
    certified: bool = False
    """Whether it shows a certificate to other relays, which stands for a token."""
    endpoint: Endpoint | None = None
    """Its Redis; None for a root: it starts its own."""
    offer: Offer = field(default_factory=Offer)
    """What clients are told of it."""
    times: RegistrySettings = field(default_factory=RegistrySettings)
    allow: tuple[str, ...] = ()
    """Patterns of hosts that may be nodes; none: any."""

    def destinations(self) -> Destinations:
        """Which nodes it may dial; its roots always, because an operator wrote them."""
        return Destinations(self.allow, node=self.node, roots=self.roots)


def part(loaded: Loaded) -> Part:
    """The part that the settings give this relay.

    Raises:
        ConfigError: they do not go together, or name a file that cannot be used.
    """
    cluster = loaded.settings.cluster
    roots = tuple(root for root in cluster.root if root != cluster.node)
    endpoint = _endpoint(loaded)
    mode: Mode = "root"
    if roots:
        mode = "through" if endpoint is None else "direct"
    elif cluster.node is None and endpoint is None:
        mode = "standalone"
    file = token = None
    if cluster.token is not None:
        try:
            file = TokenFile(Path(cluster.token))
            token = file()
        except ConfigError as error:
            raise ConfigError(f"{loaded.where('cluster.token')} = {error}") from error
    if roots and cluster.node is None:
        raise ConfigError(
            f"{loaded.where('cluster.root')} is set without cluster.node; "
            "set it to where other relays reach this one"
        )
    certified = loaded.settings.client.tls.cert is not None
    if mode == "through" and token is None and not certified:
        raise ConfigError(
            f"{loaded.where('cluster.root')} is set without cluster.token and client.tls.cert; who "
            "joins at a root needs one of them, and who has none sets redis.url instead"
        )
    return Part(
        mode=mode,
        node=cluster.node,
        roots=roots,
        region=cluster.region or "",
        token=token,
        bearer=file,
        certified=certified,
        endpoint=endpoint,
        offer=Offer(addresses=cluster.addresses, coordinates=cluster.coordinates),
        times=_times(loaded),
        allow=cluster.allow,
    )


def describe(mine: Part) -> str:
    """The part in a sentence."""
    roots = ", ".join(mine.roots)
    match mine:
        case Part(mode="standalone"):
            return "it stands alone: there is no cluster.node and no redis.url"
        case Part(mode="root", endpoint=None):
            return "it is a root, and starts the registry by itself in redis.dir"
        case Part(mode="root"):
            return "it is a root, and its registry is at redis.url"
        case Part(mode="direct"):
            return f"it is a node, its registry is at redis.url, and it joins at {roots}"
        case _:
            return f"it is a node, and reaches the registry through {roots}"


def warnings(loaded: Loaded) -> list[str]:
    """A line for each setting that has no effect, or opens more than it seems to."""
    cluster, mine = loaded.settings.cluster, part(loaded)
    found = []
    if cluster.prefix is not None:
        found.append(
            f"{loaded.where('cluster.prefix')} has no effect: nodes are never announced among "
            "broadcasts"
        )
    if cluster.shared_token:
        found.append(
            f"{loaded.where('cluster.shared_token')} is set: whoever has a token without the "
            "claim node can join as any node that it can be reached as"
        )
    if loaded.settings.client.tls.disable_verify:
        found.append(
            f"{loaded.where('client.tls.disable_verify')} is set: the certificates of other relays "
            "are not checked, and whoever is on the way can take this relay's token"
        )
    if mine.mode != "standalone" and mine.token is not None and not mine.allow:
        found.append(
            f"{loaded.where('cluster.token')} is set without cluster.allow: any host that the "
            "registry names as a node may be shown this relay's token; set cluster.allow to the "
            'hosts of your relays, or to "*" for any'
        )
    if mine.mode == "direct" and mine.token is None and not mine.certified:
        found.append(
            "cluster.token and client.tls.cert are not set: this relay is a member by Redis "
            "alone, and has on its links what auth.public gives it"
        )
    if mine.mode == "root" and mine.node is None:
        found.append(
            "cluster.node is not set: this relay keeps the registry, and what is published here "
            "stays here"
        )
    return found


def trust(loaded: Loaded) -> Trust:
    """Which certificates this relay believes of others, and which it shows them.

    Raises:
        ConfigError: a file cannot be used, or the certificate is not one of this node.
    """
    tls = loaded.settings.client.tls
    texts = authorities(loaded, "client.tls.root", tls.root)
    return Trust(verify=not tls.disable_verify, roots=texts, own=_own(loaded))


def authorities(loaded: Loaded, name: str, files: Sequence[str]) -> bytes | None:
    """What is in the files of the setting ``name``; None when there are none.

    Raises:
        ConfigError: one cannot be used.
    """
    texts = []
    for file in files:
        try:
            read_certificates(Path(file))
            texts.append(Path(file).read_bytes())
        except ConfigError as error:
            raise ConfigError(f"{loaded.where(name)}: {error}") from error
    return b"\n".join(texts) if texts else None


def _own(loaded: Loaded) -> Certificate | None:
    tls, node = loaded.settings.client.tls, loaded.settings.cluster.node
    if tls.cert is None or tls.key is None:
        return None
    where = loaded.where("client.tls.cert")
    try:
        found = load(Path(tls.cert), Path(tls.key))
        names = client_names(found.leaf)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except Untrusted as error:
        raise ConfigError(f"{where}: the certificate in {tls.cert} {error}") from error
    host = None if node is None else host_port(node).host
    if host is not None and host not in names and loaded.settings.cluster.token is None:
        raise ConfigError(
            f"{where}: the certificate in {tls.cert} is for {', '.join(names)} and not for {host}, "
            "the host of cluster.node"
        )
    return found


def server(loaded: Loaded) -> Path | None:
    """The server that a root without a Redis would start; None for all others.

    Raises:
        ConfigError: there is none.
    """
    mine = part(loaded)
    return find_server() if mine.mode == "root" and mine.endpoint is None else None


def _times(loaded: Loaded) -> RegistrySettings:
    cluster, redis = loaded.settings.cluster, loaded.settings.redis
    if cluster.renew + 2 * redis.timeout > cluster.lease:
        raise ConfigError(
            f"{loaded.where('cluster.lease')} is {cluster.lease:g} s, and cluster.renew and twice "
            f"redis.timeout are {cluster.renew + 2 * redis.timeout:g} s: one lost renewal would "
            "cost the membership; make the lease longer"
        )
    return RegistrySettings(
        renew=cluster.renew,
        command_timeout=redis.timeout,
        lease=cluster.lease,
        shards=redis.shards,
    )


def _endpoint(loaded: Loaded) -> Endpoint | None:
    redis = loaded.settings.redis
    url = hidden(loaded, "redis.url", redis.url, redis.url_file)
    user = hidden(loaded, "redis.user", redis.user, redis.user_file)
    password = hidden(loaded, "redis.password", redis.password, redis.password_file)
    if url is None:
        return None
    try:
        return parse_endpoint(url, username=user, password=password, ca_file=redis.ca)
    except (ConfigError, ValueError) as error:
        problem = error if isinstance(error, ConfigError) else "it is no URL"
        raise ConfigError(f"{loaded.where('redis.url_file')}: {problem}") from None
