"""Joining: who is taken for the node that it says it is, and what that costs whom."""

import asyncio

import pytest

from moq_relay.cluster import admission
from moq_relay.cluster.admission import Turns
from moq_relay.cluster.channel import JOIN, PROVE, ROAD, Channel, open_channel
from moq_relay.cluster.destinations import Destinations
from moq_relay.cluster.joining import QUIET, Attendance, Challenges, digest_of, was_challenged
from moq_relay.cluster.targets import to_challenge, to_join, to_link, to_probe
from moq_relay.daemon.config.values import Public
from moq_relay.errors import MoqError, NotFound, RequestError, SessionClosed, Unauthorized
from moq_relay.sessions.context import Extension
from tests.support.node import until
from tests.support.street import KEY, street

ROOT, NODE, OTHER = "https://root.example/", "https://node.example/", "https://other.example/"
SHARED = KEY.sign(cluster=True, get="")


@pytest.fixture
async def town():
    async with street() as town:
        yield town


async def joined(joiner, root=ROOT):
    """What a root says of a node that joins it and leaves again."""
    async with joiner.joined(root) as found:
        return found.accepted, found.reason


# --- whom a root takes for a node -----------------------------------------------------------------


async def test_a_token_that_names_its_node_is_enough(town):
    await town.root(ROOT)
    node = await town.build(NODE)
    node.reachable = False

    assert await joined(town.joiner(node)) == (True, "its token names it")
    assert node.targets == []


async def test_a_shared_token_is_enough_for_who_is_reached_at_its_url(town):
    await town.root(ROOT)
    node = await town.build(NODE)

    assert await joined(town.joiner(node, token=SHARED)) == (True, "reached at its URL")
    (target,) = node.targets
    assert target.startswith("/?challenge=")
    assert not node.challenges._nonces


async def test_another_process_at_the_url_is_found_out(town):
    root = await town.root(ROOT)
    await town.build(NODE)
    twin = await town.build(OTHER)
    twin.url = NODE

    accepted, reason = await joined(town.joiner(twin, token=SHARED))

    assert not accepted
    assert reason == f"not reached at {NODE}: this process was not challenged"
    assert root.admission.verdicts[NODE].accepted is False


async def test_a_process_that_shows_another_nonce_is_another_process(town):
    await town.root(ROOT)
    node = await town.build(NODE)

    async def prove(session, request):
        channel = Channel(session, request)
        channel.send(nonce="another")
        channel.finish()

    node.extensions[PROVE] = Extension(prove, was_challenged)

    assert await joined(town.joiner(node, token=SHARED)) == (
        False,
        f"another process answers at {NODE}",
    )


async def test_nobody_at_the_url_is_no_node(town):
    await town.root(ROOT)
    node = await town.build(NODE)
    node.reachable = False

    assert await joined(town.joiner(node, token=SHARED)) == (
        False,
        f"not reached at {NODE}: nobody is there",
    )


async def test_a_process_that_the_registry_knows_is_not_reached_anew(town):
    await town.root(ROOT, known=lambda url, instance: (url, instance) == (NODE, "mine"))
    node = await town.build(NODE)
    node.reachable = False

    assert await joined(town.joiner(node, token=SHARED, instance="mine")) == (True, "it is known")
    assert not (await joined(town.joiner(node, token=SHARED, instance="other")))[0]


@pytest.mark.parametrize(
    ("own", "address", "may"),
    [
        ("192.0.2.9", "192.0.2.1", True),
        ("192.0.2.9", "10.0.0.1", True),
        ("192.0.2.9", "127.0.0.1", False),
        ("192.0.2.9", "::1", False),
        ("192.0.2.9", "::ffff:127.0.0.1", False),
        ("192.0.2.9", "169.254.169.254", False),
        ("192.0.2.9", "fe80::1%eth0", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "127.0.0.1", True),
        ("fe80::9%eth0", "fe80::1%eth0", True),
        ("127.0.0.1", "192.0.2.1", True),
        ("127.0.0.1", "0.0.0.0", False),
        ("127.0.0.1", "::", False),
        ("127.0.0.1", "224.0.0.1", False),
        ("127.0.0.1", "255.255.255.255", False),
    ],
)
async def test_a_root_dials_near_addresses_only_when_it_has_one_itself(town, own, address, may):
    root = await town.root(ROOT)
    root.addresses = {"root.example": [own], "node.example": [address]}
    node = await town.build(NODE)

    accepted, reason = await joined(town.joiner(node, token=SHARED))

    assert accepted is may
    if not may:
        assert reason == "node.example is not an address that this root may dial"
        assert node.targets == []


async def test_one_near_address_among_others_is_one_too_many(town):
    root = await town.root(ROOT)
    root.addresses = {"node.example": ["192.0.2.1", "127.0.0.1"]}
    node = await town.build(NODE)

    assert (await joined(town.joiner(node, token=SHARED)))[0] is False


async def test_a_root_without_a_name_dials_nothing_near(town):
    root = await town.root(ROOT)
    root.admission._destinations = Destinations(resolve=root.resolve)
    root.addresses = {"root.example": ["127.0.0.1"], "node.example": ["127.0.0.1"]}
    node = await town.build(NODE)

    assert (await joined(town.joiner(node, token=SHARED)))[0] is False


async def test_a_root_dials_nobody_back_who_is_not_allowed(town):
    root = await town.root(ROOT)
    root.admission._destinations = Destinations(["*.other.example"], resolve=root.resolve)
    node = await town.build(NODE)

    assert await joined(town.joiner(node, token=SHARED)) == (
        False,
        "this root may not dial it: node.example is not in cluster.allow",
    )
    assert node.targets == []


async def test_a_root_carries_no_token_where_it_dials_back(town):
    await town.root(ROOT)
    node = await town.build(NODE)

    await joined(town.joiner(node, token=SHARED))

    assert all("jwt" not in target for target in node.targets)


def test_dials_for_one_token_come_one_a_second_after_the_first_few():
    now = [100.0]
    turns = Turns(lambda: now[0], burst=3)

    assert [turns.take("a") for _ in range(5)] == [0.0, 0.0, 0.0, 1.0, 2.0]
    assert turns.take("b") == 0.0
    now[0] += 60
    assert [turns.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


def test_turns_of_the_past_are_forgotten(monkeypatch):
    monkeypatch.setattr(admission, "REMEMBERED", 10)
    now = [0.0]
    turns = Turns(lambda: now[0])

    for number in range(100):
        now[0] += 2
        turns.take(str(number))

    assert len(turns._next) <= 10


async def test_a_node_that_has_to_wait_for_its_turn_is_told_and_stays(town, monkeypatch):
    monkeypatch.setattr(admission, "SAY_SECONDS", 0.1)
    root = await town.root(ROOT)
    root.admission._turns = Turns(asyncio.get_running_loop().time, burst=1)
    first, second = await town.build(NODE), await town.build(OTHER)

    async with asyncio.TaskGroup() as tasks:
        joining = [
            # The second has to wait for a second.
            tasks.create_task(joined(town.joiner(house, token=SHARED, silence=0.8)))
            for house in (first, second)
        ]

    assert [task.result()[0] for task in joining] == [True, True]


# --- being there ----------------------------------------------------------------------------------


async def test_who_has_joined_is_known_until_its_session_ends(town):
    root = await town.root(ROOT)
    node = await town.build(NODE)

    async with town.joiner(node).joined(ROOT):
        assert root.admission.nodes() == {NODE}
    await until(lambda: not root.admission.nodes())


async def test_no_node_is_seen_among_broadcasts(town):
    await town.root(ROOT)
    node = await town.build(NODE)

    async with town.joiner(node).joined(ROOT) as found:
        for house in town.houses.values():
            assert house.context.origin.paths() == []
        assert found.session.opening.follows is False


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"get": ""}, "only a token with the claim cluster"),
        ({"cluster": True, "node": OTHER}, "the token is another node's"),
    ],
)
async def test_who_may_not_join_is_turned_away_at_the_door(town, claims, reason):
    await town.root(ROOT)
    node = await town.build(NODE)

    with pytest.raises(SessionClosed, match=reason):
        await joined(town.joiner(node, token=KEY.sign(**claims)))
    async with town.dial(node)(ROOT, to_join(NODE, KEY.sign(**claims)), QUIET) as session:
        await session.ended()
        assert session.farewell[0] == 2


@pytest.mark.parametrize("kind", [JOIN, ROAD])
async def test_to_others_the_streams_of_nodes_are_unknown(town, kind):
    await town.root(ROOT)
    viewer = await town.build(NODE)
    for token in (KEY.sign(get=""), KEY.sign(cluster=True, get="")):
        async with town.dial(viewer)(ROOT, to_link(NODE, token), QUIET) as session:
            channel = await open_channel(session, kind)
            channel.send(join=1, road=1, instance="")
            with pytest.raises(RequestError, match=r"says: cancelled \(code 0x1\)"):
                await channel.receive()
            assert not session.over


@pytest.mark.parametrize("words", [{}, {"join": 0, "instance": ""}, {"join": 1}, {"join": "1"}])
async def test_nonsense_costs_its_stream(town, words):
    root = await town.root(ROOT)
    node = await town.build(NODE)

    async with town.joiner(node).joined(ROOT) as found:
        channel = await open_channel(found.session, JOIN)
        channel.send(**words)
        with pytest.raises(RequestError):
            await channel.receive()
        assert root.admission.nodes() == {NODE}


async def test_a_root_that_is_silent_is_given_up(town):
    house = await town.build(ROOT)
    house.extensions[JOIN] = Extension(lambda _session, request: request.ended())
    node = await town.build(NODE)

    with pytest.raises(SessionClosed, match=r"the root said nothing for 0\.3 s"):
        await joined(town.joiner(node, silence=0.3))


async def test_a_node_without_a_token_only_measures_the_way(town):
    root = await town.build(ROOT, public=Public((), ("",)))
    node = await town.build(NODE)
    joiner = town.joiner(node)
    joiner._asks = False

    async with joiner.joined(ROOT) as found:
        assert found.accepted is None
        assert found.session.transport.stats().rtt_seconds is None
        await until(lambda: root.targets == [to_probe()])


async def test_an_attendance_goes_from_root_to_root(town):
    await town.root(ROOT)
    await town.root(OTHER)
    node = await town.build(NODE)
    attendance = Attendance([ROOT, OTHER], town.joiner(node), max_backoff=0.01)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(attendance.run())
        await until(lambda: attendance.root == ROOT)
        assert attendance.joined.accepted
        town.houses[ROOT].reachable = False
        town.houses[ROOT].host.close(0, "restart")
        await until(lambda: attendance.root == OTHER)
        task.cancel()

    assert attendance.joined is None


# --- challenges -----------------------------------------------------------------------------------


async def test_a_nonce_is_answered_for_while_it_is_held():
    challenges = Challenges()
    nonces = ["n"]

    with challenges.held(nonces):
        assert challenges.add("n") == digest_of("n")
        assert digest_of("n") in challenges
    assert digest_of("n") not in challenges


async def test_a_challenge_shows_its_own_nonce_and_opens_nothing_else(town):
    node = await town.build(NODE)
    asker = await town.build(OTHER)
    with node.challenges.held(["a", "b"]):
        for nonce in "ab":
            node.challenges.add(nonce)
        target = to_challenge(digest_of("a"))
        async with town.dial(asker)(NODE, target, QUIET) as session:
            channel = await open_channel(session, PROVE)
            assert await channel.receive() == {"nonce": "a"}
            other = await open_channel(session, JOIN)
            with pytest.raises(RequestError):
                await other.receive()
        with pytest.raises(MoqError, match="this process was not challenged"):
            async with town.dial(asker)(NODE, to_challenge("c"), QUIET) as session:
                await (await open_channel(session, PROVE)).receive()


async def test_a_nonce_that_is_forgotten_meanwhile_is_not_found():
    class Session:
        class publisher:  # noqa: N801
            class access:  # noqa: N801
                challenge = "x"

    with pytest.raises(NotFound):
        await Challenges().prove(Session(), None)


async def test_a_road_is_only_for_who_was_accepted(town):
    await town.root(ROOT)
    node = await town.build(NODE)
    node.reachable = False

    with pytest.raises(Unauthorized, match="the root does not accept this node: not reached"):
        async with town.joiner(node, token=SHARED).road(ROOT):
            pass
    async with town.joiner(node).road(ROOT) as channel:
        assert isinstance(channel, Channel)
