"""The cluster bench's own reckoning: what meets a goal, what a viewer counts as missed."""

import asyncio

import pytest

from moq_relay.relay.route import Route
from tests.bench.cluster.beacon import Beacon, Viewer
from tests.bench.cluster.figures import Figure, share, spread, table
from tests.support.own_client import make_origin


@pytest.mark.parametrize(
    ("value", "below", "met"), [(1.9, True, True), (2, True, False), (2, False, True)]
)
def test_a_goal_is_met_up_to_its_bound_and_below_a_strict_one(value, below, met):
    figure = Figure("part", "what", value, "ms", 2, below=below)

    assert figure.met is met
    assert ("| met |" if met else "| MISSED |") in table([figure])


def test_a_figure_without_a_goal_is_neither_met_nor_missed():
    line = table([Figure("part", "what", 12345.6, "B")]).splitlines()[-1]

    assert line == "| part | what | 12,346 B |  |  | 1 |"


def test_shares_of_latencies_are_given_in_milliseconds():
    seconds = [number / 1000 for number in range(101)]

    p50, p99 = spread("part", "what", seconds, 60, 60)

    assert (p50.value, p99.value) == (pytest.approx(50), pytest.approx(99))
    assert (p50.met, p99.met) == (True, False)
    assert share([3.0], 99) == 3.0


async def test_a_viewer_knows_what_it_missed_and_how_long_nothing_came():
    origin, beacon = make_origin(linger=0.0), Beacon()
    origin.announce("live", Route(beacon))
    viewer = Viewer(origin, "live")
    beacon.write()
    beacon.write()
    beacon.sequence += 2  # two groups that never were
    await asyncio.sleep(0.02)

    beacon.write()

    assert sorted(viewer.arrived) == [0, 1, 4]
    assert viewer.longest_gap(viewer.arrived[0], viewer.arrived[4]) >= 0.02
    viewer.leave()
    assert viewer.missed == [2, 3]


async def test_a_viewer_joins_again_when_its_broadcast_comes_back():
    origin, first, second = make_origin(linger=0.0), Beacon(1), Beacon(2)
    origin.announce("live", Route(first, hops=(1,)))
    viewer = Viewer(origin, "live")
    first.write()

    origin.withdraw("live", first, clean=True)
    origin.announce("live", Route(second, hops=(2,)))
    second.write()

    assert list(viewer.editions) == [1, 2]
    assert viewer.joins == 2
    viewer.leave()
