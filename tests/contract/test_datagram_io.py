"""What the datagram seam promises, with and without segments, on both loops and both families."""

import asyncio
import errno
import socket

import pytest
import uvloop

from moq_relay.transports.quic import datagram_io
from moq_relay.transports.quic.datagram_io import DatagramIO, bind, readable
from tests.contract.transports import until

FAMILIES = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class End:
    """A `DatagramIO` that keeps what it gets."""

    def __init__(self, family=socket.AF_INET, sock=None, **options):
        self.got = []
        self.turns = []
        self.writable = 0
        sock = sock or bind(family, (FAMILIES[family], 0))
        self.io = DatagramIO(sock, self.received, self.became_writable, **options)
        self.address = self.io.address

    def received(self, datagrams):
        self.turns.append(len(datagrams))
        self.got += [data for data, _ in datagrams]

    def became_writable(self):
        self.writable += 1


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine on one of the loops, and close all that it opened."""

    def run(body):
        async def main():
            ends = []

            def end(*args, **options):
                ends.append(End(*args, **options))
                return ends[-1]

            try:
                async with asyncio.timeout(20):
                    await body(end)
            finally:
                for each in ends:
                    each.io.close()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())

    return run


def mixed(seed=0):
    """Datagrams in runs of equal sizes, with shorter, longer and empty ones between."""
    sizes = [1200] * 70 + [300] + [1200] * 2 + [1, 1200, 1300] + [1200, 1200, 700, 700, 0, 5]
    return [bytes([(n + seed) % 256]) * size for n, size in enumerate(sizes)]


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_mixed_sizes_arrives_as_it_was_sent(run, family, segments):
    async def body(end):
        here, there = end(family, segments=segments), end(family)

        here.io.send([(data, there.address) for data in mixed()])

        await until(lambda: len(there.got) == len(mixed()))
        assert there.got == mixed()
        counters = here.io.counters
        assert counters.datagrams_sent == len(mixed())
        assert counters.bytes_sent == there.io.counters.bytes_received == sum(map(len, mixed()))
        assert (counters.send_calls < len(mixed()) // 3) is segments

    run(body)


def test_neighbours_of_different_addresses_do_not_share_a_call(run):
    async def body(end):
        here, one, two = end(), end(), end()

        here.io.send([(b"a", one.address), (b"b", two.address), (b"c", one.address)])

        await until(lambda: len(one.got) + len(two.got) == 3)
        assert (one.got, two.got) == ([b"a", b"c"], [b"b"])

    run(body)


def test_an_ipv6_socket_takes_ipv4_peers(run):
    async def body(end):
        both = end(sock=bind(socket.AF_INET6, ("::", 0)))
        old = end()

        old.io.send([(b"hello", ("127.0.0.1", both.address[1]))])

        await until(lambda: both.got)
        both.io.send([(b"answer", ("::ffff:127.0.0.1", old.address[1], 0, 0))])
        await until(lambda: old.got)

    run(body)


class Balky:
    """A socket that refuses as told before it does what it is asked."""

    def __init__(self, errors):
        self.real = bind(socket.AF_INET, ("127.0.0.1", 0))
        self.errors = errors

    def __getattr__(self, name):
        return getattr(self.real, name)

    def sendto(self, *args):
        return self._try("sendto", args)

    def sendmsg(self, *args):
        return self._try("sendmsg", args)

    def _try(self, name, args):
        if self.errors and (error := self.errors.pop(0)):
            raise OSError(error, "told to")
        return getattr(self.real, name)(*args)


def test_buffers_that_the_kernel_keeps_small_are_one_warning_that_names_the_sysctl(
    run, monkeypatch, caplog
):
    monkeypatch.setattr(datagram_io, "SOCKET_BUFFER", 1 << 30)
    datagram_io._warn_of_buffers.cache_clear()

    async def body(end):
        end()
        end()

    run(body)

    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert "sysctl=net.core.rmem_max,net.core.wmem_max wanted=1073741824" in warning.getMessage()


def test_buffers_that_are_as_asked_for_are_not_spoken_of(run, monkeypatch, caplog):
    monkeypatch.setattr(datagram_io, "SOCKET_BUFFER", 1 << 14)
    datagram_io._warn_of_buffers.cache_clear()

    async def body(end):
        end()

    run(body)

    assert caplog.records == []


def test_a_kernel_without_segments_is_asked_once(run):
    async def body(end):
        there = end()
        here = end(sock=Balky([errno.EIO]))

        here.io.send([(data, there.address) for data in mixed()])
        here.io.send([(data, there.address) for data in mixed(7)])

        await until(lambda: len(there.got) == 2 * len(mixed()))
        assert there.got == mixed() + mixed(7)
        assert not here.io.segments
        assert here.io.counters.send_errors == 0

    run(body)


@pytest.mark.parametrize(
    ("segments", "first"), [(True, []), (False, []), (True, [errno.EINVAL, None, None])]
)
def test_a_full_socket_keeps_the_batch_and_its_order(run, segments, first):
    async def body(end):
        there = end()
        here = end(sock=Balky([*first, errno.EAGAIN, errno.EAGAIN]), segments=segments)

        here.io.send([(data, there.address) for data in mixed()])
        assert here.io.blocked
        assert here.writable == 0
        here.io.send([(b"last", there.address)])

        await until(lambda: len(there.got) == len(mixed()) + 1)
        assert there.got == [*mixed(), b"last"]
        assert here.writable == 1
        assert not here.io.blocked

    run(body)


def test_what_the_kernel_refuses_is_counted_and_the_rest_goes_on(run):
    async def body(end):
        there = end()
        here = end(sock=Balky([errno.ENETUNREACH]), segments=False)

        here.io.send([(b"lost", there.address), (b"kept", there.address)])

        await until(lambda: there.got)
        assert there.got == [b"kept"]
        assert here.io.counters.send_errors == 1

    run(body)


def test_a_flood_is_read_in_turns(run, monkeypatch):
    monkeypatch.setattr(datagram_io, "READ_LIMIT", 10)

    async def body(end):
        there, plain = end(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with plain:
            for n in range(35):
                plain.sendto(bytes([n]), there.address)

            await until(lambda: len(there.got) == 35)

        assert there.got == [bytes([n]) for n in range(35)]
        assert there.turns == [10, 10, 10, 5]

    run(body)


def test_segments_that_the_kernel_merged_are_taken_apart(run):
    async def body(end):
        here, there = end(), end()
        datagrams = [bytes([n]) * 1200 for n in range(20)] + [b"tail"]

        here.io.send([(data, there.address) for data in datagrams])

        await until(lambda: len(there.got) == 21)
        assert there.got == datagrams
        assert here.io.counters.send_calls == 1

    run(body)


def test_after_close_nothing_happens(run):
    async def body(end):
        here = end()

        here.io.close()
        here.io.close()

        here.io.send([(b"x", ("127.0.0.1", 9))])

    run(body)


def test_an_address_that_is_taken_is_an_error():
    with bind(socket.AF_INET, ("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        bind(socket.AF_INET, taken.getsockname())


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("192.0.2.1", 443), "192.0.2.1:443"),
        (("::1", 443, 0, 0), "[::1]:443"),
        (("::ffff:192.0.2.1", 443, 0, 0), "192.0.2.1:443"),
    ],
)
def test_an_address_is_readable(address, text):
    assert readable(address) == text
