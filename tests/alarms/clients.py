"""Faults that come from publishers and viewers."""

import asyncio
from contextlib import AsyncExitStack, suppress

from moq_relay.errors import MoqError
from moq_relay.relay.feed import Demand
from moq_relay.wire.lite.versions import LITE_06
from ops.prometheus.alerts import ENOUGH
from tests.alarms.fault import fault
from tests.alarms.world import FRAMES, PACE, SIZE, TRACK, World
from tests.support.lossy import LossyLink, Weather
from tests.support.own_client import connected, publish, until
from tests.support.station import Listening, Station

LATE_SECONDS = 1.5
IMPATIENT = Demand(max_age=1.0)
"""A group is of no use once a newer one has been there for longer than that."""
BAD = Weather(loss=0.9)
FILM, LARGE = "room/film", 20_000
SKIPS_SECONDS = 15.0
"""Until one in seven of the groups of the last hour, which began with the test, were skipped."""
REFUSED_EACH_SECONDS = 0.3
CLIENTS = 3


@fault("a publisher that is watched stops sending", "MoqBroadcastSilent", windows=("rate",))
async def publisher_silent(world: World) -> None:
    world.begins()
    world.plays = False


@fault(
    "the network of a viewer loses nine datagrams in ten",
    "MoqGroupsSkipped",
    regions=("asia",),
    relays=SKIPS_SECONDS,
)
async def viewer_slow(world: World) -> None:
    film = Station(frames=FRAMES, size=LARGE)
    with LossyLink(("127.0.0.1", world["asia"].port)) as way:
        async with (
            connected(world[world.publishing].port, LITE_06) as here,
            connected(way.port, LITE_06) as there,
        ):
            publish(here, FILM, film)
            await until(lambda: FILM in there.broadcasts)
            heard = Listening(frames=FRAMES, size=LARGE)
            there.subscribe(FILM, TRACK, heard, IMPATIENT)
            while True:
                film.write()
                await asyncio.sleep(1 / PACE)
                if heard.whole and not world.began:
                    world.begins()
                    way.to_server.weather = way.to_client.weather = BAD


@fault(
    f"publishers whose first frame comes {LATE_SECONDS:g} s after they are asked",
    "MoqFirstFrameLate",
    regions=("asia",),
    relays=LATE_SECONDS,
)
async def first_frames_late(world: World) -> None:
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(connected(world["eu"].port, LITE_06))
        there = await stack.enter_async_context(connected(world["asia"].port, LITE_06))
        stations = {f"late/{n}": Station(frames=FRAMES, size=SIZE) for n in range(2 * ENOUGH)}
        for path, station in stations.items():
            publish(here, path, station)
        await until(lambda: stations.keys() <= there.broadcasts.keys())
        world.begins()
        viewers = [Listening(frames=FRAMES, size=SIZE) for _ in stations]
        for path, viewer in zip(stations, viewers, strict=True):
            there.subscribe(path, TRACK, viewer, Demand(max_age=10.0))
        await until(lambda: all(station.feeds for station in stations.values()))
        await asyncio.sleep(LATE_SECONDS)
        while True:
            for station in stations.values():
                station.write()
            await asyncio.sleep(1.0)


@fault(
    "somebody connects again and again with a token that nobody signed",
    "MoqAuthRefusals",
    regions=("asia",),
    windows=("refusals",),
)
async def tokens_refused(world: World) -> None:
    world.begins()

    async def come() -> None:
        while True:
            with suppress(MoqError, OSError, ExceptionGroup):
                async with connected(world["asia"].port, LITE_06, path="/?jwt=forged"):
                    await asyncio.sleep(REFUSED_EACH_SECONDS)
            await asyncio.sleep(REFUSED_EACH_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(come())
