"""Reaping is safe by itself: only a lease of even time on the registry's own clock ends anybody."""

import pytest

from moq_relay.cluster.memory import MemoryStore

LEASE_MS = 8000
STEP = 1.0


class Time:
    """The registry's clock, and reapers that ask every second."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.store = MemoryStore(clock=lambda: self.now)
        self.epoch = self.store.run("attach", None, ["0"])[1]
        self.generation = 0

    def register(self, node: str) -> None:
        args = [node, self.epoch, "i", "0", str(LEASE_MS), "1", "up eu 1 - 1 1"]
        self.generation = self.store.run("register", None, args)[3]

    def renew(self, node: str) -> str:
        args = [node, str(self.generation), "i", str(LEASE_MS), "up eu 1 - 1 1", "0"]
        return self.store.run("renew", None, args)[0]

    def reap(self) -> list[str]:
        return self.store.run("reap", None, [str(LEASE_MS), "100"])[2][::2]

    def pass_by(self, seconds: float, *, renewing: str | None = None) -> list[str]:
        dead = []
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            if renewing is not None:
                assert self.renew(renewing) == "OK"
            dead += self.reap()
        return dead


@pytest.fixture
def time():
    time = Time()
    time.register("n")
    return time


def test_a_node_that_stops_renewing_is_reaped_when_its_lease_is_over(time):
    assert time.pass_by(20, renewing="n") == []

    assert time.pass_by(7) == []
    assert time.pass_by(2) == ["n"]


def test_nobody_is_reaped_before_a_lease_of_calm(time):
    time.now += 60  # nobody asked: the first reaper has just come

    assert time.reap() == []
    assert time.pass_by(7, renewing="n") == []


@pytest.mark.parametrize("jump", [2.1, 10.0, 3600.0, -2.0, -3600.0])
def test_a_clock_that_jumps_ends_no_living_node(time, jump):
    time.pass_by(20, renewing="n")

    time.now += jump
    dead = time.reap()  # before the node could renew

    assert dead == []
    assert time.pass_by(20, renewing="n") == []


def test_a_server_that_stood_still_ends_no_living_node_whoever_asks_first(time):
    time.pass_by(20, renewing="n")

    time.now += 30
    dead = time.reap() + time.reap() + time.reap()

    assert dead == []
    assert time.pass_by(9, renewing="n") == []


def test_the_dead_of_before_a_jump_are_reaped_a_lease_after_it(time):
    time.pass_by(20, renewing="n")

    time.now -= 3600

    assert time.pass_by(7) == []
    assert time.pass_by(3) == ["n"]


def test_a_registration_that_came_late_is_not_dropped_with_the_one_before(time):
    time.pass_by(20, renewing="n")
    old = time.generation
    time.pass_by(9)
    time.register("n")
    epoch = time.store.run("attach", 0, ["0"])[1]
    write = ["n", epoch, str(time.generation), "1", "+", "p", "t", "0", "", "-"]
    assert time.store.run("write", 0, write)[0] == "OK"

    assert time.store.run("drop", 0, ["n", str(old)]) == ["NEWER"]

    assert time.store.run("lookup", 0, ["p"])[1] != ""


def test_a_grave_is_kept_until_every_shard_was_dropped(time):
    time.pass_by(20, renewing="n")
    generation = str(time.generation)
    time.pass_by(9)

    assert time.store.run("reap", None, [str(LEASE_MS), "100"])[3] == ["n", generation]
    assert time.store.run("reap", None, [str(LEASE_MS), "100", "n", "17"])[3] == ["n", generation]
    assert time.store.run("reap", None, [str(LEASE_MS), "100", "n", generation])[3] == []
