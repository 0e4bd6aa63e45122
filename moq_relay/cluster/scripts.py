"""The scripts: every change of the registry is one of them, run whole by Redis.

Each works on one feed. Its keys are those of ``Keys.of``; its first two arguments, the channel and
the length of the log, and what ``attach`` alone needs are added by whoever runs it. The rest is
what a caller passes to a road, in the order that the head of the file states.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

CHANGES = (
    "attach",
    "register",
    "renew",
    "unregister",
    "write",
    "reap",
    "drop",
    "canary",
    "revoke",
    "revoked",
)
LOOKS = ("delta", "snapshot", "audit", "lookup")

OF_A_NODE = frozenset({"register", "renew", "unregister", "write", "drop", "audit"})
"""Scripts whose first argument is the node that they work for."""

OPERATIONS = 64
"""Claims and releases in one ``write``, or entries in one ``revoke``, at most."""


@dataclass(frozen=True, slots=True)
class Script:
    """One script as Redis gets it."""

    name: str
    text: str
    sha: str
    """By which Redis knows it; two versions of a script can live side by side."""

    def commands(self) -> set[str]:
        """The Redis commands that it calls."""
        return {name.lower() for name in re.findall(r"redis\.p?call\('(\w+)'", self.text)}


def _load(name: str) -> Script:
    folder = files("moq_relay.cluster").joinpath("lua")
    text = folder.joinpath(f"{name}.lua").read_text("utf-8")
    if name in CHANGES:
        text = folder.joinpath("emit.lua").read_text("utf-8") + text
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


SCRIPTS = {name: _load(name) for name in (*CHANGES, *LOOKS)}
