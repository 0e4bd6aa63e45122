"""Relays that are drained, one after the other, while somebody publishes and others watch."""

import asyncio
import signal
import subprocess
import time
from contextlib import AsyncExitStack, ExitStack

import pytest

from moq_relay.relay.feed import Demand
from moq_relay.wire.lite.messages import Role
from moq_relay.wire.lite.versions import LITE_05, LITE_06
from tests.support.cluster_process import ClusterProcess, eventually
from tests.support.mover import Mover
from tests.support.own_client import connected, make_origin, publish, until
from tests.support.redis_server import some_redis
from tests.support.relay_process import EXECUTABLE, environment
from tests.support.station import Listening, Station

pytestmark = pytest.mark.timeout(170)

NAMES = ("east", "west", "south")
TOKEN = "of operators"
FRAMES, SIZE = 4, 300
PACE = 20.0
"""Frames a second: five groups."""
DEADLINE = 15


def configuration(cluster: ClusterProcess, name: str, redis: str) -> str:
    return f"""
internal.token = "{TOKEN}"
[server.tls]
cert = "{cluster.directory}/cert.pem"
key = "{cluster.directory}/cert.key"
[client.tls]
root = "{cluster.directory}/cert.pem"
[auth]
public = ""
[drain]
deadline = {DEADLINE}
[cluster]
node = "{cluster.address(name)}"
region = "{name}"
renew = 0.5
lease = 2
[redis]
url = "{redis}"
timeout = 0.5
"""


@pytest.fixture
async def cluster(tmp_path, request):
    failed = request.session.testsfailed
    with ExitStack() as stack:
        redis = stack.enter_context(some_redis(tmp_path / "redis"))
        made = ClusterProcess(tmp_path, NAMES)
        stack.callback(made.kill)
        for name in NAMES:
            made.add_as_written(name, configuration(made, name, redis))
        await made.start()
        yield made
        if request.session.testsfailed > failed:
            print(made.log())
        else:
            made.stop()


async def play(station):
    while True:
        station.write()
        await asyncio.sleep(1 / PACE)


class Watcher:
    """Somebody who watches one track, wherever that is to be had."""

    def __init__(self, ports, place, version):
        self.heard = Listening(frames=FRAMES, size=SIZE)
        self.origin = make_origin(kept=10.0, linger=10.0)
        self.mover = Mover(ports, place, version, self.origin, Role.SUBSCRIBER, self.moved)

    def moved(self, _before):
        count = len(self.heard.whole) + 2
        return lambda: len(self.heard.whole) >= count

    async def begin(self):
        await until(lambda: "room" in self.origin.broadcasts)
        self.origin.subscribe("room", "video", self.heard, Demand(max_age=10.0))
        await until(lambda: self.heard.whole)


def no_longer_read(before):
    return lambda: before.session.over or not before.session.publisher.viewing


def command(node, *words):
    return subprocess.run(
        [str(EXECUTABLE), *words, "--internal", f"http://127.0.0.1:{node.internal_port}"],
        env=environment() | {"MOQ_INTERNAL_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def by_command(node):
    done = command(node, "drain")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "drained; the relay leaves"
    assert any(" left, " in line for line in lines), lines


def by_signal(node):
    node.send(signal.SIGTERM)


async def test_a_rolling_drain_of_every_node_misses_no_group(cluster):
    nodes = list(cluster.nodes.values())
    ports = [node.port for node in nodes]
    station = Station(frames=FRAMES, size=SIZE)
    origin = make_origin()
    publish(origin, "room", station)
    sender = Mover(ports, 0, LITE_06, origin, Role.PUBLISHER, no_longer_read)
    watchers = [
        Watcher(ports, place, version)
        for place in range(len(nodes))
        for version in (LITE_06, LITE_05)
    ]
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [tasks.create_task(play(station)), tasks.create_task(sender.run())]
        running += [tasks.create_task(one.mover.run()) for one in watchers]
        await asyncio.gather(*(one.begin() for one in watchers))

        for node, way in zip(nodes, (by_signal, by_command, by_signal), strict=True):
            begun = time.monotonic()
            await asyncio.to_thread(way, node)
            await eventually(lambda n=node: n.ended() is not None, f"{node} has left", 60)
            assert node.ended() == 0, node.log()
            assert time.monotonic() - begun < DEADLINE, "it left because nobody was there"
            assert "sessions_cut_off=0" in node.log()
            await asyncio.to_thread(node.start)
            await cluster.complete()

        last = station.sequence
        await until(lambda: all(max(one.heard.whole) > last for one in watchers))
        for one in watchers:
            assert one.heard.missing == []
            assert one.heard.faults == []
            assert one.mover.asked >= 1
        assert sender.asked >= 1
        for one in running:
            one.cancel()


async def test_a_node_without_sessions_ends_at_once(cluster):
    node = cluster["west"]

    node.send(signal.SIGTERM)
    took = await eventually(lambda: node.ended() is not None, "it has left")

    assert node.ended() == 0
    assert took < DEADLINE / 3
    assert "drained sessions_cut_off=0" in node.log()
    east = cluster["east"]
    await eventually(lambda: node.url not in east.members(), "it is no member any more", 1.5)
    await asyncio.to_thread(node.start)


async def test_a_drained_node_that_stays_is_shown_refuses_clients_and_serves_again(cluster):
    node, other = cluster["west"], cluster["east"]
    origin = make_origin()
    station = Station(frames=FRAMES, size=SIZE)
    publish(origin, "room", station)
    ports = [node.port, other.port]
    sender = Mover(ports, 0, LITE_06, origin, Role.PUBLISHER, no_longer_read)
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(sender.run())
        await eventually(lambda: other.table() == {"room": {node.url}}, "it is claimed")

        done = await asyncio.to_thread(command, node, "drain", "--stay", "--deadline", "9")

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == "drained; uncordon undoes it"
        assert (sender.place, sender.asked) == (1, 1)
        assert other.members()[node.url] == "draining"
        assert "draining" in (await asyncio.to_thread(command, other, "nodes")).stdout
        assert other.table() == {"room": {other.url}}
        assert not node.ready()
        assert node.get("/announced", internal=False) == "room\n"
        asked = tasks.create_task(asyncio.to_thread(node.get, "/fetch/room/video", internal=False))
        while not asked.done():
            station.write()
            await asyncio.sleep(1 / PACE)
        assert len(asked.result()) == FRAMES * SIZE, "requests are answered still"
        assert node.counter("moq_relay_draining") == 1
        assert node.counter("moq_relay_drain_sessions") == 0
        late = Mover([node.port, other.port], 0, LITE_05, make_origin(), Role.SUBSCRIBER, print)
        watching = tasks.create_task(late.run())
        await until(lambda: late.stays)
        assert late.place == 1, "it is turned away, and goes elsewhere"

        undone = await asyncio.to_thread(command, node, "uncordon")
        assert (undone.returncode, undone.stdout) == (0, "the relay serves again\n")
        await cluster.complete()
        again = Mover([node.port], 0, LITE_05, make_origin(), Role.SUBSCRIBER, print)
        back = tasks.create_task(again.run())
        await until(lambda: again.stays)
        for one in (sending, watching, back):
            one.cancel()


async def test_who_does_not_go_is_cut_off_at_the_deadline_or_by_a_second_signal(cluster):
    east, west = cluster["east"], cluster["west"]
    for node in (east, west):
        origin = make_origin()
        publish(origin, "room", Station(frames=FRAMES, size=SIZE))
        async with connected(node.port, LITE_06, origin=origin):
            await eventually(lambda n=node: "room" in n.table(), "nobody else has what it has")
            begun = time.monotonic()
            if node is east:
                words = ("drain", "--deadline", "2")
                assert (await asyncio.to_thread(command, node, *words)).returncode == 0
            else:
                node.send(signal.SIGTERM)
                await eventually(lambda n=node: "drain begun" in n.log(), "it drains")
                assert node.ended() is None
                node.send(signal.SIGTERM)
            await eventually(lambda n=node: n.ended() is not None, "it has left")
            assert node.ended() == 0
            assert (time.monotonic() - begun >= 2) == (node is east)
        assert ("sessions_cut_off=1" in node.log()) == (node is east)
        await asyncio.to_thread(node.start)
