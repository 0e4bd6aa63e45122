"""Faults of relays and of the ways between them."""

import asyncio

from moq_relay.wire.lite.versions import LITE_06
from tests.alarms.fault import Plan, fault
from tests.alarms.world import LEASE, World
from tests.support.cluster_process import eventually
from tests.support.own_client import connected, publish
from tests.support.station import Station

MEMBERS_SECONDS = LEASE + 1.0
"""Until the others have taken a relay that is dead from their tables."""
ROUND_TRIPS_SECONDS = 10.0
"""Two samples of each session."""
ONE_ROOT = Plan(roots=("us",), through=(), direct=("eu", "asia", "west"))
THROUGH_ONE = Plan(roots=("us",), through=("eu", "west"), direct=("asia",))
STARTS = 6
LIVES_SECONDS = 1.5
"""Three scrapes: as long as a relay lives here before it is killed again."""
ONE_WAY = 0.040
APART = {"eu", "asia"}
FAR, NEAR = 0.080, 0.020
CLOSE = 0.005
STUCK_SECONDS = 120


@fault("a relay is killed", "MoqRelayDown")
async def relay_killed(world: World) -> None:
    world.begins()
    world["asia"].kill()


@fault(
    "the only root is killed; the others reach Redis themselves",
    "MoqRootMissing",
    plan=ONE_ROOT,
)
async def root_killed(world: World) -> None:
    world.begins()
    world["us"].kill()


@fault(
    "the only root is killed; two of the three others came through it",
    "MoqRootMissing",
    plan=THROUGH_ONE,
)
async def root_killed_with_others_behind_it(world: World) -> None:
    world.begins()
    world["us"].kill()


@fault("half of the relays are killed at one time", "MoqNodesLost", relays=MEMBERS_SECONDS)
async def half_killed(world: World) -> None:
    world.begins()
    for name in ("west", "asia"):
        world[name].kill()


@fault(
    "one relay cannot reach Redis for so long that it is no member any more",
    "MoqNodeMissing",
    relays=MEMBERS_SECONDS,
)
async def relay_missing(world: World) -> None:
    world.begins()
    world.wires["asia"].cut()


@fault(
    f"a relay is killed and started {STARTS} times, one after the other",
    "MoqNodeFlapping",
    relays=STARTS * (LIVES_SECONDS + 2.5),
)
async def relay_flaps(world: World) -> None:
    world.begins()
    for _ in range(STARTS):
        await world.restart("asia")
        await eventually(world["asia"].ready, "it is back")
        await asyncio.sleep(LIVES_SECONDS)


async def eighty_milliseconds(world: World) -> None:
    """Between the two, and only there: the last round trip of each, and the mean of each."""
    for expr in ("moq_relay_peer_rtt_current_seconds", "moq:peer_rtt_seconds:mean"):
        found = await world.latest(expr)
        assert found, f"nothing of {expr}"
        for labels, seconds in found.items():
            here, there = dict(labels)["relay_region"], dict(labels)["peer_region"]
            low, high = (FAR - CLOSE, FAR + CLOSE) if {here, there} == APART else (0.0, NEAR)
            said = f"{expr} from {here} to {there}: {1000 * seconds:.1f} ms"
            assert low <= seconds <= high, said


@fault(
    "40 ms more each way between two of the regions; then both the last and the mean round trip are"
    " 80 ± 5 ms there, and below 20 ms elsewhere",
    "MoqRegionFar",
    windows=("pair",),
    relays=ROUND_TRIPS_SECONDS,
    regions=tuple(APART),
    check=eighty_milliseconds,
)
async def two_regions_apart(world: World) -> None:
    world.begins()
    for here, there in (("eu", "asia"), ("asia", "eu")):
        world.fronts[here].more[there] = ONE_WAY


@fault(
    "a relay is drained, and one of its clients does not go",
    "MoqDrainStuck",
)
async def drain_stuck(world: World) -> None:
    asia = world["asia"]
    async with connected(asia.port, LITE_06) as origin:
        # A client without anything that only it has would be let go.
        publish(origin, "stays", Station(frames=1, size=1))
        await eventually(lambda: "stays" in asia.table(), "it is published")
        world.begins()
        draining = world.command("asia", "drain", "--deadline", str(STUCK_SECONDS))
        try:
            await asyncio.Event().wait()
        finally:
            draining.kill()
            draining.wait()
