"""Completes handshakes over and over from many addresses: ``python -m tests.floods.handshakes``.

Real clients, so nothing of it is recorded. It obeys the lines of ``sender.py`` with the one kind
``handshakes``. Half of the clients say goodbye when they are in, the others are gone without a
word; nobody says a SETUP. Each of `ADDRESSES` has one client at a time, which gives up after
`PATIENCE_SECONDS` and is followed by the next.
"""

import json
import select
import socket
import ssl
import sys
import time

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted

from moq_relay.wire.lite.versions import LITE_06
from tests.floods.sender import MOST_SECONDS

ADDRESSES = 50
PATIENCE_SECONDS = 0.5
"""Less than a client waits until it asks again: this one asks anew, with another connection."""


class Client:
    """One address, and the connection that it has just now."""

    def __init__(self, number: int) -> None:
        self.host = f"127.0.{1 + number // 25}.{1 + number % 25}"
        self.sock: socket.socket | None = None
        self.begun = 0.0
        self.sent = self.completed = 0
        self._number = number
        self._configuration = QuicConfiguration(
            alpn_protocols=[LITE_06.alpn], server_name="localhost", verify_mode=ssl.CERT_NONE
        )

    def begin(self, port: int, poll: select.epoll) -> socket.socket:
        """Leave what there is, and knock again from another port."""
        self.end()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((self.host, 0))
        self._there = ("127.0.0.1", port)
        self.sock.connect(self._there)
        self.sock.setblocking(False)
        poll.register(self.sock.fileno(), select.EPOLLIN)
        self.begun = time.monotonic()
        self._quic = QuicConnection(configuration=self._configuration)
        self._quic.connect(self._there, now=self.begun)
        self._flush(self.begun)
        return self.sock

    def end(self) -> None:
        """Be gone, without a word."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def read(self) -> bool:
        """Take what came; whether this connection is over."""
        assert self.sock is not None
        now = time.monotonic()
        over = False
        try:
            while True:
                self._quic.receive_datagram(self.sock.recv(65535), self._there, now)
        except OSError as error:
            over = not isinstance(error, BlockingIOError)
        while (event := self._quic.next_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                self.completed += 1
                over = True
                self._flush(now)
                if self._number % 2:
                    self._quic.close()
            elif isinstance(event, ConnectionTerminated):
                over = True
        self._flush(now)
        return over

    def _flush(self, now: float) -> None:
        assert self.sock is not None
        try:
            for data, _ in self._quic.datagrams_to_send(now):
                self.sock.send(data)
                self.sent += 1
        except OSError:
            pass  # nobody is there, or the socket is full: the next client may have more luck


def flood(port: int, seconds: float) -> dict[str, float]:
    """Let clients come for some time; what they did."""
    clients = [Client(number) for number in range(ADDRESSES)]
    begun = time.monotonic()
    until = begun + min(seconds, MOST_SECONDS)
    with select.epoll() as poll:
        by_number = {client.begin(port, poll).fileno(): client for client in clients}

        def again(client: Client) -> None:
            if client.sock is not None:
                del by_number[client.sock.fileno()]
            by_number[client.begin(port, poll).fileno()] = client

        looked = begun
        while (now := time.monotonic()) < until:
            for number, _ in poll.poll(0.05):
                client = by_number.get(number)
                if client is not None and client.read():
                    again(client)
            if now - looked >= PATIENCE_SECONDS / 4:
                looked = now
                for client in clients:
                    if now - client.begun >= PATIENCE_SECONDS:
                        again(client)
        for client in clients:
            client.end()
    return {
        "sent": sum(client.sent for client in clients),
        "completed": sum(client.completed for client in clients),
        "seconds": time.monotonic() - begun,
    }


def main() -> int:
    """Obey until the input ends."""
    for line in sys.stdin:
        word, _, port, seconds = line.split()
        said = flood(int(port), float(seconds)) if word == "send" else {"sent": 0, "seconds": 0.0}
        print(json.dumps(said), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
