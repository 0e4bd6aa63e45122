"""The dashboards, as the JSON that Grafana reads."""

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from ops.grafana import cluster, experience, node


def board_files() -> dict[str, str]:
    """Name -> text."""
    boards = {"cluster": cluster.BOARD, "node": node.BOARD, "experience": experience.BOARD}
    found = {}
    for name, board in boards.items():
        made = board.build()
        for number, panel in enumerate(made.panels or [], start=1):
            panel.id_val = number
        found[f"{name}.json"] = (
            json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        )
    return found
