"""1-RTT packets opened and acknowledged beside aioquic, at a fraction of its cost.

Only packets that come in order take this way. Whatever else comes goes through aioquic, which is
told first what was received here, so that both agree on packet numbers.
"""

from aioquic import tls
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import derive_key_iv_hp
from aioquic.quic.packet import decode_packet_number
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.lite05 import varint

SUITES = [tls.CipherSuite.AES_128_GCM_SHA256]
"""What a connection must be limited to: header protection by AES is a call on a block."""
ACK_RANGES = 20
LONG_HEADER = 0x80
ACK_HEADER = 0x41
"""Short header, two bytes of packet number."""
ONE_RTT = tls.Epoch.ONE_RTT


class FastPackets:
    """Keys and packet numbers of one connection, once its handshake is confirmed."""

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self._secret: bytes | None = None
        self._start = self._next = 0
        """Packet numbers received here that aioquic does not know of yet."""
        self.active = False
        self.acks = 0

    def open(self, packet: bytes) -> bytes | None:
        """The next packet's frames; None leaves it to aioquic. If used, ``took`` must follow."""
        if not self.active or packet[0] & LONG_HEADER:
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
            space = self._quic._spaces[ONE_RTT]
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
        receive = quic._cryptos[ONE_RTT].recv
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
            self._mask = Cipher(algorithms.AES(protection), modes.ECB()).encryptor().update
            self._phase = receive.key_phase << 2
            self._header = 1 + len(quic.host_cid)
        self._start = self._next = quic._spaces[ONE_RTT].largest_received_packet + 1
        self.active = True

    def acknowledgement(self, now: float) -> bytes:
        """A packet that acknowledges everything so far and asks for no answer."""
        self.leave(now)
        quic = self._quic
        space = quic._spaces[ONE_RTT]
        space.ack_at = None
        ranges = list(space.ack_queue)[-ACK_RANGES - 1 :]
        newest = ranges.pop()
        ack = b"\x02" + varint(newest.stop - 1) + b"\x00" + varint(len(ranges))
        ack += varint(newest.stop - 1 - newest.start)
        lowest = newest.start
        for older in reversed(ranges):
            ack += varint(lowest - older.stop - 1) + varint(older.stop - 1 - older.start)
            lowest = older.start
        number = quic._packet_number
        quic._packet_number += 1
        self.acks += 1
        pair = quic._cryptos[ONE_RTT]
        first = ACK_HEADER | pair.send.key_phase << 2
        short = (number & 0xFFFF).to_bytes(2, "big")
        return pair.encrypt_packet(b"%c%b%b" % (first, quic._peer_cid.cid, short), ack, number)
