"""Publishers that do not answer, turn by turn."""

import logging

import pytest

from moq_relay.daemon.silence import ASKED, DOUBTED, Silence
from moq_relay.wire.lite.versions import VERSIONS
from tests.support.node import far_end, node


@pytest.fixture
async def setting():
    async with node(alone=False) as relay:
        publisher = (await relay.publisher(VERSIONS[-1], "room")).peer
        viewer = (await relay.viewer(VERSIONS[-1])).peer
        silence = Silence(lambda: relay.host.sessions)
        yield relay, silence, far_end(publisher), far_end(viewer)


def turns(silence, transport, count, *, silent=1.0):
    for _ in range(count):
        transport.silent_seconds = transport.silent_seconds + silent if silent else 0.0
        silence.turn()


def is_live(relay):
    return relay.origin.broadcasts["room"].routes[0].live


async def test_a_publisher_that_does_not_answer_is_in_doubt_until_it_is_heard(setting, caplog):
    caplog.set_level(logging.INFO)
    relay, silence, publisher, _ = setting

    turns(silence, publisher, DOUBTED - 1)
    assert is_live(relay)
    assert publisher.pings == DOUBTED - ASKED
    turns(silence, publisher, 3)
    assert not is_live(relay)
    assert silence.publishers == 1
    turns(silence, publisher, 1, silent=0)

    assert is_live(relay)
    assert silence.publishers == 0
    lines = [record.getMessage() for record in caplog.records if "publisher" in record.getMessage()]
    number = next(s.number for s in relay.host.sessions if s.subscriber.publishing)
    assert lines == [
        f"publisher silent session={number} seconds={DOUBTED}",
        f"publisher heard again session={number}",
    ]


async def test_a_process_that_stood_still_doubts_nobody(setting):
    relay, silence, publisher, _ = setting

    turns(silence, publisher, 1, silent=60.0)
    assert is_live(relay)
    turns(silence, publisher, 1, silent=0)
    turns(silence, publisher, DOUBTED - 1)

    assert is_live(relay)


async def test_a_viewer_may_be_silent(setting):
    relay, silence, _, viewer = setting

    turns(silence, viewer, 2 * DOUBTED)

    assert viewer.pings == 0
    assert silence.publishers == 0
    assert is_live(relay)
