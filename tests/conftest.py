"""What every test may ask for: outside tools that may be missing, and the machine for itself."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

from tests.support import redis_server

# An example that takes long on a busy machine says nothing about the code it tries.
hypothesis.settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy machine")

REQUIRE_ALL = os.environ.get("REQUIRE_ALL", "") not in {"", "0"}
"""With it a skip fails the run: CI has everything installed, so nothing may be left out."""

TOOLS = {
    "systemd-analyze": "systemd",
    "chromium": "chromium",
    "node": "nodejs",
    "npm": "npm",
    "redis-server": "redis-server",
    "promtool": "prometheus",
    "prometheus": "prometheus",
}
"""Command -> the Debian package that brings it."""


def require(command: str) -> str:
    """The full path of an outside tool; skips the test, with the way out, when it is missing."""
    found = shutil.which(command)
    if found is None:
        pytest.skip(f"{command} is missing; on Debian: apt install {TOOLS[command]}")
    return found


@pytest.fixture(scope="session")
def chromium() -> str:
    return require("chromium")


@pytest.fixture(scope="session")
def node() -> str:
    return require("node")


@pytest.fixture(scope="session")
def npm() -> str:
    return require("npm")


# A skip is made a failure where its report is made: there is one such place for a test and one for
# a module, and both work in the worker processes of xdist and without them.


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL is set, yet skipped: {skip_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if REQUIRE_ALL and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL is set, yet skipped: {skip_reason(report)}"
    return report


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_report_header() -> str:
    return redis_server.backend_line()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.getreports("skipped")
    if not skipped:
        return
    reasons = [skip_reason(report).removeprefix("Skipped: ") for report in skipped]
    terminalreporter.section("NOT RUN", sep="!", yellow=True, bold=True)
    for reason in sorted(set(reasons)):
        terminalreporter.line(f"{reasons.count(reason)} not run: {reason}", yellow=True)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # the environment of a worker names the directory of its controller
    directory = tempfile.mkdtemp(prefix="moq-tests-")
    os.environ["MOQ_TEST_LOCKS"] = directory
    config.add_cleanup(lambda: shutil.rmtree(directory))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test marked ``alone`` wait for the others, and the others for it.

    Outermost, so that the waiting does not count against the test's own timeout. Two locks, because
    with one a test that wants to be alone would starve while its neighbours overlap.
    """
    directory = Path(os.environ["MOQ_TEST_LOCKS"])
    with (directory / "gate").open("w") as gate, (directory / "room").open("w") as room:
        fcntl.flock(gate, fcntl.LOCK_EX)
        alone = item.get_closest_marker("alone") is not None
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)
