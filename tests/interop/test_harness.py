"""The harness itself: without a relay in between, nothing may look like success."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.interop.clients import publishing
from tests.interop.conftest import Relay, new_relay
from tests.interop.viewers import Viewer
from tests.support.media import LIVE

VERSION = "moq-lite-05"
PATH = "harness/live"


@pytest.fixture
def own_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A relay of this test's own, which it may end at any time."""
    relay = new_relay(tmp_path_factory.mktemp("relay"))
    yield relay
    relay.kill()


async def test_with_the_relay_stopped_neither_side_gets_a_session(own_relay: Relay) -> None:
    url = own_relay.url("moqt", VERSION)
    own_relay.stop()
    viewer = Viewer(url, PATH, LIVE, patience=2)

    with pytest.raises(TimeoutError):
        async with publishing(url, PATH, LIVE, patience=2):
            pytest.fail("the publisher has a session, but with whom?")
    await viewer.run()

    assert viewer.report() == f"no session with {url} within 2 s"


async def test_what_a_client_publishes_does_not_come_back_to_itself(own_relay: Relay) -> None:
    url = own_relay.url("moqt", VERSION)

    async with publishing(url, PATH, LIVE) as publisher:
        own_relay.kill()
        seen = publisher.session.consume().announced_broadcast(PATH)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await seen


async def test_a_relay_that_dies_midway_is_a_fault_of_every_track(own_relay: Relay) -> None:
    url = own_relay.url("moqt", VERSION)
    viewer = Viewer(url, PATH, LIVE)

    async with publishing(url, PATH, LIVE) as publisher, asyncio.TaskGroup() as watching:
        watching.create_task(viewer.run())
        await viewer.joined.wait()
        since = dict(publisher.groups)
        own_relay.kill()
        publisher.finish()
        await publisher.sent.wait()
        until = {name: count + 1 for name, count in publisher.groups.items()}
        await viewer.caught_up(since, until, seconds=1)
        viewer.leave()

    for track in LIVE:
        assert track.name in viewer.report()
