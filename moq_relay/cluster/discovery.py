"""The registry's table as routes: what other nodes claim is reached here, in the best order."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from moq_relay.cluster.failovers import Failovers
from moq_relay.cluster.orphans import Orphans
from moq_relay.cluster.peerlink import PeerLink
from moq_relay.cluster.peers import Links
from moq_relay.cluster.placement import (
    Candidate,
    ClaimState,
    Explained,
    LinkView,
    Placed,
    place,
    reachable,
    sound,
)
from moq_relay.cluster.records import Member
from moq_relay.cluster.regions import Regions
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.resolver import Resolver
from moq_relay.cluster.table import ClaimView
from moq_relay.errors import RequestError, SessionClosed, Unroutable
from moq_relay.relay.broadcast import Broadcast
from moq_relay.relay.origin import Origin
from moq_relay.relay.path import ancestors
from moq_relay.relay.route import Route, prefer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Fault:
    """What an owner said of a claim of its own, which lasts until that claim changes."""

    state: ClaimState
    claim: tuple[int, int]
    """Generation and moment of the claim."""


class Discovery:
    """Follows the registry and the links, and keeps the origin's remote routes as they say."""

    def __init__(
        self,
        origin: Origin,
        registry: Registry,
        *,
        region: str = "",
        failovers: Failovers | None = None,
    ) -> None:
        self._links: Links | None = None
        self._origin = origin
        self._registry = registry
        self._region = region
        self._routed: dict[str, dict[str, Route]] = {}
        """By path and node: the routes that the origin has from us."""
        self._by_node: dict[str, dict[str, None]] = {}
        self._members: dict[str, Member] = {}
        """As last heard; those that are gone too, while there is a link to them."""
        self._faults: dict[str, dict[str, _Fault]] = {}
        """By path and node."""
        self._failovers = failovers or Failovers(origin, Regions(region))
        self._orphans = Orphans(registry)
        self.resolver = Resolver(registry)
        """Of paths that nobody is known to have."""

    def start(self, links: Links) -> None:
        """Route over ``links`` what is claimed now, and from now on."""
        self._links = links
        self._origin.on_appeared = self.resolver.appeared
        self._registry.watch(self)
        self._members = {node: view.member for node, view in self._registry.members.items()}
        for path in tuple(self._registry.paths()):
            self.claims_changed(path)

    def stop(self) -> None:
        """Follow nothing more; the routes stay."""
        self._origin.on_appeared = lambda _path: None
        self._registry.unwatch(self)

    @property
    def links(self) -> Links:
        """What it routes over; only once started."""
        assert self._links is not None, "not started"
        return self._links

    # What changes.

    def claims_changed(self, path: str) -> None:
        """The registry has other claims for ``path`` than before."""
        self._route(path)

    def members_changed(self, node: str) -> None:
        """A member came or went; of what that means for its claims we are told one by one."""
        for path in self._orphans.of(node):
            self._route(path)
        view, before = self._registry.members.get(node), self._members.get(node)
        link = self.links.known(node)
        if view is not None:
            self._members[node] = view.member
            if link is not None and before and before.instance != view.member.instance:
                link.redial()
        elif link is None:
            self._members.pop(node, None)
        else:
            self._bury(link)

    def link_changed(self, node: str) -> None:
        """The way to ``node`` is another: its routes may have another place."""
        for path in tuple(self._by_node.get(node, ())):
            self._route(path)
        if (link := self.links.known(node)) is not None:
            self._bury(link)

    def _bury(self, link: PeerLink) -> None:
        """A node that neither answers nor is a member is dead: its viewers are told."""
        if link.state == "suspect" and link.node not in self._registry.members:
            link.redial()

    # What links want to know.

    def wanted(self, node: str) -> bool:
        """Whether viewers would be served over the link to ``node`` if only it were up."""
        for path in self._by_node.get(node, ()):
            route, broadcast = self._routed[path][node], self._origin.broadcasts.get(path)
            if broadcast is None or broadcast.active is route or not broadcast.read:
                continue
            faults = self._faults.get(path, {})
            if node not in faults and _wins(broadcast, replace(route, up=True)):
                return True
        return False

    def routed(self, path: str, node: str) -> bool:
        """Whether ``node`` still claims what ``path`` belongs to."""
        return any(node in self._routed.get(covering, {}) for covering in ancestors(path))

    def refused(self, path: str, node: str, error: RequestError) -> bool:
        """``node`` ended a track of ``path``. True: its viewers stay, and it is asked for again.

        That it does not have it beats the table: the claim is skipped until it changes. If it lost
        the publisher, others are preferred, and where there are none its viewers wait.
        """
        covering = next((p for p in ancestors(path) if node in self._routed.get(p, {})), None)
        states: dict[type[RequestError], ClaimState] = {
            Unroutable: "denied",
            SessionClosed: "lost",
        }
        state = states.get(type(error))
        if covering is None or state is None:
            return False
        view = next((v for v in self._registry.claims(covering) if v.claim.node == node), None)
        if view is None and not self._orphans.has(covering, node):
            return False
        if view is None:
            self._remove(covering, node)
            return self._has_other(covering, node)
        fault = _Fault(state, _moment(view))
        faults = self._faults.setdefault(covering, {})
        if faults.get(node) != fault:
            logger.warning("claim %s by its owner path=%s node=%s", state, covering, node)
            faults[node] = fault
            self._route(covering)
        return state == "lost" or self._has_other(covering, node)

    def is_lost(self, path: str, node: str) -> bool:
        """Whether ``node`` said that it has lost the publisher of ``path``."""
        for covering in ancestors(path):
            fault = self._faults.get(covering, {}).get(node)
            if fault is not None:
                return fault.state == "lost"
        return False

    # What is asked.

    async def resolve(self, path: str) -> None:
        """Return once a broadcast covers ``path``, or when it is clear that none will soon."""
        await self.resolver.resolve(path)

    def explain(self, path: str) -> list[Explained]:
        """The candidates for ``path`` in order of preference; of what covers it, if it has none."""
        for covering in ancestors(path):
            views = {view.claim.node: view for view in self._registry.claims(covering)}
            broadcast = self._origin.broadcasts.get(covering)
            if views or broadcast is not None:
                return self._explain(covering, views, broadcast)
        return []

    def _explain(
        self, path: str, views: dict[str, ClaimView], broadcast: Broadcast | None
    ) -> list[Explained]:
        own = self._registry.node
        routes = [] if broadcast is None else broadcast.routes
        local = next((route for route in routes if route.local), None)
        claims = [view for node, view in views.items() if node != own or local is None]
        candidates = [self._candidate(view) for view in claims]
        kept = [node for node in self._routed.get(path, ()) if self._orphans.has(path, node)]
        candidates += [self._orphan(path, node) for node in kept]
        if local is not None:
            state: ClaimState = "live" if local.live else "doubtful"
            candidates.append(Candidate(own, local.since, state, self._region, local=True))
        links = {one.node: self._view(path, one) for one in candidates if not one.local}
        source = None if broadcast is None else broadcast.source
        sources = {
            route.source.node if isinstance(route.source, PeerLink) else own: route.source
            for route in reversed(routes)
        }
        explained = []
        for one, reason in self._place(path, candidates, links):
            view = links.get(one.node)
            explained.append(
                Explained(
                    path=path,
                    node=one.node,
                    region=one.region,
                    since=one.since,
                    state=one.state,
                    link="none" if view is None else view.state,
                    rtt_seconds=None if view is None else view.rtt_seconds,
                    local=one.local,
                    reason=reason,
                    in_use=source is not None and sources.get(one.node) is source,
                )
            )
        return explained

    # Inside.

    def _route(self, path: str) -> None:
        """Give the origin the remote routes of ``path`` that the table and the links say."""
        way = self._failovers.look(path, self._faults.get(path, {}))
        views, claims = {}, self._registry.claims(path)
        if path in self._faults:
            self._forgive(path, claims)
        self._date(path, claims)
        for view in claims:
            if view.claim.node != self._registry.node and self._fault(view) != "denied":
                views[view.claim.node] = view
                self._orphans.forget(path, view.claim.node, self.links)
                self.links.link(view.claim.node)
        candidates = {node: self._candidate(view) for node, view in views.items()}
        for node in [node for node in self._routed.get(path, ()) if node not in views]:
            if self._orphans.keep(path, node, self.links):
                candidates[node] = self._orphan(path, node)
            else:
                self._remove(path, node)
        links = {node: self._view(path, one) for node, one in candidates.items()}
        placed = self._place(path, candidates.values(), links) if len(candidates) > 1 else ()
        order = [one.node for one, _ in placed] or list(candidates)
        for index, node in enumerate(order):
            self._add(path, self._hops(path, node, views), candidates[node], links[node], -index)
        self._failovers.compare(path, way)

    def _date(self, path: str, claims: Sequence[ClaimView]) -> None:
        """Date publishers from before the shared clock was known here.

        Until the registry has dated them, nothing that others have is known to be newer.
        """
        broadcast = self._origin.broadcasts.get(path)
        for route in [] if broadcast is None else list(broadcast.routes):
            if route.local and not route.since and claims:
                newest = max(view.claim.since for view in claims)
                self._origin.date(path, route.source, newest + 1.0)

    def _place(
        self, path: str, candidates: Iterable[Candidate], links: dict[str, LinkView]
    ) -> list[Placed]:
        return place(
            path,
            list(candidates),
            region=self._region,
            links=links,
            current=self._current(path),
        )

    def _add(
        self, path: str, hops: tuple[int, ...], one: Candidate, link_view: LinkView, index: int
    ) -> None:
        node, link = one.node, self.links.link(one.node)
        route = Route(
            link,
            hops,
            one.since,
            local=False,
            live=sound(one, link_view),
            up=reachable(one, link_view),
            place=index,
        )
        known = self._routed.get(path, {}).get(node)
        if known is not None and _alike(known, route):
            return
        self._routed.setdefault(path, {})[node] = route
        self._by_node.setdefault(node, {})[path] = None
        if not self._origin.announce(path, route):
            self._remove(path, node)
        elif link_view.state == "dialling":
            link.want()

    def _hops(self, path: str, node: str, views: dict[str, ClaimView]) -> tuple[int, ...]:
        if node not in views:
            return self._routed[path][node].hops
        member = self._members.get(node)
        return (*views[node].claim.hops, 0 if member is None else member.hop)

    def _remove(self, path: str, node: str) -> None:
        self._orphans.forget(path, node, self.links)
        routes = self._routed.get(path, {})
        route = routes.pop(node, None)
        if not routes:
            self._routed.pop(path, None)
        paths = self._by_node.get(node, {})
        paths.pop(path, None)
        link = self.links.known(node)
        if route is not None:
            self._origin.withdraw(path, route.source, clean=True)
            if link is not None:
                link.abandon(path)
        if not paths:
            self._by_node.pop(node, None)
            self.links.forget(node)

    def _view(self, path: str, one: Candidate) -> LinkView:
        """The link as it counts for one path: who is served another way waits for it to be up."""
        link, broadcast = self.links.known(one.node), self._origin.broadcasts.get(path)
        if link is None:
            return LinkView()
        view = link.view
        active = broadcast.active if broadcast is not None and broadcast.read else None
        if view.state != "idle" or broadcast is None or active is None:
            return view
        if not active.up or active.source is link:
            return view
        route = Route(link, since=one.since, local=False, live=sound(one, view))
        return replace(view, state="dialling") if _wins(broadcast, route) else view

    def _candidate(self, view: ClaimView) -> Candidate:
        node, member = view.claim.node, self._members.get(view.claim.node)
        return Candidate(
            node,
            view.claim.since,
            self._fault(view) or view.state,
            "" if member is None else member.region,
            local=node == self._registry.node,
        )

    def _orphan(self, path: str, node: str) -> Candidate:
        """What ``node`` had when it was a member."""
        member = self._members.get(node)
        region = "" if member is None else member.region
        return Candidate(node, self._routed[path][node].since, "stale", region)

    def _fault(self, view: ClaimView) -> ClaimState | None:
        """What the claim's owner said of it."""
        fault = self._faults.get(view.claim.path, {}).get(view.claim.node)
        return None if fault is None else fault.state

    def _forgive(self, path: str, claims: Sequence[ClaimView]) -> None:
        """Hold nothing against a claim that is another now, or gone."""
        moments = {view.claim.node: _moment(view) for view in claims}
        faults = self._faults.pop(path)
        kept = {node: f for node, f in faults.items() if moments.get(node) == f.claim}
        if kept:
            self._faults[path] = kept

    def _has_other(self, path: str, node: str) -> bool:
        """Whether somebody else has ``path``, and can be reached."""
        broadcast, link = self._origin.broadcasts.get(path), self.links.known(node)
        routes = [] if broadcast is None else broadcast.routes
        return any(route.up and route.source is not link for route in routes)

    def _current(self, path: str) -> str | None:
        broadcast = self._origin.broadcasts.get(path)
        source = None if broadcast is None or broadcast.active is None else broadcast.active.source
        return source.node if isinstance(source, PeerLink) else None


def _moment(view: ClaimView) -> tuple[int, int]:
    return view.claim.generation, view.claim.since_us


def _wins(broadcast: Broadcast, route: Route) -> bool:
    """Whether ``route`` would be the best of the broadcast."""
    routes = [known for known in broadcast.routes if known.source is not route.source]
    routes.append(route)
    prefer(routes)
    return routes[0] is route


def _alike(one: Route, other: Route) -> bool:
    def facts(route: Route) -> tuple[object, ...]:
        return route.hops, route.since, route.live, route.up, route.place

    return facts(one) == facts(other)
