"""aioquic's connection, except that it writes packets of nothing but stream data by itself.

That is what a viewer is sent nearly always, and what costs most. Everything else is left to
aioquic: packets that hold anything but stream data, and of all packets the recovery, the
congestion control, the pacing and the limits. With engine.py the only file that touches aioquic's
private names; `PRIVATE` at the end lists those that are touched here.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from aioquic import tls
from aioquic._crypto import AEAD, HeaderProtection
from aioquic.quic.connection import (
    NetworkAddress,
    QuicConnection,
    QuicConnectionState,
    QuicNetworkPath,
)
from aioquic.quic.crypto import CryptoContext, CryptoPair
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder, QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketRecovery, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography.hazmat.primitives.ciphers import CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from moq_relay.transports.quic.slices import SendLedger
from moq_relay.wire.varint import encode

_ONE_RTT = tls.Epoch.ONE_RTT
_SHORT = QuicPacketType.ONE_RTT
_FIRST_BYTE = 0x41
"""Short header, packet number of two bytes, as aioquic writes it (RFC 9000 section 17.3)."""
_NUMBER_BYTES = 2
_TAG_BYTES = 16
_SAMPLE = slice(4 - _NUMBER_BYTES, 4 - _NUMBER_BYTES + 16)
"""Where header protection samples what follows the packet number (RFC 9001 section 5.4.2)."""
_LEAST_FRAME = 20
"""Bytes of a packet below which no further frame is begun: the head of one takes up to 19."""

_Delivery = tuple[Callable[..., None], Any]


class SteadyConnection(QuicConnection):
    """What `Engine` is made of: `steady` says when `write_streams` may stand in for aioquic."""

    writes_streams = True
    """False leaves all packets to aioquic, so that tests can compare."""

    ledger: SendLedger
    space: QuicPacketSpace
    """Of 1-RTT packets, once there is a network path; `keys` too."""
    keys: CryptoPair

    @property
    def steady(self) -> bool:
        """Whether only stream data can be waiting, and path and keys are there to stay."""
        if self.ledger.control or not (self._handshake_confirmed and self.writes_streams):
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
            if self._pacing_at is not None:
                break
            fits = min(self._max_datagram_size, room) - overhead
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

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.space, self.keys = self._spaces[_ONE_RTT], self._cryptos[_ONE_RTT]

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
        "_idle_timeout": type(lambda: None),
        "_initialize": type(lambda: None),
        "_loss": QuicPacketRecovery,
        "_max_datagram_size": int,
        "_network_paths": list,
        "_pacing_at": None,
        "_packet_number": int,
        "_peer_cid": object,
        "_ping_pending": list,
        "_probe_pending": bool,
        "_quic_logger": None,
        "_remote_max_data": int,
        "_remote_max_data_used": int,
        "_retire_connection_ids": list,
        "_spaces": dict,
        "_spin_bit": bool,
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
    },
    QuicPacketSpace: {"ack_at": None},
    CryptoPair: {"_update_key_requested": bool, "send": object},
    CryptoContext: {"aead": AEAD, "hp": HeaderProtection, "key_phase": int},
    AEAD: {"_aead": AESGCM, "_iv": int},
    HeaderProtection: {"_encryptor": CipherContext, "_is_chacha20": bool},
    QuicStream: {"is_blocked": bool, "max_stream_data_remote": int, "sender": object},
}
"""Every name used above that aioquic does not document, as engine.py lists its own."""
