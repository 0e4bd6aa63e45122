"""aioquic's connection, bent to the relay's needs.

With steady.py, tap.py and proof.py the only file that touches its private names. `PRIVATE` at the
end lists every such name; a test holds it against the installed release.
"""

from collections import deque
from typing import Any

from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    Limit,
    NetworkAddress,
    QuicConnection,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketRecovery, QuicPacketSpace
from aioquic.quic.stream import QuicStream, QuicStreamReceiver, QuicStreamSender

from moq_relay.sessions.transport import UNI, Buffer
from moq_relay.transports.quic.pacing import Pacer
from moq_relay.transports.quic.slices import SendLedger, SliceSender
from moq_relay.transports.quic.steady import SteadyConnection

DATAGRAM_QUEUE = 256
"""Datagrams that wait for the congestion window; the oldest makes way for the next."""

SILENCE_SECONDS = 1.0
"""Without a packet of the peer, after which its next one says that the way is back."""

_SHORT_HEADER = 1 + 2
"""First byte and packet number of a 1-RTT packet as aioquic writes it, without connection id."""
_AEAD_TAG = 16
_DATAGRAM_FRAME = 1 + 2
"""Type and length of a DATAGRAM frame of more than 63 bytes."""


class Engine(SteadyConnection):
    """One QUIC connection without I/O. Nothing of it raises because a stream has ended."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        *,
        streams: int,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
    ) -> None:
        """Make a connection that lets the peer have ``streams`` open at once, of either kind."""
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
        )
        self.ledger = SendLedger()
        self.credit_grew = False
        """The peer granted more streams; whoever acts on it clears it."""
        self.datagrams_dropped = 0
        self._had_backed_off = False
        self._queued_limit = 0
        for limit in (self._local_max_streams_bidi, self._local_max_streams_uni):
            limit.value = limit.sent = streams
        self._loss._pacer = Pacer(max_datagram_size=self._max_datagram_size)
        self._retransmit = self._loss._on_packets_lost
        self._loss._on_packets_lost = self._note_loss  # type: ignore[method-assign]

    # State.

    @property
    def verdict(self) -> ConnectionTerminated | None:
        """Why the connection ends, from the moment that it does; aioquic's event comes later."""
        return self._close_event

    @property
    def has_last_words(self) -> bool:
        """Whether a close is decided and not yet sent."""
        return self._close_pending

    @property
    def is_confirmed(self) -> bool:
        """Whether the handshake is over for both sides."""
        return self._handshake_confirmed

    @property
    def is_terminated(self) -> bool:
        """Whether nothing is left to do, not even to be silent."""
        return self._state is QuicConnectionState.TERMINATED

    @property
    def understood_nothing(self) -> bool:
        """Whether not one packet of the peer could be opened yet."""
        return self._close_event is None and not any(
            space.largest_received_packet >= 0 for space in self._spaces.values()
        )

    @property
    def address(self) -> NetworkAddress | None:
        """Where the peer is now."""
        return self.get_peer_address()

    @property
    def rtt_seconds(self) -> float | None:
        """Smoothed round trip, None before the first sample."""
        return self._loss._rtt_smoothed if self._loss._rtt_initialized else None

    @property
    def latest_rtt_seconds(self) -> float | None:
        """Last sample of the round trip, less what the peer says it waited; None before one."""
        return self._loss._rtt_latest if self._loss._rtt_initialized else None

    @property
    def stream_count(self) -> int:
        """Streams that the connection still keeps state for."""
        return len(self._streams)

    @property
    def datagram_limit(self) -> int:
        """Largest DATAGRAM payload that fits in a packet and that the peer takes; 0: none."""
        peer = self._remote_max_datagram_frame_size
        if not peer:
            return 0
        ours = self._max_datagram_size - _SHORT_HEADER - len(self._peer_cid.cid) - _AEAD_TAG
        return max(0, min(ours, peer) - _DATAGRAM_FRAME)

    # Streams.

    def can_open(self, *, unidirectional: bool) -> bool:
        """Whether the peer's credit covers one more stream of ours."""
        if unidirectional:
            return self._local_next_stream_id_uni // 4 < self._remote_max_streams_uni
        return self._local_next_stream_id_bidi // 4 < self._remote_max_streams_bidi

    def open(self, *, unidirectional: bool) -> int:
        """A new stream; the peer learns of it with its first byte."""
        stream_id = self.get_next_available_stream_id(is_unidirectional=unidirectional)
        self._get_or_create_stream_for_send(stream_id)
        return stream_id

    def send_slice(self, stream_id: int, data: Buffer, start: int, stop: int, *, fin: bool) -> None:
        """Queue ``data[start:stop]``; dropped when the stream has ended or the peer stopped it."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        sender: Any = stream.sender
        if type(sender) is not SliceSender:
            sender = self._adopt(stream)
            if sender is None:
                return
        if sender.is_open:
            sender.write_slice(data, start, stop, fin=fin)

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        """Queue bytes for the engine's own callers, by the rules of `send_slice`."""
        if stream_id not in self._streams and self._is_next(stream_id):
            self._get_or_create_stream_for_send(stream_id)
        self.send_slice(stream_id, data, 0, len(data), fin=end_stream)

    def reset_stream(self, stream_id: int, error_code: int) -> None:
        """Give up sending; harmless when there is nothing to give up."""
        stream = self._streams.get(stream_id)
        if stream is not None and self._adopt(stream) is not None:
            stream.sender.reset(error_code)

    def stop_stream(self, stream_id: int, error_code: int) -> None:
        """Ask the peer to give up sending; harmless when it has finished."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            stream.receiver.stop(error_code)
            self.ledger.control = True

    def send_datagram_frame(self, data: bytes) -> None:
        """Queue one datagram, dropping the oldest of a full queue."""
        waiting: deque[bytes] = self._datagrams_pending
        if len(waiting) >= DATAGRAM_QUEUE:
            waiting.popleft()
            self.datagrams_dropped += 1
        waiting.append(data)
        self._queued_limit = self.datagram_limit

    # Packets.

    def wants_to_send(self, now: float) -> bool:
        """Whether `transmit` may have something; cheap, where asking aioquic is not."""
        if self.ledger.control or self.ledger.pending or not self._handshake_confirmed:
            return True
        if self._datagrams_pending or self._probe_pending or self._ping_pending:
            return True
        if self._close_pending:
            return True
        ack_at = self.space.ack_at
        return ack_at is not None and ack_at <= now

    def transmit(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        """The datagrams that may leave now."""
        if not self._network_paths:
            return []
        space, ledger = self.space, self.ledger
        if space.ack_at is not None:
            # It goes with what leaves anyway: later it would cost a timer and a datagram.
            space.ack_at = min(space.ack_at, now)
        if self.steady:
            return self.write_streams(now)
        ledger.control = False
        if self._datagrams_pending and self.datagram_limit < self._queued_limit:
            self._drop_oversized()
        datagrams = self.datagrams_to_send(now)
        ledger.pending = not all(stream.sender.buffer_is_empty for stream in self._streams_queue)
        return datagrams

    @property
    def deadline_neared(self) -> bool:
        """Whether what came since `get_timer` was asked may have made its answer earlier.

        Most of what comes makes it later, and no call is needed to have a timer run too early.
        """
        if self._had_backed_off or self.space.loss_time is not None:
            return True
        return not self._network_paths[0].is_validated

    def may_wait(self, now: float, until: float) -> bool:
        """Whether `get_timer` need not be asked before ``until``, by what was sent at ``now``."""
        if self._pacing_at is not None or self.ledger.control or self.deadline_neared:
            return False
        # No probe is due before the peer has had all the time that it may take for an ACK.
        return self._handshake_confirmed and until <= now + self._loss.max_ack_delay

    def get_timer(self) -> float | None:
        """When `handle_timer` is to be called."""
        self._had_backed_off = False
        return super().get_timer()

    def handle_timer(self, now: float) -> None:
        """Do what is due. Losses, probes and ACKs say for themselves that they need a packet."""
        if not all(path.is_validated for path in self._network_paths):
            self.ledger.control = True
        super().handle_timer(now)

    def acknowledged(self, ranges: RangeSet, delay: float, now: float) -> None:
        backed_off = self._loss._pto_count > 0
        super().acknowledged(ranges, delay, now)
        self._settle(backed_off=backed_off)

    # Hooks into aioquic.

    def _get_or_create_stream_for_send(self, stream_id: int) -> QuicStream:
        stream = super()._get_or_create_stream_for_send(stream_id)
        self._adopt(stream)
        if stream.is_blocked:
            self.ledger.control = True
        return stream

    def _unblock_streams(self, is_unidirectional: bool) -> None:
        super()._unblock_streams(is_unidirectional)
        self.credit_grew = True

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        """Grant the peer as much as was read, not as much as it sent.

        aioquic doubles the limit as it is used up, read or not: one byte at the end of each
        stream's window would make it set aside all of that window, without end.
        """
        limit, window = self._local_max_data, self._configuration.max_data
        used = limit.used
        if used + window // 2 > limit.value:
            held = sum(len(stream.receiver._buffer) for stream in self._streams.values())
            limit.value = max(limit.value, used - held + window)
        limit.used = 0
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = used

    def _payload_received(
        self, context: QuicReceiveContext, plain: bytes, crypto_frame_required: bool = False
    ) -> tuple[bool, bool]:
        backed_off = self._loss._pto_count > 0
        verdict = super()._payload_received(context, plain, crypto_frame_required)
        if verdict[0]:
            self.ledger.control = True
        if backed_off and self._was_silent(context.time):
            # The pauses between probes double while no ACK comes (RFC 9002 section 6.2.1), so that
            # the next might be as far off as the silence was long; but the way is whole again.
            self._loss._pto_count = 0
        self._settle(backed_off=backed_off)
        return verdict

    def _was_silent(self, now: float) -> bool:
        """Whether the packet that came ``now`` is the first for a while."""
        heard = self.space.largest_received_time if self._handshake_confirmed else None
        return heard is not None and now - heard >= SILENCE_SECONDS

    def _settle(self, *, backed_off: bool) -> None:
        """After an ACK, perhaps: forget our finished unidirectional streams.

        Unlike with the others, nothing is granted to the peer with it.
        """
        if backed_off:
            self._had_backed_off = True
        if self.ledger.done:
            for stream_id in self.ledger.done:
                stream = self._streams.pop(stream_id, None)
                if stream is not None:
                    self._streams_queue.remove(stream)
            self.ledger.done.clear()

    def _drop_oversized(self) -> None:
        """Drop what the peer's longer connection id left no room for: it would block the rest."""
        self._queued_limit = self.datagram_limit
        fitting = [data for data in self._datagrams_pending if len(data) <= self._queued_limit]
        self.datagrams_dropped += len(self._datagrams_pending) - len(fitting)
        self._datagrams_pending.clear()
        self._datagrams_pending.extend(fitting)

    def _note_loss(self, **loss: Any) -> None:
        if loss["packets"]:
            self.ledger.control = True
        self._retransmit(**loss)

    def _adopt(self, stream: QuicStream) -> SliceSender | None:
        """Put our sender in place of aioquic's, which has sent nothing yet."""
        sender: Any = stream.sender
        if type(sender) is SliceSender:
            return sender
        if sender.is_finished or sender._reset_error_code is not None:
            return None
        assert stream.stream_id is not None
        ours: Any = SliceSender(stream.stream_id, self.ledger)
        stream.sender = ours
        return ours  # type: ignore[no-any-return]

    def _is_next(self, stream_id: int) -> bool:
        unidirectional = bool(stream_id & UNI)
        return stream_id == self.get_next_available_stream_id(unidirectional)


def h3_streams(h3: H3Connection) -> int:
    """Stream objects that HTTP/3 still holds."""
    return len(h3._stream)


PRIVATE: dict[type, dict[str, type | None]] = {
    QuicConnection: {
        "_close_event": None,
        "_close_pending": bool,
        "_configuration": QuicConfiguration,
        "_datagrams_pending": deque,
        "_get_or_create_stream_for_send": type(lambda: None),
        "_handshake_confirmed": bool,
        "_local_max_data": Limit,
        "_local_max_streams_bidi": Limit,
        "_local_max_streams_uni": Limit,
        "_local_next_stream_id_bidi": int,
        "_local_next_stream_id_uni": int,
        "_loss": QuicPacketRecovery,
        "_max_datagram_size": int,
        "_network_paths": list,
        "_pacing_at": None,
        "_payload_received": type(lambda: None),
        "_peer_cid": object,
        "_ping_pending": list,
        "_probe_pending": bool,
        "_remote_max_datagram_frame_size": None,
        "_remote_max_streams_bidi": int,
        "_remote_max_streams_uni": int,
        "_spaces": dict,
        "_state": QuicConnectionState,
        "_streams": dict,
        "_streams_queue": list,
        "_unblock_streams": type(lambda: None),
        "_write_connection_limits": type(lambda: None),
    },
    QuicPacketRecovery: {
        "_on_packets_lost": type(lambda: None),
        "_pacer": QuicPacketPacer,
        "_pto_count": int,
        "_rtt_initialized": bool,
        "_rtt_latest": float,
        "_rtt_smoothed": float,
        "max_ack_delay": float,
    },
    QuicPacketSpace: {
        "ack_at": None,
        "largest_received_packet": int,
        "largest_received_time": None,
        "loss_time": None,
    },
    QuicStreamReceiver: {"_buffer": bytearray},
    QuicStreamSender: {"_reset_error_code": None, "is_finished": bool, "reset_pending": bool},
    QuicStream: {"receiver": object, "sender": object},
    H3Connection: {"_stream": dict},
}
"""Every private name used above, by owner, with what an instance has there after construction.

None: it is there, and None. A function: a method of that name.
"""
