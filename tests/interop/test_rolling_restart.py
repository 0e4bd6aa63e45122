"""Every relay of a cluster restarted, one after the other, under moq-rs clients of one address."""

import asyncio
import http.client
import itertools
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.interop.clients import Publisher, publishing
from tests.interop.viewers import Viewer
from tests.support.cluster_process import ClusterProcess, NodeProcess, eventually
from tests.support.media import Track
from tests.support.relay_process import free_ports
from tests.support.steering import Address, Steering

pytestmark = pytest.mark.timeout(120)

VERSIONS = {"root": "moq-lite-06", "east": "moq-lite-05", "west": "moq-lite-06"}
"""What clients speak with each relay. moq-rs goes from one of these to the other, and not from
moq-lite 04, whose frames have no times: the track ends as "Unsupported" where the next has them."""
NAMES = tuple(VERSIONS)
KEPT = dict(zip(NAMES, (30, 10, 20), strict=True))
"""Seconds for which each keeps groups, as while a file of settings is rolled out."""
PULSE = Track("pulse", frame_bytes=1000, frames_per_group=4, frames_per_second=40)
LOOK_SECONDS = 0.1
SETTLE = 0.5
"""Longer than where to go is known for."""
DEADLINE = 20
OUT_OF_GEO = 1.0
"""Seconds after which a draining relay may not be told any more."""
VIEWERS = 6
CATCH_UP_SECONDS = 10
TWICE = "arrived twice"
"""Of a group that moq-rs gives twice, with all frames both times: one of which it has the head and
no frame when it goes over to the next session (``hand_out`` in ``resume.rs`` of moq-net 0.3.16)."""


class Cluster(ClusterProcess):
    """A root and two relays that come through it, each with a door of its own for clients."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, NAMES)
        self.doors = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        """UDP ports, by the name of the relay."""
        for number, name in enumerate(NAMES):
            place = f'addresses = ["192.0.2.{number}"]\n'
            if name != "root":
                place += f'root = "{self.address("root")}"\ntoken = "{directory}/{name}.jwt"\n'
            rest = f"[drain]\ndeadline = {DEADLINE}\nsettle = {SETTLE}\n"
            rest += f"[redis]\ntimeout = 0.5\n[cache]\nduration = {KEPT[name]}\n"
            node = self.add(name, cluster=place, rest=rest)
            door = f'{{listen = "localhost:{self.doors[name]}", version = "{VERSIONS[name]}"}}'
            both = f'server.listen = ["localhost:{node.port}", {door}]'
            node.toml = "\n".join((both, *node.configuration().splitlines()[1:], ""))
            node.whole = True


class Director:
    """Sends connections in turn to every relay that a root's ``/geo`` lists, as a DNS would."""

    def __init__(self, cluster: Cluster) -> None:
        self.told: list[str] = []
        """Names, as they were told last: what is known while the root is away."""
        self.steps: list[tuple[int, int]] = []
        """How many were told by one answer and by the next of the same root."""
        self._before = 0
        self._cluster = cluster
        self._turns = itertools.count()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(LOOK_SECONDS)

    def choose(self) -> Address:
        """Where the next connection goes."""
        name = self.told[next(self._turns) % len(self.told)]
        return "127.0.0.1", self._cluster.doors[name]

    def tells_all(self) -> bool:
        """Whether every relay is listed."""
        return self.told == sorted(NAMES)

    def _look(self) -> None:
        try:
            facts = self._cluster["root"].facts("/geo")
        except (OSError, http.client.HTTPException):
            self._before = 0
            return
        self.told = sorted(NAMES[int(one["a"][0].rpartition(".")[2])] for one in facts["nodes"])
        self.steps.append((self._before, len(self.told)))
        self._before = len(self.told)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.kill()


async def restart(node: NodeProcess, cluster: Cluster, director: Director) -> None:
    """What docs/operations/draining.md says of each relay, and that it holds meanwhile."""
    begun = time.monotonic()
    node.send(signal.SIGTERM)
    await eventually(lambda: node.name not in director.told, f"/geo drops {node}", OUT_OF_GEO)
    await eventually(lambda: node.ended() is not None, f"{node} has left", DEADLINE + 5)
    assert node.ended() == 0
    assert time.monotonic() - begun < DEADLINE, "it left because nobody was there"
    assert "sessions_cut_off=0" in node.log()
    assert "connect again, to another one" not in node.log(), "nobody came who was turned away"
    await asyncio.to_thread(node.start)
    await cluster.complete()
    await eventually(director.tells_all, "/geo lists all")


def wrong(viewer: Viewer, since: int, until: int) -> list[str]:
    """What it missed, or got otherwise than it was sent."""
    (view,) = viewer.views
    faults = viewer.faults + [fault for fault in view.faults if not fault.endswith(TWICE)]
    return faults + view.missing(since, until)


async def test_no_viewer_misses_a_group_while_every_relay_is_restarted(
    cluster: Cluster,
) -> None:
    await cluster.start()
    director = Director(cluster)
    publishers: list[Publisher] = []
    viewers: list[tuple[Viewer, Publisher]] = []
    try:
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            looking = tasks.create_task(director.run())
            await eventually(director.tells_all, "/geo lists all")
            steering = stack.enter_context(Steering(director.choose))
            url = f"moqt://127.0.0.1:{steering.port}"
            for number in range(len(NAMES)):
                entering = publishing(url, f"rolling/{number}", [PULSE])
                publishers.append(await stack.enter_async_context(entering))
            for number in range(VIEWERS):
                # One of each three at its publisher's relay, one at the next.
                seen = publishers[(number + number // len(NAMES)) % len(NAMES)]
                viewers.append((Viewer(url, seen.path, [PULSE]), seen))
                tasks.create_task(viewers[-1][0].run())
            for viewer, _ in viewers:
                await viewer.joined.wait()
            for name, version in VERSIONS.items():
                assert ("quic", version) in cluster[name].sessions()
            since = {one: dict(one.groups) for one in publishers}

            for name in ("east", "west", "root"):
                await restart(cluster[name], cluster, director)

            for publisher in publishers:
                publisher.finish()
                await publisher.sent.wait()
            for viewer, seen in viewers:
                await viewer.caught_up(since[seen], seen.groups, CATCH_UP_SECONDS)
                viewer.leave()
            looking.cancel()
    except BaseException:
        print(cluster.log())
        raise

    for viewer, seen in viewers:
        assert wrong(viewer, since[seen][PULSE.name], seen.groups[PULSE.name]) == []
        assert viewer.epoch > 1
    assert all(one.session.epoch() > 1 for one in publishers)
    assert all(2 * after >= before for before, after in director.steps)
    assert steering.strays == 0
