"""``moq-relay bench --capacity`` with a real relay: what it measures, and nothing left of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from moq_relay.daemon.load.stage import stage
from moq_relay.daemon.load.workload import Workload
from tests.integration.test_embedded import alive
from tests.support.relay_process import environment

pytestmark = [pytest.mark.alone, pytest.mark.timeout(60)]


def test_more_viewers_join_a_relay_that_is_measured_and_get_every_frame():
    with stage(Workload(video_mbits=0.5)) as set_up:
        set_up.grow(2)
        set_up.grow(5)
        point = set_up.measure(1.0)

    assert point.viewers == 5
    assert point.delivered == 1.0
    # 5 times half a megabit of video and 64 kb of audio.
    assert point.mbits == pytest.approx(5 * 0.564, rel=0.1)
    assert 0 < point.core_share < 1
    assert 0 < point.p50_ms <= point.p99_ms
    assert point.resident_mb > 20


@pytest.mark.parametrize(
    ("end", "code"),
    [
        # A terminal's Ctrl-C is for all who are in the foreground.
        (lambda pid: os.killpg(pid, signal.SIGINT), 130),
        (lambda pid: os.kill(pid, signal.SIGTERM), 143),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_it_leaves_nothing_when_it_is_ended_in_the_middle(tmp_path, end, code):
    with subprocess.Popen(
        [sys.executable, "-m", "moq_relay", "bench", "--capacity", "--seconds=30"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        # A setting of the shell that would be the end of a relay which obeyed it.
        env=environment() | {"TMPDIR": str(tmp_path), "MOQ_SERVER_LISTEN": "nowhere"},
    ) as bench:
        try:
            assert bench.stderr.readline() == "2 viewers …\n"
            children = _children(bench.pid)
            assert len(children) == 3, "a relay, a publisher and viewers"

            end(bench.pid)
            said, complaints = bench.communicate(timeout=20)
        finally:
            bench.kill()

    assert bench.returncode == code
    assert said == ""
    assert complaints == ""
    assert [pid for pid in children if alive(pid)] == []
    assert list(tmp_path.iterdir()) == []


def _children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
