"""One fault from beginning to end, and the time in which there is none."""

import asyncio
import tempfile
import time
from pathlib import Path

from moq_relay.errors import MoqError
from tests.alarms import clients, machines, registry, relays  # noqa: F401 — they name themselves
from tests.alarms.fault import FAULTS, PAGES, Fault, Seen
from tests.alarms.world import FIRING, LOOK_SECONDS, Firing, World, world_of
from tests.chaos.run import end_tidily, say

__all__ = ["FAULTS", "alone", "names", "run", "told", "where"]

AFTERWARDS_SECONDS = 6.0
"""Three minutes of the rules in which another page would come of the same fault."""


def alone(place: str, name: str) -> Seen:
    """One fault."""
    end_tidily()
    say(f"{place} {name}")
    return asyncio.run(run(FAULTS[name]))


async def run(fault: Fault) -> Seen:
    """Cause it in a world of its own."""
    begun = time.monotonic()
    seen = Seen(fault.name, fault.within)
    with tempfile.TemporaryDirectory(prefix="alarms-") as folder:
        try:
            async with world_of(Path(folder), fault.plan) as world:
                await suffer(world, fault, seen)
        except (AssertionError, MoqError, OSError, ExceptionGroup) as error:
            seen.problems.append(told(error))
    seen.seconds = time.monotonic() - begun
    return seen


async def suffer(world: World, fault: Fault, seen: Seen) -> None:
    """Let it happen, and look what fires."""
    before = await world.over(FIRING, world.well, time.time())
    seen.problems += [f"{name} fired before there was a fault" for name in names(before)]
    async with asyncio.TaskGroup() as tasks:
        happening: asyncio.Task[None] = tasks.create_task(fault.run(world))
        while not world.began:
            await asyncio.sleep(LOOK_SECONDS / 10)
        begun = world.began
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            firing = await world.over(FIRING, begun, time.time())
            mine = [
                moments[0]
                for labels, moments in firing.items()
                if labels >= {("alertname", fault.alert), *fault.labels.items()}
            ]
            if mine or time.time() > begun + fault.within:
                break
        if mine:
            seen.fired = min(mine) - begun
            await asyncio.sleep(AFTERWARDS_SECONDS)
            if fault.check is not None:
                await fault.check(world)
        else:
            seen.problems.append(f"{fault.alert} did not fire within {fault.within:.0f} s")
        firing = await world.over(FIRING, begun, time.time())
        happening.cancel()
    if fault.regions and not regions(firing, fault.alert) <= fault.regions:
        seen.problems.append(f"{fault.alert} elsewhere too: {where(firing, fault.alert)}")
    seen.others = names(firing) - {fault.alert}
    for page in sorted(seen.others & PAGES):
        if page != fault.alert:
            seen.problems.append(f"{page} fired too: {where(firing, page)}")


def names(firing: Firing) -> set[str]:
    """Which alerts those are."""
    return {dict(labels)["alertname"] for labels in firing}


def regions(firing: Firing, alert: str) -> set[str]:
    """Those in its labels."""
    mine = [dict(labels) for labels in firing if ("alertname", alert) in labels]
    return {one[key] for one in mine for key in ("relay_region", "peer_region") if key in one}


def where(firing: Firing, alert: str) -> str:
    """Of what relays or regions it spoke."""
    hidden = {"__name__", "alertname", "alertstate", "cluster", "job", "severity"}
    return "; ".join(
        ", ".join(f"{key} {value}" for key, value in sorted(labels) if key not in hidden) or "all"
        for labels in firing
        if ("alertname", alert) in labels
    )


def told(error: BaseException) -> str:
    """The first of what went wrong."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
