"""The same pairs over a network that loses and reorders: late is fine, wrong or missing is not."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.interop.clients import Publisher, connected
from tests.interop.conftest import Relay
from tests.interop.pairs import TRANSPORTS, VERSIONS, Sessions, watch_together
from tests.interop.viewers import Viewer
from tests.support.lossy import LossyLink, Weather
from tests.support.media import FILE, FILE_GROUPS, STATUS

BAD = Weather(loss=0.02, delay=0.001, jitter=0.002)
AWFUL = Weather(loss=0.25, delay=0.002, jitter=0.002, reorder=0.1, held=0.01)
FILE_SECONDS = 60
SEED = 20_261_125


class Through:
    """A relay behind one lossy link for each of its listeners."""

    def __init__(self, relay: Relay, weather: Weather) -> None:
        self._relay = relay
        self._weather = weather
        self._links: dict[int, LossyLink] = {}
        self._stack = ExitStack()

    def url(self, scheme: str, version: str) -> str:
        """The link in front of the listener for one version."""
        port = int(self._relay.url(scheme, version).rpartition(":")[2])
        if port not in self._links:
            link = LossyLink(
                ("127.0.0.1", port), to_server=self._weather, to_client=self._weather, seed=SEED
            )
            self._links[port] = self._stack.enter_context(link)
        return f"{scheme}://127.0.0.1:{self._links[port].port}"

    def sessions(self) -> Sessions:
        """The relay's own count."""
        return self._relay.sessions()

    def close(self) -> None:
        """End the links."""
        self._stack.close()

    def __str__(self) -> str:
        return "; ".join(str(link) for link in self._links.values())

    def lost(self) -> int:
        """Datagrams lost in both directions."""
        return sum(link.to_server.lost + link.to_client.lost for link in self._links.values())


Behind = Callable[[Weather], Through]


@pytest.fixture
def behind(relay: Relay) -> Iterator[Behind]:
    """The relay behind a network of the given weather."""
    with ExitStack() as stack:

        def place(weather: Weather) -> Through:
            through = Through(relay, weather)
            stack.callback(through.close)
            return through

        yield place


@pytest.mark.timeout(120)
@pytest.mark.parametrize("version", VERSIONS)
async def test_two_percent_loss_and_jitter_cost_no_group(
    behind: Behind, version: str, subtests: pytest.Subtests
) -> None:
    network = behind(BAD)

    viewers, _ = await watch_together(
        network, ("moqt", version), [(scheme, version) for scheme in TRANSPORTS]
    )

    assert network.lost() > 0
    for (scheme, _), viewer in viewers.items():
        with subtests.test(version=version, transport=TRANSPORTS[scheme]):
            assert not viewer.report(), network


@pytest.mark.timeout(150)
@pytest.mark.parametrize("scheme", TRANSPORTS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_file_survives_a_quarter_lost_and_the_session_too(
    behind: Behind, version: str, scheme: str
) -> None:
    network = behind(AWFUL)
    url, path = network.url(scheme, version), f"interop/file-{scheme}-{version}"
    viewer = Viewer(url, path, (FILE, STATUS), patience=60)

    async with connected(url, patience=60) as connection, asyncio.TaskGroup() as tasks:
        publisher = Publisher(connection, path, (FILE, STATUS))
        tasks.create_task(viewer.run())
        try:
            async with asyncio.timeout(60):
                await publisher.wanted(FILE)
                await publisher.wanted(STATUS)
            await publisher.send_all(FILE, FILE_GROUPS)
            await viewer.has_all(FILE, FILE_GROUPS, FILE_SECONDS)
            await publisher.send_all(STATUS, 1)
            await viewer.has_all(STATUS, 1, FILE_SECONDS)
        finally:
            viewer.leave()
        publisher_sessions = connection.session.epoch()

    assert network.lost() > 0
    assert not viewer.report(), network
    assert (publisher_sessions, viewer.epoch) == (1, 1), f"a session broke: {network}"
