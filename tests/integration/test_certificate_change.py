"""Certificates change in their files, while somebody publishes and others watch."""

import asyncio
import contextlib
import re
import sys
from contextlib import AsyncExitStack

import pytest

from moq_relay.transports import tls
from moq_relay.transports.quic.dialer import DialFailed, Trust, dial
from moq_relay.wire.lite.versions import LITE_06
from tests.contract.transports import Recorder
from tests.support.own_client import connected, publish, until
from tests.support.pair_of_files import PairOfFiles
from tests.support.relay_process import RelayProcess
from tests.support.station import Listening, Station
from tests.support.traffic import keep_writing, watching

SIZE = 2_000
SOONER = """
import sys
from moq_relay.daemon import cli, node, watched
node.SWEEP_TICKS, watched.SETTLE_SECONDS = 1, 0.5
sys.exit(cli.main())
"""
"""The relay as it is, but that it looks at its files four times as often, and waits a tenth."""


class FromFiles(RelayProcess):
    """A relay whose certificate is in files."""

    def configuration(self):
        names = 'cert = "tls.crt"\nkey = "tls.key"'
        return super().configuration().replace('generate = "localhost"', names)


async def shown(port, *certificates):
    """Which of them a newcomer is shown, each asked for as the only one that is believed."""
    found = []
    for one in certificates:
        with contextlib.suppress(DialFailed):
            async with dial(
                "127.0.0.1",
                port,
                accept=lambda _arrival, _transport: Recorder(),
                protocols=[LITE_06.alpn],
                trust=Trust(roots=one.pem),
                server_name="localhost",
            ):
                found.append(one)
    return found


async def test_certificates_change_under_traffic_and_no_group_is_missed(tmp_path):
    # Given a publisher, two who watch by raw QUIC and one by WebTransport.
    first, second, third = (tls.generate(["localhost"]) for _ in range(3))
    files = PairOfFiles(tmp_path)
    files.certbot(first.pem, first.key_pem)
    relay = FromFiles(tmp_path, [LITE_06.name])
    relay.command = [sys.executable, "-c", SOONER]
    await asyncio.to_thread(relay.start)
    port, station = relay.ports[LITE_06.name], Station(frames=2, size=SIZE)
    heard = []

    async def watch(stack, path=None):
        heard.append(Listening(frames=2, size=SIZE))
        await watching(stack, port, LITE_06, path, "live", heard[-1])

    async def goes_on(groups=80):
        reached = station.sequence + groups
        await until(lambda: station.sequence >= reached)

    async def logged(text, times=1):
        await until(lambda: relay.log().count(text) >= times)

    try:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            publisher = await stack.enter_async_context(connected(port, LITE_06))
            publish(publisher, "live", station)
            writing = tasks.create_task(keep_writing(station))
            await watch(stack)
            await watch(stack, "/")

            # When certbot's links lead to new files, and the key's was first.
            files.certbot(None, second.key_pem)
            await goes_on()
            between = await shown(port, first, second)
            files.certbot(second.pem, None)
            await logged(second.fingerprint)
            after_certbot = await shown(port, first, second)
            await watch(stack)

            # When the same is in a volume, and that is another one then.
            files.kubernetes(second.pem, second.key_pem)
            await logged(second.fingerprint, times=2)
            files.kubernetes(third.pem, third.key_pem)
            await logged(third.fingerprint)
            after_kubernetes = await shown(port, second, third)

            # When the next one's key belongs to none.
            files.kubernetes(first.pem, second.key_pem)
            await logged("new files refused")
            after_broken = await shown(port, first, third)

            await goes_on(20)
            writing.cancel()
            last = station.sequence - 1
            await until(lambda: all(last in one.whole for one in heard))

            # Then newcomers saw what could be used, and who was here missed nothing and stays.
            assert between == [first]
            assert after_certbot == [second]
            assert after_kubernetes == after_broken == [third]
            for one in heard:
                assert (one.missing, one.faults) == ([], [])
            assert len(heard[0].whole) > len(heard[2].whole) >= 20
            there = {("quic", LITE_06.name): 3, ("webtransport", LITE_06.name): 1}
            await until(lambda: relay.sessions() == there)
        with pytest.raises(AssertionError, match=r"^1 bad lines") as ended:
            relay.stop()
        assert re.search(r"new files refused.* name=server\.tls reason=.*key", str(ended.value))
    finally:
        relay.kill()
