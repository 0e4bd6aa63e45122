"""What measuring viewers costs: ``python -m tests.bench.observe``, without sockets, on one core.

Groups go to viewers over a transport that takes everything and does nothing, once timed and once
not: they differ by the measuring. It is held against what a second of the bench's workload costs
one viewer with packets, which a run of ``python -m tests.bench`` says per gigabyte.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

from moq_relay.relay.counters import Counters
from moq_relay.relay.feed import Demand
from moq_relay.relay.group import Frame, Group
from moq_relay.relay.histogram import Histogram
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.relay.sampling import STRIDE, Times
from moq_relay.sessions.experience import Experience
from moq_relay.sessions.lite.egress import Line
from moq_relay.sessions.lite.viewer import TrackEgress
from moq_relay.sessions.scheduler import Scheduler
from moq_relay.sessions.transport import TransportStats
from moq_relay.wire.lite.versions import VERSIONS
from tests.bench.workload import AUDIO_BYTES, AUDIO_FPS, GROUP_FRAMES, VIDEO_BYTES, VIDEO_FPS

VIEWERS = 80
CPU_PER_GB = 24.0
"""Seconds; of docs/performance.md, where ours serves that many viewers."""
GROUPS = 40
"""Timed together, so that the clock's own cost is small."""
OBSERVES = 3
"""Of a timed group and viewer: residence, age, delivery."""


class Nowhere:
    """A transport that has room for everything."""

    binding = "quic"

    def __init__(self) -> None:
        self._next = 3

    def can_open_uni(self) -> bool:
        return True

    def open_uni(self) -> int:
        self._next += 4
        return self._next

    def writable(self) -> bool:
        return True

    def unacknowledged(self) -> int:
        return 0

    def send(self, stream: int, data: Any, start: int = 0, stop: Any = None, *, fin: bool = False):
        pass

    def stats(self) -> TransportStats:
        return TransportStats(0.02, 0, 0, 0)


def crowd(viewers: int) -> list[tuple[Line, TrackEgress]]:
    """Viewers that were shown something already."""
    counters, experience = Counters(), Experience()
    found = []
    for _ in range(viewers):
        transport: Any = Nowhere()
        scheduler = Scheduler(transport, 1 << 30)
        line = Line(
            transport, scheduler, VERSIONS[0], counters, time.monotonic, experience=experience
        )
        request: Any = None
        reader = TrackEgress(line, request, 0, asked=0.0)
        reader.asked = None
        reader.change(Demand(max_age=30.0), 0, None)
        found.append((line, reader))
    return found


def seconds(
    readers: Sequence[tuple[Line, TrackEgress]], frames: int, size: int, *, timed: bool
) -> float:
    """CPU of one group to one viewer, from its header to the acknowledgement of its end."""
    cache, payload = Cache(CacheLimits(), Counters()), bytes(size)
    started = time.process_time()
    for sequence in range(GROUPS):
        group = Group(sequence, cache, now=0.0)
        group.times = Times(time.monotonic) if timed else None
        for _, reader in readers:
            reader.opened(group)
        for index in range(frames):
            group.append(Frame(payload, index))
        group.finish()
        for line, _ in readers:
            owners = tuple(line.owners.values())
            line.owners.clear()
            for owner in owners:
                owner.finished()
    return (time.process_time() - started) / GROUPS / len(readers)


def extra(readers: Sequence[tuple[Line, TrackEgress]], frames: int, size: int, rounds: int):
    """What a group costs untimed, and how much more when it is timed; medians, in turns."""
    plain, more = [], []
    for _ in range(rounds):
        plain.append(seconds(readers, frames, size, timed=False))
        more.append(seconds(readers, frames, size, timed=True))
    return statistics.median(plain), statistics.median(more) - statistics.median(plain)


def observe_seconds() -> float:
    """CPU of one ``Histogram.observe``."""
    histogram, count = Histogram(), 200_000
    started = time.process_time()
    for _ in range(count):
        histogram.observe(0.0421)
    return (time.process_time() - started) / count


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.observe", description=__doc__)
    parser.add_argument("--viewers", type=int, default=VIEWERS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cpu-per-gb", type=float, default=CPU_PER_GB)
    options = parser.parse_args()
    readers = crowd(options.viewers)
    one = observe_seconds()
    print(f"one observe: {one * 1e6:.2f} us")
    # Of a group a second each is timed, of many a second one of STRIDE.
    tracks = {
        "video": (GROUP_FRAMES, VIDEO_BYTES, VIDEO_FPS / GROUP_FRAMES, 1.0),
        "audio": (1, AUDIO_BYTES, float(AUDIO_FPS), 1 / STRIDE),
    }
    total = 0.0
    for name, (frames, size, pace, share) in tracks.items():
        plain, more = extra(readers, frames, size, options.rounds)
        total += pace * share * more
        print(
            f"{name}: {pace:g} groups/s, {pace * share:.2f} of them timed, each "
            f"{OBSERVES} observes = {OBSERVES * one * 1e6:.1f} us, and with all that is around "
            f"them {more * 1e6:.1f} us more than {plain * 1e6:.1f} us without packets"
        )
    bytes_a_second = VIDEO_FPS * VIDEO_BYTES + AUDIO_FPS * AUDIO_BYTES
    fanout = options.cpu_per_gb * bytes_a_second / 1e9
    print(
        f"a viewer and second: {total * 1e6:.1f} us of measuring in {fanout * 1e6:.0f} us of "
        f"fan-out at {options.cpu_per_gb:g} CPU-s/GB: {100 * total / fanout:.2f} %"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
