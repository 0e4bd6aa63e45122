"""The obvious forwarder on aioquic, a rival: whatever arrives is sent to each viewer at once.

``python -m tests.bench.naive [--uvloop]`` prints its port. It knows as much of moq-lite-05 as the
bench needs: no cache, no order, no limits, no late joiner's group.
"""

import argparse
import asyncio
import datetime
import ssl

import uvloop
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.bench import workload
from tests.support import lite05

UNI, SERVER = 2, 1
"""Bits of a QUIC stream id (RFC 9000 section 2.1)."""


class Fanout:
    """Who watches what: all that the forwarder remembers."""

    def __init__(self) -> None:
        self.viewers: list[dict[Session, int]] = [{} for _ in workload.TRACKS]
        """By the publisher's subscription: each viewer with its own subscription id."""


class Session(QuicConnectionProtocol):
    """One connection, of a publisher or of a viewer."""

    fanout: Fanout

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self._announcements: int | None = None
        self._asked = False
        self._copies: dict[int, dict[Session, int]] = {}
        """Of each group stream that is arriving: the stream that each viewer gets."""
        self._heads: dict[int, bytes] = {}

    def quic_event_received(self, event: events.QuicEvent) -> None:
        match event:
            case events.HandshakeCompleted():
                self._greet()
            case events.StreamDataReceived(stream_id=stream) if stream & UNI:
                self._group(stream, event.data, event.end_stream)
            case events.StreamDataReceived(stream_id=stream) if not stream & SERVER:
                if event.data:
                    self._request(stream, event.data)
            case events.StreamDataReceived(stream_id=stream) if stream == self._announcements:
                self._announced(event.data)
            case events.ConnectionTerminated():
                for viewers in self.fanout.viewers:
                    viewers.pop(self, None)

    def _greet(self) -> None:
        setup = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self._quic.send_stream_data(setup, lite05.setup(), end_stream=True)
        self._announcements = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(self._announcements, lite05.announce_request())

    def _announced(self, content: bytes) -> None:
        """Subscribe to both tracks at the side that has them."""
        if self._asked or workload.BROADCAST.encode() not in content:
            return
        self._asked = True
        for number, track in enumerate(workload.TRACKS):
            stream = self._quic.get_next_available_stream_id()
            request = lite05.subscribe(number, workload.BROADCAST, track)
            self._quic.send_stream_data(stream, request)

    def _request(self, stream: int, content: bytes) -> None:
        if content[0] == lite05.ANNOUNCE:
            self._quic.send_stream_data(stream, lite05.nothing_announced())
        elif content[0] == lite05.SUBSCRIBE:
            number, track = lite05.read_subscribe(content, 1)
            self.fanout.viewers[workload.TRACKS.index(track)][self] = number
            self._quic.send_stream_data(stream, lite05.subscribe_start(0))

    def _group(self, stream: int, content: bytes, fin: bool) -> None:
        """Send on at once what came of one group, with each viewer's own header."""
        copies = self._copies.get(stream)
        if copies is None:
            content = self._heads.pop(stream, b"") + content
            if content[:1] == bytes((lite05.SETUP,)):
                return
            header = lite05.read_group_header(content)
            if header is None:
                self._heads[stream] = content
                return
            number, sequence, at = header
            content = content[at:]
            copies = self._copies[stream] = {}
            for viewer, own in self.fanout.viewers[number].items():
                quic = viewer._quic
                copies[viewer] = copy = quic.get_next_available_stream_id(is_unidirectional=True)
                quic.send_stream_data(copy, lite05.group_header(own, sequence))
        if fin:
            del self._copies[stream]
        for viewer, copy in copies.items():
            viewer._quic.send_stream_data(copy, content, end_stream=fin)
            viewer._transmit_soon()


def certify(configuration: QuicConfiguration) -> None:
    """Give the server a key and a certificate that no client of the bench verifies."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    configuration.private_key = key
    configuration.certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


async def forward() -> None:
    """Serve until killed."""
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=[lite05.ALPN],
        max_datagram_frame_size=65536,
        max_data=64 << 20,
        max_stream_data=16 << 20,
        verify_mode=ssl.CERT_NONE,
    )
    certify(configuration)
    Session.fanout = Fanout()
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Session)
    print(server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.get_running_loop().create_future()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.naive", description=__doc__)
    parser.add_argument("--uvloop", action="store_true")
    run = uvloop.run if parser.parse_args().uvloop else asyncio.run
    run(forward())


if __name__ == "__main__":
    main()
