"""The loop's time for new connections: no more than its share, whatever comes."""

import pytest

from moq_relay.sessions.loopshare import BURST_SECONDS, LoopShare


class Clock:
    """A clock that goes when it is told."""

    def __init__(self):
        self.now = 5.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("piece", [0.0001, 0.003, 0.04])
def test_no_more_than_the_share_is_spent_whatever_comes(piece):
    clock = Clock()
    share = LoopShare(0.2, clock)

    # When work comes without end for ten seconds
    while clock.now < 15.0:
        if share.is_left():
            clock.now += piece
            share.spend(piece)
        else:
            clock.now += max(0.0001, share.wait())

    assert 1.9 <= share.spent <= 10 * 0.2 + BURST_SECONDS + piece


def test_after_a_rest_there_is_a_burst_and_no_more():
    clock = Clock()
    share = LoopShare(0.2, clock)

    clock.now += 3600.0
    share.spend(BURST_SECONDS)

    assert not share.is_left()
    assert share.wait() == 0.0
    share.spend(0.02)
    assert share.wait() == pytest.approx(0.1)


def test_without_a_share_everything_may_be_begun_and_is_counted():
    share = LoopShare(None)

    share.spend(1000.0)

    assert share.is_left()
    assert (share.wait(), share.spent) == (0.0, 1000.0)
