"""How a peer is asked to go, and who is still let in while a node drains."""

import asyncio

import pytest

from moq_relay.daemon.clients import BOTH, PUBLISHER, VIEWER
from moq_relay.daemon.drain import LINK
from moq_relay.daemon.guests import Guests, doorkeeper
from moq_relay.relay.access import Access
from moq_relay.relay.route import Route
from moq_relay.sessions.context import Use
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.transport import Arrival, Refused
from moq_relay.transports.memory import pair
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.lite.versions import LITE_05, LITE_06, VERSIONS
from moq_relay.wire.version import Slot
from tests.support.node import node, until

DRAINING = 0x10


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request):
    return request.param


def guests(relay):
    return Guests(lambda: relay.host.sessions)


def by_target(target):
    return {
        "/link": Access(local_only=True, cluster=True),
        "/join": Access(register="https://b/", cluster=True),
        "/publish": Access(subscribe=()),
    }.get(target, Access())


async def test_a_peer_is_asked_to_come_back_to_the_same_url_and_stays_meanwhile(version):
    async with node() as relay:
        peer = (await relay.viewer(version)).peer
        it = guests(relay)
        (number,) = it.present()

        it.ask(number)

        if not version.features.goaway:
            assert await peer.was_closed() == DRAINING
            return
        stream = await peer.asked(BiStream.GOAWAY)
        assert await stream.read(Slot.GOAWAY) == wire.Goaway("")
        await stream.ended()
        stream.finish()
        await peer.round_trip()
        assert list(it.present()) == [number]


async def test_who_is_left_is_cut_off(version):
    async with node() as relay:
        peer = (await relay.viewer(version)).peer

        guests(relay).cut_off()

        assert await peer.was_closed() == DRAINING
        assert guests(relay).present() == {}


async def test_what_each_does_is_known():
    async with node(access=by_target) as relay:
        publisher = await relay.publisher(LITE_05, "a", target="/publish")
        viewer = await relay.viewer(LITE_06)
        link = await relay.viewer(LITE_06, target="/link")
        await relay.viewer(LITE_06, target="/join")
        numbers = [relay.session(one.peer).number for one in (publisher, viewer, link)]

        assert guests(relay).present() == {numbers[0]: PUBLISHER, numbers[1]: BOTH}
        for one in (viewer, link):
            one.subscribe("a", "t")
            await one.peer.round_trip()

        assert guests(relay).present() == {
            numbers[0]: PUBLISHER,
            numbers[1]: VIEWER,
            numbers[2]: LINK,
        }


async def test_a_viewer_needs_its_session_while_it_reads(version):
    async with node() as relay:
        await relay.publisher(version, "a")
        viewer = await relay.viewer(version)
        number = relay.session(viewer.peer).number
        it = guests(relay)
        it.present()
        assert it.spent(number)

        watched = viewer.subscribe("a", "t")
        await viewer.peer.round_trip()
        assert not it.spent(number)
        watched.stream.finish()
        await viewer.peer.round_trip()
        assert it.spent(number)

        it.let_go(number)
        assert await viewer.peer.was_closed() == DRAINING


async def test_a_publisher_is_needed_until_another_node_has_all_that_it_has():
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "a", "b")
        await relay.publisher(LITE_06, "a", "b", hop=12)
        number = relay.session(publisher.peer).number
        it = guests(relay)
        it.present()
        assert not it.spent(number), "the other one is asked to go as well"

        other = relay.session((await relay.viewer(LITE_06)).peer).subscriber
        for path, sound in (("a", True), ("b", False)):
            relay.origin.announce(path, Route(other, (30,), local=False, live=sound))
        assert not it.spent(number), "who has it there is about to go"
        relay.origin.announce("b", Route(other, (30,), local=False, up=False))
        assert not it.spent(number), "who has it there is lost"
        relay.origin.announce("b", Route(other, (30,), local=False))
        assert it.spent(number)


async def test_a_publisher_is_needed_while_it_is_asked_for_something():
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "a")
        number = relay.session(publisher.peer).number
        viewer = await relay.viewer(LITE_06)
        it = guests(relay)
        it.present()
        other = relay.session((await relay.viewer(LITE_06)).peer).subscriber
        relay.origin.announce("a", Route(other, (30,), local=False))
        assert it.spent(number)

        watched = viewer.subscribe("a", "t")
        sending = await publisher.accept(0)
        sending.group(0, b"frame")
        await watched.heard(0)
        assert not it.spent(number)
        watched.stream.finish()
        await until(lambda: it.spent(number))


async def test_a_node_that_drains_lets_other_nodes_in_and_nobody_else(version):
    closed, refused = [False], []
    gate = doorkeeper(by_target, lambda: closed[0], lambda: refused.append(1))
    async with node(access=gate) as relay:
        early = (await relay.viewer(version)).peer
        closed[0] = True

        with pytest.raises(Refused) as error:
            relay.connect(version)

        assert (error.value.status, error.value.code) == (503, DRAINING)
        assert refused == [1]
        for target in ("/link", "/join"):
            await relay.viewer(version, target=target)
        await early.round_trip()


async def test_who_says_where_it_goes_in_its_setup_is_turned_away_there():
    async with node(access=doorkeeper(by_target, lambda: True, lambda: None)) as relay:
        peer = relay.connect(LITE_06, target=None)
        peer.setup(path="/")

        async with asyncio.timeout(5):
            assert await peer.was_closed() == DRAINING


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_session_that_only_attends_ends_when_its_root_is_about_to_go(leaves):
    async with node() as root, node() as here:
        near, far = pair()
        session = LiteSession(
            near,
            LITE_06,
            here.context,
            target="/",
            dialled=True,
            use=Use(quiet=True, leaves=leaves),
        )
        near.events = here.host.start(session)
        far.events = root.host.accept(Arrival("memory", "here", LITE_06.alpn, None), far, VERSIONS)
        told = asyncio.Event()
        session.subscriber.leaving = told.set
        await session.opening.done()
        attending = guests(root)
        (number,) = attending.present()

        attending.ask(number)
        async with asyncio.timeout(5):
            await told.wait()
            if leaves:
                await session.ended()

        assert session.over == leaves
