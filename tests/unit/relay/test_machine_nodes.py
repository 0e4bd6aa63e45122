"""Other nodes against a table: they get what publishers of this node send, and that only."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from moq_relay.errors import RequestError, SessionClosed, Unroutable
from moq_relay.relay.group import Frame
from moq_relay.relay.route import NODES, Route
from tests.unit.relay.fakes import BACK, LATEST, FakeSource, Viewer, World

picks = st.integers(0, 3)


class NodesMachine(RuleBasedStateMachine):
    """Two publishers of this node and two other nodes, under one path; viewers here and there."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.sources = [FakeSource() for _ in range(4)]
        self.announced: set[int] = set()
        self.here: list[Viewer] = []
        self.there: list[Viewer] = []
        self.offered: Route | None = None
        self.world.origin.on_offered = self._offered
        self.watch = self.world.watch(asker=NODES)

    def _offered(self, path: str) -> None:
        self.offered = self.world.origin.offer(path)

    # What happens.

    @rule(pick=picks, hop=st.integers(1, 3), up=st.booleans(), live=st.booleans())
    def announces(self, pick: int, hop: int, up: bool, live: bool) -> None:
        source = self.sources[pick]
        self.world.clock.now += 0.01
        if pick < 2:
            assert self.world.origin.publish("room", source, (hop,), live=live)
        else:
            known = [r for r in self._routes() if r.source is source]
            since = known[0].since if known else self.world.clock.now
            route = Route(source, (hop, 50 + pick), since, local=False, up=up, live=live)
            assert self.world.origin.announce("room", route)
        self.announced.add(pick)

    @rule(pick=picks, clean=st.booleans())
    def is_gone(self, pick: int, clean: bool) -> None:
        self.world.origin.withdraw("room", self.sources[pick], clean=clean or pick > 1)
        self.sources[pick].stop(SessionClosed())
        self.announced.discard(pick)

    @rule(there=st.booleans(), demand=st.sampled_from([BACK, LATEST]))
    def somebody_comes(self, there: bool, demand: object) -> None:
        viewer = Viewer()
        asker = {"asker": NODES} if there else {}
        try:
            self.world.view(demand, viewer=viewer, **asker)
        except SessionClosed:
            assert there
            assert not self.announced & {0, 1}
        except Unroutable:
            assert not self.announced & {0, 1} if there else not self._live()
        except RequestError:
            raise
        else:
            (self.there if there else self.here).append(viewer)

    @rule(pick=picks, sequence=st.integers(0, 9), whole=st.booleans())
    def sends(self, pick: int, sequence: int, whole: bool) -> None:
        source = self.sources[pick]
        for feed in tuple(source.sending):
            group = source.begin(sequence, feed) if feed in source.sending else None
            if group is not None:
                group.append(Frame(b"", 0))
                if whole:
                    source.end(group, feed)

    @rule(seconds=st.sampled_from([0.5, 1.0, 6.0]))
    def passes(self, seconds: float) -> None:
        self.world.pass_(seconds)

    # What holds.

    def _routes(self) -> list[Route]:
        broadcast = self.world.origin.broadcasts.get("room")
        return [] if broadcast is None else broadcast.routes

    def _live(self) -> bool:
        return "room" in self.world.origin.broadcasts

    @invariant()
    def other_nodes_are_fed_by_nothing_that_is_not_published_here(self) -> None:
        origin = self.world.origin
        for broadcast in (*origin.broadcasts.values(), *origin._inside.values()):
            for track in broadcast.tracks.values():
                nodes = [place for place in track._readers.values() if place.asker.local_only]
                if nodes and track.supply.feed is not None:
                    assert track.supply.feed.source in self.sources[:2]

    @invariant()
    def what_is_offered_is_the_newest_publisher_here(self) -> None:
        local = [route for route in self._routes() if route.local]
        if local:
            assert self.offered is not None
            assert self.offered.source is local[0].source
            assert "room" in self.watch.routes
        elif self._routes():
            assert self.offered is None

    @invariant()
    def what_other_nodes_wait_for_is_asked_of_a_publisher_here(self) -> None:
        broadcast = self.world.origin.broadcasts.get("room")
        if broadcast is None or broadcast._probes:
            return  # it ended, or will soon be decided
        if any(not viewer.over for viewer in self.there):
            assert any(source.sending for source in self.sources[:2]), "waits for nobody"

    @invariant()
    def each_publisher_is_asked_a_few_times_at_most(self) -> None:
        for source in self.sources:
            # For viewers here, for other nodes, and a probe or what is under way for either.
            assert len(source.sending) <= 6

    def teardown(self) -> None:
        for pick in range(4):
            self.is_gone(pick, clean=False)
        self.passes(6.0)
        assert not self._live()
        assert self.world.origin._inside == {}
        assert all(viewer.over for viewer in (*self.here, *self.there))
        assert all(source.owed == set() for source in self.sources)
        self.world.pass_(40)
        assert len(self.world.cache) == self.world.cache.size == 0
        assert self.world.clock.timers == []


TestNodesMachine = NodesMachine.TestCase
TestNodesMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
