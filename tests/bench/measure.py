"""One measurement: a relay, a publisher and viewers as processes, and a window over all of them."""

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import workload
from tests.bench.peers import ROOT, SINK, Peer, module

READY_SECONDS = 90.0
REPORT_SECONDS = 30.0
LEAD_SECONDS = 0.2
"""From the order to the window's start: every process has read it by then."""
LEAST_SHARE = 0.99
"""Below it a row says what a relay costs that drops frames, so it is refused."""


class Failed(Exception):
    """No figure came of this measurement."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one measurement gave; latencies in milliseconds, costs in CPU seconds per 1e9 bytes."""

    peer: str
    viewers: int
    round: int
    refused: str | None
    cpu_per_gb: float | None = None
    core_share: float | None = None
    delivered: float | None = None
    video_fps: float | None = None
    audio_fps: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    rss_mb: float | None = None
    viewers_cpu_per_gb: float | None = None
    acks: int | None = None


class Child:
    """A process of the bench that answers a line of JSON to a line of text."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self._process = process
        self._name = name
        self._heard = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def hear(self, seconds: float) -> dict[str, Any]:
        """The next report; raises Failed when none comes in time."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        deadline = time.monotonic() + seconds
        while b"\n" not in self._heard:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Failed(f"{self._name} said nothing for {seconds:.0f} s")
            piece = os.read(pipe, 1 << 20)
            if not piece:
                raise Failed(f"{self._name} ended")
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        report = json.loads(line)
        if "lost" in report:
            raise Failed(f"{self._name}: {report['lost']}")
        return report


@contextmanager
def child(name: str, command: list[str]) -> Iterator[Child]:
    """Run a command until the end of the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as process:
        try:
            yield Child(process, name)
        finally:
            process.kill()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process, 2**20 bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def measure(peer: Peer, viewers: int, number: int, seconds: float, ack_every: int) -> Row:
    """One row; a refused one says why."""
    watching = [*peer.viewers, "--viewers", str(viewers)]
    if peer.viewers == SINK:
        watching += ["--ack-every", str(ack_every)]
    try:
        with (
            peer.running() as relay,
            child("publisher", module("tests.bench.publisher", f"--port={relay.port}")) as source,
        ):
            source.hear(READY_SECONDS)
            time.sleep(LEAD_SECONDS)
            with child("viewers", [*watching, f"--port={relay.port}"]) as watchers:
                watchers.hear(READY_SECONDS)
                time.sleep(workload.WARM_SECONDS)
                opens = time.monotonic() + LEAD_SECONDS
                closes = opens + seconds
                order = f"window {int(opens * 1e9)} {int(closes * 1e9)}"
                watchers.tell(order)
                source.tell(order)
                time.sleep(max(0.0, opens - time.monotonic()))
                spent = -cpu_seconds(relay.pid)
                spent_watching = -cpu_seconds(watchers.pid)
                started = time.monotonic()
                time.sleep(max(0.0, closes - time.monotonic()))
                spent += cpu_seconds(relay.pid)
                spent_watching += cpu_seconds(watchers.pid)
                lasted = time.monotonic() - started
                resident = resident_mb(relay.pid)
                got = watchers.hear(seconds + REPORT_SECONDS)
                sent = source.hear(REPORT_SECONDS)
    except (Failed, OSError, RuntimeError, AssertionError) as error:
        return Row(peer.name, viewers, number, str(error).splitlines()[0])
    gigabytes = got["payload_bytes"] / 1e9
    if not gigabytes:
        return Row(peer.name, viewers, number, "nothing was delivered")
    delivered = min(
        got["frames"].get(track, 0) / (sent["frames"][track] * viewers) for track in workload.TRACKS
    )
    return Row(
        peer.name,
        viewers,
        number,
        None if delivered >= LEAST_SHARE else f"only {delivered:.1%} delivered",
        cpu_per_gb=spent / gigabytes,
        core_share=spent / lasted,
        delivered=delivered,
        video_fps=got["frames"].get(workload.VIDEO, 0) / viewers / seconds,
        audio_fps=got["frames"].get(workload.AUDIO, 0) / viewers / seconds,
        p50_ms=got["p50_ms"],
        p99_ms=got["p99_ms"],
        rss_mb=resident,
        viewers_cpu_per_gb=spent_watching / gigabytes,
        acks=got.get("acks"),
    )
