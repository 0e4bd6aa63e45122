"""``moq-relay dev``: three relays that are one cluster, and nothing left when they end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from moq_relay.daemon.commands.dev import Relay, prepare
from moq_relay.daemon.config.sources import load, read_file
from moq_relay.errors import ConfigError
from tests.integration.test_embedded import alive, gone
from tests.support.relay_process import environment, free_ports

pytestmark = pytest.mark.timeout(90)

RUN = """
import json, sys
from moq_relay.daemon.commands.dev import Relay, run
from moq_relay.daemon.config.flags import parse
relays = [Relay(*entry) for entry in json.loads(sys.argv[1])]
sys.exit(run(parse(["dev", *sys.argv[2:]]), relays))
"""
PATIENCE = 40


class Dev:
    """The command on ports of its own, and what it printed."""

    def __init__(self, directory, *flags):
        ports = free_ports(6)
        regions = ("us-central", "us-east", "eu-west")
        self.relays = [
            Relay(region, port, internal)
            for region, port, internal in zip(regions, ports[::2], ports[1::2], strict=True)
        ]
        self.directory = directory
        self.flags = flags
        self.process = None

    def start(self):
        relays = json.dumps([tuple(relay) for relay in self.relays])
        with (self.directory / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, relays, *self.flags],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment() | {"TMPDIR": str(self.directory), "COLUMNS": "200"},
            )

    @property
    def output(self):
        return (self.directory / "output").read_text()

    def until(self, words, count=1):
        deadline = time.monotonic() + PATIENCE
        while self.output.count(words) < count:
            assert time.monotonic() < deadline, f"{words!r} is missing in\n{self.output}"
            assert self.process.poll() is None, self.output
            time.sleep(0.05)

    def children(self):
        """Pids of the three, by their command lines."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode().split("\0")
            except OSError:
                continue
            if any(str(self.directory) in word for word in words):
                found.append(int(path.parent.name))
        return [pid for pid in found if alive(pid)]


@pytest.fixture
def dev(tmp_path_factory):
    started = Dev(tmp_path_factory.mktemp("dev"))  # short: a socket is below it
    yield started
    if started.process is not None:
        started.process.kill()
        started.process.wait()
        for pid in started.children():
            gone(pid, 15)


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def test_three_relays_are_one_cluster_until_ctrl_c(dev):
    dev.start()
    dev.until("three relays on this machine are one cluster")
    output = dev.output
    for relay in dev.relays:
        assert relay.page in output
        assert f"{relay.region:<10} │ " in output
        assert len(json.loads(get(relay.internal, "/nodes"))["nodes"]) == 3
        assert "demo/clock" in get(relay.port, "/demo")
        assert json.loads(get(relay.port, "/fetch/demo/clock/clock"))["relay"]
    assert "WARNING" not in output
    children = dev.children()
    assert len(children) == 4, "three relays and the registry"

    # The root is killed, as the greeting proposes: it comes back by itself.
    root = int(re.search(r"kill -9 (\d+)", output)[1])
    os.kill(root, signal.SIGKILL)
    dev.until("us-central │ ended with -9; starting it again")
    dev.until("registered node", 4)
    deadline = time.monotonic() + PATIENCE
    while '"isolated": null' not in get(dev.relays[2].internal, "/nodes"):
        assert time.monotonic() < deadline
        time.sleep(0.1)

    dev.process.send_signal(signal.SIGINT)

    assert dev.process.wait(30) == 0, dev.output
    assert dev.children() == []
    assert not list(dev.directory.glob("moq-relay-dev-*"))
    assert "ERROR" not in dev.output


def test_nothing_outlives_it_even_killed(dev):
    dev.start()
    dev.until("are one cluster")
    children = dev.children()

    dev.process.kill()

    for pid in children:
        gone(pid, 15)


def test_a_port_in_use_ends_it_with_one_line_of_why(dev):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", dev.relays[1].port))
        taken.listen()
        dev.start()

        assert dev.process.wait(PATIENCE) == 1

    port = dev.relays[1].port
    assert re.search(rf"us-east +│ moq-relay: .*TCP port {port} of [0-9.]+ is in use", dev.output)
    assert "us-east    │ ended with 2 before the cluster was there" in dev.output
    assert dev.children() == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--server-listen", "[::]:1"), "--server-listen cannot be the same for three relays"),
        (("relay.toml",), "dev takes no file"),
    ],
)
def test_what_cannot_be_the_same_for_all_is_refused(flags, said, capsys):
    from moq_relay.daemon.cli import main

    assert main(["dev", *flags]) == 2
    assert said in capsys.readouterr().err


def test_its_files_are_settings_that_check_would_take(tmp_path):
    relays = [Relay("a", 1, 2), Relay("us-east", 3, 4)]

    root, node = (load([read_file(path)]).settings for path in prepare(tmp_path, relays))

    assert root.cluster.root == ()
    assert node.cluster.root == ("https://localhost:1/",)
    assert node.demo.enabled
    assert root.demo.page
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError):
        read_file(tmp_path / "none.toml")
