"""Rounds of one flood at the relay and at a closed port, in turns, in one world."""

import time
from collections.abc import Callable

from tests.floods.judge import Round, Seen
from tests.floods.world import World, missing

SETTLE_SECONDS = 1.5
"""From the flood's beginning to the window: what a first burst does belongs to no rate."""
LEAD_SECONDS = 0.3
"""From an order to its moment: every process has read it by then."""
TAIL_SECONDS = 1.0
"""For which the flood goes on after the window."""
REST_SECONDS = 2.0
"""Between rounds, so that what one left is not of the next."""


def seen(world: World, kind: str, rounds: int, seconds: float, say: Callable[[str], None]) -> Seen:
    """Flood the relay, and a closed port, so many times each."""
    flooded: list[Round] = []
    closed: list[Round] = []
    before = missing(glance(world))
    for number in range(2 * rounds):
        at_relay = bool(number % 2)
        one = _round(world, kind, world.relay.port if at_relay else world.closed_port, seconds)
        (flooded if at_relay else closed).append(one)
        say(
            f"{kind} at {'the relay' if at_relay else 'a closed port'}: "
            f"{one.sent / one.sending:,.0f}/s, new connections {one.newcomers / one.seconds:.1%}, "
            f"relay {one.cpu / one.seconds:.1%} of a core, {max(one.tenths) / 10:.1f} ms at most"
        )
        time.sleep(REST_SECONDS)
    return Seen(kind, flooded, closed, missing(glance(world)) - before)


def _round(world: World, kind: str, port: int, seconds: float) -> Round:
    lasts = SETTLE_SECONDS + LEAD_SECONDS + seconds + TAIL_SECONDS
    world.send(kind, port, lasts)
    time.sleep(SETTLE_SECONDS)
    opens = time.monotonic() + LEAD_SECONDS
    world.watch(opens, opens + seconds)
    time.sleep(max(0.0, opens - time.monotonic()))
    before = world.read()
    time.sleep(max(0.0, opens + seconds - time.monotonic()))
    after = world.read()
    sent = world.sent(kind, lasts)
    report = world.watched(seconds)
    tenths = report["tenths"]
    assert isinstance(tenths, dict)
    assert tenths, "the viewer got nothing at all"
    return Round(
        seconds=after.at - before.at,
        tenths={int(tenth): count for tenth, count in tenths.items()},
        sent=int(sent["sent"]),
        sending=sent["seconds"],
        seen=after.seen - before.seen,
        newcomers=after.newcomers - before.newcomers,
        cpu=after.cpu - before.cpu,
        completed=int(sent.get("completed", 0)),
    )


def glance(world: World) -> dict[str, object]:
    """What the viewer has so far."""
    now = time.monotonic()
    world.watch(now, now + 0.1)
    return world.watched(0.1)
