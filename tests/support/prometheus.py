"""A real Prometheus on loopback that scrapes relays and evaluates the project's own rules."""

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ops.prometheus.files import rule_files
from tests.support.relay_process import free_ports

START_SECONDS = 20
STOP_SECONDS = 10

Series = dict[frozenset[tuple[str, str]], dict[float, float]]
"""Labels -> time -> value."""


class Prometheus:
    """What it is asked."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urllib.request.urlopen(f"{self._base}/-/ready", timeout=1):
                return True
        except OSError:
            return False

    def over(self, expr: str, begin: float, end: float, step: float = 0.5) -> Series:
        """An expression at every step from one time to another, as a dashboard asks for it."""
        asked = {"query": expr, "start": begin, "end": end, "step": step}
        body = urllib.parse.urlencode(asked).encode()
        try:
            with urllib.request.urlopen(f"{self._base}/api/v1/query_range", body) as answer:
                found: Any = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expr}\n{error.read().decode()}") from error
        return {
            frozenset(series["metric"].items()): {at: float(v) for at, v in series["values"]}
            for series in found["data"]["result"]
        }


@contextlib.contextmanager
def scraping(
    binary: str, directory: Path, targets: Mapping[str, str], *, scale: float, interval: str
) -> Iterator[Prometheus]:
    """A Prometheus of these ``address: cluster``; ``scale`` divides the times of its rules."""
    directory.mkdir()
    for name, text in rule_files(scale).items():
        (directory / name).write_text(text)
    static = [{"targets": [at], "labels": {"cluster": name}} for at, name in targets.items()]
    configuration = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "rule_files": sorted(rule_files()),
        "scrape_configs": [{"job_name": "moq-relay", "static_configs": static}],
    }
    # JSON is YAML.
    (directory / "prometheus.yml").write_text(json.dumps(configuration))
    (port,) = free_ports(1)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        made = Prometheus(port)
        begun = time.monotonic()
        while not made.ready():
            said = (directory / "log").read_text()
            assert process.poll() is None, said
            assert time.monotonic() - begun < START_SECONDS, said
            time.sleep(0.1)
        yield made
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
