"""What chaos scenarios cut, slow and turn: ways between processes, and their clocks."""

import asyncio
import os
import random
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.front import Front, holder
from tests.chaos.resp import Replies, channel_of
from tests.support.own_client import until
from tests.support.relay_process import free_ports
from tests.support.turned_clock import TurnedClock

MESSAGE = b"*3\r\n$7\r\nmessage\r\n$5\r\nmoq:1\r\n$8\r\n*2\r\n$1\r\n\r\n"
REPLIES = [
    b"+OK\r\n",
    MESSAGE,
    b"-ERR no\r\n",
    b":12\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n*2\r\n:1\r\n$0\r\n\r\n$2\r\n\r\n\r\n",
]


@given(st.lists(st.sampled_from(REPLIES)), st.randoms(use_true_random=False))
def test_replies_are_found_wherever_the_bytes_are_cut(replies, chance):
    data = b"".join(replies)
    cuts = sorted(chance.sample(range(len(data) + 1), chance.randint(0, min(9, len(data)))))
    reader, found = Replies(), []

    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        found += reader.whole(data[start:end])

    assert found == replies


def test_only_what_was_published_has_a_channel():
    assert [channel_of(one) for one in REPLIES] == [None, b"moq:1", *[None] * 6]


@pytest.fixture
async def talker():
    """Makes datagram sockets that are closed afterwards; with an address of its own, an echo."""
    loop, made = asyncio.get_running_loop(), []

    async def make(**where) -> Talker:
        echo = "local_addr" in where
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: Talker(echo=echo), **where
        )
        made.append(transport)
        return protocol

    yield make
    for transport in made:
        transport.close()
    await asyncio.sleep(0)


class Talker(asyncio.DatagramProtocol):
    """Keeps what comes; one with an echo sends it back."""

    def __init__(self, *, echo: bool = False) -> None:
        self.heard: list[bytes] = []
        self._echo = echo

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr) -> None:
        self.heard.append(data)
        if self._echo:
            self.transport.sendto(data, addr)


async def test_a_front_carries_both_ways_and_cuts_either_for_one_dialler(talker):
    port, target = free_ports(2)
    names = {}
    async with Front(port, target, lambda dialled_from: names[dialled_from]) as front:
        node = await talker(local_addr=("127.0.0.1", target))
        a, b = [await talker(remote_addr=("127.0.0.1", port)) for _ in range(2)]
        for name, one in (("a", a), ("b", b)):
            names[one.transport.get_extra_info("sockname")[1]] = name
            one.transport.sendto(name.encode())
            await until(lambda one=one: one.heard)

        front.cut("a", "back")
        a.transport.sendto(b"a heard")
        b.transport.sendto(b"b heard")
        await until(lambda: b"b heard" in b.heard and b"a heard" in node.heard)
        front.cut("a")
        a.transport.sendto(b"a lost")
        b.transport.sendto(b"b again")
        await until(lambda: b"b again" in b.heard)
        front.mend()
        a.transport.sendto(b"a again")
        await until(lambda: b"a again" in a.heard)

        assert a.heard == [b"a", b"a again"]
        assert b"a lost" not in node.heard
        assert front.dropped == 2


async def test_a_slow_front_keeps_the_order_of_a_flow(talker):
    port, target = free_ports(2)
    async with Front(port, target, lambda _port: "", random.Random(1)) as front:
        front.delay, front.jitter = 0.05, 0.05
        node = await talker(local_addr=("127.0.0.1", target))
        one = await talker(remote_addr=("127.0.0.1", port))
        sent = [bytes([number]) for number in range(50)]
        begun = time.monotonic()

        for data in sent:
            one.transport.sendto(data)
        await until(lambda: len(one.heard) == len(sent))

        assert node.heard == one.heard == sent
        assert time.monotonic() - begun > 2 * front.delay


async def test_the_holder_of_a_port_is_the_process_that_has_its_socket(talker):
    one = await talker(remote_addr=("127.0.0.1", 9))
    port = one.transport.get_extra_info("sockname")[1]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert holder(port, {other.pid: "other", os.getpid(): "this"}) == "this"
        assert holder(port, {other.pid: "other"}) == ""
        other.communicate(b"\n")


def test_a_clock_is_turned_under_a_process_that_runs_and_its_timers_do_not_see_it(tmp_path):
    clock = TurnedClock(tmp_path)
    program = "import time\nwhile input(): print(time.time(), time.monotonic(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | clock.environment,
    ) as process:
        for seconds in (0, 3600, -3600):
            clock.turn(seconds)
            process.stdin.write("?\n")
            process.stdin.flush()
            wall, monotonic = map(float, process.stdout.readline().split())
            assert abs(wall - time.time() - seconds) < 60
            assert abs(monotonic - time.monotonic()) < 60
        process.communicate("\n")
