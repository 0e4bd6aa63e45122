"""Failovers: which way was left, why, and how long its viewers got nothing."""

import asyncio

import pytest

from moq_relay.cluster import failovers
from moq_relay.cluster.failovers import PATIENCE_SECONDS
from moq_relay.errors import SessionClosed, Unroutable
from tests.support.own_client import until
from tests.unit.cluster.fakes import NOW
from tests.unit.cluster.test_discovery import Setting
from tests.unit.relay.fakes import BACK, frame, was_reset

A, B = "https://a.example/", "https://b.example/"


class Regional(Setting):
    """Nodes in two other regions; the publisher at A is newer than that at B."""

    def __init__(self):
        super().__init__()
        self.registry.join(A, region="us", hop=1)
        self.registry.join(B, region="asia", hop=2)

    def counted(self):
        return {
            (region, reason): count
            for region, counted in self.failovers.counts.items()
            for reason, count in counted.items()
        }

    def gaps(self):
        """By region: how many, and how long together."""
        self.failovers.turn()
        return {
            region: (gap.count, pytest.approx(gap.total))
            for region, gap in self.failovers.gaps.items()
            if gap.count
        }

    def lose(self, node):
        """Its session ends, and there is no other."""
        self.unreachable.add(node)
        self.sessions[node][-1].lose()

    async def followed(self, path="room", *, other=()):
        """A viewer who has had a group from A; B has the same content, or that of another hop."""
        self.registry.put(path, B, NOW, *other)
        self.registry.put(path, A, NOW + 1)
        viewer = self.world.view(BACK, path=path)
        await self.sends(A, 1, path)
        return viewer

    async def sends(self, node, sequence, path="room", name="video"):
        """One group of one track, once the track is taken from there."""
        source = await self.served(node, path, name)
        feeds = {(feed.track.path, feed.track.name): feed for feed in source.sending}
        source.send(sequence, feed=feeds[path, name])


@pytest.fixture
async def it():
    async with Regional().running() as it:
        yield it


async def test_a_node_that_is_silent_is_left_and_what_was_missed_meanwhile_is_timed(it):
    viewer = await it.followed()

    it.sessions[A][-1].silent = True
    source = await it.served(B)
    assert it.gaps() == {}, "nothing has come yet"
    it.world.clock.now += 1.25
    source.send(2)
    it.world.clock.now += 5
    source.send(3)

    assert viewer.whole == [1, 2, 3]
    assert it.counted() == {("us", "suspect"): 1}
    assert it.gaps() == {"us": (1, 1.25)}
    assert it.gaps() == {"us": (1, 1.25)}, "once"


async def test_a_gap_lasts_until_the_new_way_has_shown_that_it_carries_the_same(it):
    viewer = await it.followed(other=(8,))

    it.sessions[A][-1].silent = True
    await it.served(B)
    it.world.clock.now += 0.75
    assert it.gaps() == {}
    await it.sends(B, 2)

    assert viewer.whole == [1, 2]
    assert it.gaps() == {"us": (1, 0.75)}


async def test_a_node_whose_session_is_lost_is_left(it):
    await it.followed()

    it.lose(A)
    it.world.clock.now += 0.5
    (await it.served(B)).send(2)

    assert it.counted() == {("us", "lost"): 1}
    assert it.gaps() == {"us": (1, 0.5)}


async def test_so_is_one_that_says_that_it_has_lost_the_publisher(it):
    await it.followed()

    it.world.clock.now += 10
    it.publisher(A).stop(SessionClosed("its publisher was lost"))
    (await it.served(B)).send(2)

    assert it.counted() == {("us", "lost"): 1}
    assert it.gaps() == {"us": (1, 10)}, "from the last frame, not from when it was said"


async def test_one_that_denies_the_path_is_left_and_what_never_came_has_no_gap(it):
    it.registry.put("room", B, NOW)
    it.registry.put("room", A, NOW + 1)
    it.world.view(BACK)
    (await it.served(A)).stop(Unroutable("no"))

    (await it.served(B)).send(1)

    assert it.counted() == {("us", "denied"): 1}
    assert it.gaps() == {}


async def test_a_publisher_that_moves_takes_its_viewers_along(it):
    it.registry.put("room", B, NOW)
    it.world.view(BACK)
    old = await it.served(B)
    old.send(1)
    feed, group = old.feed, old.begin(2)

    it.registry.put("room", A, NOW + 1)
    new = await it.served(A)
    it.world.clock.now += 0.125
    group.append(frame(2, 0))
    feed.heard(it.world.clock.now)
    it.world.clock.now += 0.25
    new.send(3)

    assert it.counted() == {("asia", "moved"): 1}
    assert it.gaps() == {"asia": (1, 0.25)}, "what the old way still brought is no gap"


async def test_another_content_is_timed_by_the_track_that_follows(it):
    viewer = await it.followed(other=(8,))
    heard = it.world.clock.now

    it.lose(A)
    await it.sends(B, 1)
    assert was_reset(viewer), "the numbers of another content begin anew"
    it.world.view(BACK)
    it.world.clock.now = heard + 3
    await it.sends(B, 9)

    assert it.counted() == {("us", "lost"): 1}
    assert it.gaps() == {"us": (1, 3)}


async def test_a_way_that_ends_where_no_other_is_counts_when_one_is_found(it):
    it.registry.put("room", A, NOW)
    it.world.view(BACK)
    (await it.served(A)).send(1)
    it.lose(A)
    await until(lambda: it.links.known(A).state == "down")
    assert it.counted() == {}

    it.world.clock.now += 4
    it.registry.put("room", B, NOW + 4)
    (await it.served(B)).send(2)

    assert it.counted() == {("us", "lost"): 1}
    assert it.gaps() == {"us": (1, 4)}


async def test_nobody_who_reads_nobody_who_misses_anything(it):
    viewer = await it.followed()
    it.world.leave(viewer)

    it.lose(A)
    it.registry.drop("room", A)

    assert it.order() == [B]
    assert it.counted() == {}


async def test_a_publisher_of_this_node_that_takes_over_is_a_move_without_a_gap(it):
    await it.followed()
    it.world.clock.now += 100
    it.world.publish(7)
    it.registry.put("room", it.registry.node, NOW + 200)

    assert it.gaps() == {}


async def test_each_broadcast_and_each_track_counts(it):
    await it.followed("room")
    await it.followed("hall")
    it.world.view(BACK, path="room", name="audio")
    await it.sends(A, 1, "room", "audio")

    it.lose(A)
    it.world.clock.now += 2
    for path, name in (("room", "video"), ("hall", "video"), ("room", "audio")):
        await it.sends(B, 2, path, name)

    assert it.counted() == {("us", "lost"): 2}
    assert it.gaps() == {"us": (3, 6)}


async def test_the_end_of_a_gap_is_not_waited_for_for_ever(it):
    await it.followed()
    it.lose(A)
    source = await it.served(B)

    it.world.clock.now += PATIENCE_SECONDS
    assert it.gaps() == {}
    source.send(2)

    assert it.gaps() == {}
    assert it.counted() == {("us", "lost"): 1}


async def test_gaps_are_looked_for_again_and_again(it, monkeypatch):
    monkeypatch.setattr(failovers, "LOOK_SECONDS", 0.001)
    await it.followed()
    it.lose(A)
    (await it.served(B)).send(2)

    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(it.failovers.run())
        while not dict(it.failovers.gaps.items())["us"].count:
            await asyncio.sleep(0)
        running.cancel()
