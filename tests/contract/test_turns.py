"""One flush per connection and turn of the loop, and timers that are left to run."""

import asyncio

from moq_relay.transports.quic.driver import Connection
from moq_relay.transports.quic.endpoint import Endpoint
from tests.contract.transports import MAKERS, until


def counting(monkeypatch, owner, name):
    """How often a method runs from now on, by the object it runs on."""
    counts = {}
    method = getattr(owner, name)

    def counted(self, *args, **kwargs):
        counts[self] = counts.get(self, 0) + 1
        return method(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return counts


async def test_a_burst_of_datagrams_is_read_in_few_turns_each_with_one_flush(monkeypatch):
    async with MAKERS["quic"]() as pair:
        # Given as many datagrams as the first window allows, which arrive at once.
        server = pair.server._connection
        pair.hold()
        for _ in range(9):
            pair.client.send(pair.client.open_uni(), bytes(900), fin=True)
            await asyncio.sleep(0)
        await until(lambda: pair.wire is not None and len(pair.wire.held or ()) >= 8)
        arriving = len(pair.wire.held)
        turns = counting(monkeypatch, Endpoint, "_flush")
        flushes = counting(monkeypatch, Connection, "flush")

        # When they do.
        pair.release()
        await until(lambda: len(pair.at_server.fins) == 9)

        # Then the turns with something to send are few, with one flush of the connection each.
        assert flushes[server] <= turns[server._host] < arriving / 2


async def test_traffic_arms_hardly_any_timers(monkeypatch):
    async with MAKERS["quic"]() as pair:
        # Given a connection on which a hundred messages go to and fro.
        server = pair.server._connection
        loop = asyncio.get_running_loop()
        armed = []

        def call_later(delay, call, *args, **kwargs):
            if getattr(call, "__self__", None) is server:
                armed.append(delay)
            return real(delay, call, *args, **kwargs)

        real = loop.call_later
        monkeypatch.setattr(loop, "call_later", call_later)

        # When they do.
        flushes = counting(monkeypatch, Connection, "flush")
        for n in range(100):
            stream = pair.client.open_uni()
            pair.client.send(stream, b"x", fin=True)
            await until(lambda: stream in pair.at_server.fins)  # noqa: B023
            back = pair.server.open_uni()
            pair.server.send(back, bytes([n]), fin=True)
            await until(lambda: back in pair.at_client.fins)  # noqa: B023

        # Then its timer was armed far less often than it sent.
        assert flushes[server] >= 100
        assert len(armed) < flushes[server] / 2
