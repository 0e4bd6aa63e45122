"""One relay per module: ours as a real process, or moq-rs's own server to compare with."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from pathlib import Path

import pytest

from tests.interop.chromium import Chromium, build, launched, served
from tests.interop.pairs import VERSIONS, Sessions
from tests.support.relay_process import RelayProcess

REFERENCE = os.environ.get("MOQ_TEST_RELAY") == "reference"
"""Set to "reference" to run these tests against moq-rs's server: what fails there as well is not
ours. It fails by design where a newer publisher takes over (it waits), a root is asked for or the
latest group is to be the first (it reaches back by age), and it loses the end of a finite track
when the publisher's network is bad."""


QUIET_SECONDS = 15
"""Within it the sessions of the test before are closed, at the latest by their idle timeout."""


class OurRelay(RelayProcess):
    """The relay under test."""

    def url(self, scheme: str, version: str) -> str:
        """Where the listener for one version is."""
        return f"{scheme}://127.0.0.1:{self.ports[version]}"

    def browser_address(self, version: str) -> dict[str, str | None]:
        """What a page needs to connect: an http:// URL lets it find the hash by itself."""
        if self.ports[version] == self.web_port:
            return {"url": self.url("http", version), "hash": None}
        found = self.get("/certificate.sha256", internal=False)
        return {"url": self.url("https", version), "hash": found}

    async def quiet(self) -> None:
        """Wait until the sessions of the test before are gone."""
        deadline = time.monotonic() + QUIET_SECONDS
        while left := await asyncio.to_thread(self.sessions):
            assert time.monotonic() < deadline, f"still open {QUIET_SECONDS} s later: {left}"
            await asyncio.sleep(0.1)

    def expect(self, sessions: Sessions, transport: str, version: str, count: int) -> None:
        """Check what was negotiated."""
        found = sessions.get((transport, version), 0)
        assert found == count, f"{count} sessions expected on {transport} {version}: {sessions}"

    def expect_version(self, negotiated: Iterable[str], version: str) -> None:
        """Check what pages say they negotiated."""
        assert set(negotiated) == {version}


class ReferenceRelay:
    """moq-rs's server; all versions on one port, so the negotiated one can't be chosen."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.interop.reference_relay"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._port, self._hash = self._process.stdout.readline().split()

    def url(self, scheme: str, version: str) -> str:
        """The one address that it has."""
        return f"{scheme}://127.0.0.1:{self._port}"

    def browser_address(self, version: str) -> dict[str, str | None]:
        """What a page needs to connect."""
        return {"url": self.url("https", version), "hash": self._hash}

    def sessions(self) -> Sessions:
        """It does not tell."""
        return {}

    async def quiet(self) -> None:
        """It can't be asked."""

    def expect(self, sessions: Sessions, transport: str, version: str, count: int) -> None:
        """It can't be checked."""

    def expect_version(self, negotiated: Iterable[str], version: str) -> None:
        """It has no listener of one version."""

    def log(self) -> str:
        """It writes none."""
        return "(moq-rs server)"

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    kill = stop


Relay = OurRelay | ReferenceRelay


def new_relay(directory: Path) -> Relay:
    """A relay that answers."""
    if REFERENCE:
        return ReferenceRelay()
    relay = OurRelay(directory, VERSIONS)
    relay.start()
    return relay


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A running relay, whose end and log are checked after the module's last test."""
    running = new_relay(tmp_path_factory.mktemp("relay"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def pages(node: str, npm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the bundled pages are served; npm is what build.mjs calls."""
    folder = tmp_path_factory.mktemp("pages")
    build(node, folder)
    with served(folder) as address:
        yield address


@pytest.fixture
async def browser(chromium: str, pages: str) -> AsyncIterator[Chromium]:
    """A browser of the test's own."""
    async with launched(chromium) as running:
        yield Chromium(running, pages)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the relay's log with every failed test that had one; not with each of its subtests."""
    report = yield
    running = getattr(item, "funcargs", {}).get("relay")
    if report.failed and running is not None and not isinstance(report, pytest.SubtestReport):
        report.sections.append(("relay log", running.log()))
    return report
