"""What a session counts of itself: with the others of its node as much as the node counts."""

import pytest

from moq_relay.wire.lite.versions import LITE_04, LITE_06
from tests.support.node import Clock, far_end, node, until


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def relay(clock):
    async with node(clock=clock, alone=False, viewer_backlog=300_000) as relay:
        yield relay


def summed(relay, name):
    return sum(getattr(session.tally, name) for session in relay.host.sessions)


async def test_the_tallies_of_all_sessions_are_what_the_node_counted(relay):
    publisher = await relay.publisher(LITE_06, "room", "other")
    viewers = [await relay.viewer(version) for version in (LITE_06, LITE_04, LITE_06)]
    watching = [viewer.subscribe("room", "video") for viewer in viewers]
    sending = await publisher.accept(0)
    for sequence in range(4):
        sending.group(sequence, b"x" * 100, b"y" * 50)
        for one in watching:
            await one.heard(sequence)

    for name in ("bytes_in", "bytes_out", "groups_in", "groups_out"):
        assert summed(relay, name) == getattr(relay.counters, name) > 0, name
    publisher.announce("room", hops=(12,))
    await publisher.peer.round_trip()
    of_publisher = relay.session(publisher.peer).tally
    assert (of_publisher.broadcasts, of_publisher.requests) == (2, 0)
    assert (of_publisher.groups_in, of_publisher.bytes_out) == (4, 0)
    of_viewer = relay.session(viewers[0].peer).tally
    assert (of_viewer.broadcasts, of_viewer.requests) == (0, 1)
    assert (of_viewer.groups_out, of_viewer.bytes_in) == (4, 0)


async def test_datagrams_are_tallied_like_groups(relay):
    publisher = await relay.publisher(LITE_06, "room")
    viewer = await relay.viewer(LITE_06)
    viewer.subscribe("room", "video")
    sending = await publisher.accept(0)

    publisher.peer.send_datagram(sending.wanted.id, 0, 12345, b"small")
    await until(lambda: relay.counters.datagrams_out)

    assert summed(relay, "bytes_in") == relay.counters.bytes_in == 5
    assert summed(relay, "bytes_out") == relay.counters.bytes_out == 5


async def test_groups_that_a_slow_viewer_misses_are_tallied(relay):
    publisher = await relay.publisher(LITE_06, "room")
    viewer = await relay.viewer(LITE_06)
    watching = viewer.subscribe("room", "video")
    sending = await publisher.accept(0)
    far_end(watching.peer).hold()
    for sequence in range(8):
        sending.group(sequence, bytes(100_000))
    await until(lambda: relay.counters.groups_in == 8)
    await until(lambda: relay.context.experience.skipped)

    missed = sum(relay.context.experience.skipped.values())
    assert relay.session(viewer.peer).tally.skipped == missed > 0


async def test_a_session_knows_whether_it_was_ended_here(relay, clock):
    left, sent_away = await relay.viewer(LITE_06), await relay.viewer(LITE_06)
    sessions = {
        name: relay.session(one.peer) for name, one in (("left", left), ("away", sent_away))
    }
    clock.now += 5.0

    left.peer.transport.close(0, "bye")
    sessions["away"].close(3, "go")
    await until(lambda: not relay.host.sessions)
    sessions["left"].close(0, "too late")

    ended = {
        name: (session.tally.ended_here, session.farewell) for name, session in sessions.items()
    }
    assert ended == {"left": (False, (0, "bye")), "away": (True, (3, "go"))}
    assert clock.now - sessions["left"].tally.since == 5.0
