"""Many viewers of one broadcast: one subscription upstream, and nobody pays for another."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from moq_relay.wire.lite.versions import LITE_05
from tests.support.own_client import connected, publish, until
from tests.support.relay_process import RelayProcess
from tests.support.sink_process import resident_bytes, sinks
from tests.support.station import Station

pytestmark = [pytest.mark.alone, pytest.mark.timeout(150)]

VIEWERS = 200
SLOW_FRAMES, SLOW_BYTES, SLOW_RATE = 10, 1250, 10
"""100 kb/s in groups of a second."""
SLOW_GROUPS = 8

FAST_FRAMES, FAST_BYTES, FAST_RATE = 30, 8333, 30
"""2 Mb/s in groups of a second."""
PACE = 6
"""How much faster than that it is played: what a viewer costs counts in bytes, not in seconds."""
FAST_GROUPS = 48
GOOD_VIEWERS = 4
BACKLOG = 2 << 20
ENGINE_WINDOW = 128 << 10
"""What the engine takes before it says that it has enough, and a slice above."""
NOISE = 4 << 20
"""What a process of Python gains and loses while it runs, whatever it does."""


@pytest.fixture
def relay(tmp_path):
    settings = f"""
        [cluster]
        linger = "200ms"
        [limits]
        viewer_backlog = {BACKLOG}
    """
    process = RelayProcess(tmp_path, [LITE_05.name], settings)
    process.start()
    try:
        yield process
        process.stop()
    finally:
        process.kill()


@asynccontextmanager
async def publishing(relay, station):
    async with connected(relay.ports[LITE_05.name], LITE_05) as origin:
        publish(origin, "live", station)
        station.write()
        await until(lambda: relay.metric("moq_relay_broadcasts")[frozenset()] == 1)
        yield


async def play(station, groups, rate):
    """Frames at their time until ``groups`` groups are whole; the first frame is out already."""
    loop = asyncio.get_running_loop()
    frames = groups * station.frames
    start = loop.time()
    for number in range(1, frames):
        await asyncio.sleep(start + number / rate - loop.time())
        station.write()


def read(relay, name, **labels):
    return relay.metric(f"moq_relay_{name}")[frozenset(labels.items())]


async def test_two_hundred_viewers_get_every_group_of_one_upstream_subscription(relay):
    station = Station(frames=SLOW_FRAMES, size=SLOW_BYTES)
    port = relay.ports[LITE_05.name]

    async with publishing(relay, station), sinks(port, VIEWERS, "live", "video") as watching:
        await watching.ready()

        assert read(relay, "upstream_subscriptions") == 1
        assert read(relay, "viewers") == VIEWERS
        assert len(station.feeds) == 1
        await play(station, SLOW_GROUPS, SLOW_RATE)
        viewers = await watching.viewers("video")

        assert read(relay, "upstream_subscriptions") == 1
        assert read(relay, "viewers") == VIEWERS
        assert read(relay, "groups_total", direction="in") == SLOW_GROUPS
        assert read(relay, "groups_total", direction="out") == SLOW_GROUPS * VIEWERS
        assert viewers == [whole(SLOW_GROUPS, SLOW_FRAMES, SLOW_BYTES)] * VIEWERS

    await until(lambda: read(relay, "upstream_subscriptions") == 0)


@pytest.mark.parametrize("credit", [0, 3000], ids=["no credit", "credit for half a frame"])
async def test_a_viewer_without_credit_costs_its_backlog_and_nobody_else_a_frame(relay, credit):
    station = Station(frames=FAST_FRAMES, size=FAST_BYTES)
    port = relay.ports[LITE_05.name]
    starved = "--starved", "1", "--starved-credit", str(credit)

    async with (
        publishing(relay, station),
        sinks(port, GOOD_VIEWERS, "live", "video") as watching,
        sinks(port, 1, "live", "video", *starved) as stuck,
    ):
        # given four good viewers, and one that lets no group stream have its bytes
        await watching.ready()
        await stuck.ready()
        before = resident_bytes(relay.pid)

        # when several times its backlog has been published
        await play(station, FAST_GROUPS, FAST_RATE * PACE)
        viewers = await watching.viewers("video")
        growth = resident_bytes(relay.pid) - before

        # then the good viewers have it all
        assert viewers == [whole(FAST_GROUPS, FAST_FRAMES, FAST_BYTES)] * GOOD_VIEWERS
        # and what the stuck one was not given up is no more than may wait for it
        group_bytes = FAST_FRAMES * FAST_BYTES
        given_up = read(relay, "resets_total", direction="out", reason="too_far_behind")
        waiting = (FAST_GROUPS - given_up) * group_bytes
        assert waiting <= BACKLOG + ENGINE_WINDOW
        # and beside the frames, which the cache keeps, it holds as much as is encoded for it
        assert growth < FAST_GROUPS * group_bytes + BACKLOG + ENGINE_WINDOW + NOISE
        assert read(relay, "viewers") == GOOD_VIEWERS + 1

    await until(lambda: read(relay, "viewers") == 0)


def whole(groups, frames, size):
    """The counts of a viewer that missed nothing from group 0 on."""
    return {
        "groups": groups,
        "first": 0,
        "last": groups - 1,
        "missing": 0,
        "frames": groups * frames,
        "payload_bytes": groups * frames * size,
        "resets": {},
    }
