"""A cluster of real relays with traffic, and a real Prometheus whose minutes are two seconds."""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

from moq_relay.errors import MoqError
from moq_relay.relay.feed import Demand
from moq_relay.wire.lite.messages import Role
from moq_relay.wire.lite.versions import LITE_06
from tests.alarms.fault import SCALE, Plan
from tests.chaos.front import Front, holder
from tests.chaos.wire import Wire
from tests.support.cluster_process import ClusterProcess, NodeProcess
from tests.support.mover import Mover, Stay
from tests.support.own_client import connected, make_origin, publish, until
from tests.support.prometheus import Prometheus, scraping
from tests.support.redis_server import RedisServer, redis_binary, running
from tests.support.relay_process import EXECUTABLE, environment
from tests.support.station import Listening, Station

ROOM = "room/alice"
TRACK = "video"
FRAMES, SIZE = 4, 300
PACE = 20.0
"""Frames a second: five groups."""
LEASE = 2.0
TOKEN = "of operators"
SCRAPE = "500ms"
LOOK_SECONDS = 0.5
SCRAPED_SECONDS = 2.0
"""Until an alert whose cause is over is over too."""
WARM_SECONDS = 5.0
"""Of traffic after all is as it should be, before anything is done."""
COME_AND_GO_SECONDS = 2.0
FIRING = 'ALERTS{alertstate="firing", severity=~"page|ticket"}'
CANARY_PATIENCE = 40

Firing = dict[frozenset[tuple[str, str]], list[float]]
"""Labels of an alert -> when it was seen firing, oldest first."""


class World:
    """All that a fault may break."""

    def __init__(self, directory: Path, plan: Plan, redis: RedisServer, *, wired: bool) -> None:
        self.directory = directory
        self.plan = plan
        self.redis = redis
        self.cluster = ClusterProcess(directory, plan.names, fronted=wired)
        self.wires: dict[str, Wire] = {}
        """A relay's own way to Redis, where it has one."""
        self.fronts: dict[str, Front] = {}
        """What other relays reach a relay through."""
        self.began = 0.0
        """When the fault was set in, as Prometheus counts."""
        self.well = 0.0
        """The same for when nothing may fire any more."""
        self.prometheus: Prometheus
        self.station = Station(frames=FRAMES, size=SIZE)
        self.plays = True
        """Whether the publisher sends."""
        self.stack = AsyncExitStack()
        self._wired = wired
        self._add_relays()
        self.watchers = [Watcher(self, name) for name in plan.names]

    def __getitem__(self, name: str) -> NodeProcess:
        return self.cluster[name]

    @property
    def ports(self) -> list[int]:
        """Where clients connect, by region as in the plan."""
        return [self[name].port for name in self.plan.names]

    def begins(self) -> None:
        """The fault sets in now."""
        self.began = time.time()

    # What can be done to it.

    async def restart(self, name: str) -> None:
        """kill -9, and start again."""
        await asyncio.to_thread(self[name].kill)
        await asyncio.to_thread(self[name].start)

    def command(self, name: str, *words: str) -> subprocess.Popen[str]:
        """``moq-relay`` with the operators' token, at one relay."""
        at = f"http://127.0.0.1:{self[name].internal_port}"
        return subprocess.Popen(
            [str(EXECUTABLE), *words, "--internal", at],
            env=environment() | {"MOQ_INTERNAL_TOKEN": TOKEN},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    # What Prometheus says.

    async def over(self, expr: str, begin: float, end: float) -> Firing:
        """An expression from one time to another: labels -> when it was there."""
        found = await asyncio.to_thread(self.prometheus.over, expr, begin, end, LOOK_SECONDS)
        return {labels: sorted(values) for labels, values in found.items()}

    async def latest(self, expr: str) -> dict[frozenset[tuple[str, str]], float]:
        """What an expression is now."""
        now = time.time()
        found = await asyncio.to_thread(self.prometheus.over, expr, now - 1, now, LOOK_SECONDS)
        return {labels: values[max(values)] for labels, values in found.items()}

    async def value(self, expr: str) -> float | None:
        """Its highest value now; None where there is none."""
        return max((await self.latest(expr)).values(), default=None)

    async def settles(self, expr: str, what: str, seconds: float) -> None:
        """Wait until an expression has a value."""
        begun = time.monotonic()
        while await self.value(expr) is None:
            assert time.monotonic() - begun < seconds, f"not within {seconds:g} s: {what}"
            await asyncio.sleep(LOOK_SECONDS)

    async def all_is_well(self) -> None:
        """Every relay is ready and scraped, every root has heard itself, everybody is served."""
        await self.cluster.complete()
        scraped = f"count(up == 1) >= {len(self.plan.names)}"
        await self.settles(scraped, "all are scraped", 20)
        heard = f"moq:roots:count >= {len(self.plan.roots)}"
        await self.settles(heard, "every root hears itself", CANARY_PATIENCE)

    # Its life.

    def _add_relays(self) -> None:
        plan, cluster = self.plan, self.cluster
        for name in (*plan.roots, *plan.direct):
            place = self.directory / f"{name}.sock" if self._wired else self.redis.socket
            redis = f'[redis]\nurl = "unix://{place}"\ntimeout = 0.5\n{plan.toml}'
            if name in plan.roots:
                cluster.add(name, rest=redis)
                continue
            root = f'root = "{cluster.address(plan.roots[0])}"'
            token = f'token = "{self.directory}/{name}.jwt"'
            cluster.add(name, cluster=f"{root}\n{token}", rest=redis)
        for name in plan.through:
            cluster.add_through(name, *plan.roots).toml += plan.toml
        for node in cluster.nodes.values():
            node.toml = f'internal.token = "{TOKEN}"\n{node.toml}'

    async def begin(self) -> None:
        """Everything runs, and has run for a while."""
        enter = self.stack.enter_async_context
        if self._wired:
            for name in (*self.plan.roots, *self.plan.direct):
                wire = Wire(self.directory / f"{name}.sock", self.redis.socket)
                self.wires[name] = await enter(wire)
            for name, node in self.cluster.nodes.items():
                front = Front(node.advertised, node.port, self._dialler)
                self.fronts[name] = await enter(front)
        await self.cluster.start()
        targets = {
            f"127.0.0.1:{node.internal_port}": "test" for node in self.cluster.nodes.values()
        }
        found = shutil.which("prometheus")
        assert found is not None, "prometheus is missing; on Debian: apt install prometheus"
        made = scraping(found, self.directory / "prometheus", targets, scale=SCALE, interval=SCRAPE)
        self.prometheus = await asyncio.to_thread(made.__enter__)
        self.stack.callback(made.__exit__, None, None, None)

    async def live(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Traffic begins: somebody publishes, one watches in each region, others come and go."""
        origin = make_origin()
        publish(origin, ROOM, self.station)
        place = self.plan.names.index(self.publishing)
        sender = Mover(self.ports, place, LITE_06, origin, Role.PUBLISHER, _no_longer_read)
        going = [tasks.create_task(self._play()), tasks.create_task(sender.run())]
        going += [tasks.create_task(one.mover.run()) for one in self.watchers]
        await asyncio.gather(*(one.begin() for one in self.watchers))
        going.append(tasks.create_task(self._come_and_go()))
        await self.all_is_well()
        self.well = time.time() + SCRAPED_SECONDS
        await asyncio.sleep(WARM_SECONDS)
        return going

    @property
    def publishing(self) -> str:
        """Where the publisher begins: no root."""
        return (*self.plan.through, *self.plan.direct)[0]

    async def _play(self) -> None:
        while True:
            if self.plays:
                self.station.write()
            await asyncio.sleep(1 / PACE)

    async def _come_and_go(self) -> None:
        """One more viewer, in each region in turn, who leaves once it has seen something."""
        number = 0
        while True:
            await asyncio.sleep(COME_AND_GO_SECONDS)
            number += 1
            node = self[self.plan.names[number % len(self.plan.names)]]
            try:
                async with (
                    asyncio.timeout(COME_AND_GO_SECONDS),
                    connected(node.port, LITE_06) as it,
                ):
                    await until(lambda at=it: ROOM in at.broadcasts)
                    heard = Listening(frames=FRAMES, size=SIZE)
                    it.subscribe(ROOM, TRACK, heard, Demand(max_age=10.0))
                    await until(lambda one=heard: one.whole)
            except (MoqError, OSError, TimeoutError):
                continue  # that relay is away, or nothing is sent: whoever comes sees that

    def _dialler(self, port: int) -> str:
        running = [node for node in self.cluster.nodes.values() if node.running]
        return holder(port, {node.pid: node.name for node in running})


class Watcher:
    """Somebody who watches the room, first in one region, and elsewhere when asked to go."""

    def __init__(self, world: World, name: str) -> None:
        self.heard = Listening(frames=FRAMES, size=SIZE)
        self.origin = make_origin(kept=10.0, linger=10.0)
        place = world.plan.names.index(name)
        self.mover = Mover(world.ports, place, LITE_06, self.origin, Role.SUBSCRIBER, self._moved)

    def _moved(self, _before: Stay) -> Callable[[], bool]:
        count = len(self.heard.whole) + 2
        return lambda: len(self.heard.whole) >= count

    async def begin(self) -> None:
        """Watch, once the room is there."""
        await until(lambda: ROOM in self.origin.broadcasts)
        self.origin.subscribe(ROOM, TRACK, self.heard, Demand(max_age=10.0))
        await until(lambda: self.heard.whole)


def _no_longer_read(before: Stay) -> Callable[[], bool]:
    session = before.session
    return lambda: session is None or session.over or not session.publisher.viewing


@asynccontextmanager
async def world_of(directory: Path, plan: Plan, *, wired: bool = True) -> AsyncIterator[World]:
    """A world in full swing, and gone afterwards."""
    failure: BaseException | None = None
    with ExitStack() as stack:
        store = running(redis_binary(), directory / "redis", aof=True)
        redis = stack.enter_context(store)
        async with asyncio.TaskGroup() as tasks:
            world = World(directory, plan, redis, wired=wired)
            stack.callback(world.cluster.kill)
            going: list[asyncio.Task[None]] = []
            try:
                await world.begin()
                going = await world.live(tasks)
                yield world
            except BaseException as error:  # a task group would wrap it
                failure = error
                if not isinstance(error, (asyncio.CancelledError, KeyboardInterrupt)):
                    print(world.cluster.log(), file=sys.stderr)
            for task in going:
                task.cancel()
            await world.stack.aclose()
    if failure is not None:
        raise failure
