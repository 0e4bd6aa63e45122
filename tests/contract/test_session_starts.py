"""Where a first viewer begins when its publisher's version lets age decide the start."""

import pytest

from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.lite.versions import LITE_02, LITE_03, LITE_04, LITE_05, LITE_06
from moq_relay.wire.version import Slot
from tests.support.node import node


@pytest.mark.parametrize(
    ("version", "max_age"),
    [(LITE_02, 30_000), (LITE_03, 5000), (LITE_04, 5000), (LITE_05, 5000)],
    ids=lambda it: getattr(it, "name", ""),
)
async def test_a_first_viewer_begins_at_the_latest_group_though_age_decides_upstream(
    version, max_age
):
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "a")
        watched = (await relay.viewer(version)).subscribe("a", "t", max_age=5000)

        # Given a publisher that is asked for the latest group in the only way that its version has,
        sending = await publisher.accept()
        assert (sending.wanted.max_age, sending.wanted.floor) == (0, 0)

        # when it says which that is,
        sending.start(5)

        # then groups are wanted for as long as the viewer said, and none twice.
        update = await sending.stream.read(Slot.SUBSCRIBE_UPDATE)
        assert (update.max_age, update.floor) == (max_age, 0)
        sending.group(5, b"5")
        sending.group(6, b"6")
        await watched.heard(5, 6)
        assert list(watched.whole) == [5, 6]
        assert len(publisher.peer.requests(BiStream.SUBSCRIBE)) == 1


async def test_a_first_viewer_that_reaches_back_asks_its_age_at_once():
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "a")
        (await relay.viewer(LITE_06)).subscribe("a", "t", max_age=5000)

        sending = await publisher.accept(3)

        assert sending.wanted.max_age == 5000
        await publisher.peer.round_trip()
        assert sending.stream.pop(Slot.SUBSCRIBE_UPDATE) is None


@pytest.mark.parametrize("known", [False, True], ids=["before the start", "after the start"])
async def test_who_reaches_back_is_told_upstream_though_the_first_viewer_does_not(known):
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "a")
        (await relay.viewer(LITE_05)).subscribe("a", "t", priority=1, max_age=7000)
        sending = await publisher.accept()
        if known:
            sending.start(3)
            await sending.stream.read(Slot.SUBSCRIBE_UPDATE)

        (await relay.viewer(LITE_06)).subscribe("a", "t", priority=2, max_age=5000)

        update = await sending.stream.read(Slot.SUBSCRIBE_UPDATE)
        assert (update.priority, update.max_age) == (2, 7000)
        sending.start(3)
        await publisher.peer.round_trip()
        assert sending.stream.pop(Slot.SUBSCRIBE_UPDATE) is None


async def test_a_change_before_the_start_is_known_does_not_reach_back():
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "a")
        watched = (await relay.viewer(LITE_05)).subscribe("a", "t", priority=1, max_age=7000)
        sending = await publisher.accept()

        watched.stream.write(wire.SubscribeUpdate(2, max_age=9000))

        update = await sending.stream.read(Slot.SUBSCRIBE_UPDATE)
        assert (update.priority, update.max_age) == (2, 0)
        sending.start(3)
        update = await sending.stream.read(Slot.SUBSCRIBE_UPDATE)
        assert (update.priority, update.max_age) == (2, 9000)


async def test_a_first_viewer_that_names_a_group_asks_its_age_at_once():
    async with node() as relay:
        publisher = await relay.publisher(LITE_06, "a")
        (await relay.viewer(LITE_05)).subscribe("a", "t", start=4, max_age=5000)

        sending = await publisher.accept(4)

        assert (sending.wanted.max_age, sending.wanted.floor) == (5000, 4)
