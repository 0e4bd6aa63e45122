"""Whom clients are sent to: who drains or is dead goes, but never half of all in one step."""

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from moq_relay.cluster.records import Member, Offer
from moq_relay.cluster.table import MemberView
from moq_relay.daemon.geo.answer import Geo, NoAnswerError, Target, coarse, facts, targets
from moq_relay.daemon.geo.zone import CONTINENTS, PLACES, zone

LEASE = 8.0
VECTORS = Path(__file__).parents[2] / "vectors"


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def target(node, load=None, *, region="eu", addresses=("192.0.2.1",), coordinates=None):
    return Target(node=node, region=region, addresses=addresses, coordinates=coordinates, load=load)


def ready(names):
    return {name: target(name) for name in names}


def names(geo):
    return [one.node for one in geo.answer()]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def geo(clock):
    """One that has told four nodes."""
    geo = Geo(clock, LEASE)
    geo.look(ready("abcd"), in_touch=True)
    clock.now = LEASE
    geo.look(ready("abcd"), in_touch=True)
    return geo


# Who is there.


def view(state, *, addresses=("192.0.2.1",), load=40):
    offer = Offer(addresses=addresses, coordinates=(50.0, 8.5), load=load)
    member = Member(node="n", generation=1, instance="i", region="eu", offer=offer)
    return MemberView(member, state, 6.0)


@pytest.mark.parametrize(
    ("state", "there"), [("up", True), ("stale", True), ("draining", False), ("expired", False)]
)
def test_who_drains_or_is_dead_is_not_ready(state, there):
    assert bool(targets({"n": view(state)})) is there


def test_who_names_no_address_is_not_ready():
    assert not targets({"n": view("up", addresses=())})


def test_json_says_where_a_node_is_how_much_it_can_take_and_how_old_that_is():
    found = targets({"n": view("up", addresses=("192.0.2.1", "2001:db8::1"))}, ["n"])

    assert facts(found.values(), LEASE) == [
        {
            "node": "n",
            "region": "eu",
            "a": ["192.0.2.1"],
            "aaaa": ["2001:db8::1"],
            "coordinates": {"latitude": 50.0, "longitude": 8.5},
            "load": 0.4,
            "weight": 60,
            "age_seconds": 2.0,
        }
    ]


def test_who_says_no_load_weighs_as_one_without_any_and_a_full_one_still_something():
    assert target("a").weight == 100
    assert target("a", 0).weight == 100
    assert target("a", 100).weight == 1


def test_a_load_is_said_anew_only_a_whole_step_away():
    assert coarse(0.34, None) == 30
    assert coarse(0.39, 30) == 30
    assert coarse(0.21, 30) == 30
    assert coarse(0.40, 30) == 40
    assert coarse(7.0, 30) == 100
    assert coarse(-1.0, 30) == 0


# A root that starts.


def test_a_root_that_starts_answers_after_one_lease_with_all_of_the_table(clock):
    geo = Geo(clock, LEASE)
    with pytest.raises(NoAnswerError, match="has not read the registry"):
        geo.answer()
    geo.look(ready("a"), in_touch=True)
    clock.now = LEASE - 1
    geo.look(ready("ab"), in_touch=True)
    with pytest.raises(NoAnswerError, match=r"in 1\.0 s"):
        geo.answer()
    clock.now = LEASE
    geo.look(ready("ab"), in_touch=True)

    assert names(geo) == ["a", "b"]


def test_a_root_without_the_registry_does_not_begin_to_wait(clock):
    geo = Geo(clock, LEASE)
    geo.look({}, in_touch=False)
    clock.now = 100
    geo.look(ready("a"), in_touch=True)

    with pytest.raises(NoAnswerError, match="just started"):
        geo.answer()


def test_no_node_with_an_address_is_no_answer(clock):
    geo = Geo(clock, LEASE)
    geo.look({}, in_touch=True)
    clock.now = LEASE
    geo.look({}, in_touch=True)

    with pytest.raises(NoAnswerError, match=r"cluster\.addresses"):
        geo.answer()
    with pytest.raises(NoAnswerError, match=r"cluster\.addresses"):
        geo.accept()


# What is lost.


def test_half_may_go_at_once(geo):
    geo.look(ready("ab"), in_touch=True)

    assert names(geo) == ["a", "b"]
    assert geo.held is None


def test_more_than_half_does_not_go_until_that_is_accepted(geo):
    geo.look(ready("a"), in_touch=True)

    assert names(geo) == ["a", "b", "c", "d"]
    assert "1 nodes are ready, fewer than half of the last good 4" in geo.held
    assert geo.accept() == 1
    assert names(geo) == ["a"]
    assert geo.held is None


def test_who_dies_within_a_lease_dies_in_one_step(geo, clock):
    for left in ("abc", "ab", "a"):
        clock.now += 1
        geo.look(ready(left), in_touch=True)

    assert names(geo) == ["a", "b"]
    assert geo.held


def test_a_smaller_set_that_stood_for_a_lease_is_the_good_one(geo, clock):
    geo.look(ready("ab"), in_touch=True)
    clock.now += LEASE
    geo.look(ready("ab"), in_touch=True)
    geo.look(ready("a"), in_touch=True)

    assert names(geo) == ["a"]


def test_newcomers_are_told_beside_those_that_are_held(geo):
    geo.look(ready("e"), in_touch=True)
    assert names(geo) == ["a", "b", "c", "d", "e"]

    geo.look(ready("ef"), in_touch=True)
    assert names(geo) == ["e", "f"]


def test_a_newcomer_that_goes_while_others_are_held_is_not_held_too(geo):
    geo.look(ready("e"), in_touch=True)
    geo.look(ready("f"), in_touch=True)

    assert names(geo) == ["a", "b", "c", "d", "f"]


def test_the_last_one_is_never_let_go(geo, clock):
    geo.look(ready("a"), in_touch=True)
    geo.accept()
    geo.look({}, in_touch=True)
    clock.now += 100 * LEASE
    geo.look({}, in_touch=True)

    assert names(geo) == ["a"]
    with pytest.raises(NoAnswerError, match="no node is ready"):
        geo.accept()
    assert names(geo) == ["a"]


def test_without_the_registry_nothing_is_learnt(geo):
    geo.look(ready("ab"), in_touch=False)

    assert names(geo) == ["a", "b", "c", "d"]


class Fleet(RuleBasedStateMachine):
    """Nodes come, drain, die and return in any order, and the two things that never happen."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.geo = Geo(self.clock, LEASE)
        self.there = set()
        self.told = set()
        self.good = 0
        """Size of the last set that was told whole, and not held."""

    def look(self):
        self.geo.look(ready(self.there), in_touch=True)
        try:
            told = set(names(self.geo))
        except NoAnswerError:
            told = set()
        assert told or not self.told, "the answer was there, and is empty"
        assert 2 * len(told) >= self.good, "less than half is left after one step"
        assert self.there <= told or not told, "who is ready is not told"
        if told and not self.geo.held:
            assert told == self.there, "who went is told, and nothing is said of that"
            self.good = len(told)
        self.told = told

    @rule(nodes=st.sets(st.sampled_from("abcdefgh"), min_size=1))
    def join(self, nodes):
        self.there |= nodes
        self.look()

    @rule(nodes=st.sets(st.sampled_from("abcdefgh"), min_size=1))
    def leave(self, nodes):
        self.there -= nodes
        self.look()

    @rule(seconds=st.sampled_from([0.1, 1.0, LEASE, 10 * LEASE]))
    def wait(self, seconds):
        self.clock.now += seconds
        self.look()

    @rule(nodes=st.sets(st.sampled_from("abcdefgh")))
    def lose_touch(self, nodes):
        self.geo.look(ready(nodes), in_touch=False)
        if self.told:
            assert set(names(self.geo)) == self.told

    @precondition(lambda self: self.told and self.there)
    @rule()
    def accept(self):
        self.good = 0
        assert self.geo.accept() == len(self.there)
        self.look()
        assert self.told == self.there


Fleet.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestFleet = Fleet.TestCase


# A zone of octoDNS.

FLEET = [
    target(
        "https://usc/",
        20,
        region="us-central",
        addresses=("192.0.2.1", "2001:db8::1"),
        coordinates=(41.26, -95.86),
    ),
    target("https://use/", 50, region="us-east", addresses=("192.0.2.2",), coordinates=(39, -77)),
    target(
        "https://euw/",
        region="eu-west",
        addresses=("192.0.2.3", "2001:db8::3"),
        coordinates=(53.3, -6.3),
    ),
    target("https://eu2/", 100, region="EU West", addresses=("192.0.2.4",), coordinates=(53, -6)),
    target("https://sea/", region="asia-se", addresses=("2001:db8::5",), coordinates=(1.4, 103.8)),
    target("https://lab/", region="lab", addresses=("192.0.2.6",)),
]


def test_a_zone_is_as_octodns_takes_it():
    """The expected text is this function's own, read once by octoDNS 1.22.0.

    There ``YamlProvider.populate(zone, lenient=False)`` with ``enforce_order`` took it, which runs
    all of octoDNS' own checks of records, and what it had read was looked at: 5 addresses of A and
    3 of AAAA, in pools by region, each with ``default-all`` behind it.
    """
    assert zone(FLEET, name="relay", ttl=60) == (VECTORS / "octodns.yaml").read_text()


def test_regions_that_are_nearest_to_nothing_share_a_pool_with_the_nearest():
    twins = [
        target("a", 0, region="one", addresses=("192.0.2.1",), coordinates=(50, 8)),
        target("b", 90, region="two", addresses=("192.0.2.2",), coordinates=(50, 8)),
    ]

    text = zone(twins)

    assert "region-one:" in text
    assert "two" not in text
    assert text.count('value: "192.0.2.2"\n              weight: 10') == 2


def test_one_node_without_a_place_is_a_zone_too():
    text = zone([target("a", 50)])

    assert text == (
        '---\n"":\n  - dynamic:\n      pools:\n        default-all:\n          values:\n'
        '            - value: "192.0.2.1"\n      rules:\n        - pool: default-all\n'
        '    ttl: 60\n    type: "A"\n    values:\n      - "192.0.2.1"\n'
    )


def test_every_place_is_on_earth_and_in_a_continent():
    for place, (north, east) in (PLACES | CONTINENTS).items():
        assert place[:2] in CONTINENTS
        assert abs(north) <= 90
        assert abs(east) <= 180
