"""The settings of one relay as one tree: name, meaning, form and default of each."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from moq_relay.daemon import values
from moq_relay.daemon.values import Address, Listener, Public
from moq_relay.relay.retention import CacheLimits
from moq_relay.sessions.context import Limits

LIMITS, KEPT = Limits(), CacheLimits()
"""The defaults of the floors below are the defaults of the settings."""


class Form:
    """How one setting is written: for the documentation, and for text that has no types."""

    __slots__ = ("flags", "listed", "parts", "switch", "text", "variables")

    def __init__(
        self,
        text: str,
        *,
        listed: bool = False,
        switch: bool = False,
        parts: tuple[str, ...] = (),
        variables: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
    ) -> None:
        self.text = text
        """What a value looks like, for docs/configuration.md and for --help."""
        self.listed = listed
        """Several values may be given, with commas in a variable or a flag."""
        self.switch = switch
        self.parts = parts
        """Names below it that may be set on their own."""
        self.variables = variables
        """Names in the environment besides the one that follows from the tree."""
        self.flags = flags


Size = Annotated[int, BeforeValidator(values.size), Form('bytes, or text like `"256 MiB"`')]
Above = Annotated[
    int,
    BeforeValidator(values.size),
    AfterValidator(values.above_zero),
    Form('bytes, or text like `"16 MiB"`'),
]
Seconds = Annotated[float, BeforeValidator(values.seconds), Form('seconds, or text like `"500ms"`')]
Count = Annotated[
    int,
    BeforeValidator(values.count),
    AfterValidator(values.above_zero),
    Form("a whole number above 0"),
]
Switch = Annotated[bool, BeforeValidator(values.switch), Form("`true` or `false`", switch=True)]
Texts = Annotated[
    tuple[str, ...], BeforeValidator(values.named), Form("a string or a list", listed=True)
]
Versions = Annotated[
    tuple[str, ...],
    BeforeValidator(values.versions),
    Form("a version's name or a list", listed=True),
]
Listeners = Annotated[
    tuple[Listener, ...],
    BeforeValidator(values.listeners),
    Form(
        "`host:port`, `{listen, version}` or a list",
        listed=True,
        variables=("MOQ_SERVER_BIND",),
        flags=("--server-bind",),
    ),
]
OptionalAddress = Annotated[
    Address | None, BeforeValidator(values.optional_address), Form("`host:port`")
]
Everybody = Annotated[
    Public | None,
    BeforeValidator(values.public),
    Form(
        "a prefix, a list, or `{subscribe, publish}`", listed=True, parts=("subscribe", "publish")
    ),
]
Level = Annotated[
    Literal["error", "warning", "info", "debug"],
    BeforeValidator(
        values.one_of(("error", "warning", "info", "debug"), {"warn": "warning", "trace": "debug"})
    ),
    Form("`error`, `warning`, `info` or `debug`"),
]
LogFormat = Annotated[
    Literal["text", "json"],
    BeforeValidator(values.one_of(("text", "json"), {})),
    Form("`text` or `json`"),
]


class Section(BaseModel):
    """A table of the file; it refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerTls(Section):
    """The certificate that the relay shows."""

    cert: Texts = Field(default=(), description="PEM file with the certificate and its chain.")
    key: Texts = Field(default=(), description="PEM file with the certificate's key.")
    generate: Annotated[
        tuple[str, ...],
        BeforeValidator(values.named),
        Form("a host name or a list", listed=True, flags=("--tls-generate",)),
    ] = Field(
        default=(),
        description="Host names for a self-signed certificate that the relay makes and renews; "
        "browsers accept it by `/certificate.sha256`. For development.",
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
        default=Address("127.0.0.1", 4444),
        description="TCP address of `/health`, `/ready` and `/metrics`; empty: not served.",
    )


class Auth(Section):
    """Who may do what."""

    public: Everybody = Field(
        default=None,
        description='What everybody may publish and watch: prefixes of full paths, and `""` is '
        "everything. Unset: nobody may do anything.",
    )


class Cluster(Section):
    """How this relay stands to its broadcasts."""

    linger: Seconds = Field(
        default=5.0,
        description="How long a broadcast stays announced after its publisher was lost without a "
        "goodbye, so that a reconnect goes unnoticed.",
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
    """What the relay writes to stderr."""

    level: Level = Field(default="info", description="The least serious event that is written.")
    format: LogFormat = Field(
        default="text", description="`json` is one object a line, for machines."
    )


class LimitsSection(Section):
    """What one peer, or all of them, may cost."""

    frame_bytes: Above = Field(default=LIMITS.frame_bytes, description="Largest frame.")
    group_bytes: Above = Field(default=KEPT.group_bytes, description="Largest group.")
    message_bytes: Above = Field(
        default=LIMITS.message_bytes, description="Largest control message."
    )
    sessions: Count = Field(default=LIMITS.sessions, description="Sessions at a time.")
    requests_per_session: Count = Field(
        default=LIMITS.requests_per_session, description="Open requests of one session."
    )
    announces_per_session: Count = Field(
        default=LIMITS.announces_per_session, description="Broadcasts announced by one session."
    )
    handshake_seconds: Annotated[Seconds, AfterValidator(values.above_zero)] = Field(
        default=LIMITS.handshake_seconds,
        description="Until a peer must have finished its handshake and setup.",
    )
    viewer_backlog: Above = Field(
        default=LIMITS.viewer_backlog,
        description="Bytes that may wait for one viewer before its oldest groups go.",
    )


class Demo(Section):
    """Something to look at."""

    enabled: Switch = Field(
        default=False,
        description="Publish the broadcast `demo/clock` and serve `/demo`, which watches it.",
    )


class Settings(BaseSettings):
    """All of it. Made by ``sources.load``; below the daemon nobody reads settings."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    server: Server = Server()
    web: Web = Web()
    internal: Internal = Internal()
    auth: Auth = Auth()
    cluster: Cluster = Cluster()
    cache: CacheSection = CacheSection()
    limits: LimitsSection = LimitsSection()
    log: Log = Log()
    demo: Demo = Demo()
