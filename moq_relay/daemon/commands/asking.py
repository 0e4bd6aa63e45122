"""``moq-relay nodes``, ``origins`` and ``routes``: the tables of a running relay, for people.

The relay's internal HTTP is asked, once. Names in the answer were chosen by publishers, so they are
put into the tables as text, never as markup.
"""

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

from rich.console import Console
from rich.table import Table
from rich.text import Text

from moq_relay.daemon.config import values
from moq_relay.daemon.config.settings import Internal
from moq_relay.daemon.logs.plain import plain, short
from moq_relay.errors import ConfigError, MoqError

COMMANDS = ("nodes", "origins", "routes")
VARIABLE = "MOQ_INTERNAL_LISTEN"
SECONDS = 5.0
WIDE = 200
"""Columns where nobody looks at a terminal."""
STATES = {"up": "green", "live": "green", "draining": "yellow", "stale": "yellow", "expired": "red"}

Facts = Mapping[str, Any]


class Unanswered(MoqError):
    """The relay did not say what was asked for; the text says why."""


class Parser(argparse.ArgumentParser):
    """Raises ``ConfigError`` where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')}; see moq-relay --help")


def subcommands(*names: str) -> tuple[Parser, dict[str, Parser]]:
    """A parser of commands that speak with a running relay, and each by its name."""
    parser = Parser(prog="moq-relay", add_help=False, allow_abbrev=False)
    group = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    commands = {name: group.add_parser(name, add_help=False, allow_abbrev=False) for name in names}
    for command in commands.values():
        command.add_argument("--internal", metavar="URL")
    return parser, commands


def main(
    arguments: Sequence[str], environment: Mapping[str, str], console: Console | None = None
) -> int:
    """Ask, and print the answer.

    Raises:
        ConfigError: the arguments make no question.
        Unanswered: the relay does not answer.
    """
    asked = _parse(arguments)
    answer = get(base_url(asked.internal, environment), _question(asked))
    if asked.json:
        # ASCII, as it came: no name in it can speak to the terminal.
        sys.stdout.write(json.dumps(answer, indent=1) + "\n")
        return 0
    if console is None:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    if answer.get("isolated"):
        console.print(Text(f"isolated: {plain(str(answer['isolated']))}", style="bold red"))
    {"nodes": _nodes, "origins": _origins, "routes": _routes}[asked.command](console, answer)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser, commands = subcommands(*COMMANDS)
    for command in commands.values():
        command.add_argument("--json", action="store_true")
    commands["origins"].add_argument("prefix", nargs="?", default="")
    commands["origins"].add_argument("--limit", type=int, default=100)
    commands["origins"].add_argument("--after", default="")
    commands["routes"].add_argument("path")
    return parser.parse_args(list(arguments))


def _question(asked: argparse.Namespace) -> str:
    if asked.command == "routes":
        return f"/routes/{quote(asked.path.strip('/'), safe='/')}"
    if asked.command == "origins":
        query = {"prefix": asked.prefix, "limit": asked.limit, "after": asked.after}
        return f"/origins?{urlencode(query)}"
    return "/nodes"


def base_url(url: str | None, environment: Mapping[str, str]) -> str:
    """Where the relay's internal HTTP is."""
    if url is None:
        try:
            place = values.optional_address(environment.get(VARIABLE) or Internal().listen)
        except ValueError as error:
            raise ConfigError(f"{VARIABLE} {error}") from error
        return f"http://{place}"
    url = url if "://" in url else f"http://{url}"
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ConfigError("--internal takes a URL, like http://127.0.0.1:9101")
    return url.rstrip("/")


def get(base: str, question: str | urllib.request.Request) -> Facts:
    """The relay's answer, an object; a question is a path, or all of a request.

    Raises:
        Unanswered: there is none.
    """
    asked = base + question if isinstance(question, str) else question
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:  # noqa: S310
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            said = plain(error.read(500).decode("utf-8", "replace").strip())
        raise Unanswered(f"{base} answers {error.code}: {said}") from error
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        why = getattr(reason, "strerror", None) or str(reason)
        raise Unanswered(
            f"{base} does not answer: {plain(str(why)).lower()}; "
            "--internal takes the URL of the relay's internal.listen"
        ) from error
    if not isinstance(found, dict):
        raise Unanswered(f"{base} is no relay")
    return found


# Tables.


def _nodes(console: Console, answer: Facts) -> None:
    if not answer["nodes"]:
        console.print("This relay stands alone: it has no cluster.node and no redis.url.")
        return
    table = _table("node", "region", "state", "roles", ">broadcasts", ">rtt", ">lease", "version")
    for node in answer["nodes"]:
        here = node["node"] == answer["self"]
        table.add_row(
            _node(node["node"], style="bold" if here else ""),
            _name(node["region"]),
            _state(node["state"]),
            _name(", ".join(node["roles"])),
            str(node["broadcasts"]),
            "here" if here else _milliseconds(node["rtt_seconds"]),
            _seconds(node["lease_remaining_seconds"]),
            _name(node.get("version", "")),
        )
    console.print(table)
    console.print(f"{len(answer['nodes'])} nodes, cluster version {answer['cluster_version']}")


def _origins(console: Console, answer: Facts) -> None:
    if not answer["origins"]:
        console.print("Nobody has a broadcast there.")
        return
    table = _table("path", "node", "region", "since (UTC)", "state")
    for origin in answer["origins"]:
        for number, claim in enumerate(origin["claims"]):
            table.add_row(
                _name("" if number else origin["path"]),
                _node(claim["node"]),
                _name(claim["region"]),
                _moment(claim["since"]),
                _state(claim["state"]),
            )
    console.print(table)
    if answer["next"] is not None:
        console.print(Text(f"There are more: --after {plain(answer['next'])!r}"))


def _routes(console: Console, answer: Facts) -> None:
    if answer["broadcast"] is None:
        console.print(Text(f"Nobody has {short(answer['path'])}."))
        return
    table = _table("", "node", "region", "state", "link", ">rtt", "since (UTC)", "why")
    for route in answer["routes"]:
        table.add_row(
            Text("→" if route["in_use"] else "", style="bold green"),
            _node(route["node"]),
            _name(route["region"]),
            _state(route["state"]),
            _name(route["link"] or "here"),
            _milliseconds(route["rtt_seconds"]),
            _moment(route["since"]),
            _name(route["reason"]),
        )
    console.print(Text(short(answer["broadcast"]), style="bold"))
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        right = name.startswith(">")
        justify: Any = "right" if right else "left"
        table.add_column(Text(name.removeprefix(">")), justify=justify, overflow="fold")
    return table


def _name(text: Any, style: str = "") -> Text:
    return Text(short(str(text)), style=style)


def _node(url: str | None, style: str = "") -> Text:
    """A node's URL without what all of them have; ``host:port`` is good for every setting."""
    if url is None:
        return Text("this relay")
    return _name(url.removeprefix("https://").removesuffix("/"), style=style)


def _state(state: str) -> Text:
    return _name(state, style=STATES.get(state, ""))


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _moment(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return moment.isoformat(sep=" ", timespec="seconds")
