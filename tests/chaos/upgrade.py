"""A cluster whose nodes are not all of one version."""

import sys
from pathlib import Path

from tests.chaos.scenario import Bounds, scenario
from tests.chaos.world import DIRECT, NODES, PULSE, THROUGH, World
from tests.support.cluster_process import NodeProcess
from tests.support.relay_process import EXECUTABLE

TODAY = [str(EXECUTABLE)]
NEWER = [sys.executable, "-P", str(Path(__file__).with_name("newer.py"))]


def unknown(node: NodeProcess, kind: str) -> float:
    """Of that kind, what it read in the registry and did not understand."""
    samples = node.metric("moq_cluster_unknown_total")
    return sum(value for labels, value in samples.items() if ("kind", kind) in labels)


def version(node: NodeProcess, name: str) -> str:
    """Of a member, as the node was told."""
    members = node.facts("/nodes")["nodes"]
    return next(one["version"] for one in members if one["region"] == name)


@scenario(
    "every node is replaced by one of a newer minor version, and then by what it was", numbers="38"
)
async def rolling_upgrade(world: World) -> Bounds:
    today, newer = version(world[DIRECT], DIRECT), set[str]()
    # Not what another fault had written by hand before.
    malformed = -sum(unknown(node, "malformed") for node in world.living)
    # So that it has another way while a node that has it is replaced.
    world.crowds[DIRECT].announce(PULSE, world.beacon)
    for command in (NEWER, TODAY):
        for name in world.chance.sample(NODES, len(NODES)):
            malformed += unknown(world[name], "malformed")
            await world.stop(name)
            world[name].command = command
            await world.start(name)
            await world.members()
            newer ^= {name}
            assert {version(other, name) == today for other in world.living} == {command is TODAY}
            await counted(world, newer)
    malformed += sum(unknown(node, "malformed") for node in world.living)
    world.crowds[DIRECT].withdraw(PULSE)
    return world.bounds(more={"records misread": (malformed, 0)})


async def counted(world: World, newer: set[str]) -> None:
    """Wait until every older node has counted what newer ones say that it does not know."""
    # The scripts of a node behind a root are the root's.
    kinds = ["fields"] * bool(newer) + ["lines"] * bool(newer - {THROUGH})
    older = [world[name] for name in NODES if name not in newer]
    await world.until(
        lambda: all(unknown(node, kind) for node in older for kind in kinds),
        f"who is older counts the {kinds} that it does not know",
    )
