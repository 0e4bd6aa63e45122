"""The embedded registry: who starts it, what it keeps, and that it ends with its parent."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moq_relay.cluster import embedded
from moq_relay.cluster.embedded import Embedded, find_server
from moq_relay.cluster.endpoint import Endpoint
from moq_relay.cluster.redis import RedisRoad
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.status import RegistrySettings
from moq_relay.errors import ConfigError, RegistryUnavailable
from tests.support.node import until

QUICK = RegistrySettings(renew=0.5, command_timeout=0.5, lease=2.0)
PARENT = """
import asyncio, sys
from pathlib import Path
from moq_relay.cluster.embedded import Embedded

async def main():
    server = Embedded(Path(sys.argv[1]))
    await server.ready()
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "registry"


@pytest.fixture
def parent(directory):
    """Start processes that have the embedded registry; (process, pid of the server it started)."""
    started = []

    def parent():
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(directory)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        said = process.stdout.readline().strip()
        return process, None if said == "None" else int(said)

    yield parent
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
async def server(directory):
    server = Embedded(directory)
    yield server
    await server.stop()


async def ask(server, *words):
    reader, writer = await asyncio.open_unix_connection(server.socket)
    writer.write(" ".join(words).encode() + b"\r\n")
    answer = await reader.readline()
    writer.close()
    return answer.decode().strip()


def alive(pid):
    """Whether it runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid, seconds=5.0):
    deadline = time.monotonic() + seconds
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} still runs after {seconds} s"
        time.sleep(0.02)


async def test_it_is_there_for_this_user_alone_and_keeps_what_it_was_told(server, directory):
    await server.ready()
    assert await ask(server, "SET", "a", "1") == "+OK"
    first = server.pid

    await server.stop()
    assert not alive(first)
    await server.ready()

    assert server.pid != first
    assert await ask(server, "GET", "a") == "$1"
    assert (await ask(server, "CONFIG", "GET", "port")).startswith("*2")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    for path in directory.rglob("*"):
        assert not path.stat().st_mode & 0o077, path


async def test_two_on_one_directory_have_one_server(server, directory):
    await server.ready()
    other = Embedded(directory)
    await other.ready()

    assert other.pid is None
    await ask(server, "SET", "a", "1")
    assert await ask(other, "GET", "a") == "$1"
    await other.stop()
    assert alive(server.pid)

    await server.stop()
    await other.ready()

    assert other.pid is not None
    assert await ask(other, "GET", "a") == "$1"
    await other.stop()


async def test_one_that_was_killed_is_started_anew(server):
    """Asked at once, while the killed one can still look alive; several times."""
    for _ in range(5):
        await server.ready()
        killed = server.pid
        os.kill(killed, signal.SIGKILL)

        await server.ready()

        assert server.pid != killed
        assert await ask(server, "PING") == "+PONG"


def test_it_dies_with_a_parent_that_is_killed(parent):
    process, pid = parent()
    assert os.getpgid(pid) == pid, "Ctrl-C would reach it before the relay is done"

    process.kill()
    process.wait()

    gone(pid)


async def test_a_root_that_comes_back_at_once_does_not_end_up_with_a_dying_server(
    parent, directory
):
    """kill -9, and 0.2 s later the next one, before the old server is gone; several times."""
    process, pid = parent()
    for turn in range(4):
        process.kill()
        process.wait()
        await asyncio.sleep(0.05 * turn)
        server = Embedded(directory)
        road = RedisRoad(
            Endpoint(path=str(server.socket)), timeout=0.5, max_backoff=0.2, prepare=server.ready
        )
        registry = Registry(road, node="https://root/", settings=QUICK)
        running = asyncio.create_task(registry.run())
        registry.claim(f"room/{turn}", 0.0)
        await until(lambda r=registry: r.status.isolated is None and len(list(r.paths())) == 1)
        gone(pid)
        await until(lambda s=server: s.pid is not None)
        await until(lambda r=registry: r.status.isolated is None)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.stop()
        process, pid = parent()


async def test_a_server_that_cannot_start_says_why(directory):
    server = Embedded(directory)
    (directory / "appendonlydir").write_text("in the way")

    with pytest.raises(RegistryUnavailable, match=r"ended with 1: .*append"):
        await server.ready()


def test_without_a_server_both_ways_out_are_named(monkeypatch):
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(ConfigError) as caught:
        find_server()

    assert str(caught.value) == (
        "a root without redis.url starts its own Valkey, and there is none here; "
        "pip install 'moq-relay[embedded]', or set redis.url"
    )


def test_the_server_of_the_extra_is_taken_before_one_on_path(monkeypatch, tmp_path):
    on_path = tmp_path / "redis-server"
    on_path.write_text("#!/bin/sh\n")
    on_path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_server().name == "valkey-server"
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    assert find_server() == on_path


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.mkdir(mode=0o777) or path.chmod(0o777), "others may write there"),
        (lambda path: path.write_text(""), "cannot be used: file exists"),
    ],
)
def test_a_directory_that_cannot_be_trusted_is_refused(tmp_path, spoil, said):
    spoil(tmp_path / "registry")

    with pytest.raises(ConfigError, match=said):
        Embedded(tmp_path / "registry")


def test_a_path_too_long_for_a_socket_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="too long for the path of a socket"):
        Embedded(tmp_path / ("x" * 100))
    assert list(tmp_path.iterdir()) == []
