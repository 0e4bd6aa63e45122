"""A server with our engine and a client of aioquic's; time is a number and the network a list.

So thousands of connections that lose, reorder and migrate take seconds.
"""

import datetime
import heapq
import itertools
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from moq_relay.sessions.transport import UNI
from moq_relay.transports.quic.engine import Engine

DELAY = 0.010
DATAGRAM = 1200
SERVER, HOME, AWAY = ("server", 1), ("home", 1), ("away", 2)


def identity():
    """A key whose signatures have one length, so that two handshakes have equal packets."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36500))
        .sign(key, None)
    )
    return certificate, key


CERTIFICATE, KEY = identity()


@dataclass
class Weather:
    """What the network does to a datagram."""

    lose: Callable[[], bool] = lambda: False
    jitter: Callable[[], float] = lambda: 0.0
    copies: int = 1


FAIR = Weather()


class Counted(Engine):
    """Counts the packets that aioquic did not write, and the ACKs that it did not read."""

    own_packets = own_acks = 0

    def write_streams(self, now):
        out = super().write_streams(now)
        self.own_packets += len(out)
        return out

    def acknowledged(self, ranges, delay, now):
        super().acknowledged(ranges, delay, now)
        self.own_acks += 1


class Link:
    """A server with our engine and a client of aioquic, on a network of our making."""

    def __init__(self, *, fast=True, max_data=1 << 20, max_stream_data=1 << 20, algorithm="reno"):
        self.now = 1.0
        self.weather = FAIR
        self.client_address = HOME
        self.log = []
        """(seconds, bytes) of every datagram of the server since the handshake."""
        self.received = {}
        self.fins = set()
        self.resets = {}
        self.pongs = 0
        self.finished = []
        self.budget = {}
        """Address -> bytes that may still go there before it is validated."""
        self._flying = []
        self._numbers = itertools.count()
        shared = {
            "alpn_protocols": ["moq"],
            "max_datagram_frame_size": 65536,
            "max_datagram_size": DATAGRAM,
            "congestion_control_algorithm": algorithm,
        }
        self.client = QuicConnection(
            configuration=QuicConfiguration(
                is_client=True,
                verify_mode=ssl.CERT_NONE,
                max_data=max_data,
                max_stream_data=max_stream_data,
                **shared,
            )
        )
        self.server = Counted(
            QuicConfiguration(is_client=False, certificate=CERTIFICATE, private_key=KEY, **shared),
            streams=8,
            original_destination_connection_id=self.client.original_destination_connection_id,
        )
        self.server.takes_over = fast
        self.client.connect(SERVER, now=self.now)
        self.step()
        self.run(1.0, lambda: self.server.is_confirmed and self.client._handshake_confirmed)
        assert self.server.is_confirmed
        self.run(0.2)
        self.log.clear()

    def step(self):
        """Let both sides send what they may now, as the driver does in a turn."""
        server = self.server
        if server.wants_to_send(self.now):
            for data, address in server.transmit(self.now):
                assert len(data) <= DATAGRAM
                self.log.append((self.now, len(data)))
                path = next(path for path in server._network_paths if path.addr == address)
                if not path.is_validated:
                    assert path.bytes_sent <= 3 * path.bytes_received, "amplification"
                self._fly(data, address)
        for data, _ in self.client.datagrams_to_send(self.now):
            self._fly(data, SERVER)

    def run(self, seconds, done=lambda: False):
        """Let time pass, up to ``seconds`` or until ``done``."""
        end = self.now + seconds
        turns = itertools.count()
        while not done():
            assert next(turns) < 50_000, "it spins"
            due = [
                at for at in (self.server.get_timer(), self.client.get_timer()) if at is not None
            ]
            soonest = min([end, *due, *(flight[0] for flight in self._flying[:1])])
            if soonest >= end:
                self.now = end
                return
            # As late as a timer may be; what aioquic computes from a deadline is rounded.
            self.now = max(self.now, soonest + 1e-6)
            for side in (self.server, self.client):
                at = side.get_timer()
                if at is not None and at <= self.now:
                    side.handle_timer(self.now)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, to, sender, data = heapq.heappop(self._flying)
                if to == SERVER:
                    self._at_server(data, sender)
                else:
                    self.client.receive_datagram(data, SERVER, self.now)
            self._hear()
            self.step()

    def _at_server(self, data, sender):
        server = self.server
        before, timer = server._loss.get_probe_timeout(), server.get_timer()
        server.receive_datagram(data, sender, self.now)
        if not server.wants_to_send(self.now) and not server.deadline_neared:
            shrunk = max(0.0, before - server._loss.get_probe_timeout()) + 1e-9
            assert server.get_timer() >= timer - shrunk, "a deadline came nearer unseen"

    def _fly(self, data, to):
        if self.weather.lose():
            return
        for _ in range(self.weather.copies):
            at = self.now + DELAY + self.weather.jitter()
            flight = (at, next(self._numbers), to, self.client_address, data)
            heapq.heappush(self._flying, flight)

    def _hear(self):
        while (event := self.client.next_event()) is not None:
            match event:
                case events.StreamDataReceived(data, fin, stream):
                    assert stream not in self.fins
                    self.received.setdefault(stream, bytearray()).extend(data)
                    if fin:
                        self.fins.add(stream)
                case events.StreamReset(code, stream):
                    self.resets[stream] = code
                case events.ConnectionTerminated():
                    pytest.fail(f"the client gave up: {event}")
        while (event := self.server.next_event()) is not None:
            match event:
                case events.StreamDataReceived(data, fin, stream) if not stream & UNI:
                    self.server.send_stream_data(stream, data, fin)
                case events.PingAcknowledged():
                    self.pongs += 1
                case events.ConnectionTerminated():
                    pytest.fail(f"the server gave up: {event}")
        self.finished += self.server.ledger.finished
        self.server.ledger.finished.clear()
