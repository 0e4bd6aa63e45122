"""What a service manager hears, by a socket of its own."""

import asyncio
import os
import socket

import pytest

from moq_relay.daemon.notify import Manager


@pytest.fixture(params=["path", "abstract"])
def ear(tmp_path, request):
    """A manager's socket, and how the environment names it."""
    name = f"@moq-relay-test-{os.getpid()}" if request.param == "abstract" else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name[0] == "@" else name)
        sock.settimeout(5)
        yield sock, name


def test_it_hears_when_the_relay_serves_and_when_it_leaves(ear):
    sock, name = ear
    manager = Manager({"NOTIFY_SOCKET": name})

    manager.ready("serving")
    manager.stopping()

    assert sock.recv(200) == b"READY=1\nSTATUS=serving"
    assert sock.recv(200).startswith(b"STOPPING=1\n")


async def test_it_hears_that_the_loop_turns_for_as_long_as_it_does(ear):
    sock, name = ear
    manager = Manager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000"})

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(manager.watch())
        for _ in range(3):
            assert await asyncio.to_thread(sock.recv, 200) == b"WATCHDOG=1"
        task.cancel()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": "/run/x"},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"},
    ],
)
async def test_who_does_not_ask_for_it_is_not_told_that_the_loop_turns(environment):
    manager = Manager(environment)

    assert manager.watchdog_seconds is None
    await manager.watch()


def test_a_manager_that_is_gone_costs_one_line(caplog, tmp_path):
    manager = Manager({"NOTIFY_SOCKET": f"{tmp_path}/gone"})

    for _ in range(3):
        manager.ready("serving")

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"at={tmp_path}/gone reason=[Errno 2]" in caplog.text


def test_nobody_is_told_where_nobody_asks(caplog):
    manager = Manager({})

    manager.ready("serving")
    manager.stopping()

    assert caplog.text == ""
