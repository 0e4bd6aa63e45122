"""The node's timer, its listener and its hash at once: a certificate is renewed while it runs."""

import asyncio
import datetime
import os
import signal
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest

from moq_relay.daemon import certificates, watched
from moq_relay.daemon.config.sources import Layer, load
from moq_relay.daemon.node import Node
from moq_relay.transports import tls
from moq_relay.transports.quic.dialer import DialFailed, Trust, dial
from moq_relay.wire.lite.versions import VERSIONS
from tests.contract.transports import Recorder, until
from tests.support.pair_of_files import PairOfFiles


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@asynccontextmanager
async def node_with(certificate):
    """A node in this process, and where its two HTTP listeners are."""
    port, internal = free_port(), free_port()
    settings = {
        "server": {"listen": f"127.0.0.1:{port}", "tls": certificate},
        "web": {"http": {"listen": f"127.0.0.1:{port}"}},
        "internal": {"listen": f"127.0.0.1:{internal}"},
        "auth": {"public": ""},
    }
    node = Node.load(load([Layer("test", settings)]))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(node.run())
        yield node, port, internal
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
async def running():
    async with node_with({"generate": ["localhost"]}) as found:
        yield found


async def get(port, path):
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return await answer.text()


async def answered(port, path):
    async with asyncio.timeout(10):
        while True:
            try:
                return await get(port, path)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)


def call(port, certificate, protocol=VERSIONS[0].alpn):
    """A handshake that believes in one certificate only."""
    return dial(
        "127.0.0.1",
        port,
        accept=lambda _arrival, _transport: Recorder(),
        protocols=[protocol],
        trust=Trust(roots=certificate.pem),
        server_name="localhost",
    )


async def test_a_renewed_certificate_is_told_and_used_without_ending_a_session(
    running, monkeypatch
):
    # Given a session under the first certificate.
    node, port, _ = running
    first = await answered(port, "/certificate.sha256")
    old = node._certificates.credentials.current
    assert first == old.fingerprint
    async with call(port, old) as session:
        # When the certificate is about to end, as the node's timer finds.
        monkeypatch.setattr(certificates, "RENEW_BEFORE", datetime.timedelta(days=12, hours=23))
        node._certificates.credentials.replace(_ends_sooner(old))
        await until(lambda: node._certificates.credentials.current.fingerprint != first, seconds=10)

        # Then the new one is told and used, the old one is not, and the session goes on.
        new = node._certificates.credentials.current
        assert await get(port, "/certificate.sha256") == new.fingerprint
        async with call(port, new):
            pass
        with pytest.raises(DialFailed):
            async with call(port, old):
                pass
        assert session.can_open_uni()
        assert session.events.calls == []


async def test_new_files_are_shown_without_ending_a_session_and_broken_ones_are_not(
    tmp_path, monkeypatch
):
    # Given a node whose certificate is in files, and a session.
    monkeypatch.setattr(watched, "SETTLE_SECONDS", 0.5)
    old, new = (tls.generate(["localhost"]) for _ in range(2))
    files = PairOfFiles(tmp_path)
    files.kubernetes(old.pem, old.key_pem)
    names = dict(zip(("cert", "key"), map(str, files), strict=True))
    async with node_with(names) as (node, port, internal):
        await answered(port, "/certificate.sha256")
        async with call(port, old) as session:
            # When both files are replaced.
            files.kubernetes(new.pem, new.key_pem)
            await until(lambda: node._certificates.fingerprint == new.fingerprint, seconds=10)

            # Then new sessions see the new one, and the old session goes on.
            async with call(port, new):
                pass
            assert session.can_open_uni()
            assert session.events.calls == []

        # When the next ones do not fit, then what was there stays, and that is counted.
        files.kubernetes(old.pem, new.key_pem)
        await until(lambda: node._certificates.reloads["refused"], seconds=10)
        async with call(port, new):
            pass
        counted = 'moq_relay_certificate_reloads_total{outcome="refused",relay_region=""} 1.0'
        said = await get(internal, "/metrics")
        assert counted in said
        assert 'moq_relay_certificate_files_refused{relay_region=""} 1.0' in said


async def test_a_failed_handshake_is_counted_by_its_reason(running):
    node, port, internal = running
    counted = 'moq_relay_handshake_failures_total{reason="protocol",relay_region=""}'
    assert f"{counted} 0.0" in await answered(internal, "/metrics")

    with pytest.raises(DialFailed):
        async with call(port, node._certificates.credentials.current, protocol="another"):
            pass

    async with asyncio.timeout(5):
        while f"{counted} 1.0" not in await get(internal, "/metrics"):
            await asyncio.sleep(0.05)


def _ends_sooner(certificate):
    """The same certificate as the timer sees it an hour later than it is due."""
    return _Older(certificate)


class _Older:
    def __init__(self, certificate):
        self._certificate = certificate

    def __getattr__(self, name):
        return getattr(self._certificate, name)

    @property
    def expires_at(self):
        return self._certificate.expires_at - datetime.timedelta(days=12)
