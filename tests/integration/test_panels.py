"""Every panel and some alerts, on a real Prometheus, while a real cluster works, and breaks."""

import asyncio
import math
import time
import urllib.error
import urllib.request

import pytest

from tests.conftest import require
from tests.interop.clients import publishing
from tests.interop.viewers import Viewer
from tests.ops.test_boards import BOARDS
from tests.support.cluster_process import ClusterProcess, eventually
from tests.support.media import Track
from tests.support.prometheus import scraping
from tests.support.redis_server import redis_binary, running

pytestmark = [pytest.mark.alone, pytest.mark.timeout(150)]

US, EU, ASIA = REGIONS = ("us", "eu", "asia")
"""A root, a node that comes through it and will be killed, and one with its own way to Redis."""
SCALE = 20
"""A minute of the rules is three seconds, as long as three scrapes."""
PULSE = Track("pulse", frame_bytes=300, frames_per_group=4, frames_per_second=40)
QUIET_SECONDS = 12
CHOSEN = {"$cluster": "test", "$region": ".*", "$instance": ".*", "$__rate_interval": "5s"}
FAULTS = {
    "cluster: Failovers",
    "cluster: Nodes that do not answer",
    "cluster: Lost and found",
    "experience: Failovers",
}
"""0 while all is well, and not when a node was killed and Redis lost everything."""
ONLY_THEN = {
    "experience: Failover gap by pair, mean of 5 minutes",
    "experience: Failover gap by pair, 90 %",
}
"""Nothing at all while all is well."""
CANARY = "moq:roots:count > 0"
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
        urllib.request.urlopen(f"http://127.0.0.1:{node.web_port}/fetch/nobody/here/0", timeout=10)


def taken_from(node):
    """Whose broadcast is watched there."""
    (used,) = [one for one in node.facts("/routes/room/alice")["routes"] if one["in_use"]]
    return used["node"]


def numbers(prometheus, expr, begin, end):
    """All values in that time that are numbers."""
    found = prometheus.over(expr, begin, end)
    return [v for s in found.values() for v in s.values() if not math.isnan(v)]


def alerted(prometheus, begin, end, severities="page|ticket"):
    found = prometheus.over(FIRING.format(severities), begin, end)
    return {dict(labels)["alertname"] for labels in found}


@pytest.fixture
async def cluster(tmp_path, request):
    failed = request.session.testsfailed
    with running(redis_binary(), tmp_path / "redis") as redis:
        redis.execute("CONFIG", "SET", "appendonly", "yes")
        made = ClusterProcess(tmp_path, REGIONS)
        reach = f'[redis]\nurl = "{redis.url}"\ntimeout = 0.5'
        made.add(US, rest=reach)
        made.add_through(EU, US)
        joining = f'root = "{made.address(US)}"\ntoken = "{tmp_path}/{ASIA}.jwt"\n'
        made.add(ASIA, cluster=joining, rest=reach)
        made.redis = redis
        try:
            await made.start()
            yield made
            if request.session.testsfailed > failed:
                print(made.log())
        finally:
            made.kill()


async def watch(cluster, prometheus):
    """The run: when all was well from and to, and when it ended."""
    viewers = [Viewer(cluster[name].moqt, "room/alice", [PULSE]) for name in (US, ASIA)]

    async def seen(expr, what):
        begun = time.time()
        await eventually(lambda: numbers(prometheus, expr, begun, time.time()), what, 30)

    async with (
        publishing(cluster[US].moqt, "room/alice", [PULSE]),
        # The newest publisher of a path is watched.
        publishing(cluster[EU].moqt, "room/alice", [PULSE]),
        asyncio.TaskGroup() as tasks,
    ):
        for name in (US, ASIA):
            await eventually(lambda n=name: taken_from(cluster[n]) == cluster[EU].url, "eu is used")
        running = [tasks.create_task(viewer.run()) for viewer in viewers]
        running.append(tasks.create_task(come_and_go(cluster)))
        await seen(CANARY, "the root hears itself")
        await asyncio.sleep(5)
        begin = time.time()
        await asyncio.sleep(QUIET_SECONDS)
        end = time.time()

        cluster[EU].kill()
        await seen('moq:failover_gap_seconds:mean{peer_region="eu"} > 0', "viewers left eu")
        await seen('ALERTS{alertname="MoqRelayDown", alertstate="firing"}', "the alert for eu")
        cluster.redis.execute("FLUSHALL")
        await seen("sum(moq_cluster_epoch_changes_total) > 0", "the nodes noticed the flush")
        await asyncio.sleep(2)
        for task in running:
            task.cancel()
    return begin, end, time.time()


async def test_every_panel_has_a_value_and_faults_are_seen_when_there_are_any(cluster, tmp_path):
    targets = {f"127.0.0.1:{cluster[name].internal_port}": "test" for name in REGIONS}
    with scraping(
        require("prometheus"), tmp_path / "prometheus", targets, scale=SCALE, interval="1s"
    ) as prometheus:
        started = time.time()
        begin, end, last = await watch(cluster, prometheus)

        wrong = []
        for title, exprs in panels():
            for expr in exprs:
                ever = numbers(prometheus, expr, started, last)
                print(f"{title}: {ever[-1] if ever else 'NOTHING'}")
                if not ever:
                    wrong.append(f"{title}: no value of {expr}")
            quiet = [v for e in exprs for v in numbers(prometheus, e, begin, end)]
            fault = [v for e in exprs for v in numbers(prometheus, e, end, last)]
            if title in FAULTS and (any(quiet) or not any(fault)):
                wrong.append(f"{title}: {max(quiet)} while all was well, {max(fault)} afterwards")
            if title in ONLY_THEN and (quiet or not fault):
                wrong.append(f"{title}: {quiet} while all was well, {fault} afterwards")
        assert wrong == []
        assert {title for title, _ in panels()} >= FAULTS | ONLY_THEN
        assert alerted(prometheus, begin, end) == set()
        print("tickets:", alerted(prometheus, end, last, "ticket"))
        assert alerted(prometheus, end, last, "page") == {"MoqRelayDown"}
