"""When groups ended at their publisher's node, told beside a link, and what a viewer's node makes
of it; every node has a clock of its own that is turned by hand."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from moq_relay.cluster.clock import RedisClock
from moq_relay.cluster.dialling import links
from moq_relay.cluster.ingestion import Ingestion, of_links
from moq_relay.relay.access import Access
from moq_relay.relay.feed import Demand
from moq_relay.relay.route import Route
from moq_relay.sessions.context import Extension
from moq_relay.sessions.lite.ingress import EARLY_TIMES
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.transport import Arrival
from moq_relay.transports.memory import HIGH_WATER, Memory, pair
from moq_relay.wire import ingested
from moq_relay.wire.ingested import Ingested
from moq_relay.wire.lite.versions import LITE_06, VERSIONS
from tests.support.node import Clock, Node, Publisher, far_end, node, until
from tests.support.peer import Peer
from tests.support.station import Listening

THERE, HERE = "https://there.example/", "https://here.example/"
TARGET = "/?link=https%3A%2F%2Fhere.example%2F"
REDIS = 5000.0
"""What Redis' clock shows when a test begins."""
UNSUPPORTED = CANCEL = 1
FILLS = bytes(HIGH_WATER - 5)
"""With its timestamp and length as much as a transport takes at once."""


def by_target(target: str) -> Access:
    return Access(local_only="link=" in target)


def redis_clock(clock: Clock, error: float | None) -> RedisClock:
    """One node's estimate; None: it never heard of it."""
    made = RedisClock(clock)
    if error is not None:
        made.sample(clock.now - error, clock.now + error, int(REDIS * 1e6))
    return made


def seen(histograms) -> dict:
    """By label: how many were observed, and their sum."""
    return {label: (h.count, pytest.approx(h.total)) for label, h in histograms.items()}


class Town:
    """A node that a publisher is connected to, and one with a viewer, which takes its track."""

    there: Node
    here: Node
    link: LiteSession
    between: Memory
    """That end of the link which is at the publisher's node."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._clocks = Clock(), Clock()
        self._clocks[1].now = 77.0

    async def build(self, *, there=0.001, here=0.002, tells=True, asks=True) -> "Town":
        """Link the nodes, whose clocks may be so many seconds off."""
        theirs, ours = self._clocks
        extensions = {}
        if tells:
            serve = Ingestion(redis_clock(theirs, there)).serve
            extensions[ingested.STREAM] = Extension(serve, of_links)
        enter = self._stack.enter_async_context
        self.there = await enter(
            node(clock=theirs, access=by_target, extensions=extensions, alone=False)
        )
        self.here = await enter(node(clock=ours, hop=8, alone=False))
        self.here.context.experience.region_of = {"": "asia", THERE: "europe"}.__getitem__
        follow = Ingestion(redis_clock(ours, here)).follow if asks else None
        link = await enter(links(self._dial, HERE, None, beside=follow)(THERE, lambda: None))
        self.link = link.session
        self.here.origin.announce("room", Route(link.subscriber, local=False))
        return self

    @asynccontextmanager
    async def _dial(self, _url, target, use, *, address=None):
        near, self.between = pair()
        session = LiteSession(
            near, LITE_06, self.here.context, target=target, dialled=True, use=use
        )
        near.events = session
        arrival = Arrival("memory", "here", LITE_06.alpn, None)
        self.between.events = self.there.host.accept(arrival, self.between, VERSIONS)
        self.here.host.start(session)
        try:
            yield session
        finally:
            session.close(0, "")

    def pass_(self, seconds: float) -> None:
        for clock in self._clocks:
            clock.now += seconds

    async def watched(self):
        """The publisher's sending, and a viewer that was there before its first group."""
        publisher = await self.there.publisher(LITE_06, "room")
        viewer = await self.here.viewer(LITE_06)
        watching = viewer.subscribe("room", "video")
        return await publisher.accept(0), watching

    async def delivered(self, sending, watching, sequence: int = 0) -> None:
        """A group that takes 40 ms over the link, and 10 ms to the viewer."""
        stream = sending.group(sequence, b"begins", fin=False)
        await watching.opened(sequence)
        self.pass_(2.0)
        before = self.there.counters.frames_out
        self.between.hold()
        stream.finish()
        await until(lambda: self.there.counters.frames_out > before)
        self.pass_(0.040)
        far_end(watching.peer).hold()
        before = self.here.counters.frames_out
        self.between.release()
        await until(lambda: self.here.counters.frames_out > before)
        await until(lambda: not self.between._queued)
        self.pass_(0.010)
        far_end(watching.peer).release()
        await watching.heard(sequence)
        await watching.peer.round_trip()


@pytest.fixture
async def town():
    async with AsyncExitStack() as stack:
        yield Town(stack)


async def test_a_delivery_counts_from_the_end_at_the_publishers_node_under_its_region(town):
    await town.build()
    sending, watching = await town.watched()
    far_end(watching.peer).rtt_seconds = 0.004

    await town.delivered(sending, watching)
    await town.delivered(sending, watching, 1)

    experience = town.here.context.experience
    assert seen(experience.delivery) == {"europe": (2, 2 * 0.048)}
    assert list(experience.first_object) == [("remote", "europe")]


async def test_the_publishers_node_counts_another_node_among_residences_only(town):
    await town.build()
    sending, watching = await town.watched()

    await town.delivered(sending, watching)

    experience = town.there.context.experience
    assert experience.residence.count == 1
    assert not experience.delivery
    assert not experience.first_object


async def test_the_times_of_a_group_that_was_here_before_the_link_are_not_told(town):
    await town.build()
    publisher = await town.there.publisher(LITE_06, "room")
    near = await town.there.viewer(LITE_06)
    first = near.subscribe("room", "video")
    sending = await publisher.accept(0)
    sending.group(0, b"whole")
    await first.heard(0)
    town.pass_(5.0)

    viewer = await town.here.viewer(LITE_06)
    await viewer.subscribe("room", "video").heard(0)
    await viewer.peer.round_trip()

    assert not town.here.context.experience.delivery


@pytest.mark.parametrize(
    ("there", "here"), [(None, 0.001), (0.001, None), (0.011, 0.0), (0.0, 0.011), (0.006, 0.005)]
)
async def test_nothing_is_measured_while_the_clocks_may_be_too_far_off(town, there, here):
    await town.build(there=there, here=here)
    sending, watching = await town.watched()

    await town.delivered(sending, watching)

    assert not town.here.context.experience.delivery
    assert town.here.context.experience.residence.count == 1


async def test_clocks_that_are_ten_milliseconds_off_together_are_believed(town):
    await town.build(there=0.0045, here=0.0045)
    sending, watching = await town.watched()

    await town.delivered(sending, watching)

    assert seen(town.here.context.experience.delivery) == {"europe": (1, 0.050)}


@pytest.mark.parametrize(("tells", "asks"), [(False, True), (True, False)])
async def test_a_node_that_does_not_know_of_times_is_linked_without(town, tells, asks):
    await town.build(tells=tells, asks=asks)
    sending, watching = await town.watched()

    await town.delivered(sending, watching)
    await town.delivered(sending, watching, 1)

    assert not town.link.over
    assert not town.here.context.experience.delivery
    assert town.here.context.experience.residence.count == 2


async def test_a_time_that_comes_before_its_group_waits_for_it(town):
    await town.build(tells=False)
    sending, watching = await town.watched()
    town.link.subscriber.ended_there(0, 0, 77.0)
    town.pass_(0.5)

    sending.group(0, b"whole")
    await watching.heard(0)
    await watching.peer.round_trip()

    assert seen(town.here.context.experience.delivery) == {"europe": (1, 0.5)}
    assert not town.link._inlet.early


async def test_few_times_wait_for_their_groups_and_none_of_a_track_that_nobody_takes(town):
    await town.build()
    await town.watched()

    for sequence in range(EARLY_TIMES + 10):
        town.link.subscriber.ended_there(0, sequence, 1.0)
        town.link.subscriber.ended_there(5, sequence, 1.0)

    early = town.link._inlet.early
    assert list(early) == [(0, sequence) for sequence in range(10, EARLY_TIMES + 10)]


async def test_a_time_for_which_the_link_has_no_room_is_not_told(town):
    await town.build()
    sending, watching = await town.watched()
    town.between.hold()
    for sequence in range(2):
        sending.group(sequence, FILLS)
    await until(lambda: town.there.counters.frames_in == 2)
    assert not town.between.writable()

    # The newer one goes first, and fills the link again with its end.
    town.between.release()
    await watching.heard(0, 1)
    await watching.peer.round_trip()

    assert town.here.context.experience.residence.count == 2
    assert town.here.context.experience.delivery["europe"].count == 1


# --- as a node that is no relay of ours sees it ---------------------------------------------------


@asynccontextmanager
async def telling(error: float = 0.001):
    """A node that tells times, a publisher's sending, and the far end of a link."""
    clock = Clock()
    serve = Ingestion(redis_clock(clock, error)).serve
    extensions = {ingested.STREAM: Extension(serve, of_links)}
    async with node(clock=clock, access=by_target, extensions=extensions) as there:
        publisher = await there.publisher(LITE_06, "room")
        viewer = await there.viewer(LITE_06, target=TARGET)
        watching = viewer.subscribe("room", "video")
        yield there, clock, await publisher.accept(0), watching


def told(stream) -> list[Ingested]:
    """The messages on a stream of times."""
    found = []
    while (read := ingested.parse(stream.data, stream.at)) is not None:
        message, stream.at = read
        found.append(message)
    return found


async def test_what_is_told_is_subscription_sequence_and_time_of_a_sample():
    async with telling() as (_there, clock, sending, watching):
        stream = watching.peer.open(ingested.STREAM)
        await watching.peer.round_trip()
        for sequence in range(33):
            sending.group(sequence, b"frame")
            await watching.heard(sequence)
            clock.now += 0.02
        await watching.peer.round_trip()

        messages = told(stream)

        assert [message.sequence for message in messages] == [0, 1, 16, 32]
        assert {message.subscribe for message in messages} == {watching.number}
        expected = [round((REDIS + 0.02 * message.sequence) * 1e6) for message in messages]
        assert [message.at_us for message in messages] == pytest.approx(expected, abs=1)
        assert all(1000 <= message.error_us <= 1100 for message in messages)


async def test_a_node_that_is_not_sure_of_its_clock_tells_nothing():
    async with telling(error=0.011) as (_there, _clock, sending, watching):
        stream = watching.peer.open(ingested.STREAM)
        await watching.peer.round_trip()
        sending.group(0, b"frame")
        await watching.heard(0)
        await watching.peer.round_trip()

        assert not stream.data


async def test_a_client_cannot_ask():
    async with telling() as (there, _clock, _sending, _watching):
        client = await there.viewer(LITE_06)

        assert await client.peer.open(ingested.STREAM).was_reset() == UNSUPPORTED
        await client.peer.round_trip()


async def test_the_times_are_told_once_and_until_the_asker_leaves():
    async with telling() as (_there, _clock, sending, watching):
        peer = watching.peer
        first = peer.open(ingested.STREAM)
        await peer.round_trip()
        second = peer.open(ingested.STREAM)
        assert await second.was_reset() == UNSUPPORTED

        first.finish()
        await first.ended()
        sending.group(0, b"frame")
        await watching.heard(0)
        third = peer.open(ingested.STREAM)
        await peer.round_trip()
        sending.group(1, b"frame")
        await watching.heard(1)
        await peer.until(lambda: third.data)

        assert told(first) == []
        assert [message.sequence for message in told(third)] == [1]


# --- as a node hears one that is no relay of ours -------------------------------------------------


@asynccontextmanager
async def hearing():
    """A node that asks its link's far end for times, that end, and the stream of the times."""
    clock = Clock()
    async with node(clock=clock) as here:
        near, far = pair()
        session = LiteSession(near, LITE_06, here.context, target=TARGET, dialled=True)
        near.events = session
        peer = Peer(far, LITE_06, dialled=False)
        peer.setup(hop=11)
        here.host.start(session)
        session.spawn(Ingestion(redis_clock(clock, 0.0)).follow(session), "times")
        yield session, peer, await peer.asked(ingested.STREAM)


def message(sequence: int) -> bytes:
    return ingested.encode(Ingested(0, sequence, int(REDIS * 1e6), 0))


async def test_times_are_heard_in_whatever_pieces_they_come():
    async with hearing() as (session, peer, stream):
        here = session._context.origin
        here.publish("room", session.subscriber)
        here.subscribe("room", "video", Listening(frames=1, size=1), Demand())
        await Publisher(peer).accept(0)
        early = session._inlet.early
        for byte in message(3) + message(4):
            stream.raw(bytes((byte,)))
        await until(lambda: len(early) == 2)

        stream.raw(message(5) + message(6), fin=True)
        await stream.was_over()

        assert early == {(0, s): pytest.approx(1000.0) for s in (3, 4, 5, 6)}


@pytest.mark.parametrize("junk", [b"\x21", b"\x01\x00", b"\x05\x00\x00\x00\x00\x00", b"\xff" * 50])
async def test_junk_among_times_costs_only_their_stream(junk):
    async with hearing() as (session, peer, stream):
        stream.raw(message(1) + junk + message(2))

        assert await stream.was_stopped() == CANCEL
        assert await stream.was_reset() == CANCEL
        stream.raw(message(3) * 2000)
        await peer.round_trip()
        assert not session.over


@pytest.mark.parametrize("code", [1, 0x33])
async def test_a_far_end_that_refuses_is_asked_no_more(code):
    async with hearing() as (session, peer, stream):
        stream.stop(code)
        stream.reset(code)

        await stream.was_over()
        await peer.round_trip()

        assert len(peer.requests(ingested.STREAM)) == 1
        assert stream.number not in session._requests
