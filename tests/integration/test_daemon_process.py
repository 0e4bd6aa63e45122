"""The relay as a process: how it starts, how it ends, and one line for what stops it."""

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from moq_relay import __version__
from moq_relay.transports import tls
from tests.support.relay_process import EXECUTABLE, RelayProcess, free_ports

PATIENCE = 15


@contextmanager
def held(kind, port):
    """A port of loopback that somebody else uses."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", port))
        if kind is socket.SOCK_STREAM:
            sock.listen()
        yield


def finished(*arguments, environment=None):
    """Run the command to its end: exit code, stdout, stderr."""
    done = subprocess.run(
        [str(EXECUTABLE), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={"PATH": "/usr/bin:/bin", **(environment or {})},
    )
    return done.returncode, done.stdout, done.stderr


def refused(*arguments, environment=None):
    """The one line on stderr of a command that ends with 2 and prints nothing else."""
    code, out, err = finished(*arguments, environment=environment)
    assert (code, out) == (2, ""), err
    assert err.startswith("moq-relay: ")
    assert err.count("\n") == 1, err
    return err.removeprefix("moq-relay: ").rstrip("\n")


class Logged:
    """A relay whose end and log the test looks at itself."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [str(EXECUTABLE), *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin"},
        )
        self.lines = []

    def until(self, words):
        """Read the log to the first line that has ``words``."""
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if words in line:
                return line
        raise AssertionError(f"{words!r} is not in the log:\n" + "\n".join(self.lines))

    def end(self, number):
        """Send a signal; the exit code, and the rest of the log in ``lines``."""
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=PATIENCE)
        self.lines += rest.splitlines()
        return self.process.returncode


@pytest.fixture
def start():
    """Start relays that are gone when the test is over."""
    running = []

    def start(*arguments):
        running.append(Logged(*arguments))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.communicate()


FLAGS = ("--tls-generate", "localhost", "--internal-listen", "", "--server-listen", "127.0.0.1:0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(start, number):
    relay = start(*FLAGS, "--auth-public", "")
    relay.until("relay started")

    assert relay.end(number) == 0

    said = [line.split("daemon: ")[1] for line in relay.lines]
    assert f"relay stopping signal={number.name} sessions=0" in said
    assert said[-1] == "relay stopped"


def test_the_start_says_how_to_let_anybody_in_when_nothing_is_public(start):
    relay = start(*FLAGS)

    line = relay.until("WARNING")

    assert line.endswith(
        "everybody is refused, because nothing is public; "
        'set auth.public = "" to allow everybody everything\n'
    )


def test_json_logs_are_an_object_a_line(start):
    relay = start(*FLAGS, "--auth-public", "", "--log-format", "json")
    relay.until("relay started")
    relay.end(signal.SIGTERM)

    records = [json.loads(line) for line in relay.lines]

    assert [record["event"] for record in records] == [
        "listening",
        "relay started",
        "relay stopping",
        "drain begun",
        "drained",
        "relay stopped",
    ]
    assert records[0]["udp"].startswith("127.0.0.1:")
    assert records[1]["version"] == __version__
    assert records[2]["sessions"] == 0


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (socket.SOCK_DGRAM, "server.listen", "UDP"),
        (socket.SOCK_STREAM, "web.http.listen", "TCP"),
        (socket.SOCK_STREAM, "internal.listen", "TCP"),
    ],
)
def test_a_port_in_use_is_one_line(tmp_path, kind, name, said):
    (port,) = free_ports(1)
    path = tmp_path / "relay.toml"
    path.write_text(f'{name} = "127.0.0.1:{port}"\nserver.tls.generate = "localhost"\n')
    variables = {"MOQ_LOG_LEVEL": "warning", "MOQ_AUTH_PUBLIC": ""}
    if name != "server.listen":
        variables["MOQ_SERVER_LISTEN"] = "127.0.0.1:0"
    with held(kind, port):
        line = refused(path, environment=variables)

    assert line == (
        f"{path}: {name}: {said} port {port} of 127.0.0.1 is in use; "
        "stop what uses it, or choose another port"
    )


@pytest.mark.parametrize("name", ["web-http-listen", "internal-listen"])
def test_nothing_is_said_to_listen_before_a_port_in_use(name):
    (port,) = free_ports(1)
    with held(socket.SOCK_STREAM, port):
        code, _, err = finished(*FLAGS, f"--{name}", f"127.0.0.1:{port}")

    assert code == 2
    assert f"TCP port {port} of 127.0.0.1 is in use" in err.splitlines()[-1]
    assert "listening" not in err


def test_an_address_of_another_machine_is_one_line():
    line = refused(*FLAGS, "--log-level", "error", "--server-bind", "203.0.113.1:4443")

    assert line == (
        "--server-bind: 203.0.113.1 is no address of this host; [::] listens on all of them"
    )


def test_a_name_that_nobody_knows_is_one_line():
    line = refused(*FLAGS, "--log-level", "error", "--server-listen", "nowhere.invalid:4443")

    assert line == (
        "--server-listen: nowhere.invalid is no known host; "
        "write an IP address, or a name of this host"
    )


def test_a_key_of_another_certificate_is_one_line(tmp_path):
    for name in ("own", "other"):
        made = tls.generate(["relay.example"])
        (tmp_path / f"{name}.pem").write_bytes(made.pem)
        (tmp_path / f"{name}.key").write_bytes(made.key_pem)
    cert, key = tmp_path / "own.pem", tmp_path / "other.key"

    for command in ((), ("check",)):
        line = refused(*command, "--server-tls-cert", cert, "--server-tls-key", key)

        assert line == (
            f"server.tls: the key in {key} does not belong to the certificate in {cert}"
        )


def test_an_unknown_key_is_one_line(tmp_path):
    path = tmp_path / "relay.toml"
    path.write_text('[sever]\nlisten = "[::]:4443"\n')

    assert refused(path) == f"{path}: sever is not a setting; did you mean server?"


def test_check_says_what_is_in_force_and_runs_nothing(tmp_path):
    path = tmp_path / "relay.toml"
    path.write_text('server.tls.generate = "localhost"\nlog.level = "debug"\n')

    code, out, err = finished("check", path, environment={"MOQ_LOG_LEVL": "x"})

    assert code == 0
    assert 'log.level = "debug"' in out
    assert f"# {path}\n" in out
    assert err == (
        "moq-relay: warning: MOQ_LOG_LEVL is set in the environment and is not a setting; "
        "did you mean MOQ_LOG_LEVEL?\n"
    )


def test_version_and_help_are_answered_without_settings():
    assert finished("--version") == (0, f"moq-relay {__version__}\n", "")
    code, out, err = finished("--help")
    assert (code, err) == (0, "")
    assert "--server-listen" in out
    assert "--tls-generate" in out


def test_the_package_can_be_run_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "moq_relay", "--version"], capture_output=True, text=True
    )

    assert done.stdout == f"moq-relay {__version__}\n"


def test_the_internal_port_tells_what_is_asked_for(tmp_path):
    relay = RelayProcess(tmp_path, ["moq-lite-05"])
    relay.start()
    try:
        assert relay.get("/health") == "ok\n"
        assert relay.get_json("/ready") == {"ready": True, "reasons": [], "isolated": False}
        labels = frozenset({("transport", "quic"), ("version", "moq-lite-05")})
        assert relay.metric("moq_relay_sessions")[labels] == 0
        info = {frozenset({("version", __version__), ("node", "")}): 1.0}
        assert relay.metric("moq_relay_info") == info
        assert relay.metric("process_resident_memory_bytes")
        (expiry,) = relay.metric("moq_relay_certificate_expiry_timestamp_seconds").values()
        assert 12.9 < (expiry - time.time()) / 86400 < 13.1
        assert sum(relay.metric("moq_relay_loop_lag_seconds_count").values()) >= 0
    finally:
        relay.stop()


def test_a_file_in_the_way_of_nothing_else_is_left_alone(tmp_path):
    """The relay writes no file at all."""
    relay = RelayProcess(tmp_path, ["moq-lite-05"])
    relay.start()
    relay.stop()

    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["relay.log", "relay.toml"]
