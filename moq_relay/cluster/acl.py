"""What a Redis user needs to be a node: derived from what the scripts and the road call."""

from __future__ import annotations

from moq_relay.cluster.keys import Keys
from moq_relay.cluster.scripts import SCRIPTS

CLIENT_COMMANDS = (
    "EVALSHA",
    "HGET",
    "INFO",
    "PUBLISH",
    "ROLE",
    "SCRIPT LOAD",
    "SELECT",
    "SUBSCRIBE",
)
"""What the straight road itself sends; it refuses to send anything else."""


def acl_rules(prefix: str = "moq") -> list[str]:
    """The arguments of ACL SETUSER after name and password, for one cluster's prefix.

    Whoever has them can write anything into the registry, and so is trusted as every member.
    """
    commands = {name.lower().replace(" ", "|") for name in CLIENT_COMMANDS}
    for script in SCRIPTS.values():
        commands |= script.commands()
    pattern = Keys(prefix).pattern()
    allowed = [f"+{name}" for name in sorted(commands)]
    return ["resetkeys", f"~{pattern}", "resetchannels", f"&{pattern}", "-@all", *allowed]
