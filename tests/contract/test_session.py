"""What a session announces and hears announced, in every version."""

import pytest

from moq_relay.relay.access import Access
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream, Status
from moq_relay.wire.lite.versions import LITE_02, LITE_03, LITE_04, LITE_05, LITE_06, VERSIONS
from tests.support.node import HOP, far_end, node, until

WITH_HOPS = [v for v in VERSIONS if v.features.hop_ids]


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request):
    return request.param


def active(version, suffix, *hops, cost=1):
    """How a version says that a broadcast is live, by a node that had it over ``hops``."""
    if version is LITE_06:
        return wire.AnnounceStart(suffix, hops, cost, cost)
    chain = {
        LITE_05: hops,
        LITE_04: (*hops, HOP),
        LITE_03: (0,) * (len(hops) + 1),
        LITE_02: (),
    }[version]
    return wire.Announce(Status.ACTIVE, suffix, chain)


def ended(version, suffix, number):
    return wire.AnnounceEnd(number) if version is LITE_06 else wire.Announce(Status.ENDED, suffix)


# --- what a viewer is told ------------------------------------------------------------------------


async def test_a_viewer_is_told_what_is_live_and_then_what_changes(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "room/a", "room/b")
        viewer = await relay.viewer(version)

        watching = await viewer.watch("room")

        if version is LITE_02:
            assert watching.snapshot == ("a", "b")
        else:
            assert watching.count == (None if version in {LITE_03, LITE_04} else 2)
            assert watching.hop == (0 if version in {LITE_03, LITE_04} else HOP)
            assert await watching.next() == active(version, "a", 11)
            assert await watching.next() == active(version, "b", 11)

        publisher.announce("room/c")
        publisher.end("room/a")

        assert await watching.next() == active(version, "c", 11)
        assert await watching.next() == ended(version, "a", 0)
        await viewer.peer.round_trip()
        assert watching.rest() == []
        assert not watching.stream.over


async def test_a_prefix_matches_by_segment_and_the_path_itself_is_the_empty_suffix(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, "roomy", "room/a")
        viewer = await relay.viewer(version)
        watching = await viewer.watch("/room/")
        if version is not LITE_02:
            assert await watching.next() == active(version, "a", 11)

        publisher.announce("room")

        assert await watching.next() == active(version, "", 11)


async def test_an_empty_answer_is_an_answer(version):
    async with node() as relay:
        viewer = await relay.viewer(version)

        watching = await viewer.watch("room")
        await viewer.peer.round_trip()

        assert (watching.count or 0, watching.snapshot, watching.rest()) == (0, (), [])
        assert not watching.stream.over


async def test_another_publisher_of_a_path_is_a_new_instance_of_it(version):
    async with node() as relay:
        await relay.publisher(LITE_05, "room/a", hop=11)
        viewer = await relay.viewer(version)
        watching = await viewer.watch("room")
        if version is not LITE_02:
            await watching.next()

        await relay.publisher(LITE_05, "room/a", hop=12)

        assert await watching.next() == ended(version, "a", 0)
        assert await watching.next() == active(version, "a", 12)
        await viewer.peer.round_trip()
        assert watching.rest() == []


async def test_the_same_publisher_over_another_relay_is_no_new_instance(version):
    async with node() as relay:
        near = await relay.publisher(LITE_05, hop=21)
        near.announce("room/a", (5,))
        await near.peer.round_trip()
        viewer = await relay.viewer(version)
        watching = await viewer.watch("room")
        if version is not LITE_02:
            assert await watching.next() == active(version, "a", 5, 21)

        far = await relay.publisher(LITE_05, hop=22)
        far.announce("room/a", (5,))
        await far.peer.round_trip()
        await viewer.peer.round_trip()

        expected = {
            LITE_06: [wire.AnnounceUpdate(0, (5, 22), 1, 1)],
            LITE_05: [active(LITE_05, "a", 5, 22)],
        }
        assert watching.rest() == expected.get(version, [])


async def test_ids_of_ended_announcements_are_never_used_again():
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "a", "b")
        watching = await (await relay.viewer(LITE_06)).watch()
        for _ in range(2):
            await watching.next()

        publisher.end("a")
        publisher.announce("a")
        publisher.end("a")

        assert [await watching.next() for _ in range(3)] == [
            wire.AnnounceEnd(0),
            wire.AnnounceStart("a", (11,), 1, 1),
            wire.AnnounceEnd(2),
        ]


async def test_a_session_is_told_of_everything_but_its_own(version):
    async with node() as relay:
        own = await relay.publisher(version, "room/own")
        await relay.publisher(LITE_05, "room/other", hop=12)
        viewer = await relay.viewer(version)
        theirs = await viewer.watch("room")

        stream = own.peer.open(BiStream.ANNOUNCE, wire.AnnounceRequest("room"))
        await own.peer.round_trip()
        await viewer.peer.round_trip()

        if version is LITE_02:
            found = await stream.read(wire.AnnounceInit.slot)
            assert found.suffixes == ("other",)
            assert theirs.snapshot == ("other", "own")
            return
        if version.features.announce_ok:
            assert (await stream.read(wire.AnnounceOk.slot)).active == 1
        assert await stream.read(wire.Announce.slot) == active(version, "other", 12)
        await own.peer.round_trip()
        assert stream.pop(wire.Announce.slot) is None
        assert len(theirs.rest()) == 2


@pytest.mark.parametrize("version", [LITE_05, LITE_06], ids=lambda version: version.name)
async def test_a_peer_is_not_told_of_routes_that_passed_it(version):
    async with node() as relay:
        publisher = await relay.publisher(LITE_05, hop=21)
        publisher.announce("through", (5, 33))
        publisher.announce("past", (5, 34))
        await publisher.peer.round_trip()

        watching = await (await relay.viewer(version, hop=33)).watch()

        assert watching.count == 1
        assert await watching.next() == active(version, "past", 5, 34, 21)


@pytest.mark.parametrize("version", [LITE_04, LITE_05], ids=lambda version: version.name)
async def test_an_announce_request_may_exclude_a_hop(version):
    async with node() as relay:
        await relay.publisher(LITE_05, "a", hop=21)
        await relay.publisher(LITE_05, "b", hop=22)
        viewer = await relay.viewer(version)

        watching = await viewer.watch(exclude=21)
        await viewer.peer.round_trip()

        assert watching.rest() == [active(version, "b", 22)]


async def test_a_viewer_that_reads_no_announcements_loses_its_session(version):
    async with node(viewer_backlog=1000) as relay:
        viewer = await relay.viewer(version)
        await viewer.watch()
        await viewer.peer.round_trip()
        publisher = await relay.publisher(LITE_05)
        far = far_end(viewer.peer)
        far.hold()

        for number in range(80):
            publisher.announce(f"{number}/" + "x" * 60_000)
        await until(lambda: len(relay.origin.broadcasts) == 80)

        await until(lambda: len(relay.host.sessions) == 1)
        far.release()
        assert await viewer.peer.was_closed() == 1
        await publisher.peer.round_trip()


async def test_a_viewer_ends_its_announce_stream_by_finishing_or_resetting_it(version):
    async with node() as relay:
        viewer = await relay.viewer(version)
        finished, reset = await viewer.watch(), await viewer.watch()

        finished.stream.finish()
        reset.stream.reset(1)

        await finished.stream.ended()
        assert await reset.stream.was_reset() == 1
        await viewer.peer.round_trip()


# --- what a publisher tells -----------------------------------------------------------------------


async def test_the_node_asks_for_everything_and_says_who_it_is(version):
    async with node() as relay:
        publisher = await relay.publisher(version)

        assert publisher.wanted is not None
        assert publisher.wanted.prefix == ""
        assert publisher.wanted.exclude_hop == (HOP if version.features.exclude_hop else 0)


async def test_hops_and_costs_of_a_publisher_end_with_its_own(version):
    async with node() as relay:
        publisher = await relay.publisher(version, cost=4)
        publisher.announce("room/a", (5, 6), warm=10, cold=2**62 - 2)
        publisher.announce("room/b", (5, 6), warm=2**62 - 1, cold=2**62 - 1)
        await publisher.peer.round_trip()

        (route,) = relay.origin.broadcasts["room/a"].routes
        (dear,) = relay.origin.broadcasts["room/b"].routes

        hops = {LITE_03: (0, 0, 0), LITE_02: (0,)}.get(version, (5, 6, 11))
        assert route.hops == hops
        if version is LITE_06:
            assert (route.warm, route.cold) == (14, 2**62 - 1)
            assert (dear.warm, dear.cold) == (2**62 - 1, 2**62 - 1)


async def test_a_broadcast_ends_by_announcement(version):
    async with node(linger=5) as relay:
        publisher = await relay.publisher(version, "a", "b")
        assert relay.origin.paths() == ["a", "b"]

        publisher.end("a")
        await publisher.peer.round_trip()

        assert relay.origin.paths() == ["b"]


@pytest.mark.parametrize("how", ["finish", "reset"])
async def test_all_broadcasts_end_with_the_announce_stream(version, how):
    async with node(linger=5) as relay:
        publisher = await relay.publisher(version, "a", "b")

        if how == "finish":
            publisher.announces.finish()
        else:
            publisher.announces.reset(1)

        await until(lambda: relay.origin.paths() == [])
        await publisher.peer.round_trip()


@pytest.mark.parametrize(("code", "left"), [(0, []), (1, ["a"]), (77, ["a"])])
async def test_a_session_that_is_lost_lingers_and_one_that_says_goodbye_does_not(
    version, code, left
):
    async with node(linger=5) as relay:
        publisher = await relay.publisher(version, "a")

        publisher.peer.transport.close(code, "")

        await until(lambda: not relay.host.sessions)
        assert relay.origin.paths() == left


async def test_a_second_announcement_of_a_path_replaces_its_route(version):
    async with node() as relay:
        publisher = await relay.publisher(version)
        publisher.announce("a", (5,))
        publisher.announce("a", (5, 6))
        await publisher.peer.round_trip()

        (route,) = relay.origin.broadcasts["a"].routes

        assert len(route.hops) == (1 if version is LITE_02 else 3)


@pytest.mark.parametrize("version", WITH_HOPS, ids=lambda version: version.name)
async def test_a_publisher_that_comes_another_way_is_no_newer_publisher(version):
    async with node() as relay:
        first = await relay.publisher(version, hop=11)
        first.announce("a", (5,))
        await first.peer.round_trip()
        second = await relay.publisher(version, hop=12)
        second.announce("a", (6,))
        await second.peer.round_trip()

        first.announce("a", (5, 7))
        await first.peer.round_trip()

        assert [route.hops for route in relay.origin.broadcasts["a"].routes] == [
            (6, 12),
            (5, 7, 11),
        ]


@pytest.mark.parametrize("version", WITH_HOPS, ids=lambda version: version.name)
async def test_what_has_passed_this_node_is_refused(version):
    async with node() as relay:
        publisher = await relay.publisher(version)

        publisher.announce("loop", (5, HOP))
        publisher.announce("fine", (5,))
        await publisher.peer.round_trip()

        assert relay.origin.paths() == ["fine"]


@pytest.mark.parametrize("version", WITH_HOPS, ids=lambda version: version.name)
async def test_a_route_that_comes_to_pass_this_node_is_withdrawn(version):
    async with node() as relay:
        publisher = await relay.publisher(version)
        publisher.announce("a", (5,))

        publisher.announce("a", (5, HOP))
        await publisher.peer.round_trip()
        assert relay.origin.paths() == []

        publisher.announce("a", (5,))
        await publisher.peer.round_trip()
        assert relay.origin.paths() == ["a"]


@pytest.mark.parametrize("version", WITH_HOPS, ids=lambda version: version.name)
async def test_more_hops_than_can_be_passed_on_cost_the_announcement_only(version):
    async with node() as relay:
        watchings = [await (await relay.viewer(each)).watch() for each in VERSIONS]
        publisher = await relay.publisher(version)

        extra = 0 if version is LITE_04 else 1
        publisher.announce("far", tuple(range(100, 131 + extra)))
        publisher.announce("twice", () if version is LITE_04 else (11, 5))
        publisher.announce("near", tuple(range(100, 130)))
        await publisher.peer.round_trip()

        expected = ["near", "twice"] if version is LITE_04 else ["near"]
        assert relay.origin.paths() == expected
        for watching in watchings:
            await watching.next()
            assert not watching.stream.over


async def test_no_more_broadcasts_than_the_limit_are_taken_of_one_peer(version):
    async with node(announces_per_session=3) as relay:
        publisher = await relay.publisher(version, *[f"b{n}" for n in range(5)])
        assert relay.origin.paths() == ["b0", "b1", "b2"]
        assert relay.counters.announces_refused == {"session": 2}

        publisher.end("b4")
        publisher.end("b0")
        publisher.announce("b5")
        await publisher.peer.round_trip()

        assert relay.origin.paths() == ["b1", "b2", "b5"]


async def test_a_peer_announces_only_where_it_may(version):
    rights = Access(publish=("mine",))
    async with node(access=lambda _target: rights) as relay:
        publisher = await relay.publisher(version, "mine/a", "yours/a")
        publisher.end("yours/a")
        publisher.announce("mine/b")
        await publisher.peer.round_trip()

        assert relay.origin.paths() == ["mine/a", "mine/b"]


async def test_a_peer_watches_only_what_it_may(version):
    async with node(
        access=lambda target: Access(subscribe=("mine",) if target == "/v" else ("",))
    ) as relay:
        publisher = await relay.publisher(LITE_05, "mine/a", "yours/a")
        viewer = await relay.viewer(version, target="/v")
        watching = await viewer.watch()

        publisher.announce("yours/b")
        publisher.announce("mine/b")
        publisher.end("yours/a")
        publisher.end("mine/a")
        await publisher.peer.round_trip()
        await viewer.peer.round_trip()

        told = [active(version, "mine/b", 11), ended(version, "mine/a", 0)]
        if version is LITE_02:
            assert watching.snapshot == ("mine/a",)
        else:
            told.insert(0, active(version, "mine/a", 11))
        assert watching.rest() == told
        assert await viewer.subscribe("yours/a", "t").stream.was_reset() == 0x36
