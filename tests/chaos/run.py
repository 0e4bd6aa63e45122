"""One scenario from beginning to end."""

import asyncio
import signal
import sys
import tempfile
import time
from multiprocessing import Queue
from pathlib import Path

from moq_relay.errors import MoqError
from tests.chaos import (  # noqa: F401 — they name themselves
    clocks,
    deaths,
    names,
    network,
    registry_faults,
    replication,
    upgrade,
    writers,
)
from tests.chaos.scenario import SCENARIOS, Outcome, Scenario
from tests.chaos.store import MakeStore, process
from tests.chaos.world import world_of
from tests.support import relay_process

__all__ = ["SCENARIOS", "alone", "end_tidily", "failed", "keep_apart", "run", "say"]


async def run(
    scenario: Scenario, *, seed: int, lease: float, make_store: MakeStore = process
) -> Outcome:
    """Break a world of its own; what it showed, and whether that holds."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        try:
            async with world_of(Path(folder), scenario, make_store, seed, lease) as world:
                outcome = await world.settle(await scenario.run(world))
        except (AssertionError, MoqError, OSError, ExceptionGroup) as error:
            outcome = failed(scenario, seed, lease, error)
    outcome.seconds = time.monotonic() - begun
    return outcome


def failed(scenario: Scenario, seed: int, lease: float, error: BaseException) -> Outcome:
    """The outcome of a run that did not come to its end."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = f"{type(error).__name__}: {error}"
    return Outcome(scenario.name, scenario.title, seed, lease, {}, problems=[said])


def keep_apart(shares: "Queue[int]", jobs: int) -> None:
    """Take ports in this process that no other of so many takes: worlds begin at one time."""
    relay_process.PORTS = relay_process.PORTS[shares.get() :: jobs]


def alone(place: str, name: str, seed: int, lease: float) -> Outcome:
    """One fault in a world of its own."""
    end_tidily()
    say(f"{place} {name}, seed {seed}")
    return asyncio.run(run(SCENARIOS[name], seed=seed, lease=lease))


def end_tidily() -> None:
    """Take SIGTERM for Ctrl-C, so that no world is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def say(text: str) -> None:
    """How far it is, on standard error."""
    print(text, file=sys.stderr, flush=True)
