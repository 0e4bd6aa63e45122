"""A drain from its first moment to its last, by a clock that the test turns."""

import pytest

from moq_relay.daemon.drain import (
    LINK,
    LOOK_SECONDS,
    SPENT_SECONDS,
    WAVE_LEAST,
    WAVE_SECONDS,
    WAVES,
    Drain,
)

DEADLINE = 20.0


class Crowd:
    """Sessions that go when the test says so; what was asked of them is kept in order."""

    def __init__(self, **roles):
        self.here = {}
        self.asked = []
        self.ends = []
        self.idle = set()
        self.let_go_of = []
        for role, count in roles.items():
            self.come(role, count)

    def come(self, role, count=1):
        self.here |= {len(self.here) + n: role for n in range(count)}

    def go(self, *numbers):
        for number in numbers:
            del self.here[number]

    def present(self):
        return dict(self.here)

    def ask(self, number):
        self.asked.append(number)

    def spent(self, number):
        return number in self.idle

    def let_go(self, number):
        self.let_go_of.append(number)
        self.go(number)

    def cut_off(self):
        self.ends.append(sorted(self.here))
        self.here.clear()


class Drained:
    """A drain, its clock, and what it told the cluster and the process."""

    def __init__(self, crowd, settle=0.0):
        self.now = 1000.0
        self.crowd = crowd
        self.said = []
        self.left = 0
        self.it = Drain(
            crowd, clock=lambda: self.now, settle=settle, say=self.said.append, leave=self.leave
        )

    def leave(self):
        self.left += 1

    def run(self, seconds):
        """Take every turn that is due until so many seconds are over."""
        end = self.now + seconds
        while True:
            wait = self.it.turn()
            if wait is None or self.now + wait > end:
                break
            # A turn that wants another at once would never end.
            self.now += max(wait, 0.001)
        self.now = max(end, self.now)


def roles(crowd):
    return [crowd.here[number] for number in crowd.asked]


def test_a_node_without_sessions_is_drained_at_once():
    drained = Drained(Crowd(), settle=5)

    drained.it.begin(DEADLINE, leave=True)
    assert drained.it.turn() is None

    assert (drained.it.state, drained.left, drained.said) == ("drained", 1, [True])
    assert drained.crowd.ends == []


def test_every_publisher_is_asked_before_the_first_viewer():
    crowd = Crowd(viewer=3 * WAVE_LEAST, publisher=WAVE_LEAST + 3, both=2)
    drained = Drained(crowd)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(DEADLINE / 2)

    asked = roles(crowd)
    assert sorted(crowd.asked) == sorted(crowd.here)
    assert "viewer" not in asked[: WAVE_LEAST + 5]
    assert set(asked[WAVE_LEAST + 5 :]) == {"viewer"}


def test_waves_are_apart_and_all_are_asked_in_a_third_of_the_time():
    crowd = Crowd(viewer=1000)
    drained = Drained(crowd)
    counts = []

    drained.it.begin(DEADLINE, leave=True)
    for _ in range(WAVES):
        drained.it.turn()
        counts.append(len(crowd.asked))
        drained.now += WAVE_SECONDS

    assert counts == [100 * n for n in range(1, WAVES + 1)]
    assert WAVES * WAVE_SECONDS < DEADLINE / 3


def test_a_short_deadline_leaves_time_to_go_after_the_last_wave():
    crowd = Crowd(viewer=1000)
    drained = Drained(crowd)

    drained.it.begin(1.5, leave=True)
    drained.run(0.6)

    assert len(crowd.asked) == 1000
    assert drained.it.state == "draining"


def test_nobody_is_asked_twice_and_who_comes_late_is_asked_too():
    crowd = Crowd(viewer=2)
    drained = Drained(crowd)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(2)
    crowd.come("publisher")
    drained.run(2)

    assert crowd.asked == [0, 1, 2]


def test_links_are_waited_for_and_not_asked():
    crowd = Crowd(viewer=1, link=1)
    assert crowd.here[1] == LINK
    drained = Drained(crowd)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(1)
    crowd.go(0)
    drained.run(1)
    assert (crowd.asked, drained.it.state, drained.it.sessions) == ([0], "draining", 1)
    crowd.go(1)
    drained.run(1)

    assert (drained.it.state, drained.left) == ("drained", 1)


def test_it_ends_as_soon_as_the_last_has_gone():
    crowd = Crowd(viewer=2)
    drained = Drained(crowd)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(1)
    assert (drained.left, drained.it.sessions) == (0, 2)
    crowd.go(0, 1)
    drained.run(0.3)

    assert (drained.left, crowd.ends) == (1, [])


def test_who_was_asked_and_has_nothing_under_way_for_a_while_is_let_go():
    crowd = Crowd(viewer=2)
    crowd.idle = {0}
    drained = Drained(crowd)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(SPENT_SECONDS - 0.1)
    assert crowd.let_go_of == []
    drained.run(0.1 + LOOK_SECONDS)
    assert crowd.let_go_of == [0]

    crowd.idle = {1}
    drained.run(SPENT_SECONDS / 2)
    crowd.idle = set()
    drained.run(LOOK_SECONDS)
    crowd.idle = {1}
    drained.run(SPENT_SECONDS - 0.1)
    assert crowd.let_go_of == [0], "who was busy in between is not"
    drained.run(0.1 + 2 * LOOK_SECONDS)
    assert (crowd.let_go_of, crowd.ends, drained.left) == ([0, 1], [], 1)


def test_nobody_is_let_go_who_was_not_asked():
    crowd = Crowd(viewer=1, link=1)
    crowd.idle = {0, 1}
    drained = Drained(crowd, settle=5)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(4.9)
    assert crowd.let_go_of == []
    drained.run(DEADLINE / 2)

    assert crowd.let_go_of == [0]
    assert list(crowd.here) == [1]


def test_after_an_undone_drain_nothing_is_known_of_who_was_idle():
    crowd = Crowd(viewer=1)
    crowd.idle = {0}
    drained = Drained(crowd)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(SPENT_SECONDS / 2)
    drained.it.undo()
    drained.run(SPENT_SECONDS)
    drained.it.begin(DEADLINE, leave=True)
    drained.run(SPENT_SECONDS / 2)

    assert crowd.let_go_of == []


def test_who_is_left_at_the_deadline_is_cut_off():
    crowd = Crowd(viewer=3)
    drained = Drained(crowd)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(DEADLINE - 0.1)
    crowd.go(1)
    assert (crowd.ends, drained.it.state) == ([], "draining")
    assert drained.it.seconds_left == pytest.approx(0.1)
    drained.run(0.2)

    assert (crowd.ends, drained.it.state, drained.left) == ([[0, 2]], "drained", 1)


def test_newcomers_are_taken_while_it_settles_and_the_cluster_knows_from_the_start():
    crowd = Crowd(viewer=1)
    drained = Drained(crowd, settle=4)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(3.9)
    assert (drained.said, drained.it.closed, crowd.asked) == ([True], False, [])
    drained.run(0.2)

    assert (drained.it.closed, crowd.asked) == (True, [0])
    drained.run(DEADLINE - 4)
    assert drained.left == 1, "settling counts inside the deadline"


def test_settling_takes_half_of_the_deadline_at_most():
    crowd = Crowd(viewer=1)
    drained = Drained(crowd, settle=60)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(DEADLINE / 2 + 0.3)

    assert crowd.asked == [0]


def test_asked_again_the_sooner_end_counts():
    crowd = Crowd(viewer=1)
    drained = Drained(crowd)

    drained.it.begin(DEADLINE, leave=True)
    drained.run(1)
    drained.it.begin(2 * DEADLINE, leave=True)
    assert drained.it.seconds_left == pytest.approx(DEADLINE - 1)
    drained.it.begin(3, leave=True)
    drained.run(3.1)

    assert (drained.left, crowd.ends) == (1, [[0]])
    assert drained.said == [True]


def test_what_stays_can_be_undone_and_drained_again():
    crowd = Crowd(viewer=1)
    drained = Drained(crowd)

    drained.it.begin(DEADLINE, leave=False)
    drained.run(DEADLINE + 1)
    assert (drained.it.state, drained.left, drained.it.closed) == ("drained", 0, True)
    assert drained.it.undo()
    assert (drained.it.state, drained.it.closed, drained.said) == ("serving", False, [True, False])
    assert drained.it.turn() is None
    crowd.come("viewer")
    drained.it.begin(DEADLINE, leave=True)
    drained.run(1)

    assert crowd.asked == [0, 0], "after an undone drain all are asked anew"


def test_a_drain_that_ends_the_process_can_be_undone_until_it_is_over():
    drained = Drained(Crowd(viewer=1))

    drained.it.begin(DEADLINE, leave=True)
    drained.run(1)
    assert drained.it.undo()
    drained.run(DEADLINE)

    assert (drained.left, drained.it.leaves) == (0, False)


def test_what_a_signal_began_is_never_undone():
    drained = Drained(Crowd(viewer=1))

    drained.it.begin(DEADLINE, leave=False)
    drained.it.begin(DEADLINE, leave=True, final=True)

    assert not drained.it.undo()
    drained.run(DEADLINE)
    assert drained.left == 1


def test_a_drained_relay_that_stays_leaves_at_a_signal():
    drained = Drained(Crowd())

    drained.it.begin(DEADLINE, leave=False)
    drained.run(1)
    assert drained.left == 0
    drained.it.begin(DEADLINE, leave=True, final=True)
    drained.run(0.1)

    assert drained.left == 1


def test_there_is_nothing_to_undo_while_it_serves():
    drained = Drained(Crowd(viewer=1))

    assert not drained.it.undo()
    assert (drained.said, drained.it.sessions, drained.it.seconds_left) == ([], 0, 0.0)
