"""A relay of its own on loopback, with a publisher and viewers, and windows over all of them."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from moq_relay.cluster.embedded import dying_with_us
from moq_relay.daemon.load import machine
from moq_relay.daemon.load.processes import Child, Failed, child, module
from moq_relay.daemon.load.workload import TRACKS, WARM_SECONDS, Workload

SETTINGS = """\
[server]
listen = "127.0.0.1:0"
tls.generate = "localhost"
[internal]
listen = "127.0.0.1:0"
[auth]
public = ""
[limits]
sessions = 1000000
"""
LISTENING = re.compile(r"listening udp=127\.0\.0\.1:(\d+)")
START_SECONDS = 30.0
READY_SECONDS = 120.0
REPORT_SECONDS = 60.0
LOOK_SECONDS = 0.05
LEAD_SECONDS = 0.3
"""From the order to the window's start: every process has read it by then."""
LEAST_SHARE = 0.99
"""Below it a point says what a relay costs that drops frames."""
BUSY_SHARE = 0.85
"""Of a core: a process of viewers that spends more may be late by itself."""
FULL_SHARE = 0.95
"""Of all cores together."""
MOST_PROCESSES = 16


@dataclass(frozen=True, slots=True)
class Point:
    """What one window gave. Latencies are from a frame's writing to its last byte at a viewer."""

    viewers: int
    core_share: float
    """CPU of the relay's process, of one core."""
    delivered: float
    """Share of the frames that every viewer should have got, of the worse track."""
    mbits: float
    """10^6 bits of payload that all viewers together got in a second."""
    p50_ms: float
    p99_ms: float
    resident_mb: float
    load_share: float
    """CPU of the busiest process beside the relay, of one core."""
    machine_share: float
    """How busy all cores together were."""

    @property
    def complete(self) -> bool:
        """Whether the relay did what was asked of it."""
        return self.delivered >= LEAST_SHARE

    @property
    def strained(self) -> bool:
        """Whether those who make the load may have been what was slow."""
        return self.load_share >= BUSY_SHARE

    @property
    def crowded(self) -> bool:
        """Whether all cores were taken, by whatever else runs there too."""
        return self.machine_share >= FULL_SHARE


class Stage:
    """One relay that is watched by more and more viewers."""

    def __init__(self, relay: int, publisher: Child, sinks: Sequence[Child]) -> None:
        """Measure the process ``relay``; ``sinks`` share the viewers."""
        self._relay = relay
        self._publisher = publisher
        self._sinks = sinks
        self._viewers = 0

    def grow(self, viewers: int) -> None:
        """Let more viewers come, until there are ``viewers``.

        Raises:
            Failed: one was refused or lost.
        """
        share, more = divmod(viewers, len(self._sinks))
        for place, sink in enumerate(self._sinks):
            sink.tell(f"viewers {share + (place < more)}")
        for sink in self._sinks:
            sink.hear(READY_SECONDS)
        self._viewers = viewers

    def measure(self, seconds: float) -> Point:
        """A window over what everybody does now.

        Raises:
            Failed: somebody was lost, or nothing came.
        """
        time.sleep(WARM_SECONDS)
        opens = time.monotonic() + LEAD_SECONDS
        closes = opens + seconds
        others = (self._publisher, *self._sinks)
        for one in others:
            one.tell(f"window {int(opens * 1e9)} {int(closes * 1e9)}")
        time.sleep(max(0.0, opens - time.monotonic()))
        pids = [self._relay, *(one.pid for one in others)]
        started, idle = time.monotonic(), machine.idle_seconds()
        before = [_cpu(pid) for pid in pids]
        time.sleep(max(0.0, closes - time.monotonic()))
        spent = [_cpu(pid) - was for pid, was in zip(pids, before, strict=True)]
        lasted = time.monotonic() - started
        idle = machine.idle_seconds() - idle
        resident = machine.resident_mb(self._relay)
        sent, *got = (one.hear(seconds + REPORT_SECONDS) for one in others)
        frames: Counter[str] = Counter()
        tenths: Counter[int] = Counter()
        for report in got:
            frames.update(report["frames"])
            tenths.update({int(tenth): count for tenth, count in report["tenths"].items()})
        if not tenths:
            raise Failed("no viewer got anything")
        if any(track not in sent["frames"] for track in TRACKS):
            raise Failed("the publisher was held up for all of the window")
        return Point(
            viewers=self._viewers,
            core_share=spent[0] / lasted,
            delivered=min(frames[t] / (sent["frames"][t] * self._viewers) for t in TRACKS),
            mbits=sum(report["payload_bytes"] for report in got) * 8 / 1e6 / seconds,
            p50_ms=percentile(tenths, 0.50),
            p99_ms=percentile(tenths, 0.99),
            resident_mb=resident,
            load_share=max(spent[1:]) / lasted,
            machine_share=max(0.0, 1 - idle / lasted / (os.cpu_count() or 1)),
        )


def percentile(tenths: Mapping[int, int], share: float) -> float:
    """Milliseconds within which this share of the frames came, to a tenth."""
    left = sum(tenths.values()) * share
    for tenth in sorted(tenths):
        left -= tenths[tenth]
        if left < 0:
            return tenth / 10
    return max(tenths) / 10


@contextmanager
def stage(workload: Workload) -> Iterator[Stage]:
    """Everything that is measured; all of it has ended when the block is left.

    Raises:
        Failed: something did not start.
    """
    # A core for the relay, one for the publisher and the system, the others for viewers.
    processes = max(1, min(MOST_PROCESSES, machine.cores() - 2))
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="moq-relay-bench-")
        directory = Path(stack.enter_context(temporary))
        relay, port = stack.enter_context(_relay(directory))
        command = module(
            "moq_relay.daemon.load.publisher", f"--port={port}", f"--mbits={workload.video_mbits}"
        )
        publisher = stack.enter_context(child("the publisher", command))
        publisher.hear(START_SECONDS)
        command = module("moq_relay.daemon.load.viewers", f"--port={port}")
        sinks = [stack.enter_context(child("the viewers", command)) for _ in range(processes)]
        yield Stage(relay, publisher, sinks)


@contextmanager
def _relay(directory: Path) -> Iterator[tuple[int, int]]:
    """This release with a default node's settings: its process, and its port on 127.0.0.1."""
    settings, log = directory / "relay.toml", directory / "relay.log"
    settings.write_text(SETTINGS)
    # The settings of the shell are another relay's.
    environment = {name: v for name, v in os.environ.items() if not name.startswith("MOQ_")}
    with (
        log.open("wb") as said,
        subprocess.Popen(  # noqa: S603
            dying_with_us([sys.executable, "-m", "moq_relay", str(settings)]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environment,
            process_group=0,
        ) as process,
    ):
        try:
            yield process.pid, _port(process, log)
        finally:
            process.kill()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if (found := LISTENING.search(text)) is not None:
            return int(found[1])
        if (code := process.poll()) is not None:
            last = (text.splitlines() or ["it said nothing"])[-1]
            raise Failed(f"the relay ended with {code}: {last}")
        time.sleep(LOOK_SECONDS)
    raise Failed(f"the relay did not listen within {START_SECONDS:.0f} s")


def _cpu(pid: int) -> float:
    try:
        return machine.cpu_seconds(pid)
    except (OSError, IndexError):
        raise Failed("a process ended while it was measured") from None
