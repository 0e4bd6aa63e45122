"""What others claim becomes routes, by what the table, the links and the owners say."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moq_relay.cluster import resolver
from moq_relay.cluster.discovery import Discovery
from moq_relay.cluster.failovers import Failovers
from moq_relay.cluster.peerlink import LinkTimes
from moq_relay.cluster.peers import Links
from moq_relay.cluster.regions import Regions
from moq_relay.errors import Internal, NotFound, SessionClosed, Unroutable
from moq_relay.transports.quic.dialer import DialFailed
from tests.support.own_client import until
from tests.unit.cluster.fakes import NOW, FakeRegistry, FakeSession
from tests.unit.relay.fakes import BACK, OUR_HOP, FakeSource, World, was_reset

A, B = "https://a.example/", "https://b.example/"
TIMES = LinkTimes(ping=0.02, suspect=0.06, idle=0.5, backoff=0.02, lost=0.04, settle=0.01)


class Setting:
    """A node's model, a registry, links to nodes that answer, and discovery between them."""

    def __init__(self) -> None:
        self.world = World()
        self.registry = FakeRegistry()
        self.world.origin.stamp = self.registry.redis_now
        self.regions = Regions("eu", self._member)
        self.registry.watch(self.regions)
        self.failovers = Failovers(self.world.origin, self.regions)
        self.discovery = Discovery(
            self.world.origin, self.registry, region="eu", failovers=self.failovers
        )
        self.unreachable: set[str] = set()
        self.sessions: dict[str, list[FakeSession]] = {}
        self.links = Links(self._dial, self.discovery, TIMES)

    @asynccontextmanager
    async def _dial(self, node, ending):
        sessions = self.sessions.setdefault(node, [])
        if node in self.unreachable:
            raise DialFailed("nobody is there")
        session = FakeSession(ending)
        sessions.append(session)
        try:
            yield session
        finally:
            session.lose()

    def _member(self, node):
        view = self.registry.members.get(node)
        return None if view is None else view.member

    @property
    def origin(self):
        return self.world.origin

    def route(self, node, path="room"):
        """The route over the link to a node."""
        routes = self.origin.broadcasts[path].routes
        return next(route for route in routes if route.source is self.links.known(node))

    def order(self, path="room"):
        """The nodes in the origin's own order."""
        broadcast = self.origin.broadcasts.get(path)
        return [] if broadcast is None else [route.source.node for route in broadcast.routes]

    def publisher(self, node) -> FakeSource:
        """What a node sends over the link."""
        return self.sessions[node][-1].subscriber

    async def served(self, node, path="room", name="video") -> FakeSource:
        """Until the link to a node brings a track; what sends it."""

        def feeds():
            sessions = self.sessions.get(node, ())
            sending = sessions[-1].subscriber.sending if sessions else ()
            return [feed for feed in sending if (feed.track.path, feed.track.name) == (path, name)]

        await until(lambda: feeds() and self.links.known(node).state == "up", 2)
        return self.publisher(node)

    @asynccontextmanager
    async def running(self):
        """Links are dialled inside."""
        self.discovery.start(self.links)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.links.run())
            await asyncio.sleep(0)
            yield self
            running.cancel()
        self.discovery.stop()

    def explained(self, path="room"):
        return [(one.node, one.state, one.link) for one in self.discovery.explain(path)]


@pytest.fixture
async def it():
    async with Setting().running() as it:
        yield it


# The table.


async def test_a_claim_is_a_route_over_the_link_to_its_node(it):
    it.registry.join(A, hop=42)

    it.registry.put("room", A, NOW, 7, 8)

    route = it.route(A)
    assert (route.hops, route.since, route.local) == ((7, 8, 42), NOW, False)
    assert it.origin.paths() == ["room"]
    assert it.sessions == {}


async def test_what_was_claimed_before_it_started_is_routed_too():
    it = Setting()
    it.registry.put("room", A, NOW)

    it.discovery.start(it.links)

    assert it.order() == [A]


async def test_a_claim_that_is_gone_ends_the_broadcast_at_once(it):
    it.registry.put("room", A, NOW)
    watch = it.world.watch()

    it.registry.drop("room", A)

    assert watch.calls == ["+room", "-room"]


async def test_claims_of_this_node_itself_are_no_routes(it):
    it.registry.put("room", it.registry.node, NOW)

    assert it.origin.broadcasts == {}


async def test_what_has_passed_this_node_is_no_route(it):
    it.registry.put("room", A, NOW, 7, OUR_HOP)
    assert it.origin.broadcasts == {}
    assert it.links.known(A) is None

    it.registry.put("room", A, NOW + 1, 7)
    assert it.order() == [A]


async def test_the_newest_publisher_goes_first_and_then_what_nothing_speaks_against(it):
    it.registry.put("room", A, NOW)
    it.registry.put("room", B, NOW + 1)
    assert it.order() == [B, A]

    it.registry.put("room", B, NOW + 1, state="draining")
    assert it.order() == [A, B]

    it.registry.put("room", A, NOW, state="stale")
    assert it.order() == [B, A]


async def test_a_publisher_of_this_node_goes_by_its_date_too(it):
    it.registry.put("room", A, NOW - 1)
    source = it.world.publish(8)
    it.origin.publish("hall", source)
    it.registry.put("hall", A, NOW - 1)
    assert it.origin.broadcasts["hall"].active.source is source

    it.registry.put("hall", A, NOW + 1)

    assert it.origin.broadcasts["hall"].active.source is it.links.known(A)


async def test_a_publisher_from_before_the_clock_was_known_is_not_taken_for_an_old_one(it):
    it.registry.now = 0.0
    source = FakeSource()
    it.origin.publish("room", source, (7,))

    it.registry.put("room", A, NOW)

    assert it.origin.broadcasts["room"].active.source is source


async def test_a_node_that_goes_takes_its_routes_along(it):
    it.registry.put("room", A, NOW)
    it.registry.put("hall", A, NOW)

    it.registry.leave(A)

    assert it.origin.broadcasts == {}
    assert it.links.known(A) is None


async def test_nothing_changes_once_it_was_stopped():
    it = Setting()
    it.discovery.start(it.links)
    it.discovery.stop()

    it.registry.put("room", A, NOW)

    assert it.origin.broadcasts == {}


events = st.lists(
    st.tuples(
        st.sampled_from([A, B, "https://c.example/"]),
        st.integers(0, 3),
        st.sampled_from(["live", "stale", "draining", "gone"]),
    ),
    max_size=12,
)


@given(events, st.randoms())
def test_nodes_that_heard_of_the_same_claims_in_any_order_prefer_the_same(events, random):
    here, there = Setting(), Setting()
    last = {node: (since, state) for node, since, state in events if state != "gone"}
    for it in (here, there):
        for node in (A, B, "https://c.example/"):
            it.registry.join(node, hop=len(it.registry.members) + 1)
        it.discovery.start(it.links)
    for node, since, state in events:
        if state != "gone":
            here.registry.put("room", node, NOW + since, state=state)
        elif any(view.claim.node == node for view in here.registry.claims("room")):
            here.registry.drop("room", node)
    for node, (since, state) in last.items():
        if all(view.claim.node != node for view in here.registry.claims("room")):
            here.registry.put("room", node, NOW + since, state=state)

    nodes = list(last)
    random.shuffle(nodes)
    for node in nodes:
        since, state = last[node]
        there.registry.put("room", node, NOW + since, state=state)

    assert here.order() == there.order()
    assert here.order() == [one.node for one in here.discovery.explain("room")]


# The links.


async def test_viewers_wait_for_a_node_that_cannot_be_reached_and_others_take_its_place(it):
    it.registry.put("room", A, NOW + 1)
    it.unreachable.add(A)
    viewer = it.world.view(BACK)
    await until(lambda: it.route(A).up is False)
    assert not viewer.over

    it.registry.put("room", B, NOW)

    source = await it.served(B)
    source.send(1)
    assert viewer.whole == [1]
    assert it.order() == [B, A]


async def test_viewers_stay_where_they_are_until_the_link_to_a_newer_publisher_is_up(it):
    it.registry.put("room", A, NOW)
    viewer = it.world.view(BACK)
    source = await it.served(A)
    source.send(1)
    it.unreachable.add(B)

    it.registry.put("room", B, NOW + 1)
    await until(lambda: it.links.known(B).dials > 2)
    source.send(2)
    assert it.order() == [A, B]
    it.unreachable.clear()

    newer = await it.served(B)
    newer.send(3)
    assert viewer.whole == [1, 2, 3]
    assert it.order() == [B, A]
    assert not viewer.over


async def test_a_newer_publisher_that_nobody_watches_for_is_not_dialled(it):
    it.registry.put("room", A, NOW)
    it.registry.put("room", B, NOW + 1)

    assert it.order() == [B, A]
    assert not it.links.known(B).running


async def test_a_link_that_nobody_waits_for_any_more_counts_as_one_that_may_be_dialled(it):
    it.registry.put("room", A, NOW)
    viewer = it.world.view(BACK)
    await it.served(A)
    it.unreachable.add(B)
    it.registry.put("room", B, NOW + 1)
    await until(lambda: it.links.known(B).dials > 1)

    it.world.leave(viewer)

    await until(lambda: not it.links.known(B).running)
    assert it.order() == [B, A]


async def test_a_silent_link_leaves_its_viewers_to_another_node_and_gets_them_back(it):
    it.registry.put("room", B, NOW)
    it.registry.put("room", A, NOW + 1)
    viewer = it.world.view(BACK)
    source = await it.served(A)
    source.send(1)

    it.sessions[A][-1].silent = True
    other = await it.served(B)
    other.send(2)
    assert viewer.whole == [1, 2]
    assert it.route(A).live is False
    it.sessions[A][-1].silent = False

    source = await it.served(A)
    source.send(3)
    assert viewer.whole == [1, 2, 3]


async def test_a_lost_link_leaves_its_viewers_to_another_node_at_once(it):
    it.registry.put("room", B, NOW)
    it.registry.put("room", A, NOW + 1)
    viewer = it.world.view(BACK)
    source = await it.served(A)
    source.send(1)
    it.unreachable.add(A)

    it.sessions[A][-1].lose()

    assert it.origin.broadcasts["room"].active.source is it.links.known(B)
    (await it.served(B)).send(2)
    assert viewer.whole == [1, 2]


async def test_viewers_of_a_dead_node_are_told_when_its_claims_are_gone(it):
    it.registry.put("room", A, NOW)
    viewer = it.world.view(BACK)
    await it.served(A)
    it.unreachable.add(A)
    it.sessions[A][-1].lose()
    assert not viewer.over

    it.registry.leave(A)

    assert was_reset(viewer)
    await until(lambda: it.links.known(A) is None)


@pytest.mark.parametrize("first", ["silent", "gone"])
async def test_viewers_of_a_node_that_is_silent_and_no_member_are_told(it, first):
    it.registry.put("room", A, NOW)
    viewer = it.world.view(BACK)
    await it.served(A)

    if first == "gone":
        it.registry.leave(A)
        assert not viewer.over
    it.sessions[A][-1].silent = True
    if first == "silent":
        await until(lambda: it.links.known(A).state == "suspect")
        it.registry.leave(A)

    await until(lambda: viewer.over)
    await until(lambda: it.links.known(A) is None)


async def test_what_a_node_had_stays_routed_while_a_link_to_it_carries_tracks(it):
    it.registry.put("room", A, NOW)
    it.registry.put("hall", A, NOW)
    watch = it.world.watch()
    viewer = it.world.view(BACK)
    source = await it.served(A)
    had = it.route(A).hops

    it.registry.leave(A)

    source.send(1)
    newcomer = it.world.view(BACK, path="hall")
    await it.served(A, "hall")
    source.send(1, feed=next(feed for feed in source.sending if feed.track.path == "hall"))
    assert viewer.whole == newcomer.whole == [1]
    assert watch.calls == ["+hall", "+room"]
    assert (it.route(A).hops, it.route(A).live) == (had, False)
    assert it.explained() == [(A, "stale", "up")]


async def test_a_link_that_carries_nothing_proves_nothing_of_a_node_that_goes(it):
    it.registry.put("room", A, NOW)
    viewer = it.world.view(BACK)
    await it.served(A)
    it.world.leave(viewer)
    await until(lambda: not it.links.known(A).subscriptions)
    assert it.links.is_up(A)

    it.registry.leave(A)

    assert it.origin.broadcasts == {}


async def test_others_go_before_a_node_that_is_no_member_any_more(it):
    it.registry.put("room", B, NOW)
    it.registry.put("room", A, NOW + 1)
    viewer = it.world.view(BACK)
    (await it.served(A)).send(1)

    it.registry.leave(A)

    assert it.order() == [B, A]
    (await it.served(B)).send(2)
    assert viewer.whole == [1, 2]


async def test_a_link_on_which_routes_stand_alone_is_pinged_though_it_carries_nothing(it):
    it.registry.put("room", A, NOW)
    viewer = it.world.view(BACK)
    await it.served(A)
    it.registry.leave(A)
    it.world.leave(viewer)

    await asyncio.sleep(2 * TIMES.idle)
    assert it.order() == [A]
    it.sessions[A][-1].silent = True

    await until(lambda: it.order() == [])
    await until(lambda: it.links.known(A) is None)


async def test_what_a_node_no_longer_has_when_it_is_back_goes_once_it_has_said_all(it):
    it.registry.put("room", A, NOW)
    it.registry.put("hall", A, NOW)
    it.world.view(BACK)
    await it.served(A)
    it.registry.leave(A)
    watch = it.world.watch()

    it.registry.join(A, hop=1)
    it.registry.put("room", A, NOW)
    assert (it.route(A).live, it.route(A, "hall").live) == (True, False)
    it.registry.completes(A)

    assert it.origin.paths() == ["room"]
    assert watch.calls == ["+hall", "+room", "-hall"]
    assert it.links.known(A).watched is False


async def test_what_its_owner_denies_when_it_is_no_member_goes_at_once(it):
    it.registry.put("room", A, NOW)
    viewer = it.world.view(BACK)
    source = await it.served(A)
    it.registry.leave(A)

    source.stop(Unroutable("a test says so"))

    assert it.origin.broadcasts == {}
    assert isinstance(viewer.error, Unroutable)


async def test_a_node_with_another_process_is_dialled_anew(it):
    it.registry.join(A, instance="old")
    it.registry.put("room", A, NOW)
    it.world.view(BACK)
    await it.served(A)

    it.registry.join(A, instance="old")
    await asyncio.sleep(0.03)
    assert len(it.sessions[A]) == 1
    it.registry.join(A, instance="new")

    await until(lambda: len(it.sessions[A]) == 2)


# The owners.


async def test_a_claim_that_its_owner_denies_is_skipped_until_it_changes(it, caplog):
    it.registry.put("room", A, NOW)
    viewer = it.world.view(BACK)
    source = await it.served(A)

    source.stop(Unroutable("no"))

    assert type(viewer.error) is Unroutable
    assert it.order() == []
    assert caplog.text.count("claim denied by its owner") == 1
    it.registry.put("room", A, NOW)
    assert it.order() == []
    assert it.explained() == [(A, "denied", "up")]

    it.registry.put("room", A, NOW + 1)
    assert it.order() == [A]


async def test_viewers_go_elsewhere_when_an_owner_denies_its_claim(it):
    it.registry.put("room", B, NOW)
    it.registry.put("room", A, NOW + 1)
    viewer = it.world.view(BACK)
    source = await it.served(A)

    source.stop(Unroutable("no"))

    (await it.served(B)).send(1)
    assert viewer.whole == [1]
    assert it.order() == [B]


async def test_a_denied_claim_that_is_gone_is_forgotten(it):
    it.registry.put("room", A, NOW)
    it.world.view()
    (await it.served(A)).stop(Unroutable("no"))

    it.registry.drop("room", A)
    it.registry.put("room", A, NOW)

    assert it.order() == [A]


async def test_viewers_go_elsewhere_when_an_owner_has_lost_the_publisher(it):
    it.registry.put("room", B, NOW)
    it.registry.put("room", A, NOW + 1)
    viewer = it.world.view(BACK)
    source = await it.served(A)
    source.send(1)

    source.stop(SessionClosed("its publisher was lost"))

    (await it.served(B)).send(2)
    assert viewer.whole == [1, 2]
    assert it.explained() == [(B, "live", "up"), (A, "lost", "up")]
    it.registry.put("room", A, NOW + 2)
    (await it.served(A)).send(3)
    assert viewer.whole == [1, 2, 3]


async def test_viewers_wait_for_a_lost_publisher_when_nobody_else_has_it(it):
    it.registry.put("room", A, NOW)
    viewer = it.world.view(BACK)
    source = await it.served(A)
    source.send(1)

    source.stop(SessionClosed("its publisher was lost"))
    assert source.sending == []
    await it.served(A)
    source.send(2)

    assert viewer.whole == [1, 2]
    assert not viewer.over


@pytest.mark.parametrize("error", [NotFound("no such track"), Internal("another content")])
async def test_whatever_else_an_owner_says_of_a_track_is_told_to_the_viewers(it, error):
    it.registry.put("room", B, NOW)
    it.registry.put("room", A, NOW + 1)
    viewer = it.world.view(BACK)

    (await it.served(A)).stop(error)

    assert viewer.error is error
    assert it.order() == [A, B]


async def test_an_owner_may_deny_what_is_only_covered_by_its_claim(it):
    it.registry.put("room", A, NOW)
    viewer = it.world.view(path="room/alice")

    (await it.served(A, "room/alice")).stop(Unroutable("no"))

    assert viewer.over
    assert it.order() == []


# Paths that nobody has yet.


def outcomes(it):
    """How questions ended, as the metrics have it."""
    seconds = it.discovery.resolver.seconds
    assert all(0 <= histogram.total < 2 for histogram in seconds.values())
    return {outcome: histogram.count for outcome, histogram in seconds.items() if histogram.count}


async def test_a_path_that_the_copy_lacks_is_asked_for_once_by_all_who_wait(it):
    it.registry.known_elsewhere["room/alice"] = A
    it.registry.answers.clear()

    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(it.discovery.resolve("room/alice"))
        await until(lambda: len(it.registry.lookups) == 5)  # the registry makes one of them
        it.registry.answers.set()

    assert it.order("room/alice") == [A]
    assert len(it.discovery.resolver) == 0
    assert outcomes(it) == {"found": 1}


async def test_what_covers_a_path_is_asked_for_too(it):
    it.registry.known_elsewhere["room"] = A

    async with asyncio.timeout(2):
        await it.discovery.resolve("room/alice/camera")

    assert it.registry.lookups == ["room/alice/camera", "room/alice", "room"]
    assert outcomes(it) == {"found": 1}


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_a_path_that_nobody_has_is_waited_for(it, reachable, where):
    it.registry.reachable = reachable
    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(it.discovery.resolve("room/alice"))
        await until(lambda: it.registry.lookups)
        await asyncio.sleep(0.02)
        assert not waiting.done()

        if where == "here":
            it.world.publish(7, path="room")
        else:
            it.registry.put("room/alice", A, NOW)

    assert outcomes(it) == {"unknown" if reachable else "unavailable": 1}


async def test_what_comes_before_the_registry_answers_was_known_without_it(it):
    it.registry.answers.clear()
    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        tasks.create_task(it.discovery.resolve("room/alice"))
        await until(lambda: it.registry.lookups)
        it.world.publish(7, path="room")
        it.registry.answers.set()

    assert outcomes(it) == {"known": 1}
    assert it.registry.lookups == ["room/alice"]


async def test_who_comes_later_does_not_ask_what_was_answered_already(it):
    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        tasks.create_task(it.discovery.resolve("room"))
        await until(lambda: it.registry.lookups == ["room", ""])
        await asyncio.sleep(0)
        tasks.create_task(it.discovery.resolve("room"))
        await asyncio.sleep(0.01)
        it.registry.put("room", A, NOW)

    assert it.registry.lookups == ["room", ""]


async def test_nobody_waits_for_ever(it, monkeypatch):
    monkeypatch.setattr(resolver, "LOOKUP_SECONDS", 0.02)

    await it.discovery.resolve("room")

    assert len(it.discovery.resolver) == 0


async def test_of_what_peers_invent_only_so_many_are_asked_for_at_a_time(it, monkeypatch):
    monkeypatch.setattr(resolver, "LOOKUP_SECONDS", 0.2)
    it.registry.answers.clear()

    async with asyncio.TaskGroup() as tasks:
        for number in range(3 * resolver.LOOKUPS):
            tasks.create_task(it.discovery.resolve(f"room/{number}"))
        await asyncio.sleep(0.05)
        assert len(it.registry.lookups) == resolver.LOOKUPS


# Why.


async def test_each_candidate_is_explained_in_the_order_in_which_they_are_tried(it):
    it.registry.join(A, region="us", hop=1)
    it.registry.join(B, region="eu", hop=2)
    it.registry.put("room", A, NOW + 1)
    it.registry.put("room", B, NOW)
    source = FakeSource()
    it.registry.now = NOW - 5
    it.origin.publish("room", source, (7,))
    it.world.view()
    await it.served(A)

    first, second, third = it.discovery.explain("room")

    assert (first.node, first.region, first.since, first.link) == (A, "us", NOW + 1, "up")
    assert first.rtt_seconds == 0.01
    assert (first.reason, first.in_use, first.local) == ("the newest publisher", True, False)
    assert (second.node, second.reason, second.in_use) == (B, "an older publisher", False)
    assert (third.node, third.region, third.link) == (it.registry.node, "eu", "none")
    assert (third.local, third.in_use) == (True, False)


async def test_what_covers_a_path_is_explained_where_it_has_nothing_itself(it):
    it.registry.put("room", A, NOW)

    (one,) = it.discovery.explain("room/alice")

    assert (one.path, one.node, one.reason) == ("room", A, "the only claim")
    assert it.discovery.explain("hall") == []
