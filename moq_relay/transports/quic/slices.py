"""The sending half of a stream: slices of buffers that are shared with others, never copies.

A group of frames is encoded once and sent to many viewers. Each viewer's stream keeps references
into that one ``bytearray`` and cuts its frames from it at the moment a packet is made.
"""

from bisect import bisect_right

from aioquic.quic.packet import QuicErrorCode, QuicResetStreamFrame, QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.rangeset import RangeSet

from moq_relay.sessions.transport import UNI, Buffer


class SendLedger:
    """What all sending streams of one connection owe, kept in step by every `SliceSender`."""

    __slots__ = ("control", "done", "finished", "pending", "senders", "unacknowledged", "unsent")

    def __init__(self) -> None:
        self.unsent = 0
        """Bytes handed over that were never in a packet."""
        self.unacknowledged = 0
        """Bytes handed over that the peer has not acknowledged; those of a reset stream leave."""
        self.senders = 0
        """Streams that have not finished sending."""
        self.finished: list[int] = []
        """Streams that finished sending since a session last took note."""
        self.done: list[int] = []
        """Those of them that nobody has anything more to say on, until the engine drops them."""
        self.pending = False
        """Stream data waits to be put in packets, perhaps."""
        self.control = True
        """Something else waits, perhaps: only the engine's own writer knows."""


class SliceSender:
    """What the engine's own stream sender does, without owning a byte.

    The engine calls it by its own sender's names and rules: retransmission, partial
    acknowledgement, FIN and reset are the same, frame for frame.
    """

    __slots__ = (
        "_acked",
        "_acked_fin",
        "_buffers",
        "_fin",
        "_ledger",
        "_lost",
        "_offsets",
        "_pending_eof",
        "_reset_code",
        "_shifts",
        "_start",
        "_stop",
        "_stream_id",
        "buffer_is_empty",
        "highest_offset",
        "is_finished",
        "reset_pending",
    )

    def __init__(self, stream_id: int, ledger: SendLedger) -> None:
        self.buffer_is_empty = True
        self.highest_offset = 0
        self.is_finished = False
        self.reset_pending = False

        self._ledger = ledger
        self._stream_id = stream_id
        self._acked: RangeSet | None = None
        """Acknowledged out of order, all above ``_start``; None for nothing, as nearly always."""
        self._acked_fin = False
        self._lost: RangeSet | None = None
        """Sent and lost, all below ``highest_offset``; None for nothing, as nearly always."""
        self._pending_eof = False
        self._reset_code: int | None = None
        self._start = 0
        self._stop = 0
        self._fin: int | None = None

        # Segment i holds the stream's bytes from _offsets[i] on; the byte at stream offset n is
        # at index n - _shifts[i] of _buffers[i].
        self._offsets: list[int] = []
        self._buffers: list[Buffer] = []
        self._shifts: list[int] = []

        ledger.senders += 1

    @property
    def is_open(self) -> bool:
        """Whether more may be written."""
        return self._fin is None and self._reset_code is None

    @property
    def next_offset(self) -> int:
        """Offset of the frame that ``get_frame`` would return."""
        return self.highest_offset if self._lost is None else self._lost[0].start

    def write(self, data: Buffer, end_stream: bool = False) -> None:
        """Queue all of ``data``, as the engine's own callers do."""
        self.write_slice(data, 0, len(data), fin=end_stream)

    def write_slice(self, data: Buffer, start: int, stop: int, *, fin: bool) -> None:
        """Queue ``data[start:stop]``; of a ``bytearray`` only the reference is kept.

        Raises:
            RuntimeError: after FIN or a reset; ask ``is_open``.
        """
        if self._fin is not None:
            raise RuntimeError("Cannot send data after FIN")
        if self._reset_code is not None:
            raise RuntimeError("Cannot send data after the stream was reset")
        size = stop - start
        offset = self._stop
        if size > 0:
            shift = offset - start
            if not self._buffers or self._buffers[-1] is not data or self._shifts[-1] != shift:
                self._offsets.append(offset)
                self._buffers.append(data)
                self._shifts.append(shift)
            self._stop = offset + size
            self._ledger.unsent += size
            self._ledger.unacknowledged += size
            self.buffer_is_empty = False
        if fin:
            self._fin = self._stop
            self._pending_eof = True
            self.buffer_is_empty = False
        self._ledger.pending = True

    def get_frame(self, max_size: int, max_offset: int | None = None) -> QuicStreamFrame | None:
        """The next frame of at most ``max_size`` bytes that ends by ``max_offset``, if any."""
        if max_size < 0:
            return None
        lost, highest = self._lost, self.highest_offset
        start, end = highest, self._stop
        if lost is not None:
            first = lost[0]
            start = first.start
            if first.stop < highest:
                end = first.stop
        elif start == end:
            self.buffer_is_empty = True
            if not self._pending_eof:
                return None
            self._pending_eof = False
            assert self._fin is not None
            return QuicStreamFrame(fin=True, offset=self._fin)

        stop = min(end, start + max_size)
        if max_offset is not None and stop > max_offset:
            stop = max_offset
        if stop <= start:
            return None

        frame = QuicStreamFrame(data=self._cut(start, stop), offset=start)
        if lost is not None:
            lost.subtract(start, stop)
            if not len(lost):
                lost = self._lost = None
        if stop > highest:
            self._ledger.unsent -= stop - highest
            self.highest_offset = highest = stop
        if self._fin == stop:
            frame.fin = True
            self._pending_eof = False
        if lost is None and highest == self._stop and not self._pending_eof:
            self.buffer_is_empty = True
        return frame

    def on_data_delivery(
        self,
        delivery: QuicDeliveryState,
        start: int,
        stop: int,
        fin: bool,
    ) -> None:
        """A frame of ours was acknowledged or lost."""
        if self._reset_code is not None:
            return
        if delivery != QuicDeliveryState.ACKED:
            if stop > start:
                self.buffer_is_empty = False
                if self._lost is None:
                    self._lost = RangeSet()
                self._lost.add(start, stop)
            if fin:
                self.buffer_is_empty = False
                self._pending_eof = True
            self._ledger.pending = True
            return

        if stop > start:
            self._ledger.unacknowledged -= stop - start
            if start == self._start and self._acked is None:
                self._release(stop)
            else:
                self._acknowledge(start, stop)
        if fin:
            self._acked_fin = True
        if self._start == self._fin and self._acked_fin:
            self._finish()

    def reset(self, error_code: int) -> None:
        """Give up: nothing is sent or sent again, and every reference is let go."""
        if self._reset_code is not None or self.is_finished:
            return
        acked = sum(r.stop - r.start for r in (() if self._acked is None else self._acked))
        self._ledger.unsent -= self._stop - self.highest_offset
        self._ledger.unacknowledged -= self._stop - self._start - acked
        self._ledger.control = True
        self._reset_code = error_code
        self.reset_pending = True
        self.buffer_is_empty = True
        self._forget()

    def get_reset_frame(self) -> QuicResetStreamFrame:
        """The RESET_STREAM frame; called once per sending of it."""
        self.reset_pending = False
        code = QuicErrorCode.NO_ERROR if self._reset_code is None else self._reset_code
        return QuicResetStreamFrame(
            error_code=code, final_size=self.highest_offset, stream_id=self._stream_id
        )

    def on_reset_delivery(self, delivery: QuicDeliveryState) -> None:
        """The RESET_STREAM frame was acknowledged or lost."""
        if delivery == QuicDeliveryState.ACKED:
            self._finish()
        else:
            self.reset_pending = True
            self._ledger.control = True

    def _finish(self) -> None:
        if not self.is_finished:
            self.is_finished = True
            self._ledger.senders -= 1
            self._ledger.finished.append(self._stream_id)
            if self._stream_id & UNI:
                self._ledger.done.append(self._stream_id)
            else:
                # The engine's writer drops the stream once both halves end, and grants another.
                self._ledger.control = True
            self._forget()

    def _acknowledge(self, start: int, stop: int) -> None:
        """Take an acknowledgement out of order, or one after such."""
        acked = self._acked
        if acked is None:
            acked = self._acked = RangeSet()
        acked.add(start, stop)
        first = acked[0]
        if first.start == self._start:
            acked.shift()
            if not len(acked):
                self._acked = None
            self._release(first.stop)

    def _cut(self, start: int, stop: int) -> bytes:
        offsets = self._offsets
        i = bisect_right(offsets, start) - 1
        end = offsets[i + 1] if i + 1 < len(offsets) else self._stop
        shift = self._shifts[i]
        if stop <= end:
            # The view dies with the statement, so that the shared buffer can still grow.
            return bytes(memoryview(self._buffers[i])[start - shift : stop - shift])
        parts = []
        while start < stop:
            end = min(stop, offsets[i + 1] if i + 1 < len(offsets) else self._stop)
            shift = self._shifts[i]
            parts.append(memoryview(self._buffers[i])[start - shift : end - shift])
            start = end
            i += 1
        try:
            return b"".join(parts)
        finally:
            for part in parts:
                part.release()

    def _release(self, upto: int) -> None:
        """Let go of the segments that lie wholly below ``upto``."""
        self._start = upto
        done = len(self._offsets)
        if upto < self._stop:
            done = bisect_right(self._offsets, upto) - 1
        if done:
            del self._offsets[:done], self._buffers[:done], self._shifts[:done]

    def _forget(self) -> None:
        self._offsets.clear()
        self._buffers.clear()
        self._shifts.clear()
