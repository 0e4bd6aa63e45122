"""The set of what was taken back, by itself: its order makes no difference, and it stays small."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moq_relay.cluster.revocations import (
    FOREVER,
    MOST,
    NOWHERE,
    READ_AT_ONCE,
    Extent,
    Revocation,
    Revocations,
    are_entries,
)
from moq_relay.cluster.scripts import SCRIPTS

NOW = 1_000
NAMES = [f"{kind}:{number:032x}" for kind in ("jti", "sub") for number in range(3)]
SECONDS = st.integers(1, 2_000) | st.just(FOREVER)
ENTRIES = st.lists(st.tuples(st.sampled_from(NAMES), SECONDS, SECONDS), max_size=12)


def words(name, before, until):
    return [name, str(before), str(until)]


@given(ENTRIES, st.randoms(use_true_random=False), st.data())
def test_all_who_heard_the_same_know_the_same(entries, chance, data):
    one, other = Revocations(lambda: NOW), Revocations(lambda: NOW)
    for entry in entries:
        one.heard(words(*entry))
    shuffled = entries + data.draw(st.lists(st.sampled_from(entries)) if entries else st.just([]))
    chance.shuffle(shuffled)
    for entry in shuffled:
        other.heard(words(*entry))

    assert one._entries == other._entries
    for name, before, until in entries:
        kind, digest = name.split(":")
        named = (digest, None) if kind == "jti" else (None, digest)
        if until > NOW:
            assert one.covers(*named, before)
            assert one.covers(*named, None)


@given(ENTRIES, st.integers(0, 3_000))
def test_what_has_ended_is_let_go_and_nothing_else(entries, later):
    now = 0.0
    revocations = Revocations(lambda: now)
    for entry in entries:
        revocations.heard(words(*entry))
    before = dict(revocations._entries)

    now = later
    revocations.sweep()

    assert revocations._entries == {n: one for n, one in before.items() if one.until > later}


@given(ENTRIES, ENTRIES)
def test_what_the_registry_lacks_and_nothing_else_is_told(ours, theirs):
    registry: dict[str, Extent] = {}
    told = []

    async def call(script, _shard, args):
        if script == "revoked":
            return ["OK", [word for n, e in registry.items() for word in (n, f"{e[0]} {e[1]}")]]
        for name, before, until in zip(args[::3], args[1::3], args[2::3], strict=True):
            told.append(name)
            extent = Extent(int(before), int(until))
            registry[name] = registry.get(name, NOWHERE).merged(extent)
        return ["OK", 0]

    async def both():
        await revocations._read(call)
        await revocations._tell(call)

    for name, before, until in theirs:
        registry[name] = registry.get(name, NOWHERE).merged(Extent(before, until))
    had = dict(registry)
    revocations = Revocations(lambda: 0)
    for name, before, until in ours:
        kind, digest = name.split(":")
        revocations.add(Revocation(kind, digest, before, until))
    mine = dict(revocations._entries)

    asyncio.run(both())

    assert revocations.pending == 0
    assert registry == revocations._entries
    wider = {
        name for name, one in mine.items() if had.get(name, NOWHERE).merged(one) != had.get(name)
    }
    assert sorted(told) == sorted(wider)


def test_the_script_keeps_as_many_as_a_node():
    assert f"local MOST = {MOST}\n" in SCRIPTS["revoke"].text


def test_a_large_set_is_compared_more_rarely():
    revocations = Revocations(lambda: NOW)
    for number in range(2 * READ_AT_ONCE + 1):
        revocations.add(Revocation("jti", f"{number:032x}"))
    revocations._unsure = False

    due = []
    for _ in range(6):
        revocations.next_turn()
        due.append(revocations._unsure)
        revocations._unsure = False

    assert due == [False, False, True] * 2


@pytest.mark.parametrize(
    ("entries", "good"),
    [
        ([], False),
        (words(NAMES[0], 1, 2), True),
        (words(NAMES[0], 1, 2) + words(NAMES[3], FOREVER, FOREVER), True),
        (words(NAMES[0], 1, 2)[:2], False),
        (words("exp:" + "0" * 32, 1, 2), False),
        (words("jti:" + "0" * 31, 1, 2), False),
        (words("jti:" + "G" * 32, 1, 2), False),
        (words(NAMES[0], -1, 2), False),
        (words(NAMES[0], 1, 10 * FOREVER), False),
    ],
)
def test_what_a_root_has_written_for_a_node_are_entries(entries, good):
    assert are_entries(entries) == good
