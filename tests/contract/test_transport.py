"""What every transport must do. A new engine passes this file, or it is not an engine."""

import asyncio

import pytest
import uvloop

from moq_relay.relay.counters import Counters
from moq_relay.relay.group import Frame, Group
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.sessions.experience import Experience
from moq_relay.sessions.lite.egress import GroupEgress, Line
from moq_relay.sessions.scheduler import Scheduler
from moq_relay.sessions.transport import UNI
from moq_relay.wire.lite.versions import VERSIONS
from tests.contract.transports import MAKERS, Recorder, until

OVER_UDP = sorted(set(MAKERS) - {"memory"})


@pytest.fixture(params=MAKERS)
def paired(request):
    return MAKERS[request.param]


@pytest.fixture
async def pair(paired):
    async with paired() as pair:
        yield pair


# --- streams --------------------------------------------------------------------------------------


async def test_stream_ids_tell_who_opened_the_stream_and_of_which_kind_it_is(pair):
    client, server = pair.client, pair.server

    ids = [
        [client.open_bi(), client.open_bi()],
        [server.open_bi(), server.open_bi()],
        [client.open_uni(), client.open_uni()],
        [server.open_uni(), server.open_uni()],
    ]

    assert [first & 3 for first, _ in ids] == [0, 1, UNI, UNI | 1]
    assert [second - first for first, second in ids] == [4, 4, 4, 4]


async def test_bytes_arrive_in_order_and_fin_comes_last(pair):
    stream = pair.client.open_uni()
    parts = [bytes([n]) * 700 for n in range(50)]

    for part in parts:
        pair.client.send(stream, part)
    pair.client.send(stream, b"", fin=True)

    await until(lambda: stream in pair.at_server.fins)
    assert pair.at_server.data == {stream: b"".join(parts)}


async def test_a_stream_that_ends_without_a_byte_is_heard_of(pair):
    stream = pair.client.open_uni()

    pair.client.send(stream, b"", fin=True)

    await until(lambda: stream in pair.at_server.fins)
    assert pair.at_server.data == {stream: b""}


@pytest.mark.parametrize("opener", ["client", "server"])
async def test_a_bidirectional_stream_carries_bytes_and_an_end_both_ways(pair, opener):
    here, there = pair.client, pair.server
    if opener == "server":
        here, there = there, here
    stream = here.open_bi()

    here.send(stream, b"question", fin=True)
    await until(lambda: stream in there.events.fins)
    there.send(stream, b"an")
    await until(lambda: here.events.data)
    there.send(stream, b"swer", fin=True)
    await until(lambda: stream in here.events.fins)

    assert there.events.data == {stream: b"question"}
    assert here.events.data == {stream: b"answer"}
    assert here.events.calls == there.events.calls == []


async def test_a_slice_of_a_buffer_is_sent_and_nothing_around_it(pair):
    stream = pair.client.open_uni()

    pair.client.send(stream, b"..abc..", 2, 5)
    pair.client.send(stream, bytearray(b"..def"), 2, fin=True)

    await until(lambda: stream in pair.at_server.fins)
    assert pair.at_server.data == {stream: b"abcdef"}


async def test_a_shared_buffer_may_grow_while_slices_of_it_are_queued(pair):
    pair.hold()
    shared, streams = bytearray(), [pair.server.open_uni() for _ in range(3)]
    for n in range(40):
        start = len(shared)
        shared += bytes([n]) * 1000
        for stream in streams:
            pair.server.send(stream, shared, start, len(shared))
        await asyncio.sleep(0)

    pair.release()
    shared += b"later"
    for stream in streams:
        pair.server.send(stream, b"", fin=True)

    await until(lambda: pair.at_client.fins == set(streams))
    assert {len(data) for data in pair.at_client.data.values()} == {40_000}
    assert set(pair.at_client.data.values()) == {bytes(shared[:40_000])}


async def test_a_reset_reaches_the_peer_with_its_code(pair):
    stream = pair.client.open_uni()
    pair.client.send(stream, b"x")
    await until(lambda: pair.at_server.data)

    pair.client.reset(stream, 0x33)

    await until(lambda: pair.at_server.calls)
    assert pair.at_server.calls == [("reset", stream, 0x33)]


async def test_a_stop_reaches_the_peer_with_its_code_and_ends_the_stream(pair):
    stream = pair.client.open_bi()
    pair.client.send(stream, b"x")
    await until(lambda: pair.at_server.data)

    pair.server.stop(stream, 64)

    await until(lambda: pair.at_client.calls and pair.at_server.calls)
    assert pair.at_client.calls == [("stopped", stream, 64)]
    assert pair.at_server.calls == [("reset", stream, 64)]
    pair.client.send(stream, b"more")
    pair.client.reset(stream, 1)
    await asyncio.sleep(0.02)
    assert pair.at_server.data == {stream: b"x"}


async def test_calls_on_a_stream_that_has_finished_do_nothing(pair):
    stream = pair.client.open_bi()
    pair.client.send(stream, b"x", fin=True)
    await until(lambda: stream in pair.at_server.fins)
    pair.server.send(stream, b"y", fin=True)
    await until(lambda: stream in pair.at_client.fins)
    await until(lambda: pair.server.unacknowledged() == 0)

    for end in (pair.client, pair.server):
        end.send(stream, b"late")
        end.send(stream, b"", fin=True)
        end.stop(stream, 0)
        end.reset(stream, 0)
        end.stop(4 * 50, 0)
        end.reset(4 * 50 + 3, 0)
    await asyncio.sleep(0.02)

    assert pair.at_client.calls == pair.at_server.calls == []
    assert pair.at_server.data == {stream: b"x"}
    assert pair.at_client.data == {stream: b"y"}


# --- back-pressure --------------------------------------------------------------------------------


async def fill(pair, chunk=bytes(1000)):
    """Send on a held pair until it is not writable; returns stream and size."""
    pair.hold()
    stream, sent = pair.server.open_uni(), 0
    while pair.server.writable():
        pair.server.send(stream, chunk)
        sent += len(chunk)
        assert sent < 10_000_000, "no water mark"
        await asyncio.sleep(0)
    return stream, sent


async def test_a_stalled_peer_makes_us_unwritable_and_its_return_says_so_once(pair):
    stream, sent = await fill(pair)
    await asyncio.sleep(0.02)
    assert not pair.server.writable()
    assert pair.at_server.calls == []

    pair.release()

    await until(lambda: len(pair.at_client.data.get(stream, b"")) == sent)
    assert pair.server.writable()
    assert pair.at_server.calls == [("writable",)]


async def test_a_reset_frees_what_was_unsent(pair):
    stream, _ = await fill(pair)

    pair.server.reset(stream, 2)

    await until(lambda: pair.at_server.calls)
    assert pair.at_server.calls == [("writable",)]
    assert pair.server.writable()
    assert pair.server.unacknowledged() < 1000
    pair.release()
    await until(lambda: ("reset", stream, 2) in pair.at_client.calls)


async def test_a_stream_is_finished_once_its_last_byte_or_its_reset_was_acknowledged(pair):
    complete, given_up, open_ = (pair.client.open_uni() for _ in range(3))
    pair.hold()
    pair.client.send(complete, bytes(3000), fin=True)
    pair.client.send(given_up, b"x")
    pair.client.send(open_, b"x", fin=False)
    pair.client.reset(given_up, 1)
    await asyncio.sleep(0.02)
    assert pair.at_client.finished == []

    pair.release()

    await until(lambda: len(pair.at_client.finished) == 2)
    assert set(pair.at_client.finished) == {complete, given_up}
    assert complete in pair.at_server.fins


async def test_what_the_peer_has_not_acknowledged_is_counted_until_it_has(pair):
    pair.hold()
    stream = pair.server.open_uni()

    pair.server.send(stream, bytes(5000), fin=True)

    assert pair.server.unacknowledged() >= 5000
    await asyncio.sleep(0.02)
    assert pair.server.unacknowledged() >= 5000
    pair.release()
    await until(lambda: pair.server.unacknowledged() == 0)
    assert len(pair.at_client.data[stream]) == 5000


async def test_streams_beyond_the_credit_wait_for_the_peer_to_finish_others(paired):
    async with paired(streams=8) as pair:
        streams = []
        while pair.server.can_open_uni():
            streams.append(pair.server.open_uni())
            pair.server.send(streams[-1], b"x")
        await until(lambda: len(pair.at_client.data) == len(streams))
        assert 1 <= len(streams) <= 8
        assert pair.server.can_open_bi()
        assert pair.at_server.calls == []

        for stream in streams:
            pair.server.send(stream, b"", fin=True)

        await until(lambda: pair.at_server.calls)
        assert pair.at_server.calls == [("writable",)]
        assert pair.server.can_open_uni()
        again = pair.server.open_uni()
        pair.server.send(again, b"y", fin=True)
        await until(lambda: again in pair.at_client.fins)


class Resuming(Recorder):
    """A session that goes on sending when its transport has room again."""

    def __init__(self, scheduler):
        super().__init__()
        self._scheduler = scheduler

    def transport_writable(self):
        super().transport_writable()
        self._scheduler.resume()


class Anybody:
    """Owns groups on their way out, and wants nothing of them."""

    def sent(self, group): ...
    def stopped(self, stream): ...
    def finished(self): ...


async def test_groups_beyond_the_credit_expire_without_a_word_and_the_newest_goes_on(paired):
    # Given more groups than streams, of which all but the newest are superseded.
    now = 0.0
    cache = Cache(CacheLimits(), Counters())
    async with paired(streams=8) as pair:
        scheduler = Scheduler(pair.server, backlog_limit=1 << 20)
        pair.server.events = at_server = Resuming(scheduler)
        line = Line(
            pair.server, scheduler, VERSIONS[0], Counters(), lambda: now, experience=Experience()
        )
        groups = [Group(sequence, cache, now=0.0) for sequence in range(20)]
        sending = []
        for group in groups:
            group.append(Frame(b"frame", 0))
            if group is not groups[-1]:
                group.superseded_at = 0.0
            sending.append(GroupEgress(line, group, Anybody(), subscribe=0, max_age=1.0))
            sending[-1].start()
        unopened = [egress for egress in sending if not egress.opened]
        assert len(unopened) >= 12

        # When the superseded ones grow too old, and the streams of the others end.
        now = 2.0
        for egress in unopened:
            if egress.expired:
                egress.pump()
        for group in groups:
            group.finish()

        # Then only the newest takes a stream, and nothing was reset that never had one.
        opened = len(groups) - len(unopened)
        await until(lambda: len(pair.at_client.fins) == opened + 1)
        assert sending[-1].opened
        assert pair.at_client.calls == []
        assert [call for call in at_server.calls if call != ("writable",)] == []
        assert len(scheduler) == 0
        pair.client.send(pair.client.open_uni(), b"alive", fin=True)
        await until(lambda: b"alive" in at_server.data.values())


async def test_nothing_is_left_of_six_hundred_requests(pair):
    for n in range(600):
        here, there = (pair.client, pair.server) if n % 2 else (pair.server, pair.client)
        await until(here.can_open_bi)
        stream = here.open_bi()
        here.send(stream, b"request", fin=True)
        await until(lambda: stream in there.events.fins)  # noqa: B023
        there.send(stream, b"response", fin=True)
        await until(lambda: stream in here.events.fins)  # noqa: B023

    await until(lambda: pair.live() == (0, 0))
    assert pair.client.unacknowledged() == pair.server.unacknowledged() == 0


# --- datagrams ------------------------------------------------------------------------------------


async def test_a_datagram_of_the_largest_size_arrives_whole_with_others_around_it(pair):
    largest = pair.server.max_datagram_size
    assert largest > 1000
    sizes = [0, 1, 63, 64, largest, 2, largest - 1]

    for size in sizes:
        assert pair.server.send_datagram(bytes(size))

    await until(lambda: len(pair.at_client.datagrams) == len(sizes))
    assert [len(data) for data in pair.at_client.datagrams] == sizes


async def test_a_datagram_that_is_too_large_is_refused_and_blocks_nothing(pair):
    assert not pair.server.send_datagram(bytes(pair.server.max_datagram_size + 1))
    assert pair.server.send_datagram(b"next")

    await until(lambda: pair.at_client.datagrams)
    assert pair.at_client.datagrams == [b"next"]


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("closer", ["client", "server"])
async def test_close_is_told_to_both_sides_once_and_later_calls_do_nothing(pair, closer):
    here, there = pair.client, pair.server
    if closer == "server":
        here, there = there, here
    heard_here, heard_there = here.events, there.events
    stream = here.open_bi()
    here.send(stream, b"x")
    await until(lambda: heard_there.data)

    here.close(7, "bye")
    here.close(8, "again")
    assert heard_here.calls == []

    await until(lambda: heard_here.calls and heard_there.calls)
    for end in (here, there):
        end.send(stream, b"late")
        end.reset(stream, 1)
        end.stop(stream, 1)
        end.send(end.open_uni(), b"late")
        end.close(9, "late")
        assert not end.send_datagram(b"late")
        assert not end.can_open_bi()
        assert not end.can_open_uni()
        assert not end.writable()
        assert end.max_datagram_size == end.unacknowledged() == 0
    await asyncio.sleep(0.05)
    assert heard_there.calls == [("closed", 7, "bye")]
    assert heard_here.calls == [("closed", 7, "bye")]
    assert heard_there.data == {stream: b"x"}


@pytest.mark.parametrize("engine", OVER_UDP)
async def test_what_a_session_raises_costs_its_connection_and_nothing_else(engine, caplog):
    async with MAKERS[engine]() as broken:
        heard = broken.at_server

        def fail(*_):
            raise ZeroDivisionError

        heard.stream_data = fail

        broken.client.send(broken.client.open_uni(), b"x")

        at_client = broken.at_client
        await until(lambda: at_client.calls and heard.calls)
        assert [call[:2] for call in at_client.calls] == [("closed", 1)]
        assert [call[:2] for call in heard.calls] == [("closed", 1)]
        assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ZeroDivisionError]


async def test_a_transport_says_what_it_is_and_what_it_measured(pair):
    stats = pair.server.stats()

    assert pair.server.binding in {"memory", "quic", "webtransport"}
    assert ":" in pair.server.peer
    if pair.server.binding != "memory":
        assert 0 < stats.rtt_seconds < 1
        assert 0 < stats.latest_rtt_seconds < 1
        assert stats.bytes_sent > 1000
        assert stats.bytes_received > 1000


@pytest.mark.parametrize("every", [3, 7])
@pytest.mark.parametrize("engine", OVER_UDP)
async def test_everything_arrives_over_a_wire_that_loses_packets(engine, every):
    async with MAKERS[engine]() as pair:
        pair.wire.lose = lambda n: n % every == 0
        shared = bytearray()
        streams = [pair.server.open_uni() for _ in range(5)]
        for n in range(30):
            start = len(shared)
            shared += bytes([n]) * 500
            for stream in streams:
                pair.server.send(stream, shared, start, len(shared), fin=n == 29)
            await asyncio.sleep(0)

        await until(lambda: pair.at_client.fins == set(streams), seconds=20)
        assert set(pair.at_client.data.values()) == {bytes(shared)}
        await until(lambda: pair.server.unacknowledged() == 0, seconds=20)
        pair.wire.lose = lambda _: False
        await until(lambda: pair.live() == (0, 0), seconds=20)


@pytest.mark.parametrize("engine", MAKERS)
def test_all_of_it_works_on_uvloop_too(engine):
    async def main():
        async with MAKERS[engine]() as pair:
            here, there = pair.server, pair.client
            if pair.wire is not None:
                pair.wire.lose = lambda n: n % 5 == 0
            stream, sent = await fill(pair)
            pair.release()
            here.send(stream, b"", fin=True)
            await until(lambda: stream in there.events.fins, seconds=20)
            assert len(there.events.data[stream]) == sent
            await until(lambda: here.unacknowledged() == 0, seconds=20)
            assert here.events.calls == [("writable",)]
            if pair.wire is not None:
                pair.wire.lose = lambda _: False
            heard = there.events
            here.close(7, "bye")
            await until(lambda: heard.calls)
            assert heard.calls == [("closed", 7, "bye")]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
