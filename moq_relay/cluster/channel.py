"""What nodes say to each other on streams of their own: JSON objects with a length in front.

Every conversation begins with the version of its first words. Whoever reads takes the keys it
knows, so that a later version may say more; what is no object, or too long, costs the stream.
"""

from __future__ import annotations

import json
from typing import Any

from moq_relay.errors import Cancelled, SessionClosed, WireError
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.streams import RequestStream

JOIN, ROAD, PROVE = 0x2B6D_0001, 0x2B6D_0002, 0x2B6D_0003
"""Types of request streams: to join a root, to reach the registry through it, to be recognised."""

LENGTH_BYTES = 4
MESSAGE_BYTES = 64 << 20
"""Longest message: a snapshot of one shard of millions of broadcasts."""

Words = dict[str, Any]


class Channel:
    """One conversation. Only ``receive`` waits; what is sent is queued."""

    def __init__(
        self, session: LiteSession, request: RequestStream, *, limit: int = MESSAGE_BYTES
    ) -> None:
        self._session = session
        self._request = request
        self._limit = limit

    @property
    def backlog(self) -> int:
        """Bytes that the peer has not acknowledged, on all of the session."""
        return self._session.transport.unacknowledged()

    def send(self, **words: Any) -> None:
        """Queue a message."""
        text = json.dumps(words, separators=(",", ":")).encode()
        self._request.write_bytes(len(text).to_bytes(LENGTH_BYTES, "big") + text)

    async def receive(self) -> Words:
        """The next message.

        Raises:
            WireError: the peer talks nonsense.
            RequestError: the conversation is over.
        """
        try:
            return await self._receive()
        except SessionClosed as error:
            raise _closed(self._session) from error

    async def _receive(self) -> Words:
        head = await self._request.read_bytes(LENGTH_BYTES)
        if head is None:
            raise Cancelled("the peer has nothing more to say")
        size = int.from_bytes(head, "big")
        if size > self._limit:
            raise WireError(f"a message of {size} bytes; {self._limit} are allowed")
        text = await self._request.read_bytes(size)
        try:
            words = json.loads(text or b"")
        except (ValueError, RecursionError) as error:
            raise WireError("a message is no JSON") from error
        if not isinstance(words, dict):
            raise WireError("a message is no JSON object")
        return words

    async def over(self) -> None:
        """Wait until the peer has nothing more to say; what it says is ignored.

        Raises:
            RequestError: it gave up instead.
        """
        await self._request.ended()

    def finish(self) -> None:
        """Nothing more from us."""
        self._request.finish()

    def give_up(self, code: int) -> None:
        """Neither say nor hear anything more."""
        self._request.give_up(code)
        self._request.done()


async def open_channel(session: LiteSession, kind: int) -> Channel:
    """Begin a conversation from the dialling side.

    Raises:
        SessionClosed: the session ended first.
    """
    try:
        await session.may_request()
    except SessionClosed as error:
        raise _closed(session) from error
    if session.over:
        raise _closed(session)
    request = session.open_request()
    request.write_type(kind)
    return Channel(session, request)


def _closed(session: LiteSession) -> SessionClosed:
    """The end of a session, in the words of who ended it."""
    _, reason = session.farewell or (0, "")
    return SessionClosed(reason or "the session ended")
