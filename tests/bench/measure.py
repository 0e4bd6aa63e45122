"""One measurement: a relay, a publisher and viewers as processes, and a window over all of them."""

import time
from dataclasses import dataclass

from moq_relay.daemon.load.machine import cpu_seconds, resident_mb
from moq_relay.daemon.load.processes import Failed, child, module
from tests.bench import workload
from tests.bench.peers import ROOT, SINK, Peer

PUBLISHER = module("tests.bench.publisher")
READY_SECONDS = 90.0
REPORT_SECONDS = 30.0
LEAD_SECONDS = 0.2
"""From the order to the window's start: every process has read it by then."""
LEAST_SHARE = 0.99
"""Below it a row says what a relay costs that drops frames, so it is refused."""


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


def measure(peer: Peer, viewers: int, number: int, seconds: float, ack_every: int) -> Row:
    """One row; a refused one says why."""
    watching = [*peer.viewers, "--viewers", str(viewers)]
    if peer.viewers == SINK:
        watching += ["--ack-every", str(ack_every)]
    try:
        with (
            peer.running() as relay,
            child("publisher", [*PUBLISHER, f"--port={relay.port}"], ROOT) as source,
        ):
            source.hear(READY_SECONDS)
            time.sleep(LEAD_SECONDS)
            with child("viewers", [*watching, f"--port={relay.port}"], ROOT) as watchers:
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
