"""What viewers notice when a publisher moves, a node dies or the root dies, and for how long."""

import asyncio
import signal
import sys
import time
from contextlib import AsyncExitStack

from moq_relay.relay.origin import Origin
from tests.bench.cluster.beacon import Beacon, Viewer
from tests.bench.cluster.figures import Figure
from tests.bench.cluster.stage import LEASE_SECONDS, cluster, insist, publishing, say, soon, viewing
from tests.bench.peers import ROOT
from tests.support.cluster_process import NodeProcess, eventually
from tests.support.own_client import make_origin, publish

MOVES = 5
SETTLED_SECONDS = 2.0
"""After which a node has gone over to the way that it likes best."""
LATE_SECONDS = 45.0
"""An old session that says nothing is given up before."""
WATCHED_AFTER_SECONDS = 4.0
"""How long a viewer is looked at after a death: longer than any gap that would meet its goal."""


async def move(runs: int = MOVES) -> list[Figure]:
    """A publisher freezes, its session half-open, and comes back at another node."""
    async with cluster("root", "east", "west") as (_, nodes), AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(viewing(node.port)) for node in nodes]
        took, late, joins = [], 0.0, {0}
        for number in range(runs):
            path = f"room/{number}"
            old, new = nodes[number % 3], nodes[(number + 1) % 3]
            say(f"move: {number + 1} of {runs}, from {old} to {new}")
            frozen = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.bench.cluster.publisher"),
                *("--port", str(old.port), "--path", path),
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            try:
                viewers = [Viewer(origin, path) for origin in origins]
                await soon(lambda v=viewers: all(1 in one.editions for one in v), "all watch")
                frozen.send_signal(signal.SIGSTOP)
                begun = time.monotonic()
                async with Beacon(2).shining() as beacon, publishing(new.port) as origin:
                    publish(origin, path, beacon)
                    await soon(lambda v=viewers: all(2 in one.editions for one in v), "new one")
                    took += [viewer.editions[2] - begun for viewer in viewers]
                    watched = time.monotonic()
                    if number == runs - 1:
                        say("move: until the old session is over")
                        await eventually(
                            lambda p=path, n=new: [o.table()[p] for o in nodes] == 3 * [{n.url}],
                            "the old claim is gone",
                            LATE_SECONDS,
                        )
                    await asyncio.sleep(1.0)
                    gaps = [one.longest_gap(watched, time.monotonic()) for one in viewers]
                    late = max(late, *gaps)
                    joins = {one.joins for one in viewers}
                for viewer in viewers:
                    viewer.leave()
            finally:
                if frozen.returncode is None:
                    frozen.kill()
                await frozen.wait()
        return [
            Figure("move", "watched through the new node on every node, longest",
                   max(took), "s", 0.5, len(took), True),
            Figure("move", "longest gap while the old session is cleaned up", late, "s"),
            Figure("move", "most times that a viewer joined, old and new", max(joins), ""),
        ]  # fmt: skip


async def failover(runs: int) -> list[Figure]:
    """kill -9 of the node that serves a viewer, while another node has the broadcast too."""
    path = "room/alice"
    async with cluster("root", "b", "c") as (made, nodes), AsyncExitStack() as stack:
        root, *holders = nodes
        beacon = await stack.enter_async_context(Beacon().shining())
        origin = make_origin(linger=0.0)
        publish(origin, path, beacon)
        sessions = {node: await _session(node, origin) for node in holders}
        viewer = Viewer(await stack.enter_async_context(viewing(root.port)), path)
        gaps = []
        try:
            for number in range(runs):
                await eventually(
                    lambda: root.table() == {path: {node.url for node in holders}}, "both have it"
                )
                await soon(lambda: viewer.moments, "it is watched")
                victim = await _serving(root, path, holders)
                begun = time.monotonic()
                victim.kill()
                await asyncio.sleep(WATCHED_AFTER_SECONDS)
                gaps.append(viewer.longest_gap(begun - 0.1, time.monotonic()))
                say(f"failover: {number + 1} of {runs}, {victim}: {gaps[-1]:.2f} s")
                await sessions[victim].aclose()
                await made.start(victim.name)
                sessions[victim] = await _session(victim, origin)
        finally:
            for session in sessions.values():
                await session.aclose()
        viewer.leave()
        return [
            Figure("failover", "longest gap of a viewer", max(gaps), "s", 3.0, len(gaps), True),
            Figure("failover", "median gap", sorted(gaps)[len(gaps) // 2], "s", None, len(gaps)),
            Figure("failover", "groups missed by the viewer", len(viewer.missed), ""),
            Figure("failover", "times the viewer had to join again", viewer.joins - 1, ""),
        ]


async def _session(node: NodeProcess, origin: Origin) -> AsyncExitStack:
    stack = AsyncExitStack()
    await stack.enter_async_context(publishing(node.port, origin))
    return stack


async def _serving(node: NodeProcess, path: str, holders: list[NodeProcess]) -> NodeProcess:
    """The holder that ``node`` takes the broadcast from."""
    found: list[NodeProcess] = []

    def look() -> bool:
        routes = node.facts(f"/routes/{path}")["routes"]
        used = {route["node"] for route in routes if route["in_use"]}
        found[:] = [holder for holder in holders if holder.url in used]
        return bool(found)

    await asyncio.sleep(SETTLED_SECONDS)
    await eventually(look, "a route is in use")
    return found[0]


async def ghosts() -> list[Figure]:
    """kill -9 of a node: until its broadcasts are gone from every other node, and from viewers."""
    async with cluster("root", "b", "c") as (_, nodes), AsyncExitStack() as stack:
        root, victim, other = nodes
        origin = await stack.enter_async_context(publishing(victim.port))
        paths = {f"ghost/{number}" for number in range(20)}
        for path in paths:
            publish(origin, path, Beacon())
        at = [await stack.enter_async_context(viewing(node.port)) for node in (root, other)]
        for one in at:
            await soon(lambda o=one: set(o.paths()) == paths, "all are announced")
        for node in (root, other):
            await eventually(lambda n=node: n.table().keys() == paths, f"{node} knows them")
        say("ghosts: kill")
        victim.kill()
        begun = time.monotonic()
        for node in (root, other):
            await eventually(lambda n=node: not n.table(), f"gone from {node}")
        took = time.monotonic() - begun
        for one in at:
            await soon(lambda o=one: not o.paths(), "gone from its viewers", 10)
        seen = time.monotonic() - begun
        insist(victim.url not in root.members(), "the dead node is a member")
        return [
            Figure("ghosts", "gone from every table", took, "s", LEASE_SECONDS + 1),
            Figure("ghosts", "gone from every viewer", seen, "s", LEASE_SECONDS + 1),
        ]


async def root_death() -> list[Figure]:
    """kill -9 of the root under traffic; it is started again 0.2 s later."""
    async with cluster("root", "east", "west") as (made, nodes), AsyncExitStack() as stack:
        root, east, west = nodes
        beacon = await stack.enter_async_context(Beacon().shining())
        publish(await stack.enter_async_context(publishing(east.port)), "live", beacon)
        viewers = [
            Viewer(await stack.enter_async_context(viewing(node.port)), "live")
            for node in (east, west)
        ]
        await soon(lambda: all(viewer.moments for viewer in viewers), "both watch")
        await asyncio.sleep(1.0)
        links = "moq_cluster_link_dials_total"
        before = [node.counter(links) for node in (east, west)]
        say("root: kill")
        root.kill()
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        starting = asyncio.create_task(asyncio.to_thread(root.start))
        await eventually(lambda: root.table() == {"live": {east.url}}, "its table is complete")
        took = time.monotonic() - begun
        await starting
        await made.complete()
        await asyncio.sleep(2.0)
        after = [node.counter(links) for node in (east, west)]
        sent = beacon.sequence
        await soon(lambda: all(max(viewer.arrived) >= sent for viewer in viewers), "the last")
        for viewer in viewers:
            viewer.leave()
        missed = sum(len(viewer.missed) for viewer in viewers)
        insist(not missed, f"viewers missed {missed} groups")
        insist(before == after, f"links were dialled: {before} before, {after} after")
        return [
            Figure("root", "groups missed by any viewer", missed, "", 0, sent),
            Figure("root", "viewers that had to join again",
                   sum(viewer.joins - 1 for viewer in viewers), "", 0, len(viewers)),
            Figure("root", "links dialled by the other nodes", sum(after) - sum(before), "", 0),
            Figure("root", "its table complete after exec", took, "s", 4.0),
        ]  # fmt: skip
