"""How late viewers are, as two real relays say it while the way between them grows longer."""

import asyncio
from contextlib import AsyncExitStack, ExitStack

import pytest

from moq_relay.relay.feed import Demand
from moq_relay.wire.lite.versions import VERSIONS
from tests.support.cluster_process import ClusterProcess, NodeProcess, eventually
from tests.support.lossy import CLEAR, LossyLink, Weather
from tests.support.own_client import connected, publish
from tests.support.redis_server import some_redis
from tests.support.station import Listening, Station

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

VERSION = VERSIONS[0]
FRAMES, SIZE = 5, 400
PACE = 20.0
"""Frames a second: four groups, of which one is timed."""
LONG = Weather(delay=0.040)
SETTLE = 3
"""Observations until the engines have learnt that the way is another."""
OBSERVATIONS = 8
BACKLOG = 1_000_000
"""Bytes of one viewer that may wait."""
REGIONS = {"near": "eu", "far": "asia"}


def configuration(name: str, place: str, certificates, redis: str) -> str:
    """Of a root that shares its Redis: it reaches that without the links of the test."""
    return f"""
[server.tls]
cert = "{certificates}/cert.pem"
key = "{certificates}/cert.key"
[client.tls]
root = "{certificates}/cert.pem"
[auth]
public = ""
[limits]
viewer_backlog = {BACKLOG}
[cluster]
node = "{place}"
region = "{REGIONS[name]}"
renew = 0.5
lease = 2
[redis]
url = "{redis}"
timeout = 0.5
"""


class Between:
    """The two relays, and the ways to each that can be made longer."""

    def __init__(self, tmp_path, redis: str, stack: ExitStack) -> None:
        self.cluster = ClusterProcess(tmp_path, REGIONS)
        self.ways: dict[str, LossyLink] = {}
        for name in REGIONS:
            port = int(self.cluster.address(name).rpartition(":")[2])
            self.ways[name] = stack.enter_context(LossyLink(("127.0.0.1", port)))
            place = f"127.0.0.1:{self.ways[name].port}"
            self.cluster.add_as_written(name, configuration(name, place, tmp_path, redis))

    def __getitem__(self, name: str) -> NodeProcess:
        return self.cluster[name]

    async def start(self) -> None:
        nodes = list(self.cluster.nodes.values())
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))
        for node in nodes:
            await eventually(lambda n=node: n.ready() and len(n.members()) == 2, f"{node} knows")

    def lengthen(self, name: str, weather: Weather) -> None:
        way = self.ways[name]
        way.to_server.weather = way.to_client.weather = weather


@pytest.fixture
async def between(tmp_path):
    with ExitStack() as stack:
        redis = stack.enter_context(some_redis(tmp_path / "redis"))
        made = Between(tmp_path, redis, stack)
        stack.callback(made.cluster.kill)
        try:
            await made.start()
            yield made
        except BaseException:
            print(made.cluster.log())
            raise
        made.cluster.stop()


async def play(station: Station) -> None:
    while True:
        station.write()
        await asyncio.sleep(1 / PACE)


def observed(node: NodeProcess, name: str, **labels: str) -> tuple[float, float]:
    """Sum and count of a histogram."""
    wanted = frozenset(labels.items())
    # Of one moment: an observation between two questions would be in the count and not in the sum.
    total, count = node.metrics(f"{name}_sum", f"{name}_count")
    return total.get(wanted, 0.0), count.get(wanted, 0.0)


async def mean(node: NodeProcess, name: str, count: int, **labels: str) -> float:
    """Of the next ``count`` observations."""
    before = await asyncio.to_thread(observed, node, name, **labels)
    seen = before

    def enough() -> bool:
        nonlocal seen
        seen = observed(node, name, **labels)
        return seen[1] >= before[1] + count

    await eventually(enough, f"{count} observations of {name}", 30.0)
    return (seen[0] - before[0]) / (seen[1] - before[1])


async def test_forty_milliseconds_between_two_relays_are_forty_to_the_viewers_there(between):
    near, far = between["near"], between["far"]
    station = Station(frames=FRAMES, size=SIZE)
    viewer = Listening(frames=FRAMES, size=SIZE)
    async with AsyncExitStack() as stack:
        at_near = await stack.enter_async_context(connected(near.port, VERSION))
        at_far = await stack.enter_async_context(connected(far.port, VERSION))
        publish(at_near, "room", station)
        await eventually(lambda: "room" in at_far.broadcasts, "the viewer sees the room")
        at_far.subscribe("room", "video", viewer, Demand(max_age=30.0))
        playing = asyncio.get_running_loop().create_task(play(station))
        stack.callback(playing.cancel)

        latency = "moq_relay_delivery_latency_seconds"
        quick = await mean(far, latency, OBSERVATIONS, peer_region="eu")
        between.lengthen("near", LONG)
        await mean(far, latency, SETTLE, peer_region="eu")
        slow = await mean(far, latency, OBSERVATIONS, peer_region="eu")
        between.lengthen("near", CLEAR)
        await mean(far, latency, SETTLE, peer_region="eu")
        again = await mean(far, latency, OBSERVATIONS, peer_region="eu")

        assert slow - quick == pytest.approx(0.040, abs=0.010)
        assert again - quick == pytest.approx(0.0, abs=0.010)
        assert viewer.faults == viewer.missing == []
        first = observed(far, "moq_relay_first_object_seconds", path="remote", peer_region="eu")
        assert first[1] == 1
        assert observed(near, latency, peer_region="eu")[1] == 0
        assert observed(near, "moq_relay_residence_seconds")[1] > 0


async def test_a_client_that_is_far_away_is_seen_in_the_round_trips_of_its_role(between):
    near = between["near"]
    between.lengthen("near", LONG)
    async with AsyncExitStack() as stack:
        far_away = between.ways["near"].port
        at_home = await stack.enter_async_context(connected(near.port, VERSION))
        distant = await stack.enter_async_context(connected(far_away, VERSION))
        publish(at_home, "room", Station(frames=FRAMES, size=SIZE))
        await eventually(lambda: "room" in distant.broadcasts, "the viewer sees the room")
        viewer = Listening(frames=FRAMES, size=SIZE)
        distant.subscribe("room", "video", viewer, Demand(max_age=30.0))

        rtt = "moq_relay_client_rtt_seconds"
        async with asyncio.TaskGroup() as tasks:
            publishers = tasks.create_task(mean(near, rtt, 1, transport="quic", role="publisher"))
            viewers = tasks.create_task(mean(near, rtt, 1, transport="quic", role="viewer"))

        assert viewers.result() == pytest.approx(0.080, abs=0.020)
        assert publishers.result() < 0.020


async def test_a_viewer_that_nothing_reaches_is_seen_as_a_backlog_and_then_as_skipped_groups(
    between,
):
    near = between["near"]
    station = Station(frames=FRAMES, size=30_000)
    async with AsyncExitStack() as stack:
        at_home = await stack.enter_async_context(connected(near.port, VERSION))
        port = between.ways["near"].port
        distant = await stack.enter_async_context(connected(port, VERSION))
        publish(at_home, "room", station)
        await eventually(lambda: "room" in distant.broadcasts, "the viewer sees the room")
        viewer = Listening(frames=FRAMES, size=30_000)
        distant.subscribe("room", "video", viewer, Demand(max_age=30.0))
        playing = asyncio.get_running_loop().create_task(play(station))
        stack.callback(playing.cancel)
        await eventually(lambda: viewer.whole, "the viewer is served")
        assert near.counter("moq_relay_groups_skipped_total") == 0

        between.lengthen("near", Weather(loss=1.0))

        quic = frozenset({("transport", "quic")})
        waiting = "moq_relay_backlog_groups"
        await eventually(lambda: near.metric(waiting)[quic] > 0, "groups wait")
        late = quic | {("reason", "too_far_behind")}
        skipped = "moq_relay_groups_skipped_total"
        await eventually(lambda: near.metric(skipped)[late] > 0, "groups are skipped")
