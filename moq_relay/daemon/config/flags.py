"""The command line, taken apart: a command, a file, and a flag for every setting."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from moq_relay.daemon.config.sources import Key, Layer, keys, suggestion
from moq_relay.errors import ConfigError

COMMANDS = ("check", "demo", "dev")
USAGE = "moq-relay [check | demo | dev] [FILE] [--file FILE] [flags]"
ABOUT = """\
  moq-relay relay.toml         run a relay
  moq-relay check relay.toml   say what is in force, and where each value came from
  moq-relay demo               run one on this machine, with a broadcast to watch
  moq-relay dev                run three on this machine, as one cluster
  moq-relay nodes              who is in the cluster of a running relay
  moq-relay origins [PREFIX]   who has which broadcast; --limit N, --after PATH
  moq-relay routes PATH        by which way a broadcast comes, and why
  moq-relay drain              ask all who are at a running relay to go elsewhere, and end it
  moq-relay uncordon           let it serve again
  moq-relay certs init         a private authority; issue NAME …, renew: its certificates
  moq-relay token generate     a key for tokens; sign, verify, revoke: a token (docs/auth.md)
  moq-relay bench --capacity   how many viewers one relay serves on this machine

nodes, origins and routes ask the relay at --internal URL (http://127.0.0.1:9101), and take --json.
drain and uncordon ask it too, by --token-file FILE or MOQ_INTERNAL_TOKEN, its internal.token; drain
takes --deadline SECONDS, and --stay to keep the drained relay until uncordon. bench takes --bitrate
MBITS of video for each viewer, --seconds for each step, and --json.

Every setting is a flag, a variable and a key of the file; a flag beats a variable, a variable
beats the file. Several values are separated by commas."""


@dataclass(slots=True)
class Command:
    """What was asked for on the command line."""

    name: str = "run"
    file: Path | None = None
    flags: Layer = field(default_factory=lambda: Layer("flags"))


def parse(arguments: Sequence[str]) -> Command:
    """Take the command line apart.

    Raises:
        ConfigError: an unknown flag, a flag without its value, or too many words.
    """
    found, rest = _parser().parse_known_args(list(arguments))
    strange = [word for word in rest if word.startswith("-") and word != "-"]
    if strange:
        name = strange[0].partition("=")[0]
        known = ["--file", "--help", "--version"]
        known += [flag for key in keys() for flag in key.flags]
        raise ConfigError(f"{name} is not a flag{suggestion(name, known, '--help')}")
    words = list(rest)
    command = Command()
    if words and words[0] in COMMANDS:
        command.name = words.pop(0)
    if found.file is not None:
        words.append(found.file)
    if len(words) > 1:
        raise ConfigError(f"one file at most, not {len(words)}: {' '.join(words)}")
    command.file = Path(words[0]) if words else None
    for key, flag, value in found.settings or ():
        _put(command.flags, key, flag, value)
    return command


def _put(layer: Layer, key: Key, flag: str, value: Any) -> None:
    read: Any = value if key.form.switch else key.read(value)
    before = layer.get(key.name)
    if key.form.listed and isinstance(before, list):
        read = before + read
    layer.put(key.name, read, flag)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')}; see moq-relay --help")


class _Setting(argparse.Action):
    """Remembers (setting, flag as it was written, value)."""

    def __init__(self, option_strings: Sequence[str], dest: str, const: Key, **kwargs: Any) -> None:
        if const.form.switch:
            negated = ["--no-" + flag.removeprefix("--") for flag in option_strings]
            option_strings, kwargs["nargs"] = [*option_strings, *negated], 0
        super().__init__(option_strings, dest, const=const, **kwargs)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        flag = option_string or ""
        if self.nargs == 0:
            values = not flag.startswith("--no-")
        if namespace.settings is None:
            namespace.settings = []
        namespace.settings.append((self.const, flag, values))


def help_text() -> str:
    """What ``--help`` prints."""
    return _parser().format_help()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="moq-relay",
        usage=USAGE,
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    general = parser.add_argument_group("general")
    general.add_argument("--file", metavar="FILE", help="the TOML file, like FILE as a word")
    general.add_argument("--help", action="store_true", help="this text")
    general.add_argument("--version", action="store_true", help="which version this is")
    parser.set_defaults(settings=None)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for key in keys():
        section = key.name.split(".")[0]
        if section not in groups:
            groups[section] = parser.add_argument_group(section)
        groups[section].add_argument(
            *key.flags,
            action=_Setting,
            const=key,
            dest="settings",
            metavar=None if key.form.switch else "VALUE",
            help=_help(key),
        )
    return parser


def _help(key: Key) -> str:
    return f"{key.meaning} ({key.form.text})".replace("%", "%%").replace("`", "")
