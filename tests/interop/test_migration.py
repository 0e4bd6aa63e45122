"""A viewer whose address changes in mid-stream, as behind a NAT that forgets: it misses nothing."""

import asyncio
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pytest

from tests.interop.clients import Publisher, publishing
from tests.interop.conftest import OurRelay
from tests.interop.pairs import TRANSPORTS, VERSIONS
from tests.interop.viewers import Viewer
from tests.support.datagrams import Address, drained, opened
from tests.support.media import Track

PULSE = Track("pulse", frame_bytes=4000, frames_per_group=4, frames_per_second=40)
GROUPS = 8
"""Groups that are sent from one address of the viewer before it has the next."""
ENOUGH = 20
"""Datagrams at an address that are more than a close, or a few probes."""
SECONDS = 20


class Nat:
    """Carries the datagrams of one client to a relay; `rebind` gives it another address there.

    What the relay sends to an address that it had before is lost. Must be entered in the event
    loop that carries it.
    """

    def __init__(self, relay: Address) -> None:
        self.answered: list[int] = []
        """By address so far: datagrams that the relay sent there."""
        self.addresses: list[Address] = []
        self._relay = relay
        self._client: Address | None = None
        self._inside = opened()
        self._outside: socket.socket | None = None
        self.port: int = self._inside.getsockname()[1]

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._inside, self._from_client)
        self.rebind(self._relay)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sock in (self._inside, self._outside):
            assert sock is not None
            self._loop.remove_reader(sock)
            sock.close()

    def rebind(self, relay: Address) -> None:
        """From now on the client comes from another port, and speaks to the relay at ``relay``."""
        new = opened(relay[0])
        if self._outside is not None:
            self._loop.remove_reader(self._outside)
            self._outside.close()
        self._relay, self._outside = relay, new
        self.addresses.append(new.getsockname()[:2])
        self.answered.append(0)
        self._loop.add_reader(new, self._from_relay)

    def _from_client(self) -> None:
        assert self._outside is not None
        for data, client in drained(self._inside):
            self._client = client
            self._outside.sendto(data, self._relay)

    def _from_relay(self) -> None:
        assert self._outside is not None
        assert self._client is not None
        for data, _ in drained(self._outside):
            self.answered[-1] += 1
            self._inside.sendto(data, self._client)


class BothFamilies(OurRelay):
    """Has one socket for each listener, which takes IPv4 and IPv6."""

    def configuration(self) -> str:
        text = super().configuration()
        for port in self.ports.values():
            text = text.replace(f'{{listen = "127.0.0.1:{port}"', f'{{listen = "[::]:{port}"')
        return text


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothFamilies]:
    """A running relay, whose end and log are checked after the module's last test."""
    running = BothFamilies(tmp_path_factory.mktemp("relay"), VERSIONS)
    running.start()
    yield running
    running.stop()


async def sent(publisher: Publisher, count: int) -> None:
    """Wait for so many groups more."""
    until = publisher.groups[PULSE.name] + count
    async with asyncio.timeout(SECONDS):
        while publisher.groups[PULSE.name] < until:
            await asyncio.sleep(0.01)


async def answered(nat: Nat, count: int) -> None:
    """Wait for so many datagrams of the relay at the client's present address.

    The relay learns that address by what the client sends next. A client that only listens, and has
    acknowledged all it got, sends nothing before it asks whether the relay is still there.
    """
    async with asyncio.timeout(SECONDS):
        while nat.answered[-1] < count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("scheme", TRANSPORTS)
async def test_a_viewer_that_gets_another_port_and_then_an_ipv6_address_misses_no_group(
    relay: BothFamilies, scheme: str
) -> None:
    version = VERSIONS[0]
    port, path = relay.ports[version], f"migration/{scheme}"
    v4, v6 = ("127.0.0.1", port), ("::1", port)

    with Nat(v4) as nat:
        viewer = Viewer(f"{scheme}://127.0.0.1:{nat.port}", path, [PULSE])
        async with (
            asyncio.TaskGroup() as tasks,
            publishing(relay.url("moqt", version), path, [PULSE]) as publisher,
        ):
            tasks.create_task(viewer.run())
            await viewer.joined.wait()
            since = dict(publisher.groups)
            await sent(publisher, GROUPS)
            for other in (v4, v6):
                nat.rebind(other)
                await answered(nat, ENOUGH)
                await sent(publisher, GROUPS)
            publisher.finish()
            await publisher.sent.wait()
            await viewer.caught_up(since, publisher.groups, SECONDS)
            viewer.leave()

    assert not viewer.report()
    assert viewer.epoch == 1
    assert len(set(nat.addresses)) == 3
