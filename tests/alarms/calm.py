"""Nothing is done, and then every relay is drained and started again: no page may fire."""

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from moq_relay.errors import MoqError
from tests.alarms.fault import PAGES, Plan
from tests.alarms.run import AFTERWARDS_SECONDS, names, told, where
from tests.alarms.world import CANARY_PATIENCE, FIRING, World, world_of
from tests.chaos.run import say
from tests.support.cluster_process import eventually

NAME = "quiet"
DRAINED_SECONDS = 60


@dataclass(slots=True)
class Part:
    """A time in which no page may fire."""

    name: str
    title: str
    seconds: float = 0.0
    alerts: set[str] = field(default_factory=set)
    missed: int = 0
    """Groups that any viewer never got, of those between its first and its last."""
    problems: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return not self.problems

    def line(self) -> str:
        """For a terminal."""
        fired = ", ".join(sorted(self.alerts)) or "no alert"
        verdict = "held" if self.held else "BROKEN"
        return (
            f"{verdict} {self.name}: {fired} in {self.seconds:.0f} s, {self.missed} groups missed"
        )


async def calm(minutes: float) -> list[Part]:
    """The quiet minutes and the rolling restart, in one world."""
    quiet = Part(NAME, f"nothing, for {minutes:g} minutes")
    rolling = Part("rolling", "every relay is drained by command and started again, one by one")
    with tempfile.TemporaryDirectory(prefix="alarms-") as folder:
        try:
            async with world_of(Path(folder), Plan(), wired=False) as world:
                begun = world.well
                end = time.time() + 60 * minutes
                while (left := end - time.time()) > 0:
                    say(f"{left:.0f} s of quiet left")
                    await asyncio.sleep(min(60.0, left))
                await look(world, quiet, begun)
                begun, before = time.time(), quiet.missed
                for name in world.plan.names:
                    say(f"rolling: {name}")
                    await roll(world, name)
                await asyncio.sleep(AFTERWARDS_SECONDS)
                await look(world, rolling, begun)
                rolling.missed -= before
        except (AssertionError, MoqError, OSError, ExceptionGroup) as error:
            (rolling if quiet.seconds else quiet).problems.append(told(error))
    return [quiet, rolling]


async def roll(world: World, name: str) -> None:
    """Drain one relay, start it again, and go on when the cluster is what it was."""
    node = world[name]
    draining = world.command(name, "drain")
    try:
        await eventually(lambda: node.ended() is not None, f"{name} has left", DRAINED_SECONDS)
    finally:
        draining.kill()
        said, _ = await asyncio.to_thread(draining.communicate)
    assert node.ended() == 0, f"{said}\n{node.log()}"
    await asyncio.to_thread(node.start)
    await world.cluster.complete()
    if name in world.plan.roots:
        # Ten seconds at any scale, which are five minutes of these rules.
        await eventually(
            lambda: node.counter("moq_cluster_canary_seconds_count"),
            f"{name} hears itself",
            CANARY_PATIENCE,
        )


async def look(world: World, part: Part, begun: float) -> None:
    """What fired since then."""
    end = time.time()
    firing = await world.over(FIRING, begun, end)
    part.seconds, part.alerts = end - begun, names(firing)
    part.missed = sum(len(one.heard.missing) for one in world.watchers)
    part.problems += [f"{page} fired: {where(firing, page)}" for page in part.alerts & PAGES]
