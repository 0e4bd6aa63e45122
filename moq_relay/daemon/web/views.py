"""The tables as an operator asks for them: nodes, who has what, and how a path is reached."""

import asyncio
import time
from heapq import nsmallest
from typing import Any

from moq_relay.cluster.placement import Explained
from moq_relay.cluster.table import ClaimView, MemberView
from moq_relay.daemon.cluster import Cluster
from moq_relay.relay.broadcast import Broadcast
from moq_relay.relay.origin import Origin
from moq_relay.relay.path import ancestors, covers
from moq_relay.relay.route import Route

LIMIT = 1000
HIGHEST_LIMIT = 10_000

Facts = dict[str, Any]


class Views:
    """What one node knows of its cluster, or of itself while it stands alone."""

    def __init__(self, origin: Origin, cluster: Cluster | None) -> None:
        self._origin = origin
        self._cluster = cluster

    # Nodes.

    def nodes(self) -> Facts:
        """Every member, by name."""
        cluster = self._cluster
        if cluster is None:
            return {"cluster_version": 0, "self": None, "root": True, "nodes": []}
        rtts = cluster.rtts()
        members = sorted(cluster.registry.members.items())
        return {
            "cluster_version": cluster.registry.version,
            "self": cluster.part.node,
            "root": cluster.part.mode == "root",
            "isolated": cluster.isolated,
            "nodes": [self._member(cluster, view, rtts.get(node)) for node, view in members],
        }

    def _member(self, cluster: Cluster, view: MemberView, rtt: float | None) -> Facts:
        member, table = view.member, cluster.registry.table
        # Ends of leases come with this node's own renewals; of a newcomer none is known yet.
        told = member.node in table.leases.ends
        lease = view.lease_remaining_seconds if told else None
        return {
            "node": member.node,
            "region": member.region,
            "generation": member.generation,
            "state": view.state,
            "lease_remaining_seconds": _rounded(lease),
            "broadcasts": table.holdings(member.node),
            "rtt_seconds": _rounded(rtt, 6),
            "roles": list(member.roles),
            "version": member.version,
        }

    # Who has what.

    async def origins(self, prefix: str = "", limit: int = LIMIT, after: str = "") -> Facts:
        """The first paths under ``prefix``, those after ``after``; ``next`` is where to go on."""
        cluster = self._cluster
        known = list(self._origin.broadcasts) if cluster is None else cluster.registry.table.known()
        # There may be a hundred thousand, and viewers wait for this loop.
        paths = await asyncio.to_thread(_first, known, prefix, limit + 1, after)
        found = [{"path": path, "claims": self._claims(path)} for path in paths[:limit]]
        return {
            "origins": [one for one in found if one["claims"]],
            "next": paths[limit - 1] if len(paths) > limit else None,
        }

    def total(self) -> int:
        """How many paths there are."""
        cluster = self._cluster
        return len(self._origin.broadcasts) if cluster is None else cluster.registry.table.size()

    def _claims(self, path: str) -> list[Facts]:
        cluster = self._cluster
        if cluster is None:
            broadcast = self._origin.broadcasts.get(path)
            routes = [] if broadcast is None else broadcast.routes
            return [self._own_claim(route) for route in routes]
        return [self._claim(cluster, view) for view in cluster.registry.claims(path)]

    def _own_claim(self, route: Route) -> Facts:
        age = self._origin.clock() - route.born
        since = time.time() - age
        return _claim_facts(None, "", None, since, "live")

    def _claim(self, cluster: Cluster, view: ClaimView) -> Facts:
        claim = view.claim
        member = cluster.registry.table.member(claim.node)
        region = "" if member is None else member.region
        return _claim_facts(claim.node, region, claim.generation, claim.since, view.state)

    # How a path is reached.

    def routes(self, path: str) -> Facts:
        """The candidates for the broadcast that covers ``path``, best first, with reasons."""
        if self._cluster is not None:
            explained = self._cluster.discovery.explain(path)
            covering = explained[0].path if explained else None
            routes = [self._explained(self._cluster, one) for one in explained]
            return {"path": path, "broadcast": covering, "routes": routes}
        for covering in ancestors(path):
            if (broadcast := self._origin.broadcasts.get(covering)) is not None:
                routes = self._own_routes(broadcast)
                return {"path": path, "broadcast": covering, "routes": routes}
        return {"path": path, "broadcast": None, "routes": []}

    def _explained(self, cluster: Cluster, one: Explained) -> Facts:
        member = cluster.registry.table.member(one.node)
        generation = None if member is None else member.generation
        claim = _claim_facts(one.node or None, one.region, generation, one.since, one.state)
        return claim | {
            "link": None if one.local else one.link,
            "rtt_seconds": _rounded(one.rtt_seconds, 6),
            "reason": one.reason,
            "in_use": one.in_use,
        }

    def _own_routes(self, broadcast: Broadcast) -> list[Facts]:
        return [
            self._own_claim(route)
            | {
                "link": None,
                "rtt_seconds": None,
                "reason": "newest publisher" if place == 0 else "older publisher",
                "in_use": route is broadcast.active,
            }
            for place, route in enumerate(broadcast.routes)
        ]


def _first(known: list[str], prefix: str, count: int, after: str) -> list[str]:
    """So many of the sorted paths under ``prefix`` from the one behind ``after`` on."""
    return nsmallest(count, (path for path in known if path > after and covers(prefix, path)))


def _claim_facts(
    node: str | None, region: str, generation: int | None, since: float, state: str
) -> Facts:
    return {
        "node": node,
        "region": region,
        "generation": generation,
        "since": since,
        "state": state,
    }


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
