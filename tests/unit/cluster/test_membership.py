"""One process' hold on its name, by hand."""

import pytest

from moq_relay.cluster.clock import RedisClock
from moq_relay.cluster.membership import Membership
from moq_relay.cluster.records import Member
from moq_relay.cluster.table import Table


class Registry:
    """Answers with what a test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls = []
        self.answers = {
            "register": ["OK", "e1", 1, 7, "100000000"],
            "renew": ["OK", "e1", 1, "100000000", []],
        }

    async def call(self, script, _shard, args):
        self.calls.append((script, args))
        return self.answers[script]

    def asked(self):
        return [script for script, _ in self.calls]


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def table():
    table = Table(1, retention=9.0, clock=lambda: 0.0, redis_now=lambda: 0.0)
    table.members_feed._load("e1", 0, [], [])
    table.members_feed.wanted = False
    return table


@pytest.fixture
async def membership(table, registry):
    membership = Membership(
        Member(node="n 1", generation=0, instance="i"),
        table,
        lambda: 0.0,
        RedisClock(lambda: 0.0),
        lambda: None,
        renew_seconds=2.0,
        lease_seconds=8.0,
    )
    await membership.turn(registry.call)
    return membership


async def test_who_is_registered_renews(membership, registry):
    assert await membership.turn(registry.call) == 2.0

    assert registry.asked() == ["register", "renew"]
    assert registry.calls[1][1][:4] == ["n%201", "7", "i", "8000"]
    assert membership.settled


async def test_a_new_epoch_of_the_membership_means_to_register_again(membership, registry, table):
    table.members_feed._load("e2", 5, [], [])
    assert not membership.settled
    registry.answers["register"] = ["OK", "e2", 6, 8, "100000000"]

    await membership.turn(registry.call)

    assert registry.asked() == ["register", "register"]
    assert membership.settled


async def test_a_renewal_that_tells_another_epoch_makes_the_feed_wanted(
    membership, registry, table
):
    registry.answers["renew"] = ["OK", "e9", 1, "100000000", []]

    await membership.turn(registry.call)

    assert table.members_feed.wanted
    assert not membership.settled


@pytest.mark.parametrize("answer", [["GONE", "5"], ["FENCED", "9", "i", 100]])
async def test_who_is_no_longer_known_registers_at_once_and_above_all_before(
    membership, registry, answer
):
    registry.answers["renew"] = answer

    await membership.turn(registry.call)

    assert registry.asked() == ["register", "renew", "register"]
    known = int(registry.calls[-1][1][3])
    assert known == (9 if answer[0] == "FENCED" else 7)


async def test_only_a_new_process_takes_a_name_over(membership, registry):
    registry.answers["renew"] = ["FENCED", "9", "other", 3000]
    registry.answers["register"] = ["OWNED", 3000, 9]

    seconds = await membership.turn(registry.call)

    assert [args[5] for script, args in registry.calls if script == "register"] == ["1", "0"]
    assert seconds == 3.0
    assert membership.name_taken
    assert not membership.settled


async def test_without_a_feed_that_is_read_nothing_is_said(membership, registry, table):
    table.members_feed.wanted = True

    await membership.turn(registry.call)

    assert registry.asked() == ["register"]
