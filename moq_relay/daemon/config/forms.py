"""How the values of settings are written: each form with what reads it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, SecretStr

from moq_relay.daemon import addresses
from moq_relay.daemon.config import values
from moq_relay.daemon.config.values import Address, Listener, Public


class Form:
    """How one setting is written: for the documentation, and for text that has no types."""

    __slots__ = ("aliases", "flags", "listed", "parts", "switch", "text", "variables")

    def __init__(
        self,
        text: str,
        *,
        listed: bool = False,
        switch: bool = False,
        parts: tuple[str, ...] = (),
        variables: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
        aliases: tuple[str, ...] = (),
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
        self.aliases = aliases
        """Other names of the setting, in the file, the environment and on the command line."""


Size = Annotated[int, BeforeValidator(values.size), Form('bytes, or text like `"256 MiB"`')]
Above = Annotated[
    int,
    BeforeValidator(values.size),
    AfterValidator(values.above_zero),
    Form('bytes, or text like `"16 MiB"`'),
]
OptionalSize = Annotated[
    int | None,
    BeforeValidator(values.optional_size),
    Form('bytes, or text like `"125 MB"`'),
]
Seconds = Annotated[float, BeforeValidator(values.seconds), Form('seconds, or text like `"500ms"`')]
Duration = Annotated[Seconds, AfterValidator(values.above_zero)]
OptionalDuration = Annotated[
    float | None,
    BeforeValidator(values.optional_duration),
    Form('seconds, or text like `"24h"`'),
]
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
ClientAddresses = Annotated[
    tuple[str, ...],
    BeforeValidator(values.addresses),
    Form("an IP address or a list", listed=True),
]
Coordinates = Annotated[
    tuple[float, float] | None,
    BeforeValidator(values.coordinates),
    Form('text like `"50.11, 8.68"`'),
]
OptionalText = Annotated[str | None, BeforeValidator(values.text), Form("text")]
File = Annotated[str | None, BeforeValidator(values.text), Form("path of a file")]
FileOrUrl = Annotated[str | None, BeforeValidator(values.text), Form("path of a file, or a URL")]
DirectoryOrUrl = Annotated[
    str | None, BeforeValidator(values.text), Form("path of a directory, or a URL")
]
Secret = Annotated[SecretStr | None, BeforeValidator(values.secret), Form("text, never shown")]
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
OpenOrClosed = Annotated[
    Literal["open", "closed"],
    BeforeValidator(values.one_of(("open", "closed"), {})),
    Form("`open` or `closed`"),
]
Addresses = Annotated[
    Literal["full", "prefix", "none"],
    BeforeValidator(values.one_of(addresses.MODES, {})),
    Form("`full`, `prefix` or `none`"),
]
SessionLines = Annotated[
    str,
    BeforeValidator(values.line_target),
    Form("`none`, `stdout` or the path of a file"),
]
