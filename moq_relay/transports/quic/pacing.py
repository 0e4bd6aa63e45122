"""aioquic's pacer, whose bursts do not shrink to nothing where the way is fast."""

from aioquic.quic.recovery import QuicPacketPacer

BURST = 16
"""Packets that may leave at once where the window is large enough: as many as aioquic means."""


class Pacer(QuicPacketPacer):
    """Lets bursts leave whole, of a quarter of the window and at most `BURST` packets.

    aioquic counts a packet as a microsecond at least, and a burst as the time that it takes at the
    rate. Where the window is large for the round trip the second becomes less than the first: each
    packet of a frame then waits for a timer, which comes a thousand times later than it was meant.
    """

    def __init__(self, *, max_datagram_size: int) -> None:
        """Pace packets of ``max_datagram_size`` bytes."""
        super().__init__(max_datagram_size=max_datagram_size)
        self._packet_bytes = max_datagram_size

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """As aioquic's, and the burst has room for as many packets as it has bytes for."""
        super().update_rate(congestion_window, smoothed_rtt)
        assert self.packet_time is not None
        packets = min(congestion_window // 4 // self._packet_bytes, BURST)
        self.bucket_max = max(self.bucket_max, packets * self.packet_time)
