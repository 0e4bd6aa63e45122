"""moq-rs publishes on every version and moq-rs watches on every version, through one relay."""

import asyncio
from itertools import product

import pytest

from tests.interop.conftest import Relay
from tests.interop.pairs import TRANSPORTS, VERSIONS, watch_together

EVERY_VIEWER = list(product(TRANSPORTS, VERSIONS))


@pytest.mark.parametrize("publisher", VERSIONS)
async def test_every_viewer_gets_every_group_from_its_first_on(
    relay: Relay, publisher: str, subtests: pytest.Subtests
) -> None:
    await relay.quiet()

    viewers, sessions = await watch_together(relay, ("moqt", publisher), EVERY_VIEWER)

    for (scheme, version), viewer in viewers.items():
        with subtests.test(publisher=publisher, viewer=version, transport=TRANSPORTS[scheme]):
            publishers = int((scheme, version) == ("moqt", publisher))
            relay.expect(sessions, TRANSPORTS[scheme], version, 1 + publishers)
            assert not viewer.report()


async def test_publishers_over_webtransport_are_watched_over_both_transports(
    relay: Relay, subtests: pytest.Subtests
) -> None:
    await relay.quiet()

    async with asyncio.TaskGroup() as tasks:
        running = {
            version: tasks.create_task(
                watch_together(relay, ("https", version), list(product(TRANSPORTS, [version])))
            )
            for version in VERSIONS
        }

    for version, task in running.items():
        viewers, sessions = task.result()
        for (scheme, _), viewer in viewers.items():
            with subtests.test(version=version, transport=TRANSPORTS[scheme]):
                relay.expect(sessions, TRANSPORTS[scheme], version, 1 + int(scheme == "https"))
                assert not viewer.report()
