"""A request stream: one bidirectional stream as messages, read by one coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

from moq_relay.errors import ProtocolViolation, RequestError, WireError
from moq_relay.sessions.transport import Transport
from moq_relay.wire import varint
from moq_relay.wire.version import Slot, Version

UNREAD_LIMIT = 16 << 10
"""Bytes above the largest message that may wait while nobody reads the stream."""


class Interrupted(Exception):
    """A pending read was told that nobody needs its answer any more."""


class RequestStream:
    """Reads and writes messages of one version on one bidirectional stream."""

    def __init__(
        self,
        transport: Transport,
        version: Version,
        stream: int,
        message_limit: int,
        *,
        forget: Callable[[RequestStream], None] = lambda _request: None,
    ) -> None:
        self.stream = stream
        self.read_over = False
        """The peer has finished or reset its side."""
        self._transport = transport
        self._version = version
        self._limit = message_limit
        self._buffer = bytearray()
        self._at = 0
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes, bool], None] | None = None
        self._write_over = False
        self._forget = forget

    # What the session feeds in.

    def feed(self, data: bytes, fin: bool) -> None:
        """Bytes from the peer.

        Raises:
            ProtocolViolation: it sends far more than anybody asked it for.
        """
        self.read_over = self.read_over or fin
        if self._sink is not None:
            self._sink(data, fin)
            self._wake()
            return
        self._buffer += data
        # Somebody who reads takes whole messages out in a turn, however many came in one.
        if self._waiter is None and len(self._buffer) - self._at > self._limit + UNREAD_LIMIT:
            raise ProtocolViolation("more bytes on a request stream than any request has")
        self._wake()

    def fail(self, error: BaseException) -> None:
        """The peer reset its side, or the session ended: pending and later reads raise it."""
        self.read_over = True
        self.interrupt(error)

    def stopped(self, error: RequestError) -> None:
        """The peer reads our side no more; where we have more to say, it is the end."""
        if not self._write_over:
            self.interrupt(error)

    def interrupt(self, error: BaseException) -> None:
        """Let the pending read, or the next one, raise ``error``."""
        if self._error is None:
            self._error = error
        self._wake()

    # What the request's coroutine does.

    async def read_type(self) -> int:
        """The varint that a stream begins with.

        Raises:
            WireError: the stream ended before it was complete.
        """
        while (found := varint.decode(self._buffer, self._at)) is None:
            if self.read_over:
                raise WireError("a stream ended inside its type")
            await self._more()
        value, self._at = found
        return value

    def rewind(self) -> None:
        """Read the type again: in the oldest setup it is part of the message."""
        self._at = 0

    async def read(self, slot: Slot) -> Any:
        """The next message of ``slot``.

        Raises:
            WireError: it is malformed, or the stream ended before it was complete.
            RequestError: the peer gave up.
        """
        message = await self.read_or_end(slot)
        if message is None:
            raise WireError(f"a stream ended before its {slot.name}")
        return message

    async def read_or_end(self, slot: Slot) -> Any:
        """The next message of ``slot``; None when the peer finished instead."""
        while True:
            # What came whole before a reset still counts.
            found = self._version.parse(slot, self._buffer, self._at, self._limit)
            if found is not None:
                message, self._at = found
                self._compact()
                return message
            if self._error is not None:
                raise self._error
            if self.read_over:
                if len(self._buffer) > self._at:
                    raise WireError(f"a stream ended inside its {slot.name}")
                return None
            await self._more()

    async def read_bytes(self, count: int) -> bytes | None:
        """Exactly ``count`` bytes, where no version says what they mean; None at the peer's FIN.

        Raises:
            WireError: the FIN came among them.
            RequestError: the peer gave up.
        """
        while len(self._buffer) - self._at < count:
            if self._error is not None:
                raise self._error
            if self.read_over:
                if len(self._buffer) > self._at:
                    raise WireError("a stream ended too soon")
                return None
            await self._more()
        found = bytes(self._buffer[self._at : self._at + count])
        self._at += count
        self._compact()
        return found

    async def ended(self) -> None:
        """Wait until the peer finishes; what it still sends is ignored, unless it is poured.

        Raises:
            RequestError: it gave up instead.
        """
        if self._sink is None:
            self.pour(lambda _data, _fin: None)
        while not self.read_over:
            await self._more()
        if self._error is not None:
            raise self._error

    async def broken(self) -> NoReturn:
        """Wait until the peer gives up, or the read is interrupted; a FIN ends nothing here.

        Raises:
            RequestError: it gave up.
            Interrupted: the answer is complete.
        """
        self.pour(lambda _data, _fin: None)
        while True:
            await self._more()

    def pour(self, sink: Callable[[bytes, bool], None]) -> None:
        """Hand everything from here on to ``sink`` as bytes; what is there already first."""
        rest, self._buffer, self._at = bytes(self._buffer[self._at :]), bytearray(), 0
        self._sink = sink
        if rest or self.read_over:
            sink(rest, self.read_over)

    def write_type(self, kind: int) -> None:
        """Begin the stream."""
        self._transport.send(self.stream, varint.encode(kind))

    def write(self, message: Any) -> None:
        """Queue a message."""
        if not self._write_over:
            self._transport.send(self.stream, self._version.encode(message))

    def write_bytes(self, data: bytes) -> None:
        """Queue bytes of which no version says what they mean."""
        if not self._write_over:
            self._transport.send(self.stream, data)

    def sent_elsewhere(self) -> None:
        """Our side was ended by whoever sent bytes on the stream itself, as a fetch does."""
        self._write_over = True

    def finish(self) -> None:
        """Nothing more from us. Harmless twice."""
        if not self._write_over:
            self._write_over = True
            self._transport.send(self.stream, b"", fin=True)

    def give_up(self, code: int) -> None:
        """Reset our side and ask the peer to stop its own. Harmless on what has ended."""
        if not self._write_over:
            self._write_over = True
            self._transport.reset(self.stream, code)
        self.refuse(code)

    def refuse(self, code: int) -> None:
        """Ask the peer to stop its side, unless it has ended."""
        if not self.read_over:
            self._transport.stop(self.stream, code)

    def done(self) -> None:
        """The request is over for us, whatever the peer still sends."""
        self._forget(self)

    # Inside.

    def _compact(self) -> None:
        if self._at == len(self._buffer):
            self._buffer.clear()
            self._at = 0
        elif self._at > 65536:
            del self._buffer[: self._at]
            self._at = 0

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
