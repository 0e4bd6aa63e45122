"""A cluster of real relays over a real Redis, its publishers and viewers, and who judges it.

Four nodes: two roots, one node through them, and one that speaks with Redis itself. Every node has
publishers that come and go; one broadcast has media, and is watched at every node.
"""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bench.cluster.beacon import Beacon
from tests.chaos.audience import Audience
from tests.chaos.crowd import Churn, Crowd
from tests.chaos.front import Front, holder
from tests.chaos.journal import Journal
from tests.chaos.oracle import Judged, Sampler, differences, pairs
from tests.chaos.scenario import SLACK_SECONDS, Bounds, Outcome, Scenario
from tests.chaos.store import MakeStore, Store
from tests.chaos.wire import Wire
from tests.support import sentinel
from tests.support.cluster_process import ClusterProcess, NodeProcess, eventually
from tests.support.redis_server import redis_binary

ROOTS = ("a", "b")
THROUGH = "c"
DIRECT = "d"
FRESH = "fresh"
NODES = (*ROOTS, THROUGH, DIRECT)
PULSE = "live/pulse"
BROADCASTS = 25
"""Of each node, at least."""
CHANGES_PER_SECOND = 20
BACKOFF = 1.0
"""The longest that a node waits before it tries Redis again."""
FRESH_SECONDS = 5.0
ALL = "/origins?limit=10000"
SETTLE_SECONDS = 6.0


class World:
    """All that a scenario may break, and what it may ask."""

    def __init__(
        self,
        directory: Path,
        scenario: Scenario,
        store: list[Store],
        sentinels: list[sentinel.Sentinel],
        seed: int,
        lease: float,
    ) -> None:
        self.directory = directory
        self.servers = store
        self.sentinels = sentinels
        """Whom the nodes ask which server is the primary, where there are any."""
        self.chance = random.Random(seed)
        self.seed = seed
        self.lease = lease
        self.renew = lease / 4
        self.journal = Journal()
        self.judged = Judged()
        times = f"lease = {lease}\nrenew = {self.renew}\nlinger = 1\n"
        names = [*NODES, FRESH]
        self.cluster = ClusterProcess(directory, names, times=times, fronted=scenario.wired)
        self.wires: dict[str, Wire] = {}
        """A node's way to Redis, where it has one of its own."""
        self.fronts: dict[str, Front] = {}
        """What other nodes reach a node through."""
        self.stack = AsyncExitStack()
        self._scenario = scenario
        self._add_nodes()
        # One publisher with a session at every node: what two of them have is one broadcast.
        hop = 1 + self.chance.getrandbits(61)
        self.crowds = {name: Crowd(self[name], self.journal, hop) for name in NODES}
        self.samplers = {name: Sampler(self[name], self.journal, self.judged) for name in NODES}
        self.audience = Audience(PULSE)
        self.beacon = Beacon()
        self.churn = Churn(list(self.crowds.values()), self.chance, BROADCASTS)
        self.began = 0.0
        self._reaped = 0.0

    def __getitem__(self, name: str) -> NodeProcess:
        return self.cluster[name]

    @property
    def redis(self) -> Store:
        """The server that all nodes use at first."""
        return self.servers[0]

    @property
    def living(self) -> list[NodeProcess]:
        """Nodes that run and are judged."""
        return [self[name] for name in NODES if self.samplers[name].looks]

    def bounds(self, outage: float = 0.0, **more: Any) -> Bounds:
        """What every fault is held to, when the registry was away for ``outage`` seconds."""
        late = outage + BACKOFF + 2 * self.renew + SLACK_SECONDS
        usual: dict[str, Any] = {
            "lag": late,
            "ghost": late,
            "dead_ghost": max(self.lease + 1.0, late),
            "tolerance": outage + 1.0,
        }
        return Bounds(**(usual | more))

    # Faults.

    async def kill(self, name: str) -> None:
        """kill -9 of a node; its publishers and viewers are without it from now on."""
        self.samplers[name].looks = False
        self._remember_reaped(name)
        await self.audience.leave(name)
        await asyncio.to_thread(self[name].kill)
        await self.crowds[name].disconnect()

    async def start(self, name: str) -> None:
        """Start it again; its publishers and a viewer come back."""
        await asyncio.to_thread(self[name].start)
        self.samplers[name].returns(anew=True)
        await self.crowds[name].connect()
        await self.audience.join(name, self[name].port)

    async def stop(self, name: str) -> None:
        """End it as an operator does."""
        self.samplers[name].looks = False
        self._remember_reaped(name)
        await self.audience.leave(name)
        # It takes leave of the registry before it ends.
        self.crowds[name].rests = True
        self.journal.lost(self[name].url)
        await asyncio.to_thread(self[name].stop)
        await self.crowds[name].disconnect()
        self.crowds[name].rests = False

    async def rest(self, name: str) -> None:
        """The publishers of a node change nothing by chance, and it has heard all they did."""
        self.crowds[name].rests = True
        await self.until(lambda: self._heard(name), f"{name} has heard its publishers")

    async def freeze(self, name: str) -> None:
        """SIGSTOP of a node; its publishers rest, and its viewer is not judged any more."""
        await self.rest(name)
        self.samplers[name].looks = False
        await self.audience.leave(name)
        self[name].send(signal.SIGSTOP)

    async def thaw(self, name: str) -> None:
        """SIGCONT; its publishers go on, and a viewer comes back."""
        self[name].send(signal.SIGCONT)
        await eventually(lambda: self[name].get("/health"), f"{name} answers again")
        self.samplers[name].returns(anew=False)
        self.crowds[name].rests = False
        await self.audience.join(name, self[name].port)

    def lead(self, name: str, server: Store) -> None:
        """From now on a new connection of this node reaches that server."""
        if name in self.wires:
            self.wires[name].target = server.socket
            return
        assert isinstance(server.socket, Path), "no path leads to a port"
        link = self.directory / f"{name}.new"
        link.symlink_to(server.socket)
        link.rename(self.directory / f"{name}.sock")

    def lead_all(self, server: Store) -> None:
        """The same for all nodes."""
        for name in (*ROOTS, DIRECT, FRESH):
            self.lead(name, server)

    def cut_dials(self, dialler: str, *nodes: str, directions: Iterable[str] = ()) -> None:
        """What ``dialler`` dialled at these nodes carries nothing ``there`` or ``back``."""
        for name in nodes:
            self.fronts[name].cut(dialler, *directions)

    def cut_off(self, name: str) -> None:
        """Nothing passes between the node and any other, whoever dialled."""
        for other in self.cluster.nodes.keys() - {name}:
            self.cut_dials(name, other)
            self.cut_dials(other, name)

    def mend(self) -> None:
        """All ways are as they were."""
        for wire in self.wires.values():
            wire.delay, wire.jitter, wire.loses = 0.0, 0.0, None
            wire.mend()
        for front in self.fronts.values():
            front.delay, front.jitter = 0.0, 0.0
            front.mend()

    def give_up(self, name: str) -> None:
        """The node lives, and will be taken for dead: its table and changes count no more."""
        self.samplers[name].looks = False
        self.crowds[name].rests = True
        self.journal.lost(self[name].url)

    async def take_back(self, name: str) -> float:
        """Mend all ways, so that it is in touch again with all it had; how long that took."""
        self.journal.returned(self[name].url)
        self.crowds[name].rests = False
        self.mend()
        node = self[name]
        took = await self.until(lambda: not isolated(node), f"{name} is in touch again")
        # Before that it has what it had; then it reads that it was taken for dead, and claims anew.
        self.samplers[name].returns(anew=False)
        return took

    # What nodes say.

    async def until(self, condition: Callable[[], object], what: str, seconds: float = 20) -> float:
        """Ask until it holds; how long it took."""
        return await eventually(condition, what, seconds)

    async def members(self, count: int = len(NODES), seconds: float = 20) -> float:
        """Wait until every judged node knows so many members as up."""
        return await self.until(
            lambda: all(list(node.members().values()).count("up") == count for node in self.living),
            f"{count} members",
            seconds,
        )

    def _heard(self, name: str) -> bool:
        """Whether all that a node's publishers did is in its table."""
        node = self[name]
        said = {pair for pair in self.journal.truth() if pair[1] == node.url}
        return said == {pair for pair in pairs(node.facts(ALL)) if pair[1] == node.url}

    def reaped(self) -> float:
        """Members that the running nodes, and those that ran, took for dead."""
        running = [node for node in self.cluster.nodes.values() if node.running]
        return self._reaped + sum(
            node.counter("moq_cluster_reaped_nodes_total") for node in running
        )

    def _dialler(self, port: int) -> str:
        """The node that dials from there."""
        running = [node for node in self.cluster.nodes.values() if node.running]
        return holder(port, {node.pid: node.name for node in running})

    def _remember_reaped(self, name: str) -> None:
        self._reaped += self[name].counter("moq_cluster_reaped_nodes_total")

    # Its life.

    def _add_nodes(self) -> None:
        timeout = self.renew
        for name in (*ROOTS, DIRECT, FRESH):
            url = f"unix://{self.directory}/{name}.sock"
            if self.sentinels:
                url = sentinel.url(self.sentinels)
            redis = f'[redis]\nurl = "{url}"\ntimeout = {timeout}'
            if name in ROOTS:
                self.cluster.add(name, rest=redis)
                continue
            token = f'token = "{self.directory}/{name}.jwt"'
            root = f'root = "{self.cluster.address(ROOTS[0])}"'
            self.cluster.add(name, cluster=f"{root}\n{token}", rest=redis)
        through = self.cluster.add_through(THROUGH, *ROOTS)
        through.toml = through.toml.replace("timeout = 0.5", f"timeout = {timeout}")

    async def begin(self) -> None:
        """Everything runs, and all know everything."""
        if self._scenario.wired or not isinstance(self.redis.socket, Path):
            for name in (*ROOTS, DIRECT, FRESH):
                wire = Wire(self.directory / f"{name}.sock", self.redis.socket, self.chance)
                self.wires[name] = await self.stack.enter_async_context(wire)
        if self._scenario.wired:
            for name in (*NODES, FRESH):
                node = self[name]
                front = Front(node.advertised, node.port, self._dialler, self.chance)
                self.fronts[name] = await self.stack.enter_async_context(front)
        self.lead_all(self.redis)
        await self.cluster.start(*NODES)
        for name in NODES:
            await self.crowds[name].connect()
        self.churn.fill()
        await self.stack.enter_async_context(self.beacon.shining())
        self.crowds[THROUGH].announce(PULSE, self.beacon)
        for name in NODES:
            await self.audience.join(name, self[name].port)
        await self.agree(SETTLE_SECONDS)

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on for as long as it lives."""
        samplers = [sampler.run() for sampler in self.samplers.values()]
        return [*samplers, self.churn.run(CHANGES_PER_SECOND)]

    async def swing(self) -> None:
        """Publishers come and go, and from now on all is judged."""
        self.churn.goes_on = True
        # Nobody is reaped before a lease of calm, so a death would prove nothing yet.
        await asyncio.sleep(self.lease)
        self.forget_figures()

    def forget_figures(self) -> None:
        """Judge from now on."""
        self.judged = Judged()
        for sampler in self.samplers.values():
            sampler.judged = self.judged
        self.audience.forget_figures()
        self._reaped = 0.0
        self._reaped = -self.reaped()
        self.began = time.monotonic()

    async def agree(self, seconds: float, tolerance: float | None = 1.0) -> float:
        """Wait until every judged node's table is what the publishers' logs say."""
        begun = time.monotonic()
        found = ["never asked"]

        def same() -> bool:
            found[:] = differences(self.living, self.journal, tolerance)
            return not found

        try:
            await eventually(same, "all nodes agree with all publishers", seconds)
        except AssertionError:
            raise AssertionError(
                f"after {seconds:g} s nodes and publishers disagree:\n" + "\n".join(found[:12])
            ) from None
        return time.monotonic() - begun

    async def settle(self, bounds: Bounds) -> Outcome:
        """Let the churn end, and hold the world to what the fault may have cost."""
        await asyncio.sleep(SLACK_SECONDS)
        self.churn.goes_on = False
        outcome = Outcome(self._scenario.name, self._scenario.title, self.seed, self.lease, {})
        try:
            healed = await self.agree(SETTLE_SECONDS, bounds.tolerance)
            await self.members()
            heard = await self.audience.caught_up(self.beacon)
            fresh = await self._fresh(bounds.tolerance)
        except AssertionError as error:
            outcome.problems.append(str(error))
            healed = fresh = heard = -1.0
        judged = self.judged
        outcome.figures = {
            "vanished": (len(judged.vanished), 0),
            "invented": (len(judged.invented), 0),
            "lag": (judged.longest_lag, bounds.lag),
            "ghost": (judged.longest_ghost, bounds.ghost),
            "ghost of the dead": (judged.longest_dead_ghost, bounds.dead_ghost),
            "reaped": (self.reaped(), bounds.reaped),
            "groups missed": (self.audience.missed, bounds.missed),
            "viewers rejoined": (self.audience.rejoined, bounds.rejoined),
            "media gap": (self.audience.longest_gap, bounds.gap),
            "settled": (healed, None),
            "fresh node exact": (fresh, FRESH_SECONDS),
            **bounds.more,
        }
        outcome.seconds = time.monotonic() - self.began
        for name, (value, most) in outcome.figures.items():
            if most is not None and value > most:
                outcome.problems.append(f"{name}: {value:g}, allowed {most:g}")
        outcome.problems += [*judged.vanished[:5], *judged.invented[:5]]
        if heard == 0:
            outcome.problems.append("no viewer was left to be judged")
        if not judged.samples:
            outcome.problems.append("nobody sampled")
        self.churn.goes_on = True
        return outcome

    async def _fresh(self, tolerance: float | None) -> float:
        """Start a node that was never there; how long until its table is exact."""
        node = self[FRESH]
        begun = time.monotonic()
        await asyncio.to_thread(node.start)
        try:
            wanted = self.journal.truth().keys()
            await eventually(
                lambda: pairs(node.facts(ALL)) == wanted,
                "the table of a node started fresh",
            )
            return time.monotonic() - begun
        finally:
            await asyncio.to_thread(node.stop)
            await self.members()

    async def end(self, *, look: bool) -> None:
        """Everything ends; logs are looked at unless the fault is one that shows there."""
        await self.audience.end()
        for crowd in self.crowds.values():
            await crowd.disconnect()
        await self.stack.aclose()
        if look and not self._scenario.noisy:
            await asyncio.to_thread(self.cluster.stop)


def isolated(node: NodeProcess) -> bool:
    """Whether it makes no promises to others, as it says itself."""
    return node.counter("moq_cluster_isolated") > 0


@asynccontextmanager
async def world_of(
    directory: Path, scenario: Scenario, make_store: MakeStore, seed: int, lease: float
) -> AsyncIterator[World]:
    """A world in full swing, and gone afterwards."""
    failure: BaseException | None = None
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                make_store(directory / f"redis{number}", scenario.servers > 1, scenario.aof)
            )
            for number in range(scenario.servers)
        ]
        sentinels: list[sentinel.Sentinel] = []
        if scenario.sentinels:
            sentinels = stack.enter_context(sentinel.over(redis_binary(), directory, servers))
        async with asyncio.TaskGroup() as tasks:
            world = World(directory, scenario, servers, sentinels, seed, lease)
            background: list[asyncio.Task[None]] = []
            try:
                await world.begin()
                background += [tasks.create_task(job) for job in world.jobs()]
                await world.swing()
                yield world
            except BaseException as error:  # a task group would wrap it
                failure = error
                print(world.cluster.log())
            for task in background:
                task.cancel()
            try:
                await world.end(look=failure is None)
            except BaseException as error:
                failure = failure or error
            world.cluster.kill()
    if failure is not None:
        raise failure
