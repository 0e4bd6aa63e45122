"""The origin against a table: each watcher sees what it may see, and is told of it once."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from moq_relay.errors import SessionClosed
from moq_relay.relay.path import covers
from moq_relay.relay.route import Asker, Route
from tests.unit.relay.fakes import FAULTS, FakeSource, Viewer, Watch, World

PATHS = ("room", "room/a", "roommate", "hall/.hidden/a")
LINGER = 5.0


@dataclass
class Lost:
    """A path whose last route was lost: the route it had, and when it ends."""

    route: Route
    until: float


paths = st.sampled_from(PATHS)
picks = st.integers(0, 3)


class OriginMachine(RuleBasedStateMachine):
    """Four sources, each with a session that also watches, and two watchers of other kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(linger=LINGER)
        self.sources = [FakeSource() for _ in range(4)]
        self.routes: dict[str, dict[FakeSource, Route]] = {}
        self.lost: dict[str, Lost] = {}
        self.viewers: list[Viewer] = []
        self.watches: list[tuple[str, Asker, Watch]] = []
        for prefix, asker in [
            ("", Asker()),
            ("room", Asker(None, 2)),
            *(("", Asker(source)) for source in self.sources),
        ]:
            self.watches.append((prefix, asker, self.world.watch(prefix, asker)))

    # What happens.

    @rule(path=paths, pick=picks, hops=st.lists(st.integers(0, 3), max_size=2))
    def announces(self, path: str, pick: int, hops: list[int]) -> None:
        source = self.sources[pick]
        self.world.clock.now += 0.01
        known = self.routes.get(path, {}).get(source)
        since = self.world.clock.now if known is None else known.since
        route = Route(source, tuple(hops) or (pick + 10,), since)
        assert self.world.origin.announce(path, route)
        self.lost.pop(path, None)
        self.routes.setdefault(path, {})[source] = route

    @rule(path=paths, pick=picks, clean=st.booleans())
    def withdraws(self, path: str, pick: int, clean: bool) -> None:
        source = self.sources[pick]
        self.world.origin.withdraw(path, source, clean=clean)
        routes = self.routes.get(path, {})
        route = routes.pop(source, None)
        if route is not None and not routes and not clean:
            broadcast = self.world.origin.broadcasts[path]
            assert broadcast.public is not None
            self.lost[path] = Lost(broadcast.public, self.world.clock.now + LINGER)

    @rule(pick=picks)
    def loses_a_session(self, pick: int) -> None:
        for path in PATHS:
            self.withdraws(path, pick, False)
        self.sources[pick].stop(SessionClosed())

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 6.0]))
    def passes(self, seconds: float) -> None:
        self.world.clock.pass_(seconds)
        self.world.origin.sweep(self.world.clock.now)
        self.lost = {p: lost for p, lost in self.lost.items() if lost.until > self.world.clock.now}

    @rule(path=paths)
    def somebody_reads(self, path: str) -> None:
        if self._live(path):
            self.viewers.append(self.world.view(path=path))

    @rule(pick=picks, sequence=st.integers(0, 9))
    def sends(self, pick: int, sequence: int) -> None:
        source = self.sources[pick]
        for feed in tuple(source.sending):
            if feed in source.sending:
                source.send(sequence, feed=feed)

    @rule(pick=st.integers(0, 5))
    def a_watcher_starts_anew(self, pick: int) -> None:
        prefix, asker, watch = self.watches[pick]
        self.world.origin.unwatch(watch)
        self.watches[pick] = prefix, asker, self.world.watch(prefix, asker)

    # What holds.

    @invariant()
    def no_contract_is_broken(self) -> None:
        faults, FAULTS[:] = FAULTS[:], []
        assert faults == []

    def _live(self, path: str) -> bool:
        return bool(self.routes.get(path)) or path in self.lost

    @invariant()
    def each_watcher_sees_what_it_may_see(self) -> None:
        for prefix, asker, watch in self.watches:
            seen = set()
            for path in PATHS:
                if not covers(prefix, path) or "/." in path:
                    continue
                routes = [*self.routes.get(path, {}).values()]
                if path in self.lost:
                    routes.append(self.lost[path].route)
                if any(asker.may_see(route) for route in routes):
                    seen.add(path)
            assert set(watch.routes) == seen
            for path, route in watch.routes.items():
                assert asker.may_see(route), "announced where it came from"
                broadcast = self.world.origin.broadcasts[path]
                served = broadcast.public is not None and route.hops == broadcast.public.hops
                # Hops are all that is told: two anonymous publishers look alike, and neither may
                # be read by whoever sees it as the second best.
                others = self.routes.get(path, {}).values()
                there = {other.hops for other in others if asker.may_see(other)}
                assert served or route.hops in there, "a route that is gone"

    @invariant()
    def the_newest_route_is_in_use(self) -> None:
        live = {path for path in PATHS if self._live(path)}
        assert set(self.world.origin.broadcasts) == live
        for path, broadcast in self.world.origin.broadcasts.items():
            newest = max(self.routes.get(path, {}).values(), key=lambda r: r.since, default=None)
            assert broadcast.active is newest

    @invariant()
    def no_viewer_of_a_broadcast_waits_for_what_is_gone(self) -> None:
        reading = sum(
            track.readers
            for broadcast in self.world.origin.broadcasts.values()
            for track in broadcast.tracks.values()
        )
        ended = [viewer for viewer in self.viewers if viewer.over]
        orphans = sum(
            1 for source in self.sources for feed in source.sending if self._orphan(feed.track)
        )
        assert reading <= len(self.viewers) - len(ended)
        if not orphans:
            assert reading == len(self.viewers) - len(ended)

    def _orphan(self, track: object) -> bool:
        """Whether the track's broadcast ended cleanly: it goes on until its source ends it."""
        return not any(
            track in broadcast.tracks.values()
            for broadcast in self.world.origin.broadcasts.values()
        )

    def teardown(self) -> None:
        for pick in range(4):
            self.loses_a_session(pick)
        self.passes(6.0)
        self.passes(6.0)
        assert self.world.origin.broadcasts == {}
        assert self.world.clock.timers == []
        assert all(watch.routes == {} for _, _, watch in self.watches)
        assert all(viewer.over for viewer in self.viewers)
        assert all(source.owed == set() for source in self.sources)
        self.world.pass_(40)
        assert len(self.world.cache) == self.world.cache.size == 0


TestOriginMachine = OriginMachine.TestCase
TestOriginMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
