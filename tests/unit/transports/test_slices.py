"""The sending half of a stream, held against aioquic's own, frame for frame."""

import sys

import hypothesis.strategies as st
import pytest
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStreamSender
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from moq_relay.transports.quic.slices import SendLedger, SliceSender

ACKED, LOST = QuicDeliveryState.ACKED, QuicDeliveryState.LOST


class Senders(RuleBasedStateMachine):
    """Two senders that are told the same must say the same."""

    def __init__(self):
        super().__init__()
        self.ledger = SendLedger()
        self.ours = SliceSender(3, self.ledger)
        self.theirs = QuicStreamSender(3, writable=True)
        self.shared = bytearray()
        self.flying = []
        self.resets = 0
        self.written = 0
        self.acked = set()
        self.ended = self.gone = False

    @precondition(lambda self: not self.ended and not self.gone)
    @rule(size=st.integers(0, 60), fin=st.booleans(), shared=st.booleans(), skip=st.integers(0, 3))
    def write(self, size, fin, shared, skip):
        fresh = bytes((self.written + n) % 251 for n in range(size))
        if shared:
            self.shared += bytes(skip)
            start = len(self.shared)
            self.shared += fresh
            self.ours.write_slice(self.shared, start, len(self.shared), fin=fin)
        else:
            self.ours.write_slice(b"__" + fresh + b"__", 2, 2 + size, fin=fin)
        self.theirs.write(fresh, end_stream=fin)
        self.written += size
        self.ended = fin

    @precondition(lambda self: not self.gone)
    @rule(size=st.integers(-2, 50), room=st.none() | st.integers(0, 200))
    def packetise(self, size, room):
        frame = self.ours.get_frame(size, room)

        assert frame == self.theirs.get_frame(size, room)
        if frame is not None:
            self.flying.append((frame.offset, frame.offset + len(frame.data), frame.fin))

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 1000), verdict=st.sampled_from([ACKED, LOST]))
    def deliver(self, which, verdict):
        start, stop, fin = self.flying.pop(which % len(self.flying))
        self.ours.on_data_delivery(verdict, start, stop, fin)
        self.theirs.on_data_delivery(verdict, start, stop, fin)
        if verdict is ACKED and not self.gone:
            self.acked |= set(range(start, stop))

    @rule(code=st.integers(0, 2**62))
    def reset(self, code):
        self.gone = self.gone or not self.theirs.is_finished
        self.ours.reset(code)
        self.theirs.reset(code)

    @precondition(lambda self: self.theirs.reset_pending)
    @rule()
    def packetise_reset(self):
        assert self.ours.get_reset_frame() == self.theirs.get_reset_frame()
        self.resets += 1

    @precondition(lambda self: self.resets)
    @rule(verdict=st.sampled_from([ACKED, LOST]))
    def deliver_reset(self, verdict):
        self.resets -= 1
        self.ours.on_reset_delivery(verdict)
        self.theirs.on_reset_delivery(verdict)

    @invariant()
    def they_agree(self):
        for name in ("is_finished", "reset_pending", "highest_offset"):
            assert getattr(self.ours, name) == getattr(self.theirs, name), name
        if not self.gone:
            assert self.ours.next_offset == self.theirs.next_offset
            # Ours may know one call earlier that there is nothing left.
            assert self.ours.buffer_is_empty >= self.theirs.buffer_is_empty

    @invariant()
    def the_ledger_is_exact(self):
        if self.gone:
            assert (self.ledger.unsent, self.ledger.unacknowledged) == (0, 0)
        else:
            assert self.ledger.unsent == self.written - self.ours.highest_offset
            assert self.ledger.unacknowledged == self.written - len(self.acked)
        assert self.ledger.senders == (not self.ours.is_finished)

    @invariant()
    def the_shared_buffer_can_grow(self):
        self.shared += b"!"


TestSenders = Senders.TestCase
TestSenders.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def sender():
    return SliceSender(0, SendLedger())


def test_consecutive_slices_of_one_buffer_are_one_segment():
    ours, shared = sender(), bytearray()

    for _ in range(100):
        start = len(shared)
        shared += b"0123456789"
        ours.write_slice(shared, start, len(shared), fin=False)

    assert len(ours._buffers) == 1
    assert ours.get_frame(1000).data == bytes(shared)


def test_a_frame_may_span_buffers():
    ours = sender()
    ours.write(b"head")
    ours.write_slice(bytearray(b"..body"), 2, 6, fin=False)
    ours.write(b"tail", end_stream=True)

    assert ours.get_frame(10).data == b"headbodyta"
    last = ours.get_frame(10)
    assert (last.data, last.fin, last.offset) == (b"il", True, 10)


def test_a_buffer_is_let_go_when_its_last_byte_is_acknowledged():
    ours, shared = sender(), bytearray(b"x" * 100)
    before = sys.getrefcount(shared)
    ours.write_slice(shared, 0, 100, fin=False)
    ours.write(b"more")
    ours.get_frame(50)
    ours.get_frame(50)
    assert sys.getrefcount(shared) == before + 1

    ours.on_data_delivery(ACKED, 50, 100, False)
    assert sys.getrefcount(shared) == before + 1
    ours.on_data_delivery(ACKED, 0, 50, False)

    assert sys.getrefcount(shared) == before


def test_a_reset_lets_everything_go_and_only_its_acknowledgement_finishes():
    ledger = SendLedger()
    ours, shared = SliceSender(0, ledger), bytearray(b"x" * 100)
    before = sys.getrefcount(shared)
    ours.write_slice(shared, 0, 100, fin=True)
    ours.get_frame(40)

    ours.reset(7)

    assert sys.getrefcount(shared) == before
    assert (ledger.unsent, ledger.unacknowledged, ledger.senders) == (0, 0, 1)
    assert ours.get_reset_frame().final_size == 40
    ours.on_reset_delivery(ACKED)
    assert ours.is_finished
    assert ledger.senders == 0


def test_nothing_may_be_written_after_the_end():
    ours = sender()
    ours.write(b"", end_stream=True)

    assert not ours.is_open
    with pytest.raises(RuntimeError, match="after FIN"):
        ours.write(b"x")
