"""What sessions measure of their viewers, by a clock that is turned by hand."""

import pytest

from moq_relay.transports.memory import HIGH_WATER
from moq_relay.wire.lite.versions import LITE_05, LITE_06
from tests.support.node import Clock, Node, far_end, node, until

FILLS = bytes(HIGH_WATER - 5)
"""With its timestamp and length as much as a transport takes at once."""
LARGE = bytes(200_000)
"""More than that."""


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def relay(clock):
    async with node(clock=clock, alone=False) as relay:
        relay.experience = relay.context.experience
        yield relay


def seen(histogram) -> tuple[int, float]:
    """How many were observed, and their sum."""
    return histogram.count, pytest.approx(histogram.total)


async def watched(relay: Node, **options):
    """A publisher's sending, and a viewer that was there before its first group."""
    publisher = await relay.publisher(LITE_06, "room")
    viewer = await relay.viewer(LITE_06)
    watching = viewer.subscribe("room", "video", **options)
    return await publisher.accept(0), watching


# --- in one node ----------------------------------------------------------------------------------


async def test_a_group_resides_until_its_first_frame_is_handed_over(relay, clock):
    sending, watching = await watched(relay)
    far_end(watching.peer).hold()
    sending.group(0, FILLS)
    await until(lambda: relay.experience.residence.count == 1)
    sending.group(1, b"small")
    await until(lambda: relay.counters.frames_in == 2)

    clock.now += 0.25
    assert seen(relay.experience.residence) == (1, 0.0)
    far_end(watching.peer).release()
    await watching.heard(0, 1)

    assert seen(relay.experience.residence) == (2, 0.25)


async def test_a_first_frame_resides_until_its_last_byte_is_handed_over(relay, clock):
    sending, watching = await watched(relay)
    far_end(watching.peer).hold()
    sending.group(0, LARGE, b"more", fin=False)
    await until(lambda: relay.counters.frames_in == 2)
    assert relay.counters.bytes_out > 0

    clock.now += 0.5
    far_end(watching.peer).release()
    await until(lambda: relay.counters.bytes_out > len(LARGE))

    assert seen(relay.experience.residence) == (1, 0.5)


async def test_a_delivery_ends_with_the_acknowledgement_less_half_a_round_trip(relay, clock):
    sending, watching = await watched(relay)
    far_end(watching.peer).rtt_seconds = 0.020
    stream = sending.group(0, b"begins", fin=False)
    await watching.opened(0)
    clock.now += 2.0
    far_end(watching.peer).hold()
    stream.finish()
    await until(lambda: relay.origin.broadcasts["room"].tracks["room", "video"].groups[0].finished)

    clock.now += 0.050
    far_end(watching.peer).release()
    await until(lambda: relay.experience.delivery)

    assert {region: seen(h) for region, h in relay.experience.delivery.items()} == {
        "": (1, 0.040),
    }


async def test_half_a_round_trip_that_is_longer_than_the_delivery_makes_it_nothing(relay):
    sending, watching = await watched(relay)
    far_end(watching.peer).rtt_seconds = 0.020

    sending.group(0, b"whole")
    await until(lambda: relay.experience.delivery)

    assert seen(relay.experience.delivery[""]) == (1, 0.0)


async def test_a_group_that_was_given_up_is_no_delivery(relay, clock):
    sending, watching = await watched(relay)

    sent = sending.group(0, b"begins", fin=False)
    received = (await watching.opened(0)).stream
    sent.reset(1)
    await received.was_reset()
    sending.group(1, b"whole")
    await until(lambda: relay.experience.delivery)

    assert seen(relay.experience.delivery[""]) == (1, 0.0)


async def test_the_age_of_a_group_is_how_long_a_newer_one_was_there(relay, clock):
    sending, watching = await watched(relay)
    far_end(watching.peer).hold()
    sending.group(0, LARGE)
    await until(lambda: relay.counters.frames_in == 1)
    clock.now += 1.0
    sending.group(1, b"small")
    await until(lambda: relay.counters.frames_in == 2)

    clock.now += 0.5
    far_end(watching.peer).release()
    await watching.heard(0, 1)

    assert seen(relay.experience.age["memory"]) == (2, 0.5)


async def test_only_a_sample_of_a_quick_tracks_groups_is_measured(relay, clock):
    sending, watching = await watched(relay)

    for sequence in range(64):
        sending.group(sequence, b"frame")
        await watching.heard(sequence)
        clock.now += 0.02
    await until(lambda: relay.experience.delivery[""].count == 5)

    assert relay.experience.residence.count == 5
    assert relay.experience.age["memory"].count == 5


async def test_what_was_here_before_the_viewer_is_no_delivery(relay, clock):
    sending, watching = await watched(relay)
    sending.group(0, b"whole")
    await watching.heard(0)
    await until(lambda: relay.experience.delivery)
    clock.now += 9.0

    late = await relay.viewer(LITE_06)
    again = late.subscribe("room", "video")
    await again.heard(0)
    await late.peer.round_trip()

    assert relay.experience.delivery[""].count == 1
    assert relay.experience.residence.count == 1
    assert relay.experience.age["memory"].count == 1


# --- the first object -----------------------------------------------------------------------------


async def test_the_first_object_of_a_publisher_here_is_local_and_counted_once(relay, clock):
    sending, watching = await watched(relay)

    clock.now += 0.3
    sending.group(0, b"one", b"two")
    sending.group(1, b"three")
    await watching.heard(0, 1)

    first = {label: seen(h) for label, h in relay.experience.first_object.items()}
    assert first == {("local", ""): (1, 0.3)}


async def test_the_first_object_of_a_group_that_was_here_is_cached(relay, clock):
    sending, watching = await watched(relay)
    sending.group(0, b"one", fin=False)
    await watching.opened(0)
    relay.experience.first_object.clear()

    late = await relay.viewer(LITE_06)
    await late.subscribe("room", "video").opened(0)

    first = {label: seen(h) for label, h in relay.experience.first_object.items()}
    assert first == {("cached", ""): (1, 0.0)}


async def test_a_group_that_brought_nothing_leaves_the_first_object_to_the_next(relay, clock):
    sending, watching = await watched(relay)
    stream = sending.group(0, fin=False)
    await watching.opened(0)
    stream.reset(1)
    clock.now += 0.7

    sending.group(1, b"frame")
    await watching.heard(1)

    first = {label: seen(h) for label, h in relay.experience.first_object.items()}
    assert first == {("local", ""): (1, 0.7)}


async def test_the_first_object_counts_though_its_group_is_not_timed(relay, clock):
    sending, watching = await watched(relay)
    sending.group(0, b"one")
    sending.group(16, b"one")
    await watching.heard(0, 16)
    relay.experience.first_object.clear()
    late = await relay.viewer(LITE_06)
    behind = late.subscribe("room", "video", floor=17)
    await late.peer.round_trip()

    sending.group(17, b"frame")
    await behind.heard(17)

    assert relay.experience.first_object["local", ""].count == 1
    assert relay.experience.residence.count == 2


# --- skipped groups -------------------------------------------------------------------------------


async def test_a_group_that_a_slow_viewer_misses_is_skipped_for_its_reason(clock):
    async with node(clock=clock, viewer_backlog=300_000) as relay:
        sending, watching = await watched(relay)
        far_end(watching.peer).hold()
        for sequence in range(3):
            sending.group(sequence, LARGE)
        await until(lambda: relay.counters.frames_in == 3)

        assert relay.context.experience.skipped == {("memory", "TooFarBehind"): 2}


async def test_a_group_that_grew_old_is_skipped_and_one_that_was_cancelled_is_not(relay, clock):
    sending, watching = await watched(relay, max_age=100)
    far_end(watching.peer).hold()
    sending.group(0, LARGE)
    sending.group(1, b"newer")
    await until(lambda: relay.counters.frames_in == 2)
    clock.now += 0.2
    sending.group(2, b"newest")
    await until(lambda: relay.counters.resets_out)
    assert relay.experience.skipped == {("memory", "Old"): 1}

    far_end(watching.peer).release()
    sending.group(3, b"cut off", fin=False)
    await watching.opened(3)
    watching.stream.reset(1)
    await until(lambda: relay.counters.resets_out["Cancelled"])

    assert relay.experience.skipped == {("memory", "Old"): 1}


async def test_a_group_whose_start_is_missing_is_skipped_where_the_version_cannot_say_so(relay):
    publisher = await relay.publisher(LITE_06, "room")
    viewer = await relay.viewer(LITE_05)
    watching = viewer.subscribe("room", "video")
    sending = await publisher.accept(0)

    sending.group(0, b"late", first=3)
    sending.group(1, b"whole")
    await watching.heard(1)

    assert relay.experience.skipped == {("memory", "Partial"): 1}
