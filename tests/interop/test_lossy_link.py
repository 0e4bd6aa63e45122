"""The bad network does what its weather says, and nothing else."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.lossy import CLEAR, LossyLink, Weather

COUNT = 400
SECONDS = 5


class Echo(asyncio.DatagramProtocol):
    """Sends everything back."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(data, address)


class Inbox(asyncio.DatagramProtocol):
    """Keeps the numbers that came back, in order."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def datagram_received(self, data: bytes, _address: tuple[str, int]) -> None:
        self.numbers.append(int.from_bytes(data, "big"))


@pytest.fixture
async def echo() -> AsyncIterator[tuple[str, int]]:
    """The address of a server that sends everything back."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    yield transport.get_extra_info("sockname")
    transport.close()


async def returned(link: LossyLink) -> list[int]:
    """The numbers that come back when COUNT of them are sent, slowly enough for every buffer."""
    loop = asyncio.get_running_loop()
    transport, inbox = await loop.create_datagram_endpoint(
        Inbox, remote_addr=("127.0.0.1", link.port)
    )
    for number in range(COUNT):
        transport.sendto(number.to_bytes(2, "big"))
        if number % 10 == 0:
            await asyncio.sleep(0.001)
    async with asyncio.timeout(SECONDS):
        while link.to_server.passed + link.to_server.lost < COUNT:
            await asyncio.sleep(0.01)
        while link.to_client.passed + link.to_client.lost < link.to_server.passed:
            await asyncio.sleep(0.01)
        while len(inbox.numbers) < link.to_client.passed:
            await asyncio.sleep(0.01)
    transport.close()
    return inbox.numbers


async def test_clear_weather_loses_and_moves_nothing(echo: tuple[str, int]) -> None:
    with LossyLink(echo) as link:
        numbers = await returned(link)

    assert numbers == list(range(COUNT))


async def test_loss_is_as_frequent_as_asked_and_the_same_for_a_seed(echo: tuple[str, int]) -> None:
    runs = []
    for seed in (1, 1, 2):
        with LossyLink(echo, to_server=Weather(loss=0.25), seed=seed) as link:
            runs.append(await returned(link))

    assert 0.65 * COUNT < len(runs[0]) < 0.85 * COUNT
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


async def test_jitter_delays_but_keeps_the_order(echo: tuple[str, int]) -> None:
    with LossyLink(echo, to_client=Weather(delay=0.005, jitter=0.01)) as link:
        start = asyncio.get_running_loop().time()
        numbers = await returned(link)
        taken = asyncio.get_running_loop().time() - start

    assert numbers == list(range(COUNT))
    assert taken > 0.005


async def test_reordering_lets_later_ones_overtake_and_loses_none(echo: tuple[str, int]) -> None:
    with LossyLink(echo, to_server=Weather(reorder=0.1), to_client=CLEAR) as link:
        numbers = await returned(link)

    assert link.to_server.reordered > 0
    assert numbers != list(range(COUNT))
    assert sorted(numbers) == list(range(COUNT))
