"""Our relay as a real process: ports, configuration, logs, metrics and a clean end."""

import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

EXECUTABLE = Path(sys.executable).with_name("moq-relay")
START_SECONDS = 15
STOP_SECONDS = 10
TROUBLE = re.compile(r"\b(ERROR|CRITICAL)\b|Traceback \(most recent call last\)")
"""A log line that no test may leave behind."""
TROUBLE_LINES = 30
"""The first of them and what follows: an exception's trace."""
PORTS = range(20_000, 32_000)
"""Below those of outgoing connections: Linux takes 32768 and up (ip(7), ip_local_port_range)."""
LABEL = re.compile(r'(\w+)="([^"]*)"')
CONSTANT_LABEL = "relay_region"
"""The relay's own region."""


def free_ports(count: int) -> list[int]:
    """Numbers free for both UDP and TCP on loopback, all different.

    None that the system gives to a connection which asks for any: a relay that is started later, or
    again, would find it taken.
    """
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < count:
            port = secrets.choice(PORTS)
            try:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    held.append(socket.socket(socket.AF_INET, kind))
                    held[-1].bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    finally:
        for sock in held:
            sock.close()
    return ports


def environment() -> dict[str, str]:
    """This process's own, without what a relay would take for settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MOQ_")}


class RelayProcess:
    """One relay with a listener per version over one origin, everything public.

    `ports` maps a version to its UDP port; `web_port` answers plain HTTP on the TCP port of the
    first version; `internal_port` has the metrics. `settings` is more TOML, appended as it is.
    """

    def __init__(self, directory: Path, versions: Sequence[str], settings: str = "") -> None:
        self._directory = directory
        self._settings = settings
        *udp, self.internal_port = free_ports(len(versions) + 1)
        self.ports: Mapping[str, int] = dict(zip(versions, udp, strict=True))
        self.web_port = udp[0]
        self.log_path = directory / "relay.log"
        self.command = [str(EXECUTABLE)]
        """What is run on the file of its settings, from its next start on."""
        self.environment: dict[str, str] = {}
        """What the process gets beside this one's own, from its next start on."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not ended since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The process id, while it runs."""
        assert self._process is not None, "the relay was not started"
        return self._process.pid

    def configuration(self) -> str:
        """The TOML that the process is started with."""
        listeners = ", ".join(
            f'{{listen = "127.0.0.1:{port}", version = "{version}"}}'
            for version, port in self.ports.items()
        )
        return "\n".join(
            (
                "[server]",
                f"listen = [{listeners}]",
                "[server.tls]",
                'generate = "localhost"',
                "[web.http]",
                f'listen = "127.0.0.1:{self.web_port}"',
                "[internal]",
                f'listen = "127.0.0.1:{self.internal_port}"',
                "[auth]",
                'public = ""',
                self._settings,
                "",
            )
        )

    def start(self) -> None:
        """Start it and wait until it answers, or raise with its log."""
        path = self._directory / "relay.toml"
        path.write_text(self.configuration())
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, str(path)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment() | self.environment,
                cwd=self._directory,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            code = self._process.poll()
            late = time.monotonic() > deadline
            if code is not None or late:
                self.kill()
                state = f"ended with {code}" if code is not None else f"mute for {START_SECONDS} s"
                raise AssertionError(f"the relay did not start: {state}\n{self.log()}")
            time.sleep(0.05)

    def stop(self, *, leaving: bool = False) -> None:
        """End it by SIGINT, without a drain; no clean end or log is an AssertionError.

        Args:
            leaving: it was told to end already, and is only waited for.
        """
        assert self._process is not None, "the relay was not started"
        if not leaving:
            self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"the relay still ran {STOP_SECONDS} s after SIGINT\n{self.log()}"
            ) from None
        finally:
            self._process = None
        assert code == 0, f"the relay ended with {code} after SIGINT\n{self.log()}"
        lines = self.log_path.read_text(errors="replace").splitlines()
        trouble = [number for number, line in enumerate(lines) if TROUBLE.search(line)]
        if trouble:
            first = "\n".join(lines[trouble[0] : trouble[0] + TROUBLE_LINES])
            raise AssertionError(
                f"{len(trouble)} bad lines in the relay's log; the first:\n{first}"
            )

    def ended(self) -> int | None:
        """The exit code, if it has ended by itself; then it can be started again."""
        assert self._process is not None, "the relay was not started"
        return self._process.poll()

    def kill(self) -> None:
        """End it at once, whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self, lines: int = 200) -> str:
        """The last lines that it wrote."""
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def get(self, path: str, *, internal: bool = True) -> str:
        """Body of an HTTP answer of the internal or the public listener."""
        port = self.internal_port if internal else self.web_port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def get_json(self, path: str) -> object:
        """The same, parsed."""
        return json.loads(self.get(path))

    def metric(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """Every sample of one metric, by its labels but the one that all have."""
        return self.metrics(name)[0]

    def metrics(self, *names: str) -> list[dict[frozenset[tuple[str, str]], float]]:
        """The same of several, as they are at one moment."""
        samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {name: {} for name in names}
        for line in self.get("/metrics").splitlines():
            head, _, value = line.rpartition(" ")
            found = samples.get(head.partition("{")[0])
            if found is not None:
                labels = frozenset(one for one in LABEL.findall(head) if one[0] != CONSTANT_LABEL)
                found[labels] = float(value)
        return [samples[name] for name in names]

    def sessions(self) -> dict[tuple[str, str], int]:
        """Sessions that are open now, by transport and version; zeros are left out."""
        counts = {}
        for labels, value in self.metric("moq_relay_sessions").items():
            if value:
                facts = dict(labels)
                counts[facts["transport"], facts["version"]] = int(value)
        return counts

    def _answers(self) -> bool:
        try:
            self.get("/health")
        except (OSError, http.client.HTTPException):
            # A connection to a port that nobody has may even reach itself.
            return False
        return True
