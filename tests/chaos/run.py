"""One scenario from beginning to end."""

import tempfile
from pathlib import Path

import tests.chaos.registry_faults  # noqa: F401 — they name themselves
from tests.chaos.scenario import SCENARIOS, Outcome, Scenario
from tests.chaos.store import MakeStore, process
from tests.chaos.world import world_of

__all__ = ["SCENARIOS", "run"]


async def run(
    scenario: Scenario, *, seed: int, lease: float, make_store: MakeStore = process
) -> Outcome:
    """Break a world of its own; what it showed, and whether that holds."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        async with world_of(Path(folder), scenario, make_store, seed, lease) as world:
            bounds = await scenario.run(world)
            return await world.settle(bounds)
