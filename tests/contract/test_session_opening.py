"""How a session begins, what its path and role allow, how it is told to go, and its limits."""

import asyncio
import gc

import pytest

from moq_relay.errors import Unauthorized
from moq_relay.relay.access import Access
from moq_relay.sessions.lite.session import UNI_STREAMS_LIMIT, LiteSession
from moq_relay.sessions.transport import Arrival, Refused
from moq_relay.transports.memory import pair
from moq_relay.wire import varint
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream, Role, UniStream
from moq_relay.wire.lite.versions import LITE_02, LITE_03, LITE_04, LITE_05, LITE_06, VERSIONS
from moq_relay.wire.version import Slot
from tests.support.node import HOP, node, until

LITE_01 = 0xFF0D_AD01


def by_name(versions):
    return pytest.mark.parametrize("version", versions, ids=lambda version: version.name)


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request):
    return request.param


class Gate:
    """Lets everybody in below the path it asks for, and remembers what that was."""

    def __init__(self, *closed):
        self.asked = []
        self.closed = closed

    def __call__(self, target):
        self.asked.append(target)
        if target in self.closed:
            raise Unauthorized("closed")
        return Access(root=target.partition("?")[0].strip("/"))


# --- roots ----------------------------------------------------------------------------------------


async def test_the_path_of_the_url_is_the_root_of_the_session(version):
    gate = Gate()
    async with node(access=gate) as relay:
        publisher = await relay.publisher(version, "b", target="/a/?jwt=x")
        assert relay.origin.paths() == ["a/b"]

        for target, suffix in [("/a", "b"), ("/", "a/b"), ("/a/b", "")]:
            viewer = await relay.viewer(LITE_05, target=target)
            watching = await viewer.watch()
            assert (await watching.next()).suffix == suffix
        viewer = await relay.viewer(version, target="/other")
        watching = await viewer.watch()
        await viewer.peer.round_trip()
        assert (watching.snapshot, watching.rest()) == ((), [])
        assert await viewer.subscribe("a/b", "t").stream.was_reset() == 0x36

        watched = (await relay.viewer(version, target="/a")).subscribe("b", "t")
        sending = await publisher.accept(0)
        assert sending.wanted.broadcast == "b"
        sending.group(0, b"x")
        await watched.heard(0)
        assert gate.asked[0] == "/a/?jwt=x"


@by_name([LITE_05, LITE_06, LITE_02])
async def test_a_session_without_a_url_says_its_path_in_its_setup(version):
    gate = Gate("/closed")
    async with node(access=gate) as relay:
        await relay.publisher(version, "b", target=None, path="/a?jwt=x")
        assert relay.origin.paths() == ["a/b"]
        assert gate.asked == ["/a?jwt=x"]

        silent = await relay.viewer(version, target=None)
        assert gate.asked == ["/a?jwt=x", ""]
        await silent.watch()

        refused = relay.connect(version, target=None)
        refused.setup(path="/closed")
        assert await refused.was_closed() == 2


@by_name([LITE_03, LITE_04])
async def test_a_version_that_cannot_say_a_path_has_the_root_of_all(version):
    gate = Gate()
    async with node(access=gate) as relay:
        await relay.publisher(version, "b", target=None)

        assert relay.origin.paths() == ["b"]
        assert gate.asked == [""]


async def test_a_peer_that_nobody_lets_in_gets_no_session(version):
    async with node(access=Gate("/closed")) as relay:
        with pytest.raises(Refused) as refused:
            relay.connect(version, target="/closed")

        assert (refused.value.status, refused.value.code) == (403, 2)
        assert relay.counters.sessions_refused == {"unauthorized": 1}
        assert relay.host.sessions == set()


async def test_requests_wait_for_the_path_that_they_are_relative_to():
    async with node(access=Gate()) as relay:
        await relay.publisher(LITE_05, "b", target="/a")
        peer = relay.connect(LITE_05, target=None)
        stream = peer.open(BiStream.ANNOUNCE, wire.AnnounceRequest(""))
        await peer.round_trip()
        assert not stream.data

        peer.setup(path="/a")

        assert await stream.read(Slot.ANNOUNCE_OPENING) == wire.AnnounceOk(HOP, 1)
        assert (await stream.read(Slot.ANNOUNCEMENT)).suffix == "b"


# --- roles ----------------------------------------------------------------------------------------


@by_name([LITE_05, LITE_06])
async def test_a_peer_that_only_subscribes_is_not_asked_for_announcements(version):
    async with node() as relay:
        viewer = await relay.viewer(version, role=Role.SUBSCRIBER)
        await viewer.watch()

        await viewer.peer.round_trip()

        assert viewer.peer.requests(BiStream.ANNOUNCE) == []


@by_name([LITE_05, LITE_06])
async def test_a_peer_that_only_publishes_is_told_of_nothing(version):
    async with node() as relay:
        await relay.publisher(LITE_05, "theirs", hop=12)
        publisher = await relay.publisher(version, "mine", role=Role.PUBLISHER)

        stream = publisher.peer.open(BiStream.ANNOUNCE, wire.AnnounceRequest(""))

        assert await stream.read(Slot.ANNOUNCE_OPENING) == wire.AnnounceOk(HOP, 0)
        assert relay.origin.paths() == ["mine", "theirs"]


@by_name([LITE_05, LITE_06])
@pytest.mark.parametrize(
    ("role", "rights"),
    [(Role.PUBLISHER, Access(publish=())), (Role.SUBSCRIBER, Access(subscribe=()))],
)
async def test_a_role_that_the_rights_do_not_cover_is_refused(version, role, rights):
    async with node(access=lambda _target: rights) as relay:
        peer = relay.connect(version)

        peer.setup(role=role)

        assert await peer.was_closed() == 2
        assert relay.counters.sessions_refused == {"unauthorized": 1}


async def test_a_peer_without_the_right_to_publish_is_not_asked(version):
    async with node(access=lambda _target: Access(publish=())) as relay:
        viewer = await relay.viewer(version)

        await viewer.watch()
        await viewer.peer.round_trip()

        assert viewer.peer.requests(BiStream.ANNOUNCE) == []


# --- SETUP ----------------------------------------------------------------------------------------


@by_name([LITE_05, LITE_06])
async def test_the_node_says_who_it_is_and_that_it_cannot_measure(version):
    async with node() as relay:
        peer = relay.connect(version)
        await peer.until(lambda: any(s.fin for n, s in peer.streams.items() if n & 2))

        (stream,) = [s for n, s in peer.streams.items() if n & 2]

        kind, stream.at = varint.decode(stream.data, 0)
        setup = stream.pop(Slot.SETUP)
        assert kind == UniStream.SETUP
        assert (setup.hop, setup.probe, setup.path, setup.role) == (HOP, 0, None, None)
        await stream.ended()
        peer.setup()


@by_name([LITE_02, LITE_05, LITE_06])
async def test_a_peer_that_never_sends_its_setup_is_closed(version):
    async with node(handshake_seconds=0.02) as relay:
        peer = relay.connect(version)

        assert await peer.was_closed() == 0x11


@by_name([LITE_03, LITE_04])
async def test_a_version_without_setup_waits_for_none(version):
    async with node(handshake_seconds=0.02) as relay:
        peer = relay.connect(version)
        announces = await peer.asked(BiStream.ANNOUNCE)

        assert await announces.read(Slot.ANNOUNCE_REQUEST)
        await peer.round_trip()


@by_name([LITE_05, LITE_06])
async def test_a_setup_stream_waits_for_credit(version):
    async with node() as relay:
        peer = relay.connect(version, streams=0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert peer.streams == {}
        assert peer.close is None

        peer.transport.close(0, "")
        await until(lambda: not relay.host.sessions)


# --- in band --------------------------------------------------------------------------------------


async def test_a_peer_that_named_no_version_is_asked_in_band():
    async with node() as relay:
        peer = relay.connect(LITE_02, protocol=None)

        stream = peer.open(None, wire.ClientSetup((LITE_01, LITE_02.wire_number, 0xFF00000E)))

        answer = await stream.read(Slot.SERVER_SETUP)
        assert answer == wire.ServerSetup(LITE_02.wire_number)
        await peer.asked(BiStream.ANNOUNCE)
        stream.write(wire.SessionInfo(1_000_000))
        await peer.round_trip()


@pytest.mark.parametrize("offer", [(LITE_01,), (), (0xFF00000E,)])
async def test_an_offer_in_band_without_a_version_of_ours_is_refused(offer):
    async with node() as relay:
        peer = relay.connect(LITE_02, protocol=None)

        peer.open(None, wire.ClientSetup(offer))

        assert await peer.was_closed() == 0x15


@pytest.mark.parametrize("how", ["finish", "reset"])
async def test_the_session_ends_with_the_stream_that_began_it(how):
    async with node() as relay:
        peer = relay.connect(LITE_02, protocol=None)
        stream = peer.setup()
        await peer.round_trip()

        stream.finish() if how == "finish" else stream.reset(0)

        assert await peer.was_closed() == 0


@pytest.mark.parametrize("protocol", [None, "moq-lite-04", "h3", "moq-lite-07-wip"])
async def test_a_version_that_the_listener_does_not_offer_is_refused(protocol):
    async with node() as relay:
        with pytest.raises(Refused) as refused:
            relay.connect(LITE_05, protocol=protocol, versions=(LITE_06, LITE_05))

        assert (refused.value.status, refused.value.code) == (400, 0x15)
        assert relay.counters.sessions_refused == {"version": 1}


# --- GOAWAY and Probe -----------------------------------------------------------------------------


@by_name([LITE_04, LITE_05, LITE_06])
async def test_a_publisher_that_is_about_to_leave_is_the_last_choice(version):
    async with node() as relay:
        stays = await relay.publisher(LITE_05, "a", hop=12)
        leaves = await relay.publisher(version, "a", hop=11)
        watching = await (await relay.viewer(LITE_06)).watch()
        assert (await watching.next()).hops == (11,)

        stream = leaves.peer.open(BiStream.GOAWAY, wire.Goaway("https://elsewhere/a"), fin=True)
        await stream.ended()

        assert await watching.next() == wire.AnnounceEnd(0)
        assert (await watching.next()).hops == (12,)
        stays.announce("b")
        await stays.peer.round_trip()
        leaves.announce("b")
        await leaves.peer.round_trip()
        assert relay.origin.broadcasts["b"].active.hops == (12,)
        watched = (await relay.viewer(LITE_05)).subscribe("a", "t")
        (await stays.accept(0)).group(0, b"x")
        await watched.heard(0)


@by_name([v for v in VERSIONS if wire.Probe in v.layouts])
async def test_a_probe_is_refused(version):
    async with node() as relay:
        viewer = await relay.viewer(version)

        probe = viewer.peer.open(BiStream.PROBE)

        assert await probe.was_reset() == 1
        assert await probe.was_stopped() == 1
        await viewer.peer.round_trip()


# --- limits ---------------------------------------------------------------------------------------


async def test_a_peer_has_only_so_many_requests_at_once(version):
    async with node(requests_per_session=3) as relay:
        publisher = await relay.publisher(LITE_05, "a")
        peer = relay.connect(version)
        held = 1 if version is LITE_02 else 0
        peer.setup()
        announces = [
            peer.open(BiStream.ANNOUNCE, wire.AnnounceRequest("")) for _ in range(3 - held)
        ]
        for stream in announces:
            await peer.until(lambda s=stream: s.data)

        extra = peer.open(BiStream.SUBSCRIBE, wire.Subscribe(0, "a", "t", 0))
        assert await extra.was_reset() == 9
        assert await extra.was_stopped() == 9
        assert relay.counters.requests_refused == {"requests": 1}

        announces[0].reset(1)
        await peer.until(lambda: announces[0].over)
        again = peer.open(BiStream.SUBSCRIBE, wire.Subscribe(0, "a", "t", 0))
        await publisher.accept(0)
        assert not again.over


async def test_a_message_has_only_so_many_bytes(version):
    async with node(message_bytes=100) as relay:
        viewer = await relay.viewer(version)
        held = viewer.subscribe("a" * 80, "t")
        assert await held.stream.was_reset() == 0x36

        too_long = viewer.subscribe("a" * 101, "t")

        assert await too_long.stream.was_reset() == 1
        await viewer.peer.round_trip()


async def test_a_peer_that_never_ends_its_requests_loses_its_session(version):
    async with node(requests_per_session=10) as relay:
        peer = (await relay.viewer(version)).peer
        session = relay.session(peer)

        for number in range(1000, 1009):
            session.stream_data(4 * number, b"\x3f", False)
            await until(lambda n=number: 4 * n in session._deaf)
        await peer.round_trip()
        for number in (2000, 2001):
            session.stream_data(4 * number, b"\x3f", False)

        assert await peer.was_closed() == 3


async def test_a_peer_that_never_ends_its_group_streams_loses_its_session(version):
    async with node() as relay:
        peer = (await relay.viewer(version)).peer
        session = relay.session(peer)

        for number in range(UNI_STREAMS_LIMIT):
            session.stream_data(4 * (number + 1000) + 2, b"\x3f", False)
        await peer.round_trip()
        session.stream_data(2_000_002, b"\x3f", False)

        assert await peer.was_closed() == 3


async def test_a_node_has_only_so_many_sessions():
    async with node(sessions=1) as relay:
        peer = relay.connect(LITE_05)
        with pytest.raises(Refused) as refused:
            relay.connect(LITE_05)
        assert refused.value.status == 503

        peer.transport.close(0, "")
        await until(lambda: not relay.host.sessions)

        relay.connect(LITE_05)


async def test_a_host_that_closes_lets_nobody_in(version):
    async with node() as relay:
        peer = relay.connect(version)
        await asyncio.sleep(0)
    assert peer.close is None or peer.close[0] == 0

    far = pair()[1]
    with pytest.raises(Refused):
        relay.host.accept(Arrival("memory", "late", version.alpn, "/"), far, VERSIONS)


async def test_a_session_that_is_cancelled_while_a_request_arrives_leaves_nothing(version):
    async with node() as relay:
        peer = (await relay.viewer(version)).peer
        session = relay.session(peer)
        (task,) = (t for t in asyncio.all_tasks() if t.get_name() == f"session-{session.number}")

        task.cancel()
        session.stream_data(4000, b"\x3f", False)

        await until(lambda: not relay.host.sessions)
        gc.collect()


async def test_two_nodes_speak_every_version_to_each_other(version):
    async with node() as below, node(hop=HOP + 2, alone=False) as above:
        publisher = await above.publisher(LITE_05, "room/a")
        near, far = pair()
        near.binding = far.binding = "quic"
        session = LiteSession(near, version, below.context, target="/", dialled=True)
        near.events = below.host.start(session)
        arrival = Arrival("quic", "test", version.alpn, None)
        far.events = above.host.accept(arrival, far, VERSIONS)

        await until(lambda: below.origin.paths() == ["room/a"])
        watched = (await below.viewer(version)).subscribe("room/a", "t")
        sending = await publisher.accept(0)
        sending.group(0, b"hello")
        await watched.heard(0)
        watched.stream.finish()
        assert await sending.stream.was_reset() == 1
