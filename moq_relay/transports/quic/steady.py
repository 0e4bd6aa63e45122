"""aioquic's connection, except that it handles by itself what a viewer's consists of.

That is packets of nothing but stream data there and packets of nothing but an ACK back. All other
packets are left to aioquic, and of these the recovery, the congestion control, the pacing and the
limits. With engine.py and tap.py the only file that touches aioquic's private names;
`PRIVATE` at the end lists those that are touched here.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer, BufferReadError
from aioquic._crypto import AEAD, HeaderProtection
from aioquic.quic.connection import (
    NetworkAddress,
    QuicConnection,
    QuicConnectionState,
    QuicNetworkPath,
)
from aioquic.quic.crypto import CryptoContext, CryptoPair
from aioquic.quic.packet import (
    QuicFrameType,
    QuicPacketType,
    decode_packet_number,
    pull_ack_frame,
)
from aioquic.quic.packet_builder import QuicPacketBuilder, QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import (
    MAX_ACK_RANGES,
    QuicPacketNumberWindow,
    QuicPacketPacer,
    QuicPacketRecovery,
    QuicPacketSpace,
)
from aioquic.quic.stream import QuicStream
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from moq_relay.transports.quic.named import NamedConnection
from moq_relay.transports.quic.slices import SendLedger
from moq_relay.wire.varint import encode

_ONE_RTT = tls.Epoch.ONE_RTT
_SHORT = QuicPacketType.ONE_RTT
_FIRST_BYTE = 0x41
"""Short header, packet number of two bytes, as aioquic writes it (RFC 9000 section 17.3)."""
_NUMBER_BYTES = 2
_TAG_BYTES = 16
_SAMPLE_BYTES = 16
_SAMPLE = slice(4 - _NUMBER_BYTES, 4 - _NUMBER_BYTES + _SAMPLE_BYTES)
"""Where header protection samples what follows the packet number (RFC 9001 section 5.4.2)."""
_LEAST_HEAD = 4
"""Bytes of the smallest STREAM frame: type, stream id, length."""
_LEAST_FRAME = 20
"""Bytes of a packet below which no further frame is begun: the head of one takes up to 19."""

_ACK_BYTES = 80
"""Largest datagram that is tried as an ACK: three ranges and more."""

_Delivery = tuple[Callable[..., None], Any]


class SteadyConnection(NamedConnection):
    """What `Engine` is made of: `steady` says when `write_streams` may stand in for aioquic."""

    takes_over = True
    """False leaves all packets to aioquic, so that tests can compare."""

    ledger: SendLedger
    space: QuicPacketSpace
    """Of 1-RTT packets, once there is a network path; `keys` too."""
    keys: CryptoPair
    prepare: Callable[[tls.Context], None] | None = None
    """Called with the handshake before it begins."""

    @property
    def steady(self) -> bool:
        """Whether only stream data can be waiting, and path and keys are there to stay."""
        if self.ledger.control or not (self._handshake_confirmed and self.takes_over):
            return False
        if self._datagrams_pending or self._ping_pending or self._probe_pending:
            return False
        if self._retire_connection_ids or self.space.ack_at is not None or self._close_pending:
            return False
        keys, traced = self.keys, self._quic_logger is not None
        protection: Any = keys.send.hp
        if keys._update_key_requested or protection._is_chacha20 or traced:
            return False
        if self._state is not QuicConnectionState.CONNECTED:
            return False
        return all(path.is_validated and not path.remote_challenges for path in self._network_paths)

    def write_streams(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        """Packets of STREAM frames, as many as pacer, window and limits allow while `steady`.

        The streams take turns as aioquic's do: who was served goes behind the others.
        """
        loss, space, pacer = self._loss, self.space, self._loss._pacer
        send: Any = self.keys.send
        seal, iv = send.aead._aead.encrypt, send.aead._iv
        cid = self._peer_cid.cid
        first = _FIRST_BYTE | self._spin_bit << 5 | send.key_phase << 2
        # As a number, so that one operation sets the packet number and one the protection.
        start = int.from_bytes(bytes((first,)) + cid + bytes(_NUMBER_BYTES), "big")
        header_bytes = 1 + len(cid) + _NUMBER_BYTES
        overhead = header_bytes + _TAG_BYTES
        room = loss.congestion_window - loss.bytes_in_flight
        number = self._packet_number
        headers: list[int] = []
        bodies: list[bytes] = []
        served: dict[QuicStream, None] = {}
        ready = [
            stream
            for stream in self._streams_queue
            if not (stream.sender.buffer_is_empty or stream.is_blocked)
        ]
        self._pacing_at = None
        while ready:
            self._pacing_at = pacer.next_send_time(now=now)
            fits = min(self._max_datagram_size, room) - overhead
            if self._pacing_at is not None or fits < _LEAST_HEAD:
                break
            plain, handlers, ready = self._fill(ready, fits, served)
            if not handlers:
                break
            header = start | number & 0xFFFF
            nonce = (iv ^ number).to_bytes(12, "big")
            body = seal(nonce, plain, header.to_bytes(header_bytes, "big"))
            headers.append(header)
            bodies.append(body)
            size = header_bytes + len(body)
            loss.on_packet_sent(
                packet=QuicSentPacket(
                    _ONE_RTT, True, True, False, number, _SHORT, now, size, handlers
                ),
                space=space,
            )
            pacer.update_after_send(now=now)
            room -= size
            number += 1
        self.ledger.pending = bool(ready)
        if not bodies:
            return []
        self._packet_number = number
        if not self._ack_eliciting_sent_since_receipt:
            self._ack_eliciting_sent_since_receipt = True
            self._close_at = now + self._idle_timeout()
        if len(self._streams_queue) > len(served):
            waiting = [stream for stream in self._streams_queue if stream not in served]
            self._streams_queue = [*waiting, *served]
        else:
            self._streams_queue = list(served)
        return self._protected(headers, bodies, header_bytes)

    def _fill(
        self, ready: list[QuicStream], room: int, served: dict[QuicStream, None]
    ) -> tuple[bytes, list[_Delivery], list[QuicStream]]:
        """Payload and delivery handlers of one packet, and who is ready for the next."""
        parts: list[bytes] = []
        handlers: list[_Delivery] = []
        again: list[QuicStream] = []
        turn = 0
        for stream in ready:
            if room < _LEAST_FRAME and handlers:
                break
            turn += 1
            sender: Any = stream.sender
            offset, highest = sender.next_offset, sender.highest_offset
            assert stream.stream_id is not None
            head = encode(stream.stream_id) + (encode(offset) if offset else b"")
            frame = sender.get_frame(
                room - len(head) - 3,
                min(
                    highest + self._remote_max_data - self._remote_max_data_used,
                    stream.max_stream_data_remote,
                ),
            )
            if frame is None:
                again.append(stream)
                continue
            size = len(frame.data)
            kind = 0x0A | (0x04 if offset else 0) | frame.fin
            parts += (bytes((kind,)), head, (0x4000 | size).to_bytes(2, "big"), frame.data)
            room -= len(head) + 3 + size
            self._remote_max_data_used += sender.highest_offset - highest
            handlers.append((sender.on_data_delivery, (offset, offset + size, frame.fin)))
            served.pop(stream, None)
            served[stream] = None
            if not sender.buffer_is_empty:
                again.append(stream)
        return b"".join(parts), handlers, ready[turn:] + again

    def _protected(
        self, headers: list[int], bodies: list[bytes], header_bytes: int
    ) -> list[tuple[bytes, NetworkAddress]]:
        """Datagrams of sealed packets, once their headers are masked (RFC 9001 section 5.4)."""
        protection: Any = self.keys.send.hp
        path = self._network_paths[0]
        # One call masks all: its cost is in the call and not in the blocks.
        masks = protection._encryptor.update(b"".join([body[_SAMPLE] for body in bodies]))
        top = 8 * (header_bytes - 1)
        datagrams: list[tuple[bytes, NetworkAddress]] = []
        for at, (header, body) in enumerate(zip(headers, bodies, strict=True)):
            mask = int.from_bytes(masks[16 * at : 16 * at + 3], "big")
            masked = header ^ ((mask >> 16 & 0x1F) << top | mask & 0xFFFF)
            packet = masked.to_bytes(header_bytes, "big") + body
            path.bytes_sent += len(packet)
            datagrams.append((packet, path.addr))
        return datagrams

    def receive_datagram(self, data: bytes, addr: NetworkAddress, now: float) -> None:
        """Take in what came from ``addr``."""
        if len(data) <= _ACK_BYTES and self.takes_over and self._knows(data, addr):
            packet = self._unseal(data)
            if packet is not None and self._read_ack(*packet, now):
                return
        super().receive_datagram(data, addr, now)

    def acknowledged(self, ranges: RangeSet, delay: float, now: float) -> None:
        """An ACK of 1-RTT packets came by itself."""
        self._loss.on_ack_received(ack_rangeset=ranges, ack_delay=delay, now=now, space=self.space)

    def _knows(self, data: bytes, addr: NetworkAddress) -> bool:
        """Whether it is a 1-RTT packet like those before it: same address, same connection id."""
        if not self._handshake_confirmed or self._close_pending or self._quic_logger is not None:
            return False
        path, cid, protection = self._network_paths[0], self.host_cid, self.keys.recv.hp
        return (
            data[0] & 0xC0 == 0x40
            and data[1 : 1 + len(cid)] == cid
            and path.addr == addr
            and path.is_validated
            and self._state is QuicConnectionState.CONNECTED
            and self.space.largest_received_packet >= 0
            and self._loss.peer_completed_address_validation
            and protection is not None
            and not protection._is_chacha20
        )

    def _unseal(self, data: bytes) -> tuple[int, bool, bytes] | None:
        """Packet number, spin bit and payload of a packet that is new and under the present keys.

        Nothing is changed, so that aioquic may try the rest.
        """
        recv: Any = self.keys.recv
        start = 1 + len(self.host_cid)
        sample = data[start + 4 : start + 4 + _SAMPLE_BYTES]
        if len(sample) < _SAMPLE_BYTES:
            return None
        mask = recv.hp._encryptor.update(sample)
        first = data[0] ^ mask[0] & 0x1F
        size = (first & 0x03) + 1
        sealed = start + size
        truncated = int.from_bytes(data[start:sealed], "big")
        truncated ^= int.from_bytes(mask[1 : 1 + size], "big")
        number = decode_packet_number(truncated, 8 * size, self.space.expected_packet_number)
        reserved, phase = first & 0x18, first >> 2 & 1
        if reserved or phase != recv.key_phase or number in self.space.received_packets:
            return None
        header = bytes((first,)) + data[1:start] + truncated.to_bytes(size, "big")
        nonce = (recv.aead._iv ^ number).to_bytes(12, "big")
        try:
            payload = recv.aead._aead.decrypt(nonce, data[sealed:], header)
        except InvalidTag:
            return None
        return number, bool(first & 0x20), payload

    def _read_ack(self, number: int, spin: bool, payload: bytes, now: float) -> bool:
        """Do what a lone ACK asks for; False, and nothing done, when there is more to it."""
        buffer = Buffer(data=payload)
        try:
            kind = buffer.pull_uint_var()
            if kind != QuicFrameType.ACK:
                return False
            ranges, delay = pull_ack_frame(buffer)
        except (BufferReadError, ValueError):
            return False
        if any(payload[buffer.tell() :]):
            return False  # more than PADDING
        space = self.space
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        if number > self._spin_highest_pn:
            self._spin_bit = spin != self._is_client
            self._spin_highest_pn = number
        self.acknowledged(ranges, (delay << self._remote_ack_delay_exponent) / 1e6, now)
        self._close_at = now + self._idle_timeout()
        self._ack_eliciting_sent_since_receipt = False
        if number > space.largest_received_packet:
            space.largest_received_packet = number
            space.largest_received_time = now
        space.ack_queue.add(number)
        space.received_packets.add(number)
        if len(space.ack_queue) > MAX_ACK_RANGES:
            space.ack_queue.shift()
        return True

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.space, self.keys = self._spaces[_ONE_RTT], self._cryptos[_ONE_RTT]
        if self.prepare is not None:
            self.prepare(self.tls)

    def _write_application(
        self, builder: QuicPacketBuilder, network_path: QuicNetworkPath, now: float
    ) -> None:
        # It returns when nothing is left to write, or pacing says to wait. What does not fit into
        # the congestion window raises: there is more to come then, too.
        self.ledger.control = True
        super()._write_application(builder, network_path, now)
        self.ledger.control = self._pacing_at is not None


PRIVATE: dict[type, dict[str, type | None]] = {
    QuicConnection: {
        "_ack_eliciting_sent_since_receipt": bool,
        "_close_at": None,
        "_close_pending": bool,
        "_cryptos": dict,
        "_datagrams_pending": deque,
        "_handshake_confirmed": bool,
        "host_cid": bytes,
        "_idle_timeout": type(lambda: None),
        "_initialize": type(lambda: None),
        "_is_client": bool,
        "_loss": QuicPacketRecovery,
        "_max_datagram_size": int,
        "_network_paths": list,
        "_pacing_at": None,
        "_packet_number": int,
        "_peer_cid": object,
        "_ping_pending": list,
        "_probe_pending": bool,
        "_quic_logger": None,
        "_remote_ack_delay_exponent": int,
        "_remote_max_data": int,
        "_remote_max_data_used": int,
        "_retire_connection_ids": list,
        "_spaces": dict,
        "_spin_bit": bool,
        "_spin_highest_pn": int,
        "_state": QuicConnectionState,
        "_streams_queue": list,
        "_write_application": type(lambda: None),
    },
    QuicNetworkPath: {
        "addr": str,
        "bytes_sent": int,
        "is_validated": bool,
        "remote_challenges": deque,
    },
    QuicPacketRecovery: {
        "_pacer": QuicPacketPacer,
        "bytes_in_flight": int,
        "congestion_window": int,
        "peer_completed_address_validation": bool,
    },
    QuicPacketSpace: {
        "ack_at": None,
        "ack_queue": RangeSet,
        "expected_packet_number": int,
        "largest_received_packet": int,
        "largest_received_time": None,
        "received_packets": QuicPacketNumberWindow,
    },
    CryptoPair: {"_update_key_requested": bool, "recv": object, "send": object},
    CryptoContext: {"aead": AEAD, "hp": HeaderProtection, "key_phase": int},
    AEAD: {"_aead": AESGCM, "_iv": int},
    HeaderProtection: {"_encryptor": CipherContext, "_is_chacha20": bool},
    QuicStream: {"is_blocked": bool, "max_stream_data_remote": int, "sender": object},
}
"""Every name used above that aioquic does not document, as engine.py lists its own."""
