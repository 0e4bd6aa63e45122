"""How log records are written: one line each, as text for people or as JSON for machines.

A message is an event and its facts, ``"session refused peer=%s reason=%s"``. The JSON form takes
them apart by the template, so a fact's own text can never pass for another fact.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from aiohttp.http_exceptions import HttpProcessingError

from moq_relay.daemon.addresses import FULL, PLACE, discreet, without
from moq_relay.daemon.logs.plain import plain

FACT = re.compile(r"(?:^| )([a-z_][a-z0-9_]*)=")
CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""What would begin a new line, speak to the terminal, turn the text around or hide in it, if a peer
could put it there."""

DELETE = "\\u007f"
"""JSON's own escapes leave it as it is."""

QUIET = {"asyncio": logging.WARNING, "quic": logging.ERROR, "aiohttp": logging.WARNING}
"""Libraries that tell of every connection; ours say what an operator wants to know."""


HTTP = "aiohttp.server"


def _no_nonsense(record: logging.LogRecord) -> bool:
    """Whether a line is about more than a request that is none, which is answered 400.

    Anybody can send a thousand of those a second, and to aiohttp each is an error with its trace.
    """
    raised = record.exc_info[1] if record.exc_info else None
    return not isinstance(raised, HttpProcessingError)


def configure(
    level: str, form: str, stream: TextIO | None = None, *, addresses: str = FULL
) -> None:
    """Write the records of this process from ``level`` on to ``stream``, or stderr.

    Clients' addresses are told as ``addresses`` says, one of ``addresses.MODES``.
    """
    output = logging.StreamHandler(stream or sys.stderr)
    output.setFormatter(JsonLines(addresses) if form == "json" else TextLines(addresses))
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(level.upper())
    logging.getLogger(HTTP).addFilter(_no_nonsense)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))


class Lines(logging.Formatter):
    """What both forms share: how much of a client's address is told."""

    def __init__(self, addresses: str = FULL) -> None:
        super().__init__()
        self._addresses = addresses

    def formatException(self, ei: Any) -> str:  # noqa: N802 — the base class' name
        """The trace of an exception; its text may have an address."""
        return without(super().formatException(ei), self._addresses)


class TextLines(Lines):
    """``2026-01-02T03:04:05.678Z INFO relay: session opened peer=…``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; the trace of a bug follows it."""
        record = discreet(record, self._addresses)
        line = f"{moment(record.created)} {record.levelname} {_floor(record)}: {_escaped(record)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(Lines):
    """An object a line: time, level, logger, event, and every fact under its own name."""

    def format(self, record: logging.LogRecord) -> str:
        """One line whatever happens."""
        record = discreet(record, self._addresses)
        event, facts = parse(record)
        line: dict[str, Any] = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }
        line.update((name, value) for name, value in facts.items() if name not in line)
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json_line(line)


def json_line(facts: Mapping[str, Any]) -> str:
    """One line of JSON, whatever characters its texts have."""
    text = json.dumps(facts, ensure_ascii=False, default=str)
    # Such characters are inside its strings only, where an escape means the same.
    return CONTROL.sub(lambda found: DELETE if found[0] == "\x7f" else _in_json(found[0]), text)


def parse(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """The event and the facts of a record; a fact that is one number or flag keeps its type."""
    template = str(record.msg)
    values = list(record.args) if isinstance(record.args, tuple) else []
    places = [place for place in PLACE.findall(template) if place != "%%"]
    marks = list(FACT.finditer(template))
    if not marks or len(places) != len(values):
        return record.getMessage(), {}

    def filled(part: str) -> Any:
        inside = [place for place in PLACE.findall(part) if place != "%%"]
        taken, values[:] = values[: len(inside)], values[len(inside) :]
        if part in {"%s", "%d"} and isinstance(taken[0], bool | int | float | None):
            return taken[0]
        return part % tuple(taken)

    event = str(filled(template[: marks[0].start()]))
    ends = [mark.start() for mark in marks[1:]] + [len(template)]
    facts = {
        mark[1]: filled(template[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)
    }
    return event, facts


def moment(created: float) -> str:
    """A time of the system's clock, as every line has it."""
    return (
        datetime.fromtimestamp(created, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _floor(record: logging.LogRecord) -> str:
    """``relay`` for moq_relay.relay.origin; another library by its first name."""
    package, _, rest = record.name.partition(".")
    return rest.partition(".")[0] if package == "moq_relay" and rest else package


def _escaped(record: logging.LogRecord) -> str:
    return CONTROL.sub(lambda found: plain(found[0]), record.getMessage())


def _in_json(character: str) -> str:
    return json.dumps(character)[1:-1]
