"""A feed: what is wanted of a source, and when it has told all."""

import asyncio
import math

import pytest

from moq_relay.errors import SessionClosed
from moq_relay.relay.feed import LONGEST_SECONDS, Demand, Feed, TrackInfo
from tests.unit.relay.fakes import BACK, FakeSource, World


def feeding(demand: Demand = BACK, info: TrackInfo | None = None) -> tuple[World, FakeSource, Feed]:
    world = World()
    source = world.publish(info=info)
    world.view(demand)
    return world, source, source.feed


# What is wanted.


def test_one_demand_is_its_own_widest():
    demand = Demand(priority=3, max_age=2.0, start=5, floor=1, end=9)

    assert Demand.widest([demand]) == demand


@pytest.mark.parametrize(
    ("demands", "widest"),
    [
        ([Demand(priority=1), Demand(priority=7)], Demand(priority=7)),
        ([Demand(max_age=1.0), Demand(max_age=math.inf)], Demand(max_age=math.inf)),
        ([Demand(start=5), Demand(start=3)], Demand(start=3, floor=3)),
        ([Demand(start=5), Demand()], Demand()),
        ([Demand(end=5), Demand(end=8)], Demand(end=8)),
        ([Demand(end=5), Demand()], Demand()),
        (
            [Demand(reach=True, floor=4, max_age=1.0), Demand(reach=True, floor=2)],
            Demand(reach=True, floor=2, max_age=1.0),
        ),
        ([Demand(reach=True, floor=4), Demand(start=3)], Demand(reach=True, floor=3)),
    ],
)
def test_the_widest_demand_covers_each(demands, widest):
    assert Demand.widest(demands) == widest
    assert Demand.widest(demands[::-1]) == widest


def test_no_more_age_is_asked_for_than_the_publisher_has():
    _, _, feed = feeding(Demand(max_age=60.0), TrackInfo(max_age=20.0))

    assert feed.demand.max_age == 20.0
    assert feed.max_age_ms == 20_000


def test_an_age_without_limit_fits_on_the_wire():
    _, _, feed = feeding(Demand(max_age=math.inf))

    assert feed.max_age_ms == int(LONGEST_SECONDS * 1000) == 2**31


# Groups.


def test_a_group_that_is_there_already_is_not_wanted_again():
    _, source, feed = feeding()
    source.send(1)

    assert feed.open_group(1) is None


def test_nothing_is_heard_through_a_closed_feed():
    world, source, feed = feeding()
    world.lose(source, SessionClosed())

    feed.started(1)
    feed.described(TrackInfo())
    feed.datagram(1, 0, b"")
    feed.ended(None, 3)

    assert feed.open_group(1) is None
    assert feed.start is None
    assert world.track().info is None
    assert not world.track().over


def test_the_first_start_that_the_source_says_stands():
    _, _, feed = feeding()

    feed.started(4)
    feed.started(9)

    assert feed.start == 4


def test_a_group_is_answered_for_by_the_feed_that_began_it():
    world, source, feed = feeding()
    viewer_groups = world.view(BACK)
    group = source.begin(1)
    assert group is not None

    source.stop(SessionClosed())
    feed.group_ended(group)

    assert viewer_groups.errors == {1: "Internal"}


# The end.


async def settle(feed: Feed, final: int | None) -> asyncio.Task[None]:
    task = asyncio.create_task(feed.settled(final))
    await turns()
    return task


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_feed_is_settled_when_all_groups_before_the_end_have_come_and_ended():
    _, source, feed = feeding()
    feed.started(1)
    source.send(1)
    task = await settle(feed, 4)
    assert not task.done()

    source.send(3)
    group = source.begin(2)
    assert group is not None
    await turns()
    assert not task.done()

    source.end(group)
    await turns()
    assert task.done()


async def test_groups_that_were_here_already_count_as_come():
    world, source, _ = feeding()
    source.send(1, 2)
    world.origin.find("room")
    first = next(iter(world.track()._readers))
    world.track().leave(first)
    world.view(BACK)
    source.feed.started(1)
    source.send(1, 2)

    task = await settle(source.feed, 3)

    assert task.done()


async def test_a_closed_feed_is_settled():
    world, source, feed = feeding()
    feed.started(1)
    task = await settle(feed, 5)

    world.lose(source, SessionClosed())
    await turns()

    assert task.done()


async def test_a_feed_without_a_last_number_is_settled_when_it_is_quiet(monkeypatch):
    monkeypatch.setattr("moq_relay.relay.feed.QUIET_SECONDS", 0.02)
    _, source, feed = feeding()
    group = source.begin(1)
    assert group is not None
    task = await settle(feed, None)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.shield(task)
    source.end(group)

    async with asyncio.timeout(5):
        await task
