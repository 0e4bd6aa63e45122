"""Where settings come from, file below environment below flags, and the line for each mistake."""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from moq_relay.daemon.config.forms import Form
from moq_relay.daemon.config.settings import Settings
from moq_relay.errors import ConfigError

PREFIX = "MOQ_"
SHOWN = 60
"""Characters of a wrong value that an error line repeats."""


@dataclass(frozen=True, slots=True)
class Key:
    """One setting, by its dotted name."""

    name: str
    form: Form
    default: Any
    meaning: str
    secret: bool = False
    part: bool = False
    """One half of another setting, which may also be written whole."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Its names in the environment; the first one wins."""
        return (*map(_variable, (self.name, *self.form.aliases)), *self.form.variables)

    @property
    def flags(self) -> tuple[str, ...]:
        """Its names on the command line."""
        return (*map(_flag, (self.name, *self.form.aliases)), *self.form.flags)

    def read(self, text: str) -> Any:
        """What ``text`` of a variable or a flag means before it is validated."""
        return [part.strip() for part in text.split(",")] if self.form.listed else text


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace(".", "_")


def _flag(name: str) -> str:
    return "--" + name.replace(".", "-").replace("_", "-")


@dataclass(slots=True)
class Layer:
    """Values from one place."""

    place: str
    """Name of the file, ``environment`` or ``flags``."""
    tree: dict[str, Any] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    """Setting -> how it is called in this place, where that is not its own name."""

    def put(self, name: str, value: Any, spelled: str) -> None:
        """Set one setting."""
        *sections, last = name.split(".")
        table = self.tree
        for section in sections:
            below = table.setdefault(section, {})
            if not isinstance(below, dict):
                below = table[section] = {}
            table = below
        table[last] = value
        self.spelled[name] = spelled

    def get(self, name: str) -> Any:
        """The value here, or None."""
        table: Any = self.tree
        for part in name.split("."):
            if not isinstance(table, dict) or part not in table:
                return None
            table = table[part]
        return table

    def rename(self, alias: str, name: str) -> None:
        """Take what is called ``alias`` here for the setting ``name``.

        Raises:
            ConfigError: that is here too.
        """
        value = self.get(alias)
        if value is None:
            return
        if self.get(name) is not None:
            raise ConfigError(f"{self.place}: {alias} and {name} are the same; keep one of them")
        section, _, last = alias.rpartition(".")
        table = self.get(section)
        assert isinstance(table, dict)
        del table[last]
        self.put(name, value, f"{self.place}: {alias}")

    def origin(self, name: str) -> str:
        """What to tell a reader about where the value of ``name`` here was written."""
        return next(
            (self.spelled[key] for key in self.spelled if key == name or _inside(key, name)),
            self.place,
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and the way back to where each was written."""

    settings: Settings
    layers: tuple[Layer, ...]
    """Lowest first."""

    def origin(self, name: str) -> str:
        """A file, a variable, a flag or ``default``."""
        for layer in reversed(self.layers):
            if layer.get(name) is not None:
                return layer.origin(name)
        return "default"

    def where(self, name: str) -> str:
        """``relay.toml: server.listen``, ``MOQ_SERVER_LISTEN`` or ``--server-listen``."""
        return _where(self.layers, name)


def keys() -> list[Key]:
    """Every setting, in the order of the tree."""
    return list(_walk(Settings, ""))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, info in model.model_fields.items():
        below = info.annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            yield from _walk(below, f"{prefix}{name}.")
            continue
        form = _form(info)
        meaning = info.description or ""
        yield Key(
            prefix + name,
            form,
            info.default,
            meaning,
            secret=SecretStr in get_args(info.annotation),
        )
        for part in form.parts:
            half = Form("a prefix or a list", listed=form.listed)
            yield Key(
                f"{prefix}{name}.{part}",
                half,
                None,
                f"The same for those who {part}, alone.",
                part=True,
            )


def _form(info: FieldInfo) -> Form:
    return next(fact for fact in reversed(info.metadata) if isinstance(fact, Form))


def read_file(path: Path) -> Layer:
    """The settings of a TOML file, not yet validated.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    try:
        layer = Layer(str(path), tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {(error.strerror or str(error)).lower()}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {_lowered(str(error))}") from error
    for key in keys():
        for alias in key.form.aliases:
            layer.rename(alias, key.name)
    return layer


def read_environment(environment: Mapping[str, str]) -> tuple[Layer, list[str]]:
    """Settings from variables, and a warning for each that looks like one and is none."""
    layer = Layer("environment")
    known: list[str] = []
    for key in keys():
        known += key.variables
        for variable in reversed(key.variables):
            if variable in environment:
                layer.put(key.name, key.read(environment[variable]), variable)
    strange = [name for name in environment if name.startswith(PREFIX) and name not in known]
    return layer, [
        f"{name} is set in the environment and is not a setting{suggestion(name, known)}"
        for name in sorted(strange)
    ]


def load(layers: Sequence[Layer]) -> Loaded:
    """Validated settings; a later layer wins.

    Raises:
        ConfigError: a line for each value that cannot be, and for each key that is unknown.
    """

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(_Source(settings_cls, layer.tree) for layer in reversed(layers))

    try:
        loaded = Loaded(Layered(), tuple(layers))
    except ValidationError as error:
        raise ConfigError("\n".join(_line(layers, fault) for fault in error.errors())) from error
    _agree(loaded)
    return loaded


def _agree(loaded: Loaded) -> None:
    """Refuse settings that are fine each but not together."""
    internal = loaded.settings.internal
    guarded = internal.token is not None or internal.token_file is not None or internal.open
    if internal.listen is not None and not guarded and not internal.listen.loopback:
        raise ConfigError(
            f"{loaded.where('internal.listen')} = {internal.listen} is not loopback; set "
            "internal.token, or internal.open = true to let everybody there read"
        )
    tls = loaded.settings.server.tls
    if tls.generate and (tls.cert or tls.key):
        own = loaded.where("server.tls.cert" if tls.cert else "server.tls.key")
        raise ConfigError(
            f"{own} and {loaded.where('server.tls.generate')} are both set; keep one of them"
        )
    if bool(tls.cert) != bool(tls.key):
        have, lack = ("cert", "key") if tls.cert else ("key", "cert")
        raise ConfigError(
            f"{loaded.where(f'server.tls.{have}')} is set without server.tls.{lack}; set both"
        )
    if len(tls.cert) != len(tls.key):
        raise ConfigError(
            f"{loaded.where('server.tls.cert')} names {len(tls.cert)} files and "
            f"{loaded.where('server.tls.key')} {len(tls.key)}; each certificate needs its key, in "
            "the same order"
        )
    shown = loaded.settings.client.tls
    if (shown.cert is None) != (shown.key is None):
        have, lack = ("cert", "key") if shown.cert else ("key", "cert")
        raise ConfigError(
            f"{loaded.where(f'client.tls.{have}')} is set without client.tls.{lack}; set both"
        )
    if not tls.cert and not tls.generate:
        raise ConfigError(
            "server.tls has no certificate; set server.tls.cert and server.tls.key, "
            'or server.tls.generate = "localhost" for a self-signed one'
        )


class _Source(PydanticBaseSettingsSource):
    """A layer as pydantic-settings wants it."""

    def __init__(self, settings_cls: type[BaseSettings], tree: dict[str, Any]) -> None:
        super().__init__(settings_cls)
        self._tree = tree

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value of a setting at the top of the tree."""
        return self._tree.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._tree


def _line(layers: Sequence[Layer], fault: ErrorDetails) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    match fault["type"]:
        case "extra_forbidden":
            place = next((x.place for x in reversed(layers) if x.get(name) is not None), "settings")
            known = [key.name for key in keys()]
            return f"{place}: {name} is not a setting{suggestion(name, known)}"
        case "model_type" | "dict_type":
            return f"{_shown(layers, name)} must be a table; write its settings below [{name}]"
        case "value_error":
            return f"{_shown(layers, name)} {fault['ctx']['error']}"
        case _:
            return f"{_shown(layers, name)}: {_lowered(fault['msg'])}"


def _shown(layers: Sequence[Layer], name: str) -> str:
    where = _where(layers, name)
    if any(key.secret for key in keys() if key.name == name):
        return where
    value = next((x.get(name) for x in reversed(layers) if x.get(name) is not None), None)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > SHOWN:
        text = text[:SHOWN] + "…"
    return f"{where} {text}" if where.startswith("--") else f"{where} = {text}"


def _where(layers: Sequence[Layer], name: str) -> str:
    for layer in reversed(layers):
        if layer.get(name) is not None:
            origin = layer.origin(name)
            return f"{origin}: {name}" if origin == layer.place else origin
    return name


def suggestion(name: str, known: Sequence[str], everything: str = "docs/configuration.md") -> str:
    """The end of a line about an unknown name: the nearest known one, or where all of them are."""
    last = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    if not near and "." not in name:
        sections = {key.rpartition(".")[0] for key in known} | {key.split(".")[0] for key in known}
        near = difflib.get_close_matches(name, sorted(sections - {""}), n=1, cutoff=0.7)
    near = near or [key for key in known if key.rpartition(".")[2] == last][:1]
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; {everything} lists them all"


def _inside(name: str, section: str) -> bool:
    return name.startswith(section + ".")


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
