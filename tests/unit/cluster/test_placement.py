"""The order in which claims are tried: the same on every node that knows the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moq_relay.cluster.placement import HYSTERESIS, Candidate, LinkView, place

A, B, C = "https://a/", "https://b/", "https://c/"


def order(*candidates, region="eu", links=None, current=None, path="room"):
    return [
        one.candidate.node
        for one in placed(*candidates, region=region, links=links, current=current, path=path)
    ]


def placed(*candidates, region="eu", links=None, current=None, path="room"):
    return place(path, candidates, region=region, links=links or {}, current=current)


def test_the_newest_publisher_goes_first_wherever_it_is():
    far = Candidate(B, 2.0, region="us")
    near = Candidate(A, 1.0, region="eu", local=True)

    first, second = placed(near, far, links={B: LinkView(0.5, "up")})

    assert (first.candidate, first.reason) == (far, "the newest publisher")
    assert (second.candidate, second.reason) == (near, "an older publisher")


def test_a_take_over_is_not_held_up_by_a_short_round_trip():
    links = {A: LinkView(0.001, "up"), B: LinkView(0.3, "up")}

    assert order(Candidate(A, 1.0), Candidate(B, 2.0), links=links, current=A) == [B, A]


@pytest.mark.parametrize("state", ["stale", "draining"])
def test_a_claim_that_something_speaks_against_goes_after_those_that_are_sound(state):
    doubtful, sound = Candidate(A, 9.0, state), Candidate(B, 1.0)

    first, second = placed(doubtful, sound)

    assert (first.candidate, first.reason) == (sound, "nothing speaks against it")
    assert second.reason == f"its claim is {state}"


def test_a_suspect_link_goes_after_those_that_answer():
    first, second = placed(
        Candidate(A, 9.0), Candidate(B, 1.0), links={A: LinkView(0.1, "suspect")}
    )

    assert first.candidate.node == B
    assert second.reason == "its link is suspect"


@pytest.mark.parametrize("state", ["down", "dialling"])
def test_what_cannot_be_reached_goes_last(state):
    stale, down = Candidate(A, 1.0, "stale"), Candidate(B, 9.0)

    first, second = placed(stale, down, links={B: LinkView(None, state)})

    assert (first.candidate, first.reason) == (stale, "it can be reached")
    assert second.reason == f"its link is {state}"


@pytest.mark.parametrize("state", ["lost", "denied"])
def test_what_its_owner_does_not_have_goes_last(state):
    first, second = placed(Candidate(A, 9.0, state), Candidate(B, 1.0, "stale"))

    assert first.candidate.node == B
    assert second.reason == f"its owner says it is {state}"


def test_what_is_published_here_needs_no_link():
    here = Candidate(A, 1.0, local=True)

    assert placed(here, links={A: LinkView(None, "down")})[0].reason == "the only claim"


def test_of_equal_age_the_local_one_goes_first_then_the_same_region_then_the_nearer():
    links = {B: LinkView(0.2, "up"), C: LinkView(0.1, "up")}
    here, there = Candidate(A, 1.0, region="eu", local=True), Candidate(B, 1.0, region="eu")
    far, nearer = Candidate("https://d/", 1.0, region="us"), Candidate(C, 1.0, region="eu")

    found = placed(far, there, nearer, here, links=links)

    assert [one.candidate.node for one in found] == [A, C, B, "https://d/"]
    assert [one.reason for one in found] == [
        "published here",
        "published elsewhere",
        "a longer round trip",
        "another region",
    ]


@pytest.mark.parametrize(
    ("rtt", "stays"), [(0.1 * HYSTERESIS + 0.001, True), (0.1 * HYSTERESIS - 0.001, False)]
)
def test_the_node_in_use_keeps_its_place_unless_another_is_clearly_nearer(rtt, stays):
    links = {A: LinkView(0.1, "up"), B: LinkView(rtt, "up")}

    assert (order(Candidate(A, 1.0), Candidate(B, 1.0), links=links, current=A)[0] == A) is stays


def test_what_is_equal_in_all_else_is_spread_over_the_paths():
    firsts = {order(Candidate(A, 1.0), Candidate(B, 1.0), path=f"room/{n}")[0] for n in range(20)}

    assert firsts == {A, B}


def test_nothing_is_placed_where_there_is_nothing():
    assert placed() == []


nodes = st.sampled_from([f"https://{name}.example/" for name in "abcdef"])
links = st.dictionaries(
    nodes,
    st.builds(
        LinkView,
        st.none() | st.floats(0, 1),
        st.sampled_from(["idle", "dialling", "up", "suspect", "down"]),
    ),
)
claims = st.lists(
    st.builds(
        Candidate,
        nodes,
        st.sampled_from([1.0, 2.0, 3.0]),
        st.sampled_from(["live", "stale", "draining", "lost", "denied"]),
        st.sampled_from(["eu", "us"]),
    ),
    unique_by=lambda one: one.node,
)


@given(claims, links, st.none() | nodes, st.randoms())
def test_any_order_of_the_same_claims_gives_the_same_placement(claims, links, current, random):
    shuffled = claims.copy()
    random.shuffle(shuffled)

    one = place("room", claims, region="eu", links=links, current=current)
    other = place("room", shuffled, region="eu", links=links, current=current)

    assert one == other


@given(claims, st.sampled_from(["eu", "us"]), st.sampled_from(["eu", "us"]))
def test_nodes_that_know_nothing_but_the_claims_agree_on_the_newest(claims, one, other):
    distinct = {claim.since: claim for claim in claims if claim.state == "live"}

    here = place("room", list(distinct.values()), region=one, links={})
    there = place("room", list(distinct.values()), region=other, links={})

    assert [p.candidate for p in here] == [p.candidate for p in there]


@given(claims, links, st.none() | nodes)
def test_a_claim_that_goes_leaves_the_order_of_the_others(claims, links, current):
    placed = place("room", claims, region="eu", links=links, current=current)
    for gone in claims:
        rest = [claim for claim in claims if claim is not gone]
        again = place("room", rest, region="eu", links=links, current=current)

        assert [p.candidate for p in again] == [
            p.candidate for p in placed if p.candidate is not gone
        ]
