"""Writes the rules and dashboards of ops; ``--check`` fails when one is stale.

``--scale 30 DIRECTORY`` writes only the rules, with every length of time divided by 30.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from moq_relay.daemon.docs import write_or_compare
from ops.prometheus.files import rule_files

OPS = Path(__file__).parent
COMMAND = "python -m ops.generate"


def files() -> dict[Path, str]:
    """Every generated file below ops, and its text."""
    # Only who wants dashboards needs the SDK.
    from ops.grafana.boards import board_files  # noqa: PLC0415

    found = {OPS / "prometheus" / name: text for name, text in rule_files().items()}
    return found | {OPS / "grafana/dashboards" / name: text for name, text in board_files().items()}


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with ``--check`` compare them; 1 when one is stale."""
    if arguments[:1] == ["--scale"]:
        scale, directory = float(arguments[1]), Path(arguments[2])
        wanted = {directory / name: text for name, text in rule_files(scale).items()}
    else:
        wanted = files()
    return write_or_compare(wanted, OPS, "ops", COMMAND, check="--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
