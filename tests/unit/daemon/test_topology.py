"""The picture of a relay: what it holds, and that making it is not what the relay does all day."""

import pytest

from moq_relay.daemon.web import topology
from moq_relay.daemon.web.topology import Topology
from moq_relay.daemon.web.views import Views
from moq_relay.relay.route import Route
from tests.unit.daemon.test_metrics import clustered, readings


class Counting(Views):
    """Views that know how often they were asked for broadcasts."""

    listed = 0

    async def origins(self, prefix="", limit=1000, after=""):
        self.listed += 1
        return await super().origins(prefix, limit, after)


async def test_a_relay_by_itself_shows_what_is_published_at_it():
    numbers = readings()
    numbers.counters.bytes_in = 5
    for number in range(topology.SHOWN + 20):
        numbers.origin.announce(f"room/{number:03}", Route(object()))

    picture = await Topology(Views(numbers.origin, None), numbers, lambda: 17.0).look()

    assert picture["at"] == 17.0
    assert picture["mode"] == "standalone"
    assert picture["bytes_in"] == 5
    assert picture["nodes"] == picture["links"] == picture["events"] == []
    assert picture["broadcasts"]["total"] == topology.SHOWN + 20
    assert picture["broadcasts"]["more"]
    assert [one["path"] for one in picture["broadcasts"]["origins"]][:2] == ["room/000", "room/001"]
    assert len(picture["broadcasts"]["origins"]) == topology.SHOWN


async def test_broadcasts_are_listed_anew_only_when_they_changed(monkeypatch):
    monkeypatch.setattr(topology, "IDLE_SHARE", 0.0)
    numbers = clustered(regions=3)
    views = Counting(numbers.origin, numbers.cluster)
    shown = Topology(views, numbers)
    for _ in range(5):
        await shown.look()
    assert views.listed == 1

    numbers.cluster.chronicle.claims_changed("room")
    await shown.look()
    assert views.listed == 2


async def test_other_nodes_are_in_the_picture():
    numbers = clustered(regions=3)

    picture = await Topology(Views(numbers.origin, numbers.cluster), numbers).look()

    assert [node["region"] for node in picture["nodes"]] == ["r0", "r1", "r2"]
    assert picture["self"] == "https://own/"
    assert picture["mode"] == "direct"


async def test_listing_takes_a_small_part_of_the_time(monkeypatch):
    numbers = readings()
    views = Counting(numbers.origin, None)
    now = [0.0]

    async def slow(prefix="", limit=1000, after=""):
        now[0] += 0.1
        return {"origins": [], "next": None}

    monkeypatch.setattr(topology.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(views, "origins", slow)
    shown = Topology(views, numbers)
    spent = 0.0
    for _ in range(100):
        before = now[0]
        await shown.look()
        spent += now[0] - before
        now[0] += 1.0

    assert 0 < spent / now[0] == pytest.approx(1 / topology.IDLE_SHARE, rel=0.3)
