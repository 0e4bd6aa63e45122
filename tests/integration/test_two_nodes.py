"""What is published on one node is watched on another, whatever becomes of the way between."""

import asyncio

import pytest

from moq_relay.cluster import resolver, targets
from moq_relay.errors import NotFound, Unroutable
from moq_relay.relay.feed import Demand
from moq_relay.sessions.context import Limits
from moq_relay.wire.lite.versions import VERSIONS
from tests.support.cluster_node import ClusterNode, InProcess, in_process
from tests.support.own_client import connected, until
from tests.support.station import Listening, Station

ROOM = "room/alice"
VERSION = VERSIONS[0]


@pytest.fixture
async def cluster():
    async with in_process() as cluster:
        yield cluster


async def two(cluster: InProcess) -> tuple[ClusterNode, ClusterNode]:
    a, b = await cluster.join(), await cluster.join()
    await until(lambda: a.name in b.registry.members and b.name in a.registry.members)
    return a, b


async def known(node: ClusterNode, *owners: ClusterNode, path: str = ROOM) -> None:
    """Until the node's copy says who has the path."""
    await until(lambda: node.nodes_of(path) == [owner.name for owner in owners])


async def played(station: Station, *viewers: Listening, groups: int = 2) -> None:
    """Until every viewer has the newest ``groups`` groups whole."""
    for _ in range(groups):
        station.write()
        while station.written % station.frames:
            await asyncio.sleep(0)
            station.write()
        await until(lambda: all(station.sequence in viewer.whole for viewer in viewers), 3.0)


def follow(station: Station, interval: float = 0.02) -> "asyncio.Task[None]":
    """Let a station write for as long as the task lives."""

    async def play() -> None:
        while True:
            station.write()
            await asyncio.sleep(interval)

    return asyncio.get_running_loop().create_task(play())


# Published here, watched there.


async def test_what_is_published_on_one_node_is_watched_on_another(cluster):
    a, b = await two(cluster)
    station = a.publish(ROOM)
    await known(b, a)

    viewer = b.watch(ROOM)
    await until(lambda: station.feeds)
    await played(station, viewer)

    assert viewer.faults == []
    assert b.link(a).dials == 1
    assert a.asked == [targets.to_link(b.name, None)]
    (session,) = a.host.sessions
    assert session.scheduler.limit == Limits().link_backlog


async def test_the_first_viewer_on_another_node_begins_at_the_latest_group(cluster):
    a, b = await two(cluster)
    station = a.publish(ROOM)
    await known(b, a)
    here = a.watch(ROOM)
    await until(lambda: station.feeds)
    await played(station, here, groups=4)
    latest = station.sequence

    viewer = b.watch(ROOM, Demand(max_age=30.0))
    await until(lambda: viewer.first is not None)
    await played(station, here, viewer)

    assert viewer.first == min(viewer.whole) == latest
    assert viewer.faults == viewer.missing == []


async def test_it_is_announced_on_the_other_node_with_its_hops(cluster):
    a, b = await two(cluster)
    a.publish(ROOM, 77)
    await known(b, a)

    assert b.origin.paths() == [ROOM]
    assert b.origin.broadcasts[ROOM].public.hops == (77, a.origin.hop)
    assert a.registry.claims(ROOM)[0].claim.hops == (77,)


async def test_a_hidden_path_is_claimed_and_watched_but_not_shown(cluster):
    a, b = await two(cluster)
    station = a.publish("room/.preview")
    await known(b, a, path="room/.preview")

    viewer = b.watch("room/.preview")
    await until(lambda: station.feeds)
    await played(station, viewer)

    assert b.origin.paths() == []


async def test_a_path_that_the_copy_lacks_is_looked_up(cluster):
    a, b = await two(cluster)
    b.road.hear = lambda message: []
    a.publish(ROOM)
    await until(lambda: a.nodes_of(ROOM))
    assert b.nodes_of(ROOM) == []

    # Half as long as a path that nobody has is waited for.
    async with asyncio.timeout(resolver.LOOKUP_SECONDS / 2), asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(b.discovery.resolve(ROOM))

    assert b.origin.paths() == [ROOM]
    assert b.road.called("lookup") == 1


async def test_a_path_that_nobody_has_yet_is_waited_for(cluster):
    a, b = await two(cluster)

    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        tasks.create_task(b.discovery.resolve(f"{ROOM}/camera"))
        await asyncio.sleep(0.1)
        a.publish(ROOM)

    assert b.origin.find(f"{ROOM}/camera").path == ROOM


async def test_a_known_path_never_waits_for_the_registry(cluster):
    a, b = await two(cluster)
    station = a.publish(ROOM)
    await known(b, a)
    b.road.cut()
    a.road.cut()

    viewer = b.watch(ROOM)
    await until(lambda: station.feeds)
    await played(station, viewer)

    assert viewer.faults == []
    assert b.registry.status.isolated is not None


async def test_a_group_of_the_past_is_fetched_over_the_link(cluster):
    a, b = await two(cluster)
    a.publish(ROOM)
    await known(b, a)

    group = b.origin.fetch(ROOM, "video", 3)
    await until(lambda: not group.open)

    assert isinstance(group.error, NotFound)  # what a station says of the past
    assert str(group.error) == f"node {a.name} says: no such track or group (code 0x33)"


# One link, one subscription.


async def test_a_thousand_viewers_open_one_link_and_a_subscription_for_each_track(cluster):
    a, b = await two(cluster)
    stations = [a.publish(f"room/{number}") for number in range(200)]
    for station in stations:
        station.write()
    await until(lambda: len(b.origin.paths()) == 200)
    viewers: list[Listening] = []

    async def watch(first: int) -> None:
        async with connected(b.port, VERSION) as client:
            await until(lambda: len(client.paths()) == 200)
            mine = []
            for number in range(first, first + 50):
                viewer = Listening(frames=stations[0].frames, size=100)
                client.subscribe(f"room/{number % 200}", "video", viewer, Demand(max_age=30.0))
                mine.append(viewer)
            viewers.extend(mine)
            await until(lambda: all(viewer.first is not None for viewer in mine))
            for _ in range(2):
                await done.wait()

    done = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for session in range(20):
            tasks.create_task(watch(session * 50))
        await until(lambda: len(viewers) == 1000, 40)
        await until(lambda: all(viewer.first is not None for viewer in viewers), 40)
        assert b.link(a).dials == 1
        assert b.counters.upstream == b.link(a).subscriptions == 200
        assert a.counters.upstream == 0
        assert a.counters.viewers == 200
        assert all(len(station.feeds) == 1 for station in stations)
        done.set()


# The publisher moves.


async def test_a_publisher_that_moves_is_watched_through_the_new_node_on_both(cluster):
    a, b = await two(cluster)
    c = await cluster.join()
    old = a.publish(ROOM, 7)
    await known(c, a)
    on_a, on_b, on_c = a.watch(ROOM), b.watch(ROOM), c.watch(ROOM)
    await until(lambda: old.feeds)
    await played(old, on_a, on_b, on_c)

    new = Station(frames=old.frames, size=100)
    new.sequence = old.sequence + 10
    started = asyncio.get_running_loop().time()
    b.publish(ROOM, 8, station=new)
    playing = follow(new)
    await until(lambda: all(max(v.whole) > old.sequence for v in (on_a, on_b, on_c)))
    took = asyncio.get_running_loop().time() - started
    playing.cancel()

    assert took < 0.5
    assert not any(viewer.over for viewer in (on_a, on_b, on_c))

    a.lose(ROOM, old, clean=True)
    await known(c, b)
    await played(new, on_a, on_b, on_c)
    assert [viewer.faults for viewer in (on_a, on_b, on_c)] == [[], [], []]


async def test_another_content_from_the_new_node_is_another_instance(cluster):
    a, b = await two(cluster)
    old = a.publish(ROOM, 7)
    await known(b, a)
    viewer = b.watch(ROOM)
    await until(lambda: old.feeds)
    await played(old, viewer)

    new = b.publish(ROOM, 8)
    new.write()

    await until(lambda: viewer.over)
    again = b.watch(ROOM)
    await played(new, again)
    assert b.origin.broadcasts[ROOM].public.hops == (8,)


async def test_the_newest_publisher_wins_wherever_it_is(cluster):
    a, b = await two(cluster)
    old = a.publish(ROOM, 7)
    await known(b, a)
    new = b.publish(ROOM, 8)
    await known(a, b, a)

    viewer = a.watch(ROOM)
    await until(lambda: new.feeds)
    await played(new, viewer)

    assert old.feeds == {}
    assert a.origin.broadcasts[ROOM].active.since == b.registry.own_since(ROOM)
    assert b.origin.broadcasts[ROOM].active.since == b.registry.own_since(ROOM)


async def test_two_publishers_with_the_same_content_on_two_nodes_take_over_without_a_gap(cluster):
    a, b = await two(cluster)
    c = await cluster.join()
    content = Station(frames=3, size=100)
    a.publish(ROOM, 7, station=content)
    await known(c, a)
    viewer = c.watch(ROOM)
    await until(lambda: content.feeds)
    playing = follow(content)
    await until(lambda: len(viewer.whole) > 3)

    b.publish(ROOM, 7, station=content)
    await until(lambda: c.link(b) and c.link(b).subscriptions == 1)
    await until(lambda: c.link(a).subscriptions == 0)
    count = len(viewer.whole)
    await until(lambda: len(viewer.whole) > count + 3)
    b.origin.withdraw(ROOM, content, clean=True)
    await until(lambda: c.link(a).subscriptions == 1)
    count = len(viewer.whole)
    await until(lambda: len(viewer.whole) > count + 3)

    playing.cancel()
    assert viewer.missing == []
    assert viewer.faults == []


# The way between breaks.


async def test_a_viewer_waits_for_a_link_that_is_cut_and_goes_on_when_it_is_back(cluster):
    a, b = await two(cluster)
    station = a.publish(ROOM, 7)
    await known(b, a)
    viewer = b.watch(ROOM)
    await until(lambda: station.feeds)
    await played(station, viewer)

    session = next(iter(a.host.sessions))
    session.close(1, "cut by a test")
    await until(lambda: b.link(a).dials == 2 and b.link(a).state == "up")
    await until(lambda: station.feeds)
    await played(station, viewer)

    assert not viewer.over


async def test_a_node_that_is_killed_keeps_its_viewers_waiting_until_its_claim_is_gone(cluster):
    a, b = await two(cluster)
    station = a.publish(ROOM, 7)
    await known(b, a)
    viewer = b.watch(ROOM)
    await until(lambda: station.feeds)
    await played(station, viewer)

    await cluster.kill(a)
    await until(lambda: b.link(a).state == "suspect")
    assert not viewer.over

    await known(b)
    await until(lambda: ROOM not in b.origin.broadcasts)
    assert a.name not in b.registry.members
    await until(lambda: viewer.over)
    await until(lambda: b.link(a) is None)


async def test_a_node_that_comes_back_as_another_process_is_watched_at_once(cluster):
    a, b = await two(cluster)
    station = a.publish(ROOM, 7)
    await known(b, a)
    viewer = b.watch(ROOM)
    await until(lambda: station.feeds)
    await played(station, viewer)

    await cluster.kill(a)
    await until(lambda: b.link(a).state == "suspect")
    again = await cluster.join(port=a.port)
    assert again.name == a.name
    back = again.publish(ROOM, 8)
    await known(b, again)
    viewer = b.watch(ROOM)
    await until(lambda: back.feeds, 1.0)

    await played(back, viewer)


async def test_a_viewer_on_a_node_that_cannot_be_reached_waits_and_is_served_when_it_can(cluster):
    a, b = await two(cluster)
    station = a.publish(ROOM, 7)
    await known(b, a)
    a.mute()
    viewer = b.watch(ROOM)
    await until(lambda: b.link(a).state == "down")
    assert not viewer.over

    a.unmute()
    await until(lambda: station.feeds, 5)
    await played(station, viewer)

    assert viewer.faults == []


async def test_a_suspect_link_loses_its_tracks_to_another_route_and_is_kept(cluster):
    a, b = await two(cluster)
    c = await cluster.join()
    content = Station(frames=3, size=100)
    b.publish(ROOM, 7, station=content)
    await known(c, b)
    a.publish(ROOM, 7, station=content)
    await known(c, a, b)
    viewer = c.watch(ROOM)
    await until(lambda: content.feeds)
    playing = follow(content)
    await until(lambda: len(viewer.whole) > 3)
    assert c.link(a).subscriptions == 1

    a.mute()
    started = asyncio.get_running_loop().time()
    count = len(viewer.whole)
    await until(lambda: len(viewer.whole) > count + 5)
    took = asyncio.get_running_loop().time() - started
    playing.cancel()

    assert took < 2.0
    assert not viewer.over
    assert c.link(a).connected
    assert c.link(b).subscriptions == 1
    assert dict(c.failovers.counts.items()) == {"": {"suspect": 1}}
    c.failovers.turn()
    ((_, gap),) = c.failovers.gaps.items()
    assert gap.count == 1
    assert 0.15 < gap.total < took, "from the last frame that came from a to the first from b"
    a.unmute()


async def test_the_newest_of_two_publishers_that_is_lost_leaves_its_viewers_to_the_other(cluster):
    a, b = await two(cluster)
    c = await cluster.join()
    content = Station(frames=3, size=100)
    newest = Station(frames=3, size=100)
    b.publish(ROOM, 7, station=content)
    await known(c, b)
    newest.sequence = 0
    a.publish(ROOM, 7, station=newest)
    await known(c, a, b)
    viewer = c.watch(ROOM)
    await until(lambda: newest.feeds)
    await played(newest, viewer)

    a.lose(ROOM, newest)
    content.sequence = newest.sequence + 5
    await until(lambda: content.feeds, 1.0)
    await played(content, viewer)

    assert not viewer.over
    await known(c, b)


async def test_a_lost_publisher_that_comes_back_to_its_node_is_watched_on_without_the_registry(
    cluster,
):
    a, b = await two(cluster)
    station = a.publish(ROOM, 7)
    await known(b, a)
    viewer = b.watch(ROOM)
    await until(lambda: station.feeds)
    await played(station, viewer)
    a.road.cut()
    b.road.cut()

    a.lose(ROOM, station)
    await asyncio.sleep(0.1)
    back = Station(frames=3, size=100)
    back.sequence = station.sequence
    a.publish(ROOM, 7, station=back)
    await until(lambda: back.feeds)
    await played(back, viewer)

    assert not viewer.over


# What the owner says.


async def test_an_owners_not_found_beats_the_table(cluster):
    a, b = await two(cluster)
    a.registry.claim(ROOM, 0.0, (7,))
    await known(b, a)
    viewer = b.watch(ROOM)

    await until(lambda: viewer.over)

    assert "Unroutable" in viewer.faults[0]
    assert ROOM not in b.origin.broadcasts
    with pytest.raises(Unroutable):
        b.watch(ROOM)

    station = a.publish(ROOM, 7)
    await until(lambda: ROOM in b.origin.broadcasts)
    again = b.watch(ROOM)
    await until(lambda: station.feeds)
    await played(station, again)


async def test_a_node_is_served_what_is_published_here_only(cluster):
    a, b = await two(cluster)
    c = await cluster.join()
    station = a.publish(ROOM, 7)
    await known(b, a)
    c.registry.claim(ROOM, 0.0, (7,))  # a claim of what it does not have
    await known(b, c, a)

    viewer = b.watch(ROOM)
    await until(lambda: station.feeds)
    await played(station, viewer)

    assert viewer.faults == []
    assert a.counters.viewers == 1
    assert c.counters.upstream == 0


async def test_why_a_node_is_where_it_is_is_explained(cluster):
    a, b = await two(cluster)
    old = a.publish(ROOM, 7)
    await known(b, a)
    b.publish(ROOM, 8)
    await known(a, b, a)

    here, there = b.discovery.explain(f"{ROOM}/camera"), a.discovery.explain(ROOM)

    assert [one.node for one in here] == [one.node for one in there] == [b.name, a.name]
    assert [one.reason for one in here] == ["the newest publisher", "an older publisher"]
    assert [one.in_use for one in there] == [True, False]
    assert [one.local for one in there] == [False, True]
    assert old.feeds == {}
