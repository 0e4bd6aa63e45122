"""The settings of one relay as one tree: name, meaning, form and default of each."""

from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from moq_relay.cluster.endpoint import FORMS
from moq_relay.cluster.status import RegistrySettings
from moq_relay.daemon.config import values
from moq_relay.daemon.config.auth_settings import Auth
from moq_relay.daemon.config.forms import (
    Addresses,
    ClientAddresses,
    Coordinates,
    Count,
    Duration,
    File,
    Form,
    Level,
    Listeners,
    LogFormat,
    OptionalAddress,
    OptionalText,
    Seconds,
    Secret,
    SessionLines,
    Size,
    Switch,
    Texts,
    Versions,
)
from moq_relay.daemon.config.limit_settings import LimitsSection
from moq_relay.daemon.config.section import Section
from moq_relay.daemon.config.values import Address, Listener
from moq_relay.relay.retention import CacheLimits

KEPT, REGISTRY = CacheLimits(), RegistrySettings()
"""The defaults of the floors below are the defaults of the settings."""


class ServerTls(Section):
    """The certificate that the relay shows."""

    cert: Texts = Field(
        default=(),
        description="PEM file with the certificate and its chain, or several: a client gets that "
        "for the name it asks for, else the first. New files are taken without a restart.",
    )
    key: Texts = Field(
        default=(),
        description="PEM file with the certificate's key; of several, in the same order.",
    )
    generate: Annotated[
        tuple[str, ...],
        BeforeValidator(values.named),
        Form("a host name or a list", listed=True, flags=("--tls-generate",)),
    ] = Field(
        default=(),
        description="Host names for a self-signed certificate that the relay makes and renews; "
        "browsers accept it by `/certificate.sha256`. For development.",
    )
    root: Texts = Field(
        default=(),
        description="PEM files with authorities whose certificates other relays show here, instead "
        "of a token: see `client.tls.cert`. Whoever has one of theirs is a node of the cluster. "
        "Unset: no certificate is asked for.",
    )


class Server(Section):
    """Where publishers, viewers and other relays connect: QUIC and WebTransport."""

    listen: Listeners = Field(
        default=(Listener(Address("::", 443)),),
        description="UDP addresses to listen on. An entry `{listen, version}` offers only the "
        "versions it names.",
    )
    version: Versions = Field(
        default=(),
        description="Versions to offer where a listener names none; default: all of them.",
    )
    tls: ServerTls = ServerTls()


class WebHttp(Section):
    """Plain HTTP for everybody."""

    listen: OptionalAddress = Field(
        default=None,
        description="TCP address of the public HTTP endpoints; not served when unset or empty. A "
        "browser looks for `/certificate.sha256` on the port number that it connects to.",
    )


class Web(Section):
    """HTTP for everybody."""

    http: WebHttp = WebHttp()


class Internal(Section):
    """HTTP for operators; do not expose it."""

    listen: OptionalAddress = Field(
        default=Address("127.0.0.1", 9101),
        description="TCP address of `/health`, `/ready`, `/metrics`, `/nodes`, `/origins`, "
        "`/routes` and `/geo`, and of the page of the cluster at `/`; empty: not served. "
        "Off loopback it needs `internal.token` or `internal.open`.",
    )
    hosts: Texts = Field(
        default=(),
        description="Names by which that may be asked, besides those of loopback, the address "
        "listened on and the host of `cluster.node`. `/health`, `/ready` and `/metrics` may be "
        "asked by any.",
    )
    token: Secret = Field(
        default=None,
        description="What has to come as `Authorization: Bearer` with a change, drain or uncordon; "
        "unset: none is made.",
    )
    token_file: File = Field(default=None, description="File with the same.")
    open: Switch = Field(
        default=False,
        description="Listen off loopback without `internal.token`: whoever gets there may read.",
    )


class Cluster(Section):
    """How this relay stands to other relays, and to its broadcasts."""

    root: Annotated[
        tuple[str, ...],
        BeforeValidator(values.nodes),
        Form("a host, host:port, URL or a list", listed=True, aliases=("cluster.connect",)),
    ] = Field(
        default=(),
        description="The roots at which this relay joins a cluster. Unset: it is a root itself.",
    )
    node: Annotated[
        str | None,
        BeforeValidator(values.node),
        Form("a host, host:port or URL", aliases=("cluster.advertise",)),
    ] = Field(
        default=None,
        description="Where other relays reach this one: its name in the cluster. Unset: it is a "
        "member of none.",
    )
    token: File = Field(
        default=None,
        description="File with the token, signed with a root's `auth.key`, by which this relay "
        "joins; read for each dial. It has the claims `cluster` true, `node` this relay's URL, and "
        '`get` "".',
    )
    allow: Annotated[
        tuple[str, ...],
        BeforeValidator(values.host_patterns),
        Form("a host, `*.domain`, address, network, `*` or a list", listed=True),
    ] = Field(
        default=(),
        description="Which hosts may be other nodes, in the table and when they join: no other is "
        "dialled. Unset: any. This machine and its links may be only where they are named here, or "
        "where `cluster.node` is there itself. The roots of `cluster.root` always may.",
    )
    region: OptionalText = Field(
        default=None,
        description="Where this relay is, like `eu-west`: others prefer relays of their own "
        "region, and latencies are shown by it.",
    )
    addresses: ClientAddresses = Field(
        default=(),
        description="Where clients reach this relay, IPv4 and IPv6: what a root's `/geo` tells the "
        "DNS. Unset: it sends nobody here.",
    )
    coordinates: Coordinates = Field(
        default=None,
        description="Where this relay is, degrees north and east, for `/geo`: clients are sent to "
        "the nearest. Unset: it is near nobody, and is told only as a way out.",
    )
    shared_token: Switch = Field(
        default=False,
        description="Take tokens with the claim `cluster` and without `node` too. Whoever has one "
        "can then join as any node that it can be reached as.",
    )
    renew: Duration = Field(
        default=REGISTRY.renew,
        description="How often this relay renews its membership, and proves its copy of the table.",
    )
    lease: Duration = Field(
        default=REGISTRY.lease,
        description="How long its membership and all it has outlive its silence; the same on every "
        "relay of a cluster, and at least `cluster.renew` and twice `redis.timeout`.",
    )
    linger: Seconds = Field(
        default=5.0,
        description="How long a broadcast stays announced after its publisher was lost without a "
        "goodbye, so that a reconnect goes unnoticed.",
    )
    prefix: OptionalText = Field(
        default=None,
        description="Accepted without effect: nodes are never announced among broadcasts.",
    )


class ClientTls(Section):
    """Which certificates of other relays are believed, and what they are shown."""

    root: Texts = Field(
        default=(),
        description="PEM files with certificates to believe, instead of the system's. New files "
        "are taken without a restart.",
    )
    cert: File = Field(
        default=None,
        description="PEM file with a certificate, and its chain, that this relay shows to relays "
        "with `server.tls.root`: it joins and links by it instead of `cluster.token`. One of its "
        "DNS names is the host of `cluster.node`. New files are taken without a restart.",
    )
    key: File = Field(default=None, description="PEM file with that certificate's key.")
    disable_verify: Switch = Field(
        default=False,
        description="Believe every certificate. Whoever is on the way can then take the token of "
        "this relay; for development.",
    )


class Client(Section):
    """Connections to other relays."""

    tls: ClientTls = ClientTls()


class Redis(Section):
    """Where the cluster's state is kept."""

    url: Annotated[SecretStr | None, BeforeValidator(values.redis_url), Form(f"a URL: {FORMS}")] = (
        Field(
            default=None,
            description="The Redis or Valkey of the cluster. A root without one starts its own.",
        )
    )
    url_file: File = Field(default=None, description="File with the same, when it is secret.")
    user: Secret = Field(default=None, description="User name; outranks one in the URL.")
    user_file: File = Field(default=None, description="File with the user name.")
    password: Secret = Field(default=None, description="Password; outranks one in the URL.")
    password_file: File = Field(default=None, description="File with the password.")
    ca: File = Field(
        default=None,
        description="PEM file with certificates to believe of the server, with `rediss://`.",
    )
    dir: Annotated[str, BeforeValidator(values.text), Form("path of a directory")] = Field(
        default="registry",
        description="Where the Redis that a root starts by itself keeps its file.",
    )
    prefix: Annotated[str, BeforeValidator(values.prefix_of_keys), Form("text")] = Field(
        default="moq",
        description="What all keys and channels begin with; clusters of one Redis differ in it.",
    )
    timeout: Duration = Field(
        default=REGISTRY.command_timeout,
        description="How long one command may take; without an answer the connection is made anew.",
    )
    shards: Count = Field(
        default=REGISTRY.shards,
        description="Parts of the table. The first relay of a cluster settles it for good.",
    )


class CacheSection(Section):
    """What is kept for late viewers."""

    capacity: Size = Field(
        default=KEPT.capacity,
        description="Payload of all groups kept; a track's latest group always stays.",
    )
    duration: Seconds = Field(
        default=KEPT.duration,
        description="How long a group is kept at most, whatever its publisher says.",
    )


class Log(Section):
    """What the relay writes, to stderr where it says nothing else."""

    level: Level = Field(default="info", description="The least serious event that is written.")
    format: LogFormat = Field(
        default="text", description="`json` is one object a line, for machines."
    )
    addresses: Addresses = Field(
        default="full",
        description="What a line has of a client's address: all of it, its network (the first 24 "
        "bits of IPv4, 48 of IPv6, without the port), or `-`. It holds for every line that the "
        "relay writes.",
    )
    sessions: SessionLines = Field(
        default="none",
        description="Where to write who used what: a line of JSON for each session that ended, and "
        "one a minute while it lasts (docs/operations/who-used-what.md). Such a file is followed "
        "when it is rotated.",
    )


class DrainSection(Section):
    """How the relay leaves."""

    deadline: Duration = Field(
        default=20.0,
        description="How long publishers and viewers may take to go elsewhere after SIGTERM; then "
        "they are cut off. SIGKILL should be 10 s later.",
    )
    settle: Seconds = Field(
        default=0.0,
        description="How much of that newcomers are still taken, before anybody is asked to go: as "
        "long as names lead here. At most half of the deadline.",
    )


class Demo(Section):
    """Something to look at."""

    enabled: Switch = Field(
        default=False,
        description="Publish the broadcast `demo/clock` and serve `/demo`, which watches it.",
    )
    page: Switch = Field(
        default=False,
        description="Serve `/demo` without publishing: another relay of the cluster does.",
    )


class Settings(BaseSettings):
    """All of it. Made by ``sources.load``; below the daemon nobody reads settings."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    server: Server = Server()
    web: Web = Web()
    internal: Internal = Internal()
    auth: Auth = Auth()
    cluster: Cluster = Cluster()
    client: Client = Client()
    redis: Redis = Redis()
    cache: CacheSection = CacheSection()
    limits: LimitsSection = LimitsSection()
    drain: DrainSection = DrainSection()
    log: Log = Log()
    demo: Demo = Demo()
