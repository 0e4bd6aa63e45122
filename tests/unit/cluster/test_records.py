"""The text of records: exact there and back, lenient towards what a later version adds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moq_relay.cluster.records import (
    Claim,
    Member,
    Oddities,
    Offer,
    decode,
    encode,
    read_claims,
    read_member,
    write_hops,
)

WORDS = st.text(st.characters(exclude_categories=["Cs"]))
OFFERS = st.builds(
    Offer,
    addresses=st.lists(st.ip_addresses().map(str), max_size=3).map(tuple),
    coordinates=st.none()
    | st.tuples(st.integers(-900, 900), st.integers(-1800, 1800)).map(
        lambda tenths: (tenths[0] / 10, tenths[1] / 10)
    ),
    load=st.none() | st.integers(0, 100),
)


@given(WORDS)
def test_any_word_survives_and_parts_no_record(word):
    text = encode(word)

    assert decode(text) == word
    assert " " not in text
    assert "\n" not in text


@given(
    region=WORDS,
    state=st.sampled_from(["up", "draining"]),
    hop=st.integers(0, 2**62),
    roles=st.lists(WORDS.filter(lambda word: word not in {"", "-"} and "," not in word)),
    version=WORDS,
    offer=OFFERS,
)
def test_a_member_survives(region, state, hop, roles, version, offer):
    member = Member(
        node="https://a b",
        generation=7,
        instance="f00",
        region=region,
        state=state,
        hop=hop,
        roles=tuple(roles),
        version=version,
        offer=offer,
    )

    read = read_member(encode(member.node), f"7 f00 {member.tail()}", Oddities())

    assert read == member


@given(path=WORDS, hops=st.lists(st.integers(0, 2**62)))
def test_a_claim_survives(path, hops):
    odd = Oddities()

    claims = list(read_claims(encode(path), f"n%201 5 1790000000000001 {write_hops(hops)}", odd))

    assert [encode(claim.path) for claim in claims] == [encode(path)]
    assert claims[0].node == "n 1"
    assert claims[0].hops == tuple(hops)
    assert claims[0].since == pytest.approx(1790000000.000001)


def test_fields_that_a_later_version_adds_are_counted_and_ignored():
    odd = Oddities()

    member = read_member("n", "7 f00 up eu 3 root 1.0 1 - - - what-is-this", odd)

    assert member is not None
    assert member.roles == ("root",)
    assert odd.fields == 1


def test_a_record_of_an_older_version_offers_nothing():
    odd = Oddities()

    member = read_member("n", "7 f00 up eu 3 root 1.0 1", odd)

    assert member is not None
    assert member.offer == Offer()
    assert odd == Oddities()


def test_a_reader_of_the_older_version_finds_its_fields_where_they_were():
    offer = Offer(addresses=("192.0.2.1", "2001:db8::1"), coordinates=(50.11, 8.68), load=30)
    member = Member(node="n", generation=7, instance="f00", region="eu", version="1.0", offer=offer)

    words = member.tail().split(" ")

    assert words[:6] == ["up", "eu", "0", "-", "1.0", "1"]
    assert words[6:] == ["192.0.2.1,2001:db8::1", "50.11,8.68", "30"]


def test_what_is_no_offer_is_none_and_the_member_is_one_all_the_same():
    text = "7 f00 up eu 3 root 1.0 1 192.0.2.1,zone=b,%20 91,0 lots"
    member = read_member("n", text, Oddities())

    assert member is not None
    assert member.offer == Offer(addresses=("192.0.2.1",))
    assert read_member("n", text.replace("91", "nan"), Oddities()) == member


def test_garbage_is_counted_and_skipped():
    odd = Oddities()

    claims = list(read_claims("p", "mess\na 1 2 -\nb x 2 -\nc 1 2\n", odd))

    assert claims == [Claim("p", "a", 1, 2)]
    assert read_member("n", "7 f00", odd) is None
    assert odd.malformed == 4


def test_a_state_of_a_later_version_is_one_that_cannot_be_acted_on():
    member = read_member("n", "7 f00 hibernating eu 3 - 1.0 1", Oddities())

    assert member is not None
    assert member.state == "up"
