"""The relays under test: how each starts, and who watches it."""

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moq_relay.daemon.load.processes import module
from tests.bench import workload
from tests.support.relay_process import EXECUTABLE, RelayProcess

ROOT = Path(__file__).parents[2]
OURS_VERSION = "moq-lite-05"
"""What the naive forwarder speaks too, so that one sink and one publisher serve both."""


SCRAPE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """A relay that listens."""

    pid: int
    port: int


@dataclass(frozen=True, slots=True)
class Peer:
    """One row's relay."""

    name: str
    start: Callable[[], Iterator[Running]]
    """A context manager's body: yields the relay, ends it afterwards."""
    viewers: list[str]
    """Arguments of Python for the process that watches; port and count are added."""

    @contextmanager
    def running(self) -> Iterator[Running]:
        yield from self.start()


def script(*command: str) -> Callable[[], Iterator[Running]]:
    """A relay of ours for the bench: a process that prints its port first."""

    def start() -> Iterator[Running]:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as relay:
            try:
                assert relay.stdout is not None
                port = relay.stdout.readline().strip()
                if not port:
                    raise RuntimeError(f"{' '.join(command)} did not start")
                yield Running(relay.pid, int(port))
            finally:
                relay.kill()

    return start


@contextmanager
def own() -> Iterator[RelayProcess]:
    """The real executable with the settings of a default node."""
    with tempfile.TemporaryDirectory(prefix="moq-bench-") as directory:
        relay = RelayProcess(Path(directory), [OURS_VERSION])
        relay.start()
        try:
            yield relay
        finally:
            relay.kill()


def product() -> Iterator[Running]:
    """Ours, left alone."""
    with own() as relay:
        yield Running(relay.pid, relay.ports[OURS_VERSION])


def scraped() -> Iterator[Running]:
    """Ours, whose metrics are read every second, as no Prometheus does it by default."""
    done, failed = threading.Event(), []

    def scrape(relay: RelayProcess) -> None:
        while not done.wait(SCRAPE_SECONDS):
            try:
                relay.get("/metrics")
            except OSError as error:
                failed.append(error)
                return

    with own() as relay:
        scraping = threading.Thread(target=scrape, args=(relay,), daemon=True)
        scraping.start()
        try:
            yield Running(relay.pid, relay.ports[OURS_VERSION])
        finally:
            done.set()
            scraping.join()
        if failed:
            raise RuntimeError(f"a scrape failed: {failed[0]}")


SINK = module("tests.support.sink", "--tracks", ",".join(workload.TRACKS))
NAIVE = "tests.bench.naive"
RUST = "tests.bench.rust"
PEERS = {
    peer.name: peer
    for peer in (
        Peer("ours", product, SINK),
        Peer("ours-scraped", scraped, SINK),
        Peer("naive-asyncio", script(*module(NAIVE)), SINK),
        Peer("naive-uvloop", script(*module(NAIVE, "--uvloop")), SINK),
        Peer("moq-rs", script(*module(RUST, "relay")), module(RUST, "viewers")),
        Peer("moq-rs-sink", script(*module(RUST, "relay")), SINK),
    )
}
DEFAULT = ["ours", "naive-asyncio", "naive-uvloop", "moq-rs"]


def missing(name: str) -> str | None:
    """Why a peer can't run here, else None."""
    if name.startswith("ours") and not EXECUTABLE.exists():
        return f"{EXECUTABLE} is not installed"
    return None
