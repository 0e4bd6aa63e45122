"""A cluster that there is not: as many nodes and broadcasts as wanted, behind the real page."""

import random
import time
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry

from moq_relay.daemon.web.hosts import Hosts
from moq_relay.daemon.web.internal import InternalHttp, Readiness
from moq_relay.daemon.web.live import Live
from moq_relay.relay.path import covers

REGIONS = {
    "us-central": 0.0004,
    "us-east": 0.031,
    "us-west": 0.042,
    "eu-west": 0.104,
    "eu-north": 0.121,
    "eu-south": 0.127,
    "asia-se": 0.213,
    "asia-ne": 0.158,
    "asia-s": 0.241,
    "sa-east": 0.144,
    "af-south": 0.262,
    "au-east": 0.187,
}
"""How far each is from the first, in seconds."""


class MadeUp:
    """What the page of one node shows, in the place of ``Views`` and ``Topology``."""

    def __init__(self, nodes=3, paths=None, *, seed=1, clock=time.time):
        chance = random.Random(seed)
        regions = list(REGIONS)[: min(nodes, len(REGIONS))]
        self.clock = clock
        self.began = clock()
        self.looks = 0
        self.isolated = None
        self.members = []
        for number in range(nodes):
            region = regions[number % len(regions)]
            name = f"https://relay-{number // len(regions) + 1}.{region}.example.com:4443/"
            state = "up"
            if nodes > 20 and number % 17 == 9:
                state = ("draining", "stale", "expired")[number % 3]
            rtt = REGIONS[region] * chance.uniform(0.95, 1.15)
            self.members.append(
                {
                    "node": name,
                    "region": region,
                    "generation": number + 1,
                    "state": state,
                    "lease_remaining_seconds": 6.2,
                    "broadcasts": 0,
                    "rtt_seconds": round(rtt, 6) if number and number < 2 * len(regions) else None,
                    "roles": ["root"] if number == 0 else [],
                    "version": "0.1.0",
                }
            )
        if paths is None:
            paths = [f"room/{number:03}/camera" for number in range(4 * nodes)]
        self.table = {}
        for number, path in enumerate(paths):
            owners = [self.members[(number * 7 + 1) % nodes]]
            if number % 5 == 4:
                owners.append(self.members[(number * 3 + 2) % nodes])
            for owner in owners:
                owner["broadcasts"] += 1
            since = self.began - 60 * number - 30
            self.table[path] = {owner["node"]: (owner, since) for owner in owners}
        self.links = [self._link(number, chance) for number in range(1, min(nodes, 25))]
        self.events = []
        kinds = ("broadcast", "link", "node", "failover")
        for number in range(min(40, 4 * nodes)):
            kind, member = kinds[number % 4], chance.choice(self.members)["node"]
            path = chance.choice(list(self.table) or ["-"])
            about = path if kind in ("broadcast", "failover") else member
            said = {
                "broadcast": f"at {member}",
                "link": "link up",
                "node": "joined",
                "failover": f"{member} was silent",
            }[kind]
            at = self.began - 7 * number
            self.events.append({"at": at, "kind": kind, "about": about, "said": said})

    def _link(self, number, chance):
        member = self.members[number]
        state = ("up", "up", "up", "idle", "suspect", "down")[number % 6 if number > 2 else 0]
        ways = {"up": ["link", "probe"], "suspect": ["link"]}.get(state, ["probe"])
        return {
            "node": member["node"],
            "region": member["region"],
            "state": state,
            "ways": [] if state == "down" else ways,
            "rtt_seconds": member["rtt_seconds"],
            "tracks": chance.randrange(1, 40) if state in ("up", "suspect") else 0,
            "bytes_in": chance.randrange(100_000, 4_000_000) if state == "up" else 300,
            "bytes_out": chance.randrange(10_000, 100_000) if state == "up" else 250,
        }

    # What the page asks.

    async def look(self):
        self.looks += 1
        now = self.clock()
        spent = now - self.began + 1
        links = [
            link | {name: int(link[name] * spent) for name in ("bytes_in", "bytes_out")}
            for link in self.links
        ]
        listed = await self.origins(limit=100)
        return {
            "at": now,
            "version": "0.1.0",
            "mode": "root",
            "region": self.members[0]["region"],
            "sessions": 212,
            "viewers": 640,
            "bytes_in": int(9_400_000 * spent),
            "bytes_out": int(74_000_000 * spent),
            **self.nodes(),
            "links": links,
            "broadcasts": {
                "total": len(self.table),
                "origins": listed["origins"],
                "more": listed["next"] is not None,
            },
            "events": self.events,
        }

    def nodes(self):
        return {
            "cluster_version": len(self.members),
            "self": self.members[0]["node"],
            "root": True,
            "isolated": self.isolated,
            "nodes": sorted(self.members, key=lambda member: member["node"]),
        }

    async def origins(self, prefix="", limit=1000, after=""):
        paths = [path for path in sorted(self.table) if path > after and covers(prefix, path)]
        found = [
            {"path": path, "claims": [self._claim(*one) for one in self.table[path].values()]}
            for path in paths[:limit]
        ]
        return {"origins": found, "next": paths[limit - 1] if len(paths) > limit else None}

    def routes(self, path):
        owners = list(self.table.get(path, {}).values())
        states = {link["node"]: link["state"] for link in self.links}
        owners.sort(key=lambda owner: states.get(owner[0]["node"]) in ("down", "suspect"))
        routes = []
        for place, (member, since) in enumerate(owners):
            reason = "the newest publisher" if place == 0 else "an older publisher"
            here = member is self.members[0]
            routes.append(
                self._claim(member, since)
                | {
                    "link": None if here else states.get(member["node"], "idle"),
                    "rtt_seconds": None if here else member["rtt_seconds"],
                    "reason": reason if len(owners) > 1 else "the only claim",
                    "in_use": place == 0,
                }
            )
        return {"path": path, "broadcast": path if owners else None, "routes": routes}

    def _claim(self, member, since):
        return {
            "node": member["node"],
            "region": member["region"],
            "generation": member["generation"],
            "since": since,
            "state": "draining" if member["state"] == "draining" else "live",
        }


@asynccontextmanager
async def served(made, *, hosts=(), **options):
    """The internal HTTP of a node that sees this; yields its address and its ``Live``."""
    live = Live(made.look, **options)
    internal = InternalHttp(CollectorRegistry(), lambda: Readiness([]), made, live, Hosts(hosts))
    runner = web.AppRunner(
        internal.application(), access_log=None, handler_cancellation=True, shutdown_timeout=1.0
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", live
    finally:
        await runner.cleanup()
