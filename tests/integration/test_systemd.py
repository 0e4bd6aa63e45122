"""The unit for systemd, and a relay that is started as it says."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require
from tests.support.relay_process import RelayProcess

UNIT = Path(__file__).parents[2] / "ops/systemd/moq-relay.service"
MOST_EXPOSED = 3.0


@pytest.fixture
def analyze():
    tool = require("systemd-analyze")

    def analyze(*words):
        done = subprocess.run([tool, *words], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return analyze


def test_the_unit_exposes_little(analyze):
    said = analyze("security", "--offline=true", "--no-pager", str(UNIT))

    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert level, said
    assert float(level[1]) <= MOST_EXPOSED, said


def test_the_unit_has_no_mistake(analyze, tmp_path):
    """But for the command, which is not installed here."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/moq-relay"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/moq-relay/bin/moq-relay", str(command)))

    assert analyze("verify", "--man=no", str(unit)) == ""


def test_a_relay_says_that_it_is_ready_turns_and_leaves(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{tmp_path}/notify")
        manager.settimeout(15)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        relay = RelayProcess(tmp_path, ["moq-lite-05"])
        try:
            relay.start()
            heard = [manager.recv(500) for _ in range(3)]
            assert sum(line.startswith(b"READY=1\n") for line in heard) == 1
            assert heard.count(b"WATCHDOG=1") == 2

            os.kill(relay.pid, signal.SIGTERM)
            while not (last := manager.recv(500)).startswith(b"STOPPING=1"):
                assert last == b"WATCHDOG=1"
            relay.stop(leaving=True)
        finally:
            relay.kill()
