"""moq-rs publishes on every version and moq-rs watches on every version, through one relay."""

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


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_publisher_over_webtransport_is_watched_over_both_transports(
    relay: Relay, version: str, subtests: pytest.Subtests
) -> None:
    await relay.quiet()
    pairs = list(product(TRANSPORTS, [version]))

    viewers, sessions = await watch_together(relay, ("https", version), pairs)

    for (scheme, _), viewer in viewers.items():
        with subtests.test(version=version, transport=TRANSPORTS[scheme]):
            relay.expect(sessions, TRANSPORTS[scheme], version, 1 + int(scheme == "https"))
            assert not viewer.report()
