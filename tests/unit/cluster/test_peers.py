"""Links to other nodes, over sessions that a test opens, silences and breaks."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from moq_relay.cluster.peerlink import LinkTimes
from moq_relay.cluster.peers import Links
from moq_relay.errors import Internal, NotFound, SessionClosed, Unroutable
from moq_relay.relay.route import Route
from moq_relay.transports.quic.dialer import DialFailed
from tests.support.own_client import until
from tests.unit.cluster.fakes import FakeSession
from tests.unit.relay.fakes import BACK, World

A = "https://a.example/"
TIMES = LinkTimes(ping=0.02, suspect=0.06, idle=0.5, backoff=0.02, lost=0.04, settle=0.01)


class Net:
    """Dials, and listens to what links say."""

    def __init__(self):
        self.reachable = True
        self.turned_away = 0
        """How many of the sessions to come are lost as soon as they are there."""
        self.answers = asyncio.Event()
        self.answers.set()
        self.failure = DialFailed("nobody is there")
        self.sessions = []
        self.changes = []
        self.world = World()
        self.routes = {}
        self.want_it = False
        self.again = False
        self.lost = set()
        self.refusals = []
        self.links = Links(self.dial, self, TIMES)
        self.link = self.links.link(A)

    @asynccontextmanager
    async def dial(self, node, ending):
        await self.answers.wait()
        if not self.reachable:
            raise self.failure
        session = FakeSession(ending)
        self.sessions.append(session)
        if self.turned_away:
            self.turned_away -= 1
            asyncio.get_running_loop().call_soon(session.lose)
        try:
            yield session
        finally:
            session.lose()

    # What a link asks.

    def link_changed(self, node):
        self.changes.append(self.link.state)

    def wanted(self, node):
        return self.want_it

    def routed(self, path, node):
        return path in self.routes

    def refused(self, path, node, error):
        self.refusals.append(type(error))
        return self.again

    def is_lost(self, path, node):
        return path in self.lost

    # What a test does.

    @property
    def session(self):
        return self.sessions[-1]

    @property
    def source(self):
        return self.session.subscriber

    def route(self, path="room"):
        self.routes[path] = Route(self.link, (7, 8), local=False)
        self.world.origin.announce(path, self.routes[path])

    def unroute(self, path="room"):
        del self.routes[path]
        self.world.origin.withdraw(path, self.link, clean=True)
        self.link.abandon(path)


@pytest.fixture
async def net():
    net = Net()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(net.links.run())
        await asyncio.sleep(0)
        yield net
        running.cancel()
    assert net.link.running is False


async def up(net, path="room"):
    """A viewer who is served."""
    net.route(path)
    viewer = net.world.view(BACK, path=path)
    await until(lambda: net.sessions and net.source.sending)
    net.source.send(1, 2)
    assert viewer.whole == [1, 2]
    await until(lambda: net.link.state == "up")
    return viewer


async def test_a_link_is_dialled_when_something_is_asked_of_it_and_not_before(net):
    net.route()
    await asyncio.sleep(0.02)
    assert net.sessions == []

    net.world.view()

    await until(lambda: net.sessions)
    assert net.link.dials == 1


async def test_all_that_is_asked_while_it_is_dialled_is_asked_once_it_is_up(net):
    net.answers.clear()
    for number in range(5):
        net.route(f"room/{number}")
    viewers = [net.world.view(path=f"room/{number}") for number in range(5)]
    group = net.world.origin.fetch("room/0", "video", 3)
    await asyncio.sleep(0.02)

    net.answers.set()
    await until(lambda: net.sessions)

    assert net.link.dials == 1
    assert len(net.source.questions) == len(net.source.subscriptions) == 5
    assert net.source.fetches == [group]
    assert not any(viewer.over for viewer in viewers)


async def test_who_leaves_while_it_is_dialled_is_not_asked_for(net):
    net.answers.clear()
    net.route()
    viewer = net.world.view()
    group = net.world.origin.fetch("room", "video", 3)

    net.world.leave(viewer)
    group.on_abandoned()
    net.answers.set()
    await until(lambda: not net.link.running)

    assert all(not s.subscriber.subscriptions and not s.subscriber.fetches for s in net.sessions)
    assert group.error is not None


async def test_a_link_that_nothing_is_taken_over_is_closed_and_dialled_again_when_needed(net):
    viewer = await up(net)
    net.world.leave(viewer)

    await until(lambda: net.session.over.is_set() and not net.link.running)
    assert net.link.state == "idle"
    net.world.view()

    await until(lambda: len(net.sessions) == 2)


async def test_it_is_dialled_again_and_again_while_somebody_waits(net):
    net.reachable = False
    net.route()
    viewer = net.world.view()

    await until(lambda: net.link.dials > 3)
    assert net.link.state == "down"
    assert not viewer.over
    net.reachable = True

    await until(lambda: net.sessions and net.source.sending)
    await until(lambda: net.link.state == "up")


async def test_it_is_dialled_no_more_once_nobody_waits(net):
    net.reachable = False
    net.route()
    viewer = net.world.view()
    await until(lambda: net.link.dials > 1)

    net.world.leave(viewer)

    await until(lambda: not net.link.running)
    assert net.link.state == "idle"
    assert net.changes[-1] == "idle"


async def test_it_is_dialled_for_those_who_are_served_elsewhere_too(net):
    net.want_it = True
    net.link.want()

    await until(lambda: net.link.state == "up")
    net.want_it = False

    await until(lambda: not net.link.running)


async def test_a_fetch_does_not_wait_for_a_node_that_cannot_be_reached(net):
    net.reachable = False
    net.route()

    group = net.world.origin.fetch("room", "video", 3)

    await until(lambda: not group.open)
    assert isinstance(group.error, NotFound)


async def test_a_dial_without_an_answer_lets_others_be_preferred_and_goes_on(net):
    net.answers.clear()
    net.route()
    net.world.view()

    await until(lambda: net.link.state == "down")
    assert net.link.dials == 1
    net.answers.set()

    await until(lambda: net.link.state == "up")
    assert net.link.dials == 1


async def test_a_session_that_is_turned_away_after_the_handshake_was_never_up(net):
    net.turned_away = 3
    net.route()
    viewer = net.world.view()
    changes = net.changes

    await until(lambda: net.link.state == "up")

    assert len(net.sessions) == 4
    assert changes.count("up") == 1
    assert not viewer.over


async def test_what_dialling_runs_into_costs_the_link_only(net, caplog):
    net.reachable, net.failure = False, ZeroDivisionError("a mistake of ours")
    net.route()
    net.world.view()

    await until(lambda: net.link.dials > 2)

    assert "link broken" in caplog.text
    net.reachable = True
    await until(lambda: net.link.state == "up")


# Silence.


async def test_a_link_is_pinged_while_tracks_are_taken_over_it_only(net):
    net.want_it = True
    net.link.want()
    await until(lambda: net.link.state == "up")
    await asyncio.sleep(3 * TIMES.ping)
    assert net.session.pings == 0

    net.route()
    net.world.view()

    await until(lambda: net.session.pings > 1)
    net.want_it = False


async def test_a_link_that_does_not_answer_is_suspect_until_it_does(net):
    viewer = await up(net)

    net.session.silent = True
    await until(lambda: net.link.state == "suspect")
    assert not viewer.over
    assert not net.session.over.is_set()
    net.session.silent = False

    await until(lambda: net.link.state == "up")
    assert net.changes == ["up", "suspect", "up"]


async def test_a_suspect_link_is_still_asked_whether_it_is_there_when_all_have_left_it(net):
    viewer = await up(net)
    net.session.silent = True
    await until(lambda: net.link.state == "suspect")
    net.world.leave(viewer)
    net.session.silent = False

    await until(lambda: net.link.state == "up")


# Loss.


async def test_a_lost_link_says_so_before_its_feeds_end(net):
    await up(net)
    feed = net.source.feed
    seen = []
    net.link_changed = lambda node: seen.append((net.link.state, feed.live))

    net.session.lose()

    assert seen[0] == ("down", True)


async def test_a_link_that_is_lost_in_the_turn_in_which_a_ping_is_due_is_not_up_again(net, caplog):
    await up(net)
    net.reachable = False
    said = len(net.changes)
    loop = asyncio.get_running_loop()

    loop.call_later(2 * TIMES.ping, net.session.lose)
    loop.call_soon(time.sleep, 3 * TIMES.ping)

    await until(lambda: net.link.dials > 1)
    assert set(net.changes[said:]) == {"down"}
    assert "link broken" not in caplog.text


async def test_viewers_of_a_lost_link_wait_and_go_on_at_the_group_that_was_cut_off(net):
    viewer = await up(net)
    open_group = net.source.begin(3)
    assert open_group is not None

    net.session.lose()
    await until(lambda: len(net.sessions) == 2 and net.source.sending)

    assert net.source.feed.demand.start == 3
    net.source.send(3, 4, 5)
    assert viewer.whole == [1, 2, 3, 4, 5]
    assert not viewer.over


async def test_who_comes_while_a_link_is_lost_is_served_when_it_is_back(net):
    await up(net)
    net.answers.clear()
    net.session.lose()
    late = net.world.view(name="audio")
    assert not late.over

    net.answers.set()
    await until(lambda: len(net.sessions) == 2 and len(net.source.sending) == 2)

    for feed in tuple(net.source.sending):
        net.source.send(9, feed=feed)
    assert late.whole == [9]


async def test_a_question_that_a_lost_link_did_not_answer_is_asked_again(net):
    net.route()
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(net.world.origin.track("room", "video").described_or_ended())
        await until(lambda: net.sessions)
        assert answer.done() or net.source.questions
    assert answer.result() is not None


async def test_viewers_of_what_the_node_does_not_claim_any_more_are_told_of_a_lost_link(net):
    viewer = await up(net)
    net.unroute()
    assert not viewer.over

    net.session.lose()

    assert type(viewer.error) is SessionClosed
    await until(lambda: not net.link.running)


async def test_who_waits_for_a_node_is_told_when_it_claims_the_path_no_more(net):
    net.reachable = False
    net.route()
    viewer = net.world.view()
    await until(lambda: net.link.dials > 1)

    net.unroute()

    assert type(viewer.error) is Internal
    await until(lambda: not net.link.running)


async def test_a_node_with_a_new_process_is_dialled_anew(net):
    viewer = await up(net)
    net.session.silent = True
    old = net.session

    net.link.redial()

    await until(lambda: old.over.is_set() and len(net.sessions) == 2 and net.source.sending)
    net.source.send(3)
    assert viewer.whole == [1, 2, 3]


async def test_a_node_with_a_new_process_is_not_waited_for_at_the_old_one(net):
    net.answers.clear()
    net.route()
    net.world.view()
    await until(lambda: net.link.dials == 1)

    net.link.redial()
    await until(lambda: net.link.dials == 2)
    net.answers.set()

    await until(lambda: net.link.state == "up")


# What the node says.


@pytest.mark.parametrize("error", [Unroutable("no"), NotFound("no"), Internal("no")])
async def test_what_the_node_refuses_is_told_to_who_routes_and_then_to_the_viewers(net, error):
    viewer = await up(net)

    net.source.stop(error)

    assert net.refusals == [type(error)]
    assert viewer.error is error
    assert net.link.state == "up"


async def test_a_track_that_is_to_go_on_is_asked_for_again(net):
    viewer = await up(net)
    net.again = True

    net.source.stop(SessionClosed("its publisher was lost"))

    assert not viewer.over
    assert net.source.feed.resume == 3
    net.source.send(3)
    assert viewer.whole == [1, 2, 3]


async def test_a_node_that_lost_the_publisher_is_asked_again_after_a_while(net):
    viewer = await up(net)
    net.again = True
    net.lost.add("room")

    net.source.stop(SessionClosed("its publisher was lost"))
    assert net.source.sending == []

    await until(lambda: net.source.sending)
    net.source.stop(SessionClosed("its publisher was lost"))
    await until(lambda: net.source.sending)
    net.source.send(3)
    assert viewer.whole == [1, 2, 3]


async def test_a_track_that_ends_ends_for_the_viewers(net):
    viewer = await up(net)

    net.source.stop(None, 3)

    assert viewer.over
    assert viewer.error is None
    assert net.refusals == []


# All links.


async def test_there_is_one_link_for_each_node(net):
    assert net.links.link(A) is net.links.link(A)
    assert net.links.link("https://b.example/") is not net.links.link(A)
    assert len(net.links.all()) == 2


async def test_a_node_lives_as_long_as_there_is_a_session_to_it(net):
    await up(net)
    assert net.links.is_up(A)

    net.session.silent = True
    await until(lambda: net.link.state == "suspect")

    assert not net.links.is_up(A)
    assert not net.links.is_up("https://nobody.example/")


async def test_a_link_that_carries_nothing_is_put_to_the_proof_when_its_node_is_doubted(net):
    viewer = await up(net)
    net.world.leave(viewer)
    await until(lambda: not net.link.subscriptions)
    net.session.silent = True
    asked = net.session.pings

    assert net.links.vouches_for(A)
    await until(lambda: not net.links.vouches_for(A))

    assert net.link.state == "suspect"
    assert net.session.pings > asked
    assert not net.links.vouches_for("https://nobody.example/")


async def test_a_link_that_carries_nothing_speaks_for_a_node_that_answers(net):
    viewer = await up(net)
    net.world.leave(viewer)
    await until(lambda: not net.link.subscriptions)
    asked = net.session.pings

    assert net.links.vouches_for(A)
    await until(lambda: net.session.pings > asked + 12)

    assert net.links.vouches_for(A)


async def test_a_link_that_nobody_claims_anything_of_goes_when_it_is_not_used(net):
    viewer = await up(net)
    net.unroute()
    net.links.forget(A)
    assert net.links.known(A) is not None

    net.source.stop(None, 3)
    assert viewer.over

    await until(lambda: net.links.known(A) is None)


async def test_what_is_wanted_before_links_run_is_dialled_when_they_do():
    net = Net()
    net.route()
    net.world.view()
    assert net.sessions == []

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(net.links.run())
        await until(lambda: net.sessions)
        running.cancel()
