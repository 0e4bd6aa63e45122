"""``moq-relay drain`` and ``uncordon``: a relay is emptied, watched meanwhile, or serves again."""

import argparse
import json
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moq_relay.daemon.commands.asking import Facts, Unanswered, base_url, get, subcommands
from moq_relay.daemon.config import values
from moq_relay.errors import ConfigError

COMMANDS = ("drain", "uncordon")
TOKEN, TOKEN_FILE = "MOQ_INTERNAL_TOKEN", "MOQ_INTERNAL_TOKEN_FILE"
LOOK_SECONDS = 0.5


def main(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Ask for the change, and follow it to its end.

    Raises:
        ConfigError: the arguments make no change, or there is no token.
        Unanswered: the relay does not answer, refuses, or went on serving.
    """
    asked = _parse(arguments)
    base = base_url(asked.internal, environment)
    secret = token(asked.token_file, environment)
    if asked.command == "uncordon":
        post(base, "/uncordon", secret, {})
        sys.stdout.write("the relay serves again\n")
        return 0
    body: dict[str, Any] = {"stay": True} if asked.stay else {}
    if asked.deadline is not None:
        body["deadline"] = asked.deadline
    _follow(base, post(base, "/drain", secret, body), pause)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser, commands = subcommands(*COMMANDS)
    for command in commands.values():
        command.add_argument("--token-file", metavar="FILE")
    commands["drain"].add_argument("--deadline", metavar="SECONDS", type=_seconds)
    commands["drain"].add_argument("--stay", action="store_true")
    return parser.parse_args(list(arguments))


def _seconds(text: str) -> float:
    try:
        return values.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def token(file: str | None, environment: Mapping[str, str]) -> str:
    """By which the relay lets itself be changed; never on the command line, where all see it.

    Raises:
        ConfigError: there is none, or two, or its file cannot be read.
    """
    if file is None and environment.get(TOKEN) and environment.get(TOKEN_FILE):
        raise ConfigError(f"{TOKEN} and {TOKEN_FILE} are both set; keep one")
    if file is None and (found := environment.get(TOKEN)):
        return found
    file = file or environment.get(TOKEN_FILE)
    if not file:
        raise ConfigError(f"the relay's internal.token is needed: --token-file FILE, or {TOKEN}")
    try:
        found = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{file}: cannot be read: {str(reason).lower()}") from error
    if not found:
        raise ConfigError(f"{file}: is empty")
    return found


def post(base: str, path: str, token: str, body: Mapping[str, Any]) -> Facts:
    """Have a change made; what the relay says of it.

    Raises:
        ConfigError: the token is none.
        Unanswered: the relay does not answer, or refuses.
    """
    # The library would say what it cannot send, which nobody should see.
    if not (token.isascii() and token.isprintable()):
        raise ConfigError("the token has characters that no header can carry")
    request = urllib.request.Request(  # noqa: S310
        base + path,
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="POST",
    )
    return get(base, request)


def _follow(base: str, facts: Facts, pause: Callable[[float], None]) -> None:
    """Until it is drained.

    Raises:
        Unanswered: it serves again, or cannot be asked any more.
    """
    instance, shown = facts["instance"], ""
    while facts["state"] not in {"drained", "serving"} and facts["instance"] == instance:
        line = (
            f"{facts['state']}: {_counted(facts['sessions'])} left, {facts['seconds_left']:.0f} s"
        )
        if line != shown:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            shown = line
        pause(LOOK_SECONDS)
        try:
            facts = get(base, "/drain")
        except Unanswered as error:
            if _is_gone(error):
                break
            raise
    if facts["state"] == "serving" and facts["instance"] == instance:
        raise Unanswered(f"{base} serves again: the drain was undone")
    leaves = facts["leaves"] or facts["instance"] != instance
    sys.stdout.write("drained; the relay leaves\n" if leaves else "drained; uncordon undoes it\n")


def _is_gone(error: Unanswered) -> bool:
    """Whether nobody is there, and not only silent."""
    cause: Any = error.__cause__
    return isinstance(getattr(cause, "reason", cause), ConnectionError)


def _counted(sessions: int) -> str:
    return f"{sessions} session" + ("" if sessions == 1 else "s")
