"""What is for no connection comes at another socket, and is looked at when there is time."""

import asyncio
import os
import socket
import sys

import pytest

from moq_relay.sessions.loopshare import LoopShare
from moq_relay.transports.quic import connection_ids
from moq_relay.transports.quic.connection_ids import ID_BYTES, is_ours, new_id
from moq_relay.transports.quic.door import Door, beside

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux sorts datagrams")
LONG = b"\xc0\0\0\0\1"


@pytest.fixture(params=["127.0.0.1", "::"])
def sockets(request):
    """Those for strangers and for connections, and a port of both."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    strangers = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        strangers.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    strangers.bind((request.param, 0))
    ours = beside(strangers)
    assert ours is not None
    strangers.setblocking(False)
    ours.setblocking(False)
    with strangers, ours:
        yield strangers, ours


def arrives(data, sockets):
    """Which of the two gets a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, ("127.0.0.1", sockets[0].getsockname()[1]))
    found = []
    for name, sock in zip(("strangers", "ours"), sockets, strict=True):
        try:
            assert sock.recv(2048) == data
        except BlockingIOError:
            continue
        found.append(name)
    return found


def test_the_kernel_sorts_by_the_connection_id(sockets):
    for _ in range(50):
        mine, other = new_id(), os.urandom(ID_BYTES)
        assert (is_ours(mine), is_ours(other)) == (True, False)
        for connection_id, name in ((mine, "ours"), (other, "strangers")):
            for head in (b"\x40", LONG + bytes([ID_BYTES])):
                assert arrives(head + connection_id + b"rest", sockets) == [name]


@pytest.mark.parametrize("length", range(9))
def test_what_is_too_short_for_an_id_is_for_nobody(length, sockets):
    assert arrives(b"\x40" + new_id()[: length - 1] if length else b"", sockets) == ["strangers"]
    assert arrives((LONG + bytes([ID_BYTES]) + new_id())[:length], sockets) == ["strangers"]


def test_ids_of_many_connections_differ():
    # Of four random bytes two of so many would be the same, but once in a thousand runs.
    assert len({new_id() for _ in range(250_000)}) == 250_000


def test_an_id_of_another_length_is_not_ours(sockets):
    assert not is_ours(new_id() + b"x")
    assert arrives(LONG + bytes([ID_BYTES + 1]) + new_id() + b"rest", sockets) == ["strangers"]


def test_another_socket_at_the_address_is_refused(sockets):
    with (
        socket.socket(sockets[0].family, socket.SOCK_DGRAM) as third,
        pytest.raises(OSError, match="in use"),
    ):
        third.bind(sockets[0].getsockname())


def test_where_the_kernel_cannot_sort_one_socket_gets_all(monkeypatch, caplog):
    monkeypatch.setattr(connection_ids, "ROUNDS", 0)
    monkeypatch.setattr("moq_relay.transports.quic.door.sorting", lambda *_: [(0xFF, 0, 0, 0)])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as alone:
        alone.bind(("127.0.0.1", 0))
        alone.setblocking(False)

        assert beside(alone) is None

        assert "datagrams are not sorted" in caplog.text
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"\x40" + new_id(), alone.getsockname())
        assert len(alone.recv(100)) == 1 + ID_BYTES


async def test_a_door_is_looked_at_while_there_is_time_and_later_again():
    # Given a share that is used up by three datagrams
    knocks = []
    now = 0.0
    share = LoopShare(0.2, lambda: now)

    def knocked(data, address, _):
        knocks.append(data)
        share.spend(0.04)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        door = Door(sock, share, knocked, lambda: None)
        try:
            for number in range(10):
                sender.sendto(b"%d" % number, sock.getsockname())
            await asyncio.sleep(0.05)
            assert knocks == [b"0", b"1", b"2"]

            now = 10.0
            async with asyncio.timeout(5):
                while len(knocks) < 6:
                    await asyncio.sleep(0.01)
            assert knocks == [b"%d" % number for number in range(6)]
        finally:
            door.close()
