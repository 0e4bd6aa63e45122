"""1-RTT packets of a client opened and acknowledged beside aioquic, at a fraction of its cost.

Only packets that come in order take this way. Whatever else comes goes through aioquic, which is
told first what was received here, so that both agree on packet numbers. It serves those who make
load, and no relay; with engine.py and steady.py the only file that touches aioquic's private
names, and `PRIVATE` at the end lists those that are touched here.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aioquic import tls
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # they forgot to export it
from aioquic.quic.connection import Limit, QuicConnection
from aioquic.quic.crypto import CryptoPair, derive_key_iv_hp
from aioquic.quic.packet import decode_packet_number
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketNumberWindow, QuicPacketSpace
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from moq_relay.wire.varint import encode

SUITES = [tls.CipherSuite.AES_128_GCM_SHA256]
"""What a connection must be limited to: header protection by AES is a call on a block."""
CREDIT = 1 << 40
"""More of anything than a viewer uses up."""
ACK_RANGES = 20
SERVER_UNI = 3
"""The two low bits of a stream that the server opened for sending only."""
_LONG_HEADER = 0x80
_ACK_HEADER = 0x41
"""Short header, two bytes of packet number."""
_ONE_RTT = tls.Epoch.ONE_RTT
_FRAME_TABLE = "_QuicConnection__frame_handlers"

Hook = Callable[[int, int, Any], None]
"""Stream, type of frame, and aioquic's buffer behind the stream's number."""


class Tap:
    """Keys and packet numbers of one connection, once its handshake is confirmed."""

    __slots__ = (
        "_decrypt",
        "_header",
        "_iv",
        "_mask",
        "_next",
        "_phase",
        "_quic",
        "_secret",
        "_start",
        "acks",
        "active",
    )

    def __init__(self, quic: QuicConnection, uni_credit: int | None = None) -> None:
        """Grant the server all streams, so that none has to wait for MAX_STREAMS.

        Args:
            quic: a client's connection, not connected yet.
            uni_credit: bytes that each stream of the server may send; None: no limit of ours.
        """
        self._quic = quic
        self._secret: bytes | None = None
        self._start = self._next = 0
        """Packet numbers received here that aioquic does not know of yet."""
        self.active = False
        self.acks = 0
        quic._local_max_streams_uni.value = CREDIT
        if uni_credit is not None:
            quic._local_max_stream_data_uni = uni_credit

    def divert(self, hooks: Mapping[int, Hook]) -> None:
        """Take frames about streams of the server out of aioquic's hands, by their type."""
        table = getattr(self._quic, _FRAME_TABLE)
        for kind, hook in hooks.items():
            original, epochs = table[kind]
            table[kind] = (partial(_divert, original, hook), epochs)

    def heard(self, until: float) -> None:
        """The connection is idle no sooner than ``until``: aioquic did not hear of all packets."""
        if self.active:
            self._quic._close_at = max(self._quic._close_at or 0.0, until)

    def open(self, packet: bytes) -> bytes | None:
        """The next packet's frames; None leaves it to aioquic. If used, ``took`` must follow."""
        if not self.active or packet[0] & _LONG_HEADER:
            return None
        at = self._header
        mask = self._mask(packet[at + 4 : at + 20])
        first = packet[0] ^ (mask[0] & 0x1F)
        if first & 0x1C != self._phase:
            return None
        size = (first & 3) + 1
        after = at + size
        short = int.from_bytes(packet[at:after], "big") ^ int.from_bytes(mask[1 : 1 + size], "big")
        number = decode_packet_number(short, size * 8, self._next)
        if number != self._next:
            return None
        header = b"%c%b%b" % (first, packet[1:at], short.to_bytes(size, "big"))
        nonce = (self._iv ^ number).to_bytes(12, "big")
        try:
            return self._decrypt(nonce, packet[after:], header)
        except InvalidTag:
            return None

    def took(self) -> None:
        """The packet opened last was used, so it counts as received."""
        self._next += 1

    def leave(self, now: float) -> None:
        """Tell aioquic what was received here."""
        if self._next > self._start:
            space = self._quic._spaces[_ONE_RTT]
            space.ack_queue.add(self._start, self._next)
            for number in range(self._start, self._next):
                space.received_packets.add(number)
            space.largest_received_packet = self._next - 1
            space.largest_received_time = now
            space.expected_packet_number = self._next
            self._start = self._next

    def enter(self) -> None:
        """Go on behind what aioquic received; read the keys anew when it changed them."""
        quic = self._quic
        if not quic._handshake_confirmed:
            return
        receive = quic._cryptos[_ONE_RTT].recv
        if receive.secret is not self._secret:
            assert receive.cipher_suite is not None
            assert receive.secret is not None
            assert receive.version is not None
            key, iv, protection = derive_key_iv_hp(
                cipher_suite=receive.cipher_suite, secret=receive.secret, version=receive.version
            )
            self._secret = receive.secret
            self._decrypt = AESGCM(key).decrypt
            self._iv = int.from_bytes(iv, "big")
            # The one block that header protection asks for (RFC 9001 section 5.4.3).
            mask = Cipher(algorithms.AES(protection), modes.ECB())  # noqa: S305
            self._mask = mask.encryptor().update
            self._phase = receive.key_phase << 2
            self._header = 1 + len(quic.host_cid)
        self._start = self._next = quic._spaces[_ONE_RTT].largest_received_packet + 1
        self.active = True

    def acknowledgement(self, now: float) -> bytes:
        """A packet that acknowledges everything so far and asks for no answer."""
        self.leave(now)
        quic = self._quic
        space = quic._spaces[_ONE_RTT]
        space.ack_at = None
        ranges = list(space.ack_queue)[-ACK_RANGES - 1 :]
        newest = ranges.pop()
        ack = b"\x02" + encode(newest.stop - 1) + b"\x00" + encode(len(ranges))
        ack += encode(newest.stop - 1 - newest.start)
        lowest = newest.start
        for older in reversed(ranges):
            ack += encode(lowest - older.stop - 1) + encode(older.stop - 1 - older.start)
            lowest = older.start
        number = quic._packet_number
        quic._packet_number += 1
        self.acks += 1
        pair = quic._cryptos[_ONE_RTT]
        first = _ACK_HEADER | pair.send.key_phase << 2
        short = (number & 0xFFFF).to_bytes(2, "big")
        return pair.encrypt_packet(b"%c%b%b" % (first, quic._peer_cid.cid, short), ack, number)


def _divert(
    original: Callable[[Any, int, Buffer], None],
    hook: Hook,
    context: Any,
    kind: int,
    buffer: Buffer,
) -> None:
    start = buffer.tell()
    number = buffer.pull_uint_var()
    if number & 3 == SERVER_UNI:
        hook(number, kind, buffer)
    else:
        buffer.seek(start)
        original(context, kind, buffer)


PRIVATE: dict[type, dict[str, type | None]] = {
    QuicConnection: {
        _FRAME_TABLE: dict,
        "_close_at": None,
        "_cryptos": dict,
        "_handshake_confirmed": bool,
        "_local_max_stream_data_uni": int,
        "_local_max_streams_uni": Limit,
        "_packet_number": int,
        "_peer_cid": object,
        "_spaces": dict,
        "host_cid": bytes,
    },
    QuicPacketSpace: {
        "ack_at": None,
        "ack_queue": RangeSet,
        "expected_packet_number": int,
        "largest_received_packet": int,
        "largest_received_time": None,
        "received_packets": QuicPacketNumberWindow,
    },
    CryptoPair: {"recv": object, "send": object},
}
"""Every name used above that aioquic does not document, as engine.py lists its own."""
