"""Every panel and some alerts, on a real Prometheus, while a real cluster works, and breaks."""

import asyncio
import math
import time
import urllib.error
import urllib.request
from contextlib import AsyncExitStack

import pytest

from moq_relay.relay.feed import Demand
from moq_relay.wire.lite.versions import LITE_06
from tests.chaos.front import Front, holder
from tests.conftest import require
from tests.interop.clients import publishing
from tests.interop.viewers import Viewer
from tests.ops.test_boards import BOARDS
from tests.support.cluster_process import ClusterProcess, eventually
from tests.support.lossy import LossyLink, Weather
from tests.support.media import Track
from tests.support.own_client import connected, until
from tests.support.prometheus import scraping
from tests.support.redis_server import redis_binary, running
from tests.support.station import Listening

pytestmark = [pytest.mark.alone, pytest.mark.timeout(150)]

US, EU, ASIA = REGIONS = ("us", "eu", "asia")
"""A root, a node that comes through it and will be killed, and one with its own way to Redis."""
SCALE = 20
"""A minute of the rules is three seconds, as long as three scrapes."""
PULSE = Track("pulse", frame_bytes=300, frames_per_group=4, frames_per_second=40)
QUIET_SECONDS = 12
ONE_WAY = 0.040
IMPATIENT = Demand(max_age=1.0)
BAD = Weather(loss=0.9)
CHOSEN = {"$cluster": "test", "$region": ".*", "$instance": ".*", "$__rate_interval": "5s"}
FAULTS = {
    "cluster: Failovers",
    "cluster: Nodes that do not answer",
    "cluster: Lost and found",
    "experience: Failovers",
    "experience: Groups skipped",
    "experience: Skips by reason",
    "node: Groups skipped",
}
"""0 while all is well, and not when a node was killed, Redis lost everything, and the network of a
viewer carries next to nothing."""
LONGER = {
    "cluster: Round trip now": (0.060, 0.5),
    "cluster: Link": (0.012, 0.5),
    "cluster: Delivery, whole": (0.012, math.inf),
    "cluster: Delivery, mean of 5 minutes": (0.012, math.inf),
    "experience: Delivery, mean of 5 minutes": (0.012, math.inf),
}
"""By how many seconds it rises at least between us and asia, when these two are 40 ms farther from
each other each way, and between others at most by which share of that: a busy machine holds up the
datagrams of all, for they pass through this process. Means are of what was before, too; deliveries
to the slow viewer in us take long wherever they come from."""
UNKNOWN_SECONDS = 30
"""A path that nobody has is waited for 5 s; the rest is for a busy machine."""
ONLY_THEN = {
    "experience: Failover gap by pair, mean of 5 minutes",
    "experience: Failover gap by pair, 90 %",
}
"""Nothing at all while all is well."""
CANARY = "moq:roots:count > 0"
FAR = {f'relay_region="{a}", peer_region="{b}"' for a, b in ((US, ASIA), (ASIA, US))}
SKIPS = "moq:groups_skipped:ratio_5m > 0"
FIRING = 'ALERTS{{alertstate="firing", severity=~"{}"}}'


def panels():
    """Board and title -> what the panel asks for."""
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            exprs = [target["expr"] for target in panel.get("targets", [])]
            for variable, value in CHOSEN.items():
                exprs = [expr.replace(variable, value) for expr in exprs]
            if exprs:
                yield f"{name}: {panel['title']}", exprs


async def come_and_go(cluster):
    """Publishers and viewers that do not stay, and somebody who asks for what nobody has."""
    number = 0
    while True:
        number += 1
        path = f"coming/{number}"
        async with publishing(cluster[US].moqt, path, [PULSE]):
            viewer = Viewer(cluster[ASIA].moqt, path, [PULSE])
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(viewer.run())
                await viewer.joined.wait()
                viewer.leave()
        await asyncio.to_thread(ask_for_nothing, cluster[US])


def ask_for_nothing(node):
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(
            f"http://127.0.0.1:{node.web_port}/fetch/nobody/here/0", timeout=UNKNOWN_SECONDS
        )


def taken_from(node):
    """Whose broadcast is watched there."""
    (used,) = [one for one in node.facts("/routes/room/alice")["routes"] if one["in_use"]]
    return used["node"]


def numbers(prometheus, expr, begin, end):
    """All values in that time that are numbers."""
    found = prometheus.over(expr, begin, end)
    return [v for s in found.values() for v in s.values() if not math.isnan(v)]


def farthest(prometheus, expr, begin, end):
    """Two regions -> the most that was ever seen between them."""
    pairs = {}
    for labels, values in prometheus.over(expr, begin, end).items():
        found = dict(labels)
        pair = frozenset((found["relay_region"], found["peer_region"]))
        most = max((v for v in values.values() if not math.isnan(v)), default=0.0)
        pairs[pair] = max(most, pairs.get(pair, 0.0))
    return pairs


def alerted(prometheus, begin, end, severities="page|ticket"):
    found = prometheus.over(FIRING.format(severities), begin, end)
    return {dict(labels)["alertname"] for labels in found}


@pytest.fixture
async def cluster(tmp_path, request):
    failed = request.session.testsfailed
    with running(redis_binary(), tmp_path / "redis") as redis:
        redis.execute("CONFIG", "SET", "appendonly", "yes")
        made = ClusterProcess(tmp_path, REGIONS, fronted=True)
        reach = f'[redis]\nurl = "{redis.url}"\ntimeout = 0.5'
        made.add(US, rest=reach)
        made.add_through(EU, US)
        joining = f'root = "{made.address(US)}"\ntoken = "{tmp_path}/{ASIA}.jwt"\n'
        made.add(ASIA, cluster=joining, rest=reach)
        made.redis = redis

        def dialler(port):
            alive = [node for node in made.nodes.values() if node.running]
            return holder(port, {node.pid: node.name for node in alive})

        made.fronts = {
            name: Front(node.advertised, node.port, dialler) for name, node in made.nodes.items()
        }
        async with AsyncExitStack() as stack:
            for front in made.fronts.values():
                await stack.enter_async_context(front)
            try:
                await made.start()
                yield made
                if request.session.testsfailed > failed:
                    print(made.log())
            finally:
                made.kill()


async def watch(cluster, prometheus, way):
    """The run: when all was well from and to, and when it ended. One viewer comes by ``way``."""
    viewers = [Viewer(cluster[name].moqt, "room/alice", [PULSE]) for name in (US, ASIA)]

    async def seen(expr, what):
        begun = time.time()
        await eventually(lambda: numbers(prometheus, expr, begun, time.time()), what, 30)

    async with (
        publishing(cluster[US].moqt, "room/alice", [PULSE]),
        # The newest publisher of a path is watched.
        publishing(cluster[EU].moqt, "room/alice", [PULSE]),
        connected(way.port, LITE_06) as slow,
        asyncio.TaskGroup() as tasks,
    ):
        await until(lambda: "room/alice" in slow.broadcasts)
        slow.subscribe("room/alice", PULSE.name, Listening(frames=4, size=300), IMPATIENT)
        for name in (US, ASIA):
            await eventually(lambda n=name: taken_from(cluster[n]) == cluster[EU].url, "eu is used")
        running = [tasks.create_task(viewer.run()) for viewer in viewers]
        running.append(tasks.create_task(come_and_go(cluster)))
        await seen(CANARY, "the root hears itself")
        await asyncio.sleep(5)
        begin = time.time()
        await asyncio.sleep(QUIET_SECONDS)
        end = time.time()

        way.to_server.weather = way.to_client.weather = BAD
        for here, there in ((US, ASIA), (ASIA, US)):
            cluster.fronts[here].more[there] = ONE_WAY
        cluster[EU].kill()
        await seen('moq:failover_gap_seconds:mean{peer_region="eu"} > 0', "viewers left eu")
        await seen('ALERTS{alertname="MoqRelayDown", alertstate="firing"}', "the alert for eu")
        await seen(SKIPS, "the slow viewer")
        for pair in FAR:
            await seen(f"moq_relay_peer_rtt_current_seconds{{{pair}}} > 0.075", "the longer way")
        await seen(
            'moq:delivery_latency_seconds:mean{relay_region="asia", peer_region="us"} > 0.03',
            "deliveries by the longer way",
        )
        cluster.redis.execute("FLUSHALL")
        await seen("sum(moq_cluster_epoch_changes_total) > 0", "the nodes noticed the flush")
        await asyncio.sleep(2)
        for task in running:
            task.cancel()
    return begin, end, time.time()


async def test_every_panel_has_a_value_and_faults_are_seen_when_there_are_any(cluster, tmp_path):
    targets = {f"127.0.0.1:{cluster[name].internal_port}": "test" for name in REGIONS}
    with (
        scraping(
            require("prometheus"), tmp_path / "prometheus", targets, scale=SCALE, interval="1s"
        ) as prometheus,
        LossyLink(("127.0.0.1", cluster[US].port)) as way,
    ):
        started = time.time()
        begin, end, last = await watch(cluster, prometheus, way)

        wrong = []
        for title, exprs in panels():
            for expr in exprs:
                ever = numbers(prometheus, expr, started, last)
                span = f"{min(ever):.4g} to {max(ever):.4g}" if ever else "NOTHING"
                print(f"{title}: {span}")
                if not ever:
                    wrong.append(f"{title}: no value of {expr}")
            quiet = [v for e in exprs for v in numbers(prometheus, e, begin, end)]
            fault = [v for e in exprs for v in numbers(prometheus, e, end, last)]
            if title in FAULTS and (any(quiet) or not any(fault)):
                wrong.append(f"{title}: {max(quiet)} while all was well, {max(fault)} afterwards")
            if title in LONGER:
                (expr,) = exprs
                before = farthest(prometheus, expr, begin, end)
                after = farthest(prometheus, expr, end, last)
                # Perhaps nothing was delivered between some of them while all was well.
                usual = max(before.values())
                rise = {pair: now - before.get(pair, usual) for pair, now in after.items()}
                far = rise.pop(frozenset((US, ASIA)))
                least, share = LONGER[title]
                if far < least or max(rise.values()) > share * far:
                    wrong.append(f"{title}: {before}, then {after}")
            if title in ONLY_THEN and (quiet or not fault):
                wrong.append(f"{title}: {quiet} while all was well, {fault} afterwards")
        assert not wrong, "\n".join(wrong)
        assert {title for title, _ in panels()} >= FAULTS | ONLY_THEN | LONGER.keys()
        assert alerted(prometheus, begin, end) == set()
        print("tickets:", alerted(prometheus, end, last, "ticket"))
        # Of those who watch in us one viewer in three or four skips all.
        pages = alerted(prometheus, end, last, "page")
        assert pages in ({"MoqRelayDown"}, {"MoqRelayDown", "MoqGroupsSkipped"})
