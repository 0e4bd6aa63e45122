"""A relay that others take for one of the next minor version: ``newer.py`` and its settings.

What it says in the registry and on the road through a root has parts that today's version does not
know, and its scripts are others. What it does is the same.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import moq_relay

major, minor, _ = moq_relay.__version__.split(".")
moq_relay.__version__ = f"{major}.{int(minor) + 1}.0"  # before anybody asks

from moq_relay.cluster import records, rootroad, scripts, writer  # noqa: E402
from moq_relay.cluster.channel import Channel  # noqa: E402
from moq_relay.daemon.cli import main  # noqa: E402

LINE = "W weather fine"
EMIT = "local function emit(epoch, lines)\n"


def tail(
    member: records.Member, before: Callable[[records.Member], str] = records.Member.tail
) -> str:
    """A member's record: a later text, with two more fields."""
    return f"{before(replace(member, proto=records.PROTO + 1))} zone=b weight=3"


def write_hops(
    hops: Sequence[int], before: Callable[[Sequence[int]], str] = records.write_hops
) -> str:
    """The last word of a claim, and one more field."""
    return f"{before(hops)} weight=3"


def load(name: str, before: Callable[[str], scripts.Script] = scripts._load) -> scripts.Script:
    """A script whose every event has one more line."""
    script = before(name)
    text = script.text.replace(EMIT, f"{EMIT}  lines = lines .. '\\n{LINE}'\n")
    return scripts.Script(name, text, hashlib.sha1(text.encode()).hexdigest())


def send(channel: Channel, before: Callable[..., None] = Channel.send, **words: Any) -> None:
    """A message of the road, with one more word."""
    before(channel, **words, weather="fine")


records.Member.tail = tail  # type: ignore[method-assign]
writer.write_hops = write_hops  # type: ignore[attr-defined]
scripts.SCRIPTS.update({name: load(name) for name in scripts.SCRIPTS})
rootroad.VERSION += 1
Channel.send = send  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
