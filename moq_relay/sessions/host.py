"""The sessions of one node: lets peers in, owns their tasks, and ends them together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from moq_relay.errors import Draining, LimitReached, Unauthorized
from moq_relay.sessions.context import Context
from moq_relay.sessions.lite import codes
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.transport import Accept, Arrival, Events, Refused, Transport
from moq_relay.wire.version import Version

FULL = codes.SESSION_CODES[LimitReached]

logger = logging.getLogger(__name__)


class Host:
    """Sessions by the dozen thousand, each in a task of its own while ``async with`` lasts."""

    def __init__(
        self, context: Context, ended: Callable[[LiteSession], None] = lambda _session: None
    ) -> None:
        """Let in as ``context`` says; ``ended`` is called for each session that is over."""
        self.sessions: set[LiteSession] = set()
        self._context = context
        self._ended = ended
        self._closing = False
        self._tasks = asyncio.TaskGroup()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._tasks)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        self.close(0, "the relay is shutting down")
        await self._stack.__aexit__(kind, error, trace)

    def close(self, code: int, reason: str) -> None:
        """Close every session; their tasks end soon after."""
        for session in tuple(self.sessions):
            session.close(code, reason)

    def acceptor(self, versions: Sequence[Version]) -> Accept:
        """What a listener calls for each arrival; only ``versions`` are let in."""

        def accept(arrival: Arrival, transport: Transport) -> Events:
            return self.accept(arrival, transport, versions)

        return accept

    def accept(self, arrival: Arrival, transport: Transport, versions: Sequence[Version]) -> Events:
        """Begin a session.

        Raises:
            Refused: with the status, and the code, that tell the peer why.
        """
        version = _version(arrival, versions)
        counters = self._context.counters
        try:
            if version is None:
                counters.sessions_refused["version"] += 1
                raise Refused(400, 0x15, "no version in common")
            if self._closing:
                counters.sessions_refused["closing"] += 1
                raise Refused(503, 0, "the relay is shutting down")
            if len(self.sessions) >= self._context.limits.sessions:
                counters.sessions_refused["limit"] += 1
                raise Refused(503, FULL, "the relay is full")
            session = self._enter(arrival, transport, version)
        except Refused as refused:
            self._context.gate.refuse(arrival.peer, refused.reason)
            raise
        return self.start(session)

    def _enter(self, arrival: Arrival, transport: Transport, version: Version) -> LiteSession:
        context = self._context
        refused = context.counters.sessions_refused
        try:
            context.check(arrival.peer)
            session = LiteSession(transport, version, context, target=arrival.target)
        except Unauthorized as error:
            refused["unauthorized"] += 1
            raise Refused(403, codes.of_session(error), str(error)) from error
        except (Draining, LimitReached) as error:
            raise Refused(503, codes.of_session(error), str(error)) from error
        context.gate.entered(session.number, arrival.peer)
        return session

    def start(self, session: LiteSession) -> LiteSession:
        """Own a session until it ends."""
        self.sessions.add(session)
        self._tasks.create_task(self._run(session), name=f"session-{session.number}")
        return session

    async def _run(self, session: LiteSession) -> None:
        try:
            await session.run()
        except Exception:
            logger.exception("session failed session=%d", session.number)
        finally:
            self.sessions.discard(session)
            self._context.left(session)
            self._ended(session)


def _version(arrival: Arrival, versions: Sequence[Version]) -> Version | None:
    """The version that the transport settled on, or the one that is negotiated in band."""
    if arrival.protocol is None:
        return next((v for v in versions if v.features.inband_setup), None)
    return next((v for v in versions if v.alpn == arrival.protocol), None)
