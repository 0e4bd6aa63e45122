"""A pair of transports in one process: for tests of sessions, with a peer that can stall.

Events arrive in a later turn of the loop, one queue per direction, as a network without loss would
bring them. `hold` stops both directions; stream credit runs out and grows as on QUIC.
"""

# ruff: noqa: SLF001  # the two ends are one thing

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from moq_relay.sessions.transport import UNI, Buffer, Events, TransportStats

HIGH_WATER = 96 * 1024
LOW_WATER = HIGH_WATER // 2
MAX_DATAGRAM = 1150


def pair(*, streams: int = 100, max_datagram: int = MAX_DATAGRAM) -> "tuple[Memory, Memory]":
    """A client and a server; either may have ``streams`` of each kind open at once."""
    client = Memory(0, streams, max_datagram)
    server = Memory(1, streams, max_datagram)
    client.far, server.far = server, client
    return client, server


class Memory:
    """One end. Its ``events`` are set before the loop turns."""

    events: Events
    far: "Memory"

    def __init__(self, parity: int, streams: int, max_datagram: int) -> None:
        """Make the client (0) or the server (1)."""
        self.binding = "memory"
        self.peer = "memory:server" if parity == 0 else "memory:client"
        self.peer_names: tuple[str, ...] = ()
        self.rtt_seconds: float | None = None
        """What ``stats`` tells; nothing is measured here."""
        self.silent_seconds = 0.0
        """Whoever sets it says how long the peer was silent."""
        self.pings = 0
        self._max_datagram = max_datagram
        self._loop = asyncio.get_running_loop()
        self._next = {0: parity, UNI: parity | UNI}
        self._credit = {0: streams, UNI: streams}
        self._sending: set[int] = set()
        """Streams that we may still send on."""
        self._receiving: set[int] = set()
        """Streams that the peer may still send on."""
        self._ours: set[int] = set()
        """Streams that we opened and that are not over at both ends."""
        self._heard: set[int] = set()
        """Streams of the peer's that are known here."""
        self._queue: deque[tuple[int | None, int, Callable[[], None]]] = deque()
        """What the far end will be told: for bytes, of which stream and how many."""
        self._queued = 0
        self._held = False
        self._moving = False
        self._clogged = False
        self._starved = False
        self._over = False

    # Down.

    @property
    def max_datagram_size(self) -> int:
        return 0 if self._over else self._max_datagram

    def can_open_bi(self) -> bool:
        return self._can_open(0)

    def can_open_uni(self) -> bool:
        return self._can_open(UNI)

    def open_bi(self) -> int:
        return self._open(0)

    def open_uni(self) -> int:
        return self._open(UNI)

    def send(
        self,
        stream: int,
        data: Buffer,
        start: int = 0,
        stop: int | None = None,
        *,
        fin: bool = False,
    ) -> None:
        if self._over or stream not in self._sending:
            return
        stop = len(data) if stop is None else stop
        size = max(0, stop - start)
        if fin:
            self._sending.discard(stream)
        self._queued += size
        news = partial(self.far._arrived, stream, data, start, start + size, fin=fin)
        self._queue.append((stream, size, news))
        self._move_soon()

    def reset(self, stream: int, code: int) -> None:
        if not self._over and stream in self._sending:
            self._give_up(stream, code)

    def stop(self, stream: int, code: int) -> None:
        if not self._over and stream in self._receiving:
            self._tell(partial(self.far._was_stopped, stream, code))

    def send_datagram(self, data: bytes) -> bool:
        if self._over or len(data) > self._max_datagram:
            return False
        self._tell(partial(self.far._got_datagram, data))
        return True

    def writable(self) -> bool:
        if self._queued >= HIGH_WATER:
            self._clogged = True
        return not (self._clogged or self._over)

    def unacknowledged(self) -> int:
        return 0 if self._over else self._queued

    def close(self, code: int, reason: str) -> None:
        if not self._over:
            self._over = True
            self._loop.call_soon(self.events.closed, code, reason)
            self._tell(partial(self.far._was_closed, code, reason))

    def ping(self) -> None:
        self.pings += 1

    def stats(self) -> TransportStats:
        return TransportStats(self.rtt_seconds, 0, 0, len(self._sending | self._receiving))

    # The network between.

    def hold(self) -> None:
        """Let nothing arrive, at either end."""
        self._held = self.far._held = True

    def release(self) -> None:
        """Let all arrive that was held."""
        for end in (self, self.far):
            end._held = False
            end._move_soon()

    def _tell(self, news: Callable[[], None]) -> None:
        self._queue.append((None, 0, news))
        self._move_soon()

    def _move_soon(self) -> None:
        if self._queue and not self._moving and not self._held:
            self._moving = True
            self._loop.call_soon(self._move)

    def _move(self) -> None:
        self._moving = False
        for _ in range(len(self._queue)):
            if self._held or not self._queue:
                break
            _, size, news = self._queue.popleft()
            self._queued -= size
            news()
        self._notify()
        self._move_soon()

    def _notify(self) -> None:
        if self._clogged and self._queued < LOW_WATER:
            self._clogged = False
            if not self._over:
                self.events.transport_writable()

    def _forget(self, stream: int) -> None:
        """Take back what was queued on a stream that is reset."""
        kept = [entry for entry in self._queue if entry[0] != stream]
        self._queued = sum(size for _, size, _ in kept)
        self._queue.clear()
        self._queue.extend(kept)
        self._loop.call_soon(self._notify)

    # Up: called by the far end's queue.

    def _arrived(self, stream: int, data: Buffer, start: int, stop: int, *, fin: bool) -> None:
        if self._over or not self._may_receive(stream):
            return
        if fin:
            self._receiving.discard(stream)
        if fin or stop > start:
            self.events.stream_data(stream, bytes(memoryview(data)[start:stop]), fin)
        if fin:
            self.far._finished(stream)
        self._settle(stream)

    def _was_reset(self, stream: int, code: int) -> None:
        if not self._over and self._may_receive(stream):
            self._receiving.discard(stream)
            self.events.stream_reset(stream, code)
            self.far._finished(stream)
            self._settle(stream)

    def _finished(self, stream: int) -> None:
        def tell() -> None:
            if not self._over:
                self.events.stream_finished(stream)

        self._loop.call_soon(tell)

    def _was_stopped(self, stream: int, code: int) -> None:
        if self._over:
            return
        self._may_receive(stream)
        if stream in self._sending:
            # A stream that is stopped is reset with the same code (RFC 9000 section 3.5).
            self._give_up(stream, code)
            self.events.stream_stopped(stream, code)

    def _got_datagram(self, data: bytes) -> None:
        if not self._over:
            self.events.datagram(data)

    def _was_closed(self, code: int, reason: str) -> None:
        if not self._over:
            self._over = True
            self.events.closed(code, reason)

    # Streams.

    def _can_open(self, kind: int) -> bool:
        if self._over:
            return False
        if self._next[kind] // 4 < self._credit[kind]:
            return True
        self._starved = True
        return False

    def _open(self, kind: int) -> int:
        stream = self._next[kind]
        if self._over:
            return stream
        if not self._can_open(kind):
            raise RuntimeError("a stream was opened without credit")
        self._next[kind] += 4
        self._ours.add(stream)
        self._sending.add(stream)
        if kind != UNI:
            self._receiving.add(stream)
        return stream

    def _may_receive(self, stream: int) -> bool:
        """Whether something on ``stream`` is news; the first news of a stream opens it here."""
        if stream in self.far._ours and stream not in self._heard:
            self._heard.add(stream)
            self._receiving.add(stream)
            if not stream & UNI:
                self._sending.add(stream)
        return stream in self._receiving

    def _give_up(self, stream: int, code: int) -> None:
        self._sending.discard(stream)
        self._forget(stream)
        self._tell(partial(self.far._was_reset, stream, code))

    def _settle(self, stream: int) -> None:
        """Give the opener of a stream that is over at both ends credit for another one."""
        opener = self if stream in self._ours else self.far
        for end in (self, self.far):
            if stream in end._sending or stream in end._receiving:
                return
        opener._ours.discard(stream)
        opener.far._heard.discard(stream)
        opener._credit[stream & UNI] += 1
        if opener._starved:
            opener._starved = False
            self._loop.call_soon(opener._say_writable)

    def _say_writable(self) -> None:
        if not self._over:
            self.events.transport_writable()
