"""Sessions between nodes: request types of their own, no announcements, and an end that is told."""

import pytest

from moq_relay.cluster.channel import Channel, open_channel
from moq_relay.cluster.dialling import links
from moq_relay.cluster.targets import to_join, to_link
from moq_relay.errors import NotFound, RequestError, WireError
from moq_relay.relay.feed import Demand, TrackInfo
from moq_relay.relay.route import Route
from moq_relay.sessions.context import Extension, Use
from moq_relay.wire.lite.messages import Role
from tests.support.node import until
from tests.support.street import KEY, street

HERE, THERE = "https://here.example/", "https://there.example/"
ECHO = 0x1234
NODE = KEY.sign(cluster=True, node=HERE, get="", put="")
VIEWER = KEY.sign(get="", put="")


@pytest.fixture
async def town():
    async with street() as town:
        yield town


class Publisher:
    """Describes every track at once, and sends when a test says so."""

    def __init__(self):
        self.feeds = []

    def describe(self, feed):
        feed.described(TrackInfo())

    def subscribe(self, feed):
        self.feeds.append(feed)

    def update(self, feed):
        pass

    def unsubscribe(self, feed):
        self.feeds.remove(feed)

    def fetch(self, path, track, group):
        group.abort(NotFound("no"))


class Reader:
    """Notes what it is told."""

    def __init__(self, notes):
        self.notes = notes

    def started(self, first):
        pass

    def opened(self, group):
        self.notes.append(f"group {group.sequence}")

    def datagram(self, sequence, timestamp, payload):
        pass

    def ended(self, error, final):
        self.notes.append("track ended")


async def echo(session, request):
    channel = Channel(session, request)
    while True:
        words = await channel.receive()
        if "fail" in words:
            raise WireError("nonsense")
        channel.send(**words)


async def test_a_request_type_of_the_cluster_is_served_to_nodes_and_unknown_to_others(town):
    there, here = await town.build(THERE), await town.build(HERE)
    there.extensions[ECHO] = Extension(echo)

    async with town.dial(here)(THERE, to_join(HERE, NODE), Use(quiet=True)) as session:
        channel = await open_channel(session, ECHO)
        channel.send(hello="there")
        assert await channel.receive() == {"hello": "there"}
        unknown = await open_channel(session, ECHO + 1)
        with pytest.raises(RequestError):
            await unknown.receive()
        channel.send(fail=True)
        with pytest.raises(RequestError):
            await channel.receive()
        assert not session.over
    async with town.dial(here)(THERE, f"/?jwt={VIEWER}", Use()) as session:
        refused = await open_channel(session, ECHO)
        refused.send(hello="there")
        with pytest.raises(RequestError, match=rf"^node {THERE} says: cancelled \(code 0x1\)$"):
            await refused.receive()
        assert not session.over


async def test_to_whom_a_request_type_exists_is_its_own_affair(town):
    there, here = await town.build(THERE), await town.build(HERE)
    there.extensions[ECHO] = Extension(echo, lambda access: not access.cluster)

    async with town.dial(here)(THERE, f"/?jwt={VIEWER}", Use()) as session:
        channel = await open_channel(session, ECHO)
        channel.send(hello="there")
        assert await channel.receive() == {"hello": "there"}


async def test_on_a_link_nothing_is_announced_either_way(town):
    there, here = await town.build(THERE), await town.build(HERE)
    for house, path in ((there, "there/a"), (here, "here/b")):
        house.context.origin.announce(path, Route(Publisher()))

    async with links(town.dial(here), HERE, NODE)(THERE, lambda: None) as link:
        (accepted,) = there.host.sessions
        await until(lambda: accepted.publisher.hop)
        await link.session.opening.done()

        assert accepted.publisher.access.publish == ()
        assert (accepted.opening.follows, link.session.opening.follows) == (False, False)
        assert there.context.origin.paths() == ["there/a"]
        assert here.context.origin.paths() == ["here/b"]


async def test_the_far_end_of_a_link_reads_nothing_here(town):
    there, here = await town.build(THERE), await town.build(HERE)
    here.context.origin.announce("secret", Route(Publisher()))

    async with links(town.dial(here), HERE, NODE)(THERE, lambda: None) as link:
        (accepted,) = there.host.sessions
        there.context.origin.announce("secret", Route(accepted.subscriber))
        notes = []
        there.context.origin.subscribe("secret", "t", Reader(notes), Demand())
        await until(lambda: notes == ["track ended"])
        assert not link.session.over


async def test_the_end_of_a_link_is_told_before_its_tracks_end(town):
    there, here = await town.build(THERE), await town.build(HERE)
    publisher, notes = Publisher(), []
    there.context.origin.announce("room", Route(publisher))

    async with links(town.dial(here), HERE, NODE)(THERE, lambda: notes.append("ending")) as link:
        here.context.origin.announce("room", Route(link.subscriber))
        track = here.context.origin.subscribe("room", "t", Reader(notes), Demand())
        await until(lambda: publisher.feeds)
        group = publisher.feeds[0].open_group(7)
        group.finish()
        await until(lambda: notes == ["group 7"])

        there.host.close(0, "restart")
        await link.ended()
        here.context.origin.withdraw("room", link.subscriber, clean=True)
        await until(lambda: "track ended" in notes)

        assert notes == ["group 7", "ending", "track ended"]
        assert link.session.farewell == (0, "restart")
        assert track.over


@pytest.mark.parametrize("role", [None, Role.SUBSCRIBER, Role.PUBLISHER])
async def test_a_dialled_session_says_its_role(town, role):
    there, here = await town.build(THERE), await town.build(HERE)

    async with town.dial(here)(THERE, f"/?jwt={VIEWER}", Use(role=role)):
        (accepted,) = there.host.sessions
        await until(lambda: accepted.publisher.hop)
        access = accepted.publisher.access
        assert access.publish == (() if role is Role.SUBSCRIBER else ("",))
        assert access.subscribe == (() if role is Role.PUBLISHER else ("",))


async def test_a_link_says_whose_it_is_and_nothing_of_a_token_that_it_lacks():
    assert to_link(HERE, None) == "/?link=https%3A%2F%2Fhere.example%2F"
    assert to_link(HERE, "a.b.c").endswith("&jwt=a.b.c")
    by_turns = iter(["first", "second"]).__next__
    assert to_link(HERE, by_turns).endswith("&jwt=first")
    assert to_join(HERE, by_turns).endswith("&jwt=second")
