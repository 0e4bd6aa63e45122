"""Three regions of real relays: what they say of the distance between them, and of the registry."""

import asyncio
import re
from contextlib import AsyncExitStack

import pytest

from tests.chaos.front import Front, holder
from tests.interop.clients import connected
from tests.support.cluster_process import ClusterProcess, eventually
from tests.support.redis_server import redis_binary, running

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

US, EU, ASIA = REGIONS = ("us", "eu", "asia")
"""A root, a node that reaches the registry through it, and one with its own way to Redis."""
PAIRS = [(here, there) for here in REGIONS for there in REGIONS if here != there]
FAR = {(EU, ASIA), (ASIA, EU)}
ONE_WAY = 0.040
NEAR_SECONDS = 0.020
CLOCK_SECONDS = 0.005
"""By how much timers may be early, and a round trip may be taken for shorter."""
PATIENCE = 40
"""Some samples of each session."""
LOOK_SECONDS = 2.0
SAMPLE = re.compile(
    r"moq_relay_peer_rtt_(current_seconds|seconds_sum|seconds_count)"
    r'\{(?:method="(\w+)",)?peer_region="(\w+)"'
)


class World:
    """The cluster, and before each node what holds up what some other node says to it."""

    def __init__(self, directory, redis_url):
        self.cluster = cluster = ClusterProcess(directory, REGIONS, fronted=True)
        redis = f'[redis]\nurl = "{redis_url}"\ntimeout = 0.5'
        cluster.add(US, rest=redis)
        cluster.add_through(EU, US)
        joining = f'root = "{cluster.address(US)}"\ntoken = "{directory}/{ASIA}.jwt"\n'
        cluster.add(ASIA, cluster=joining, rest=redis)
        self.fronts = {
            name: Front(node.advertised, node.port, self._dialler)
            for name, node in cluster.nodes.items()
        }

    def _dialler(self, port):
        nodes = [node for node in self.cluster.nodes.values() if node.running]
        return holder(port, {node.pid: node.name for node in nodes})

    def part(self, *pair):
        """Lead the ways between two regions over an ocean."""
        for name, other in (pair, pair[::-1]):
            self.fronts[name].more[other] = ONE_WAY

    def look(self):
        """What every node says of round trips."""
        return Look({name: self.cluster[name].get("/metrics") for name in REGIONS})


class Look:
    """One scrape of every node."""

    def __init__(self, texts):
        self._samples = {
            (here, *found.groups()): float(value)
            for here, text in texts.items()
            for head, _, value in (line.rpartition(" ") for line in text.splitlines())
            if (found := SAMPLE.match(head))
        }

    def current(self, here, there):
        """The last round trip that was measured from one region to another; None before one."""
        return self._samples.get((here, "current_seconds", None, there))

    def total(self, part, here, there, *methods):
        """A histogram's sum or count."""
        return sum(
            self._samples[here, f"seconds_{part}", method, there]
            for method in methods or ("quic", "probe")
        )

    def means(self, before):
        """The mean of what was counted since another look, by pair, as Prometheus makes it."""
        return {
            pair: (self.total("sum", *pair) - before.total("sum", *pair))
            / (self.total("count", *pair) - before.total("count", *pair))
            for pair in PAIRS
        }


@pytest.fixture
async def world(tmp_path, request):
    failed = request.session.testsfailed
    with running(redis_binary(), tmp_path / "redis") as redis:
        world = World(tmp_path, redis.url)
        async with AsyncExitStack() as stack:
            for front in world.fronts.values():
                await stack.enter_async_context(front)
            try:
                await world.cluster.start()
                yield world
                if request.session.testsfailed > failed:
                    print(world.cluster.log())
                else:
                    await asyncio.to_thread(world.cluster.stop)
            finally:
                world.cluster.kill()


async def looked(world, condition, what):
    """Look now and then, since whoever looks holds up the datagrams; the look that satisfies."""
    async with asyncio.timeout(PATIENCE):
        while not condition(look := await asyncio.to_thread(world.look)):
            await asyncio.sleep(LOOK_SECONDS)
    print(what, *(f"{pair} {1000 * look.current(*pair):.1f} ms" for pair in PAIRS))
    return look


async def test_a_longer_way_between_two_regions_is_read_back_for_that_pair_alone(world):
    near = await looked(
        world, lambda look: None not in [look.current(*pair) for pair in PAIRS], "all are measured:"
    )
    for pair in PAIRS:
        assert 0 < near.current(*pair) < NEAR_SECONDS
        # A direct node's session with its root is there to measure, and so is every probe.
        assert near.total("count", *pair, "probe") > 0, pair
    for here in REGIONS:
        assert near.total("count", here, here) == 0, "a region of one node has nobody to measure"

    world.part(EU, ASIA)

    before = await looked(
        world, lambda look: min(look.current(*pair) for pair in FAR) > ONE_WAY, "far:"
    )
    looks = [before]

    def measured(look):
        """Whether each distance is as it should be, now and in the mean of the last samples.

        A busy machine holds up a datagram now and then; what is counted for the wrong pair stays.
        """
        looks.append(look)
        since = next((one for one in reversed(looks) if sampled(one, look)), None)
        if since is None:
            return False
        means = look.means(since)
        print("means:", *(f"{pair} {1000 * mean:.1f} ms" for pair, mean in means.items()))
        return all(as_far(pair, look.current(*pair), means[pair]) for pair in PAIRS)

    await looked(world, measured, "three samples later:")


def sampled(since, look):
    """Whether every distance was measured three times more."""
    return all(look.total("count", *pair) >= since.total("count", *pair) + 3 for pair in PAIRS)


def as_far(pair, *values):
    """No datagram comes early, and none that was held up took as long as an ocean."""
    least = 2 * ONE_WAY - CLOCK_SECONDS if pair in FAR else 0.0
    return all(least < value < least + NEAR_SECONDS for value in values)


async def test_the_registry_is_timed_by_every_node_and_a_canary_flies_at_the_root(world):
    cluster = world.cluster

    def value(node, name, **labels):
        return cluster[node].metric(name)[frozenset(labels.items())]

    await eventually(lambda: value(US, "moq_cluster_canary_seconds_count"), "one came back", 30)
    async with connected(cluster[EU].moqt) as connection:
        broadcast = connection.create_broadcast("room/alice")
        broadcast.announce()
        await eventually(
            lambda: value(ASIA, "moq_cluster_announce_propagation_seconds_count", peer_region=EU),
            "asia hears of it",
        )

    assert value(US, "moq_cluster_canary_seconds_sum") < 1
    for node in (EU, ASIA):
        assert value(node, "moq_cluster_canary_seconds_count") == 0
    for node in REGIONS:
        name = "moq_cluster_redis_rtt_seconds"
        assert value(node, f"{name}_count", op="renew") > 0
        assert value(node, f"{name}_sum", op="renew") < 5
        # Nobody takes a canary for anything: neither a broadcast nor what it does not know.
        assert cluster[node].counter("moq_cluster_unknown_total") == 0
        assert cluster[node].counter("moq_cluster_gaps_total") == 0
        assert cluster[node].table() in ({}, {"room/alice": {cluster[EU].url}})
        assert cluster[node].facts("/nodes")["cluster_version"] < 20
    latency = "moq_cluster_announce_propagation_seconds"
    assert value(ASIA, f"{latency}_sum", peer_region=EU) < 1
    assert value(EU, f"{latency}_count", peer_region=EU) == 0, "its own are no news"
