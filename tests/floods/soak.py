"""All floods together, and then what a relay keeps of them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from moq_relay.daemon.load import machine
from tests.floods.judge import Sample, Soak
from tests.floods.rounds import glance
from tests.floods.world import World, missing

LOOK_SECONDS = 5.0
SAY_SECONDS = 60.0


def soak(
    world: World,
    kinds: Sequence[str],
    seconds: float,
    warm_seconds: float,
    quiet_seconds: float,
    say: Callable[[str], None],
    report: Callable[[Soak], None] = lambda _: None,
) -> Soak:
    """Flood for so long, let it pass for ``warm_seconds``, and look on for ``quiet_seconds``.

    ``report`` gets every minute what was seen until then.
    """
    before = missing(glance(world))
    pid = world.relay.pid
    descriptors = _descriptors(pid)
    first = world.read()
    for kind in kinds:
        world.send(kind, world.relay.port, seconds)
    flooded = _look(pid, seconds, say)
    sent = {kind: int(world.sent(kind, seconds)["sent"]) for kind in kinds}
    last = world.read()
    say(f"sent {sum(sent.values()):,} in {seconds:.0f} s, quiet from now on")

    def so_far(quiet: Sequence[Sample]) -> Soak:
        return Soak(
            flood_seconds=seconds,
            warm_seconds=warm_seconds,
            sent=sent,
            share=(last.newcomers - first.newcomers) / (last.at - first.at),
            most_mib=max(sample.mib for sample in flooded),
            descriptors_before=descriptors,
            quiet=quiet,
            missed=missing(glance(world)) - before,
        )

    def each_minute(quiet: Sequence[Sample]) -> None:
        if quiet[-1].at > warm_seconds + SAY_SECONDS:
            report(so_far(quiet))

    return so_far(_look(pid, warm_seconds + quiet_seconds, say, each_minute))


def _look(
    pid: int,
    seconds: float,
    say: Callable[[str], None],
    each_minute: Callable[[Sequence[Sample]], None] = lambda _: None,
) -> list[Sample]:
    begun = said = time.monotonic()
    samples: list[Sample] = []
    while (now := time.monotonic()) < begun + seconds:
        samples.append(Sample(now - begun, machine.resident_mb(pid), _descriptors(pid)))
        if now >= said + SAY_SECONDS:
            said = now
            say(f"{now - begun:.0f} s: {samples[-1].mib:.2f} MiB, {samples[-1].files} files")
            each_minute(samples)
        time.sleep(max(0.0, min(LOOK_SECONDS, begun + seconds - now)))
    return samples


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
