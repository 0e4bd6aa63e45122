"""The first frame on another node by a warm and a cold link, and what each hop adds."""

import asyncio
import itertools
import time
from contextlib import AsyncExitStack

from moq_relay.relay.origin import Origin
from tests.bench.cluster.beacon import Beacon, Viewer
from tests.bench.cluster.figures import Figure, share, spread
from tests.bench.cluster.stage import cluster, insist, publishing, say, soon, viewing
from tests.support.own_client import publish

SAMPLES = 50
NODES = 8
"""Each of the 56 ordered pairs has a link that is cold once."""


async def first_frame(samples: int = SAMPLES) -> list[Figure]:
    """From SUBSCRIBE to the frame; cold: the node has no link to the publisher's node yet."""
    names = ["root", *(f"n{number}" for number in range(1, NODES))]
    async with cluster(*names) as (_, nodes), AsyncExitStack() as stack:
        origins: list[Origin] = []
        for number, node in enumerate(nodes):
            sender = await stack.enter_async_context(publishing(node.port))
            source = Beacon()
            source.write()
            publish(sender, f"on/{number}", source)
            origins.append(await stack.enter_async_context(viewing(node.port)))
        for origin in origins:
            await soon(lambda o=origin: len(o.paths("on")) == NODES, "all is announced")
        pairs = list(itertools.permutations(range(NODES), 2))[:samples]
        dials = sum(node.counter("moq_cluster_link_dials_total") for node in nodes)
        insist(dials == 0, f"{dials:g} links before anybody watches")
        figures = []
        for kind, goal in (("cold", 150.0), ("warm", 30.0)):
            say(f"first-frame: {len(pairs)} {kind}")
            took = [
                await _first(origins[there], f"on/{here}", f"{kind}{there}")
                for here, there in pairs
            ]
            figures += [
                Figure("first-frame", f"{kind} link, median", 1000 * share(took, 50), "ms"),
                Figure(
                    "first-frame", f"{kind} link, p99", 1000 * share(took, 99), "ms", goal,
                    len(took), True,
                ),
            ]  # fmt: skip
            dials = sum(node.counter("moq_cluster_link_dials_total") for node in nodes)
            insist(dials == len(pairs), f"{dials:g} links for {len(pairs)} pairs after {kind}")
        return figures


async def _first(origin: Origin, path: str, track: str) -> float:
    begun = time.monotonic()
    viewer = Viewer(origin, path, track)
    await soon(lambda: viewer.moments, f"a frame of {path}")
    viewer.leave()
    await asyncio.sleep(0.05)
    return viewer.moments[0] - begun


async def hop(seconds: float = 20.0) -> list[Figure]:
    """The same frames at a viewer of the publisher's node and at one of another node."""
    async with cluster("root", "east") as (_, nodes), AsyncExitStack() as stack:
        root, east = nodes
        beacon = await stack.enter_async_context(Beacon().shining(50))
        publish(await stack.enter_async_context(publishing(east.port)), "live", beacon)
        near = Viewer(await stack.enter_async_context(viewing(east.port)), "live")
        far = Viewer(await stack.enter_async_context(viewing(root.port)), "live")
        await soon(lambda: near.moments and far.moments, "both watch")
        say(f"hop: {seconds:g} s")
        await asyncio.sleep(seconds)
        both = sorted(near.arrived.keys() & far.arrived.keys())[25:]
        added = [far.arrived[one] - near.arrived[one] for one in both]
        direct = [near.arrived[one] - near.sent[one] for one in both]
        for viewer in (near, far):
            viewer.leave()
            insist(not viewer.missed, f"missed {viewer.missed[:5]}")
        return [
            *spread("hop", "publisher to viewer through one node", direct, None, None),
            *spread("hop", "added by the second node", added, 2, None),
        ]
