"""compose.yaml as it is, on a Docker engine: built, brought up, broken, watched all the while.

    tools/stand-in-python build/stand-in
    tools/with-docker env MOQ_TEST_STAND_IN=build/stand-in \\
        .venv/bin/python -m pytest tests/containers

The stand-in replaces ``python:3.13-slim`` by a Debian with its own Python where no registry can be
reached; without it the engine pulls the image. The profile ``monitoring`` is only checked.
"""

import asyncio
import http.client
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.interop.clients import publishing
from tests.interop.viewers import Viewer
from tests.support.media import Track
from tests.support.redis_server import docker_problem

HERE = Path(__file__).parents[2]
PORTS = {"us-central": 4443, "us-east": 4444, "eu-west": 4445, "asia-se": 4446}
INTERNAL = {"us-central": 9101, "us-east": 9102, "eu-west": 9103, "asia-se": 9104}
PULSE = Track("pulse", frame_bytes=300, frames_per_group=4, frames_per_second=20)
UP_SECONDS = 60
BASE = """\
FROM rootfs
COPY wheels /wheels
RUN ln -s /usr/bin/python3 /usr/local/bin/python \\
 && printf '[global]\\nno-index = true\\nfind-links = /wheels\\n' > /etc/pip.conf
"""

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]


def run(*words, **options):
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=HERE, **options
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def compose(tmp_path_factory):
    """Run compose on the project's file; everything is up, and gone afterwards."""
    if (why := docker_problem()) is not None:
        pytest.skip(f"{why}; on Debian: apt install docker.io, and tools/with-docker")
    command = ["docker", "compose"]
    if subprocess.run([*command, "version"], capture_output=True).returncode:
        command = [shutil.which("docker-compose") or ""]
        if not command[0]:
            pytest.skip("docker-compose is missing; on Debian: apt install docker-compose")
    if (stand_in := os.environ.get("MOQ_TEST_STAND_IN")) is not None:
        make_base(Path(stand_in).absolute(), tmp_path_factory.mktemp("base"))

    def compose(*words):
        return run(*command, "--project-name", "moq-test", *words)

    try:
        compose("build")
        compose("up", "--detach")
        yield compose
    finally:
        logs = compose("logs", "--no-color")
        compose("down", "--volumes", "--timeout", "30")
    assert not re.search(r"Traceback|\bERROR\b", logs), logs[-4000:]


def make_base(stand_in, directory):
    run("docker", "import", str(stand_in / "rootfs.tar"), "rootfs")
    shutil.copytree(stand_in / "wheels", directory / "wheels")
    (directory / "Dockerfile").write_text(BASE)
    run("docker", "build", "--tag", "python:3.13-slim", str(directory))


def asked(region, path):
    """JSON of a relay's internal HTTP; None while it does not answer."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{INTERNAL[region]}{path}", timeout=5
        ) as answer:
            return json.load(answer)
    except (OSError, http.client.HTTPException):
        return None


async def until(condition, what):
    deadline = time.monotonic() + UP_SECONDS
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not within {UP_SECONDS} s: {what}"
        await asyncio.sleep(0.2)


def complete():
    """Whether each relay knows all four as up."""
    for region in PORTS:
        facts = asked(region, "/nodes")
        if facts is None or facts.get("isolated"):
            return False
        if [node["state"] for node in facts["nodes"]] != ["up"] * len(PORTS):
            return False
    return True


def all_healthy():
    states = run("docker", "ps", "--filter", "name=moq-test", "--format", "{{.Status}}")
    return states.count("(healthy)") == len(PORTS) + 1


async def test_four_regions_come_up_from_nothing_and_lose_no_group_with_their_root(compose):
    await until(complete, "all four relays know each other")
    await until(all_healthy, "every container is healthy")
    await until(lambda: asked("asia-se", "/routes/demo/clock")["routes"], "the demo is known")
    who = run("docker", "exec", container(compose, "us-east"), "python3", "-c", WHOAMI)
    assert who.strip() == "moq"

    viewers = {
        region: Viewer(f"moqt://127.0.0.1:{PORTS[region]}", "room/alice", [PULSE], patience=20)
        for region in ("eu-west", "asia-se")
    }
    async with (
        publishing(f"moqt://127.0.0.1:{PORTS['us-east']}", "room/alice", [PULSE]) as sender,
        asyncio.TaskGroup() as tasks,
    ):
        for viewer in viewers.values():
            tasks.create_task(viewer.run())
        for viewer in viewers.values():
            await viewer.joined.wait()
        since = dict(sender.groups)
        await sent(sender, 5)

        run("docker", "kill", "--signal", "KILL", container(compose, "us-central"))
        await sent(sender, 10)
        newcomer = Viewer(f"moqt://127.0.0.1:{PORTS['eu-west']}", "room/alice", [PULSE])
        coming = tasks.create_task(newcomer.run())
        await newcomer.joined.wait()
        newcomer.leave()
        await coming

        compose("up", "--detach")
        await until(complete, "the root is back")
        assert asked("us-central", "/routes/room/alice")["routes"]
        await sent(sender, 5)
        sender.finish()
        await sender.sent.wait()
        for viewer in viewers.values():
            await viewer.caught_up(since, sender.groups, 10)
            viewer.leave()
    for region, viewer in viewers.items():
        assert viewer.report() == "", region
        assert viewer.epoch == 1, region


WHOAMI = "import os, pwd; print(pwd.getpwuid(os.getuid()).pw_name)"


def container(compose, service):
    return compose("ps", "--quiet", service).strip()


async def sent(sender, count):
    wanted = sender.groups["pulse"] + count
    async with asyncio.timeout(30):
        while sender.groups["pulse"] < wanted:
            await asyncio.sleep(0.05)


def test_what_comes_up_with_monitoring_is_a_file_that_compose_takes(compose):
    services = compose("--profile", "monitoring", "config", "--services").split()

    assert {"prometheus", "grafana"} <= set(services)
