"""A moq-lite session: hands each stream to whoever speaks for it, and ends them together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from moq_relay.errors import (
    Cancelled,
    Internal,
    MoqError,
    ProtocolViolation,
    RequestError,
    SessionClosed,
    SessionError,
    SetupTimeout,
    WireError,
)
from moq_relay.sessions.context import Context, Use
from moq_relay.sessions.lite import codes
from moq_relay.sessions.lite.egress import Line
from moq_relay.sessions.lite.ingress import GroupIngress, Inlet
from moq_relay.sessions.lite.opening import Opening
from moq_relay.sessions.lite.publisher import Publisher
from moq_relay.sessions.lite.services import Services
from moq_relay.sessions.lite.subscriber import Subscriber
from moq_relay.sessions.scheduler import Scheduler
from moq_relay.sessions.streams import Interrupted, RequestStream
from moq_relay.sessions.tally import Tally
from moq_relay.sessions.transport import UNI, Transport
from moq_relay.wire import varint
from moq_relay.wire.lite.messages import UniStream
from moq_relay.wire.version import Version

logger = logging.getLogger(__name__)

UNI_STREAMS_LIMIT = 16_384
"""Unidirectional streams that one peer may leave open: each costs memory here and in the engine."""

_numbers = count(1)


class _Leave(Exception):
    """Ends the task group of a session whose transport is gone."""


class LiteSession:
    """Both halves of moq-lite over one transport; implements ``Events``."""

    def __init__(
        self,
        transport: Transport,
        version: Version,
        context: Context,
        *,
        target: str | None,
        dialled: bool = False,
        use: Use | None = None,
    ) -> None:
        """Get ready; ``run`` does the talking. ``target`` as in ``Arrival``.

        Raises:
            Unauthorized: the target is known already, and nobody may enter there.
        """
        self.number = next(_numbers)
        self.version = version
        self.transport = transport
        clock, counters, seen = context.origin.clock, context.counters, context.experience
        self.scheduler = Scheduler(transport, context.limits.viewer_backlog)
        line = Line(transport, self.scheduler, version, counters, clock, experience=seen)
        self._use = use or Use()
        self._inlet = Inlet(
            version,
            counters,
            clock,
            transport.stop,
            frame_limit=context.limits.frame_bytes,
            message_limit=context.limits.message_bytes,
            peer=self._use.peer,
        )
        self.tally = line.tally = self._inlet.tally = Tally(clock())
        self.subscriber = Subscriber(self, self._inlet, context)
        self.publisher = Publisher(line, context, self.subscriber)
        self.opening = Opening(self, context, target=target, dialled=dialled, use=self._use)
        self._services = Services(self, context.extensions)
        self._context = context
        self._requests: dict[int, RequestStream] = {}
        self._deaf: set[int] = set()
        """Request streams of the peer that are over for us and that it has not ended."""
        self._served = 0
        self._uni: dict[int, bytearray | GroupIngress | None] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._waiting_work: list[tuple[Coroutine[Any, Any, None], str]] = []
        self._over = asyncio.Event()
        self.farewell: tuple[int, str] | None = None
        """Code and reason of its end."""
        self._ending = self._ended = False
        self._credit = asyncio.Event()

    def __repr__(self) -> str:
        return f"<session {self.number} {self.version.name} {self.transport.peer}>"

    async def run(self) -> None:
        """Talk until the transport is gone; every task of the session has ended then."""
        label = (self.transport.binding, self.version.name)
        counters = self._context.counters
        counters.sessions[label] += 1
        counters.sessions_total[label] += 1
        logger.info(
            "session opened session=%d version=%s transport=%s peer=%s",
            self.number, self.version.name, self.transport.binding, self.transport.peer,
        )  # fmt: skip
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self.spawn(self._open(), "opening")
                for work, name in self._waiting_work:
                    self.spawn(work, name)
                self._waiting_work.clear()
                try:
                    await self._over.wait()
                finally:
                    self._ending = True
                raise _Leave
        except* _Leave:
            pass
        finally:
            counters.sessions[label] -= 1
            self.transport.close(codes.INTERNAL, "internal error")

    def close(self, code: int, reason: str) -> None:
        """End the session from our side."""
        self.tally.ended_here |= not self.over
        self.transport.close(code, reason)

    def end(self, error: SessionError) -> bool:
        """The session cannot go on: say why and close; False where it had ended before."""
        if self._ended:
            return False
        self._ended = True
        self._context.blame(error, self.transport.peer)
        logger.info("session ended session=%d reason=%s", self.number, error)
        self.close(codes.of_session(error), str(error))
        return True

    @property
    def over(self) -> bool:
        """Whether the transport is gone."""
        return self._over.is_set()

    async def ended(self) -> None:
        """Wait until the transport is gone."""
        await self._over.wait()

    # What the transport tells us.

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        if stream & UNI:
            self._contain(self._feed_uni, stream, data, fin)
        else:
            self._contain(self._feed_request, stream, data, fin)

    def stream_reset(self, stream: int, code: int) -> None:
        self._contain(self._reset_uni if stream & UNI else self._reset_request, stream, code)

    def stream_stopped(self, stream: int, code: int) -> None:
        self._contain(self.publisher.stopped, stream)
        request = self._requests.get(stream)
        if request is not None and not self._is_ours(stream):
            request.stopped(codes.error(code, "the viewer"))

    def stream_finished(self, stream: int) -> None:
        self._contain(self.publisher.finished, stream)

    def datagram(self, data: bytes) -> None:
        if self.version.features.datagrams:
            self._contain(self.subscriber.datagram, data)

    def transport_writable(self) -> None:
        self._credit.set()
        self._contain(self.scheduler.resume)

    def closed(self, code: int, reason: str) -> None:
        if self._over.is_set():
            return
        said = reason or "none"
        logger.info("session closed session=%d code=%d reason=%s", self.number, code, said)
        self.farewell = code, reason
        self._over.set()
        self._contain(self._use.ending)
        self._contain(self._let_go)

    def _let_go(self) -> None:
        """Nothing more comes or goes here: tell all who count on it."""
        error = SessionClosed("the session ended")
        # An engine that gives a silent peer up never says "no error": that is the peer's goodbye.
        self.subscriber.lost(clean=self.farewell is not None and self.farewell[0] == codes.NO_ERROR)
        uni, self._uni = self._uni, {}
        for ingress in uni.values():
            if isinstance(ingress, GroupIngress):
                ingress.abort(Internal("the publisher's session ended"))
        for request in self._requests.values():
            request.fail(error)

    def _contain(self, call: Callable[..., None], *args: Any) -> None:
        """What one event of the peer runs into costs its session, not the engine."""
        try:
            call(*args)
        except SessionError as error:
            self.end(error)
        except WireError as error:
            self.end(ProtocolViolation(str(error)))
        except Exception:
            logger.exception("session failed session=%d", self.number)
            self.close(codes.INTERNAL, "internal error")

    # Streams.

    def _reset_uni(self, stream: int, code: int) -> None:
        ingress = self._uni.pop(stream, None)
        if isinstance(ingress, GroupIngress):
            ingress.reset(code)

    def _reset_request(self, stream: int, code: int) -> None:
        request = self._requests.get(stream)
        if request is None:
            if stream not in self._deaf and not self._is_ours(stream):
                # Opened and given up at once: our half is open too.
                self.transport.reset(stream, codes.CANCEL)
            self._deaf.discard(stream)
            return
        if self.opening.carries(stream):
            self.close(codes.NO_ERROR, "the peer ended its session stream")
        who = self._use.peer if self._is_ours(stream) else "the viewer"
        request.fail(codes.error(code, who))

    def _feed_uni(self, stream: int, data: bytes, fin: bool) -> None:
        """A group's stream, or one that still has to say what it is."""
        ingress = self._uni.get(stream, self)
        if isinstance(ingress, GroupIngress):
            ingress.feed(data, fin)
        elif ingress is not None:
            self._begin_uni(stream, data, fin)
        if fin:
            self._uni.pop(stream, None)

    def _begin_uni(self, stream: int, data: bytes, fin: bool) -> None:
        head = self._uni.get(stream)
        if not isinstance(head, bytearray):
            if len(self._uni) >= UNI_STREAMS_LIMIT:
                raise ProtocolViolation("group streams are never ended")
            head = self._uni[stream] = bytearray()
        head += data
        found = varint.decode(head, 0)
        if found is None:
            return
        kind, at = found
        if kind == UniStream.GROUP:
            ingress = self._uni[stream] = GroupIngress(self._inlet, stream)
            ingress.feed(bytes(head[at:]), fin)
        elif kind == UniStream.SETUP:
            if self.opening.setup_bytes(head, at, fin):
                self._uni[stream] = None
        else:
            self._uni[stream] = None
            self.transport.stop(stream, codes.CANCEL)

    def _feed_request(self, stream: int, data: bytes, fin: bool) -> None:
        if stream not in self._deaf and stream not in self._requests and not self._is_ours(stream):
            self._accept(stream)
        request = self._requests.get(stream)
        if request is not None:
            request.feed(data, fin)
        elif fin:
            self._deaf.discard(stream)

    def _is_ours(self, stream: int) -> bool:
        """Whether we opened the bidirectional ``stream``: the dialling side has the even ones."""
        return (stream & 1) != int(self.opening.dialled)

    # Requests.

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run ``work`` as a task of this session, as soon as the session runs."""
        if self._over.is_set() or self._ending:
            work.close()
        elif self._tasks is None:
            self._waiting_work.append((work, name))
        else:
            task = self._tasks.create_task(self._isolate(work), name=name)
            # A task that is cancelled before its first step never awaits what it was given.
            task.add_done_callback(lambda _: work.close())

    async def credit(
        self, may_open: Callable[[], bool], wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Wait until ``may_open``, one of the transport's, allows a stream, or none is ``wanted``.

        Raises:
            SessionClosed: the session ended first.
        """
        while wanted() and not may_open():
            if self._over.is_set():
                raise SessionClosed("the session ended")
            self._credit.clear()
            await self._credit.wait()

    def nudge(self) -> None:
        """Something that waited for credit is not wanted any more."""
        self._credit.set()

    async def may_request(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Wait until ``open_request`` may be called, in the same turn, or it is not ``wanted``.

        Raises:
            SessionClosed: the session ended first.
        """
        await self.credit(self.transport.can_open_bi, wanted)

    def open_request(self) -> RequestStream:
        """A new bidirectional stream; only right after ``may_request``."""
        return self._keep(self.transport.open_bi())

    def _keep(self, stream: int) -> RequestStream:
        limit = self._context.limits.message_bytes
        request = RequestStream(self.transport, self.version, stream, limit, forget=self._forget)
        self._requests[stream] = request
        return request

    def _accept(self, stream: int) -> None:
        if self._served >= self._context.limits.requests_per_session:
            self._context.counters.requests_refused["requests"] += 1
            self._ignore(stream)
            self.transport.stop(stream, codes.EXCESSIVE_LOAD)
            self.transport.reset(stream, codes.EXCESSIVE_LOAD)
            return
        self._served += 1
        self.spawn(self._serve(self._keep(stream)), f"request-{stream}")

    async def _serve(self, request: RequestStream) -> None:
        """One request of the peer, from its first byte to its last."""
        try:
            await self._services.serve(request)
        except RequestError as error:
            request.give_up(codes.of(error))
        except Interrupted:
            request.finish()
        except WireError as error:
            # A malformed body costs its stream.
            logger.debug("request malformed session=%d reason=%s", self.number, error)
            request.give_up(codes.of(Cancelled()))
        finally:
            self._served -= 1
            request.done()

    def _forget(self, request: RequestStream) -> None:
        """A request is done with; what the peer still sends on it is ignored until its end."""
        self._requests.pop(request.stream, None)
        if not request.read_over:
            self._ignore(request.stream)

    def _ignore(self, stream: int) -> None:
        """What the peer still sends on a request stream is dropped until it ends the stream.

        Until then it costs memory, here and in the engine.
        """
        if self._over.is_set():
            return
        self._deaf.add(stream)
        if len(self._deaf) > self._context.limits.requests_per_session:
            self.end(ProtocolViolation("request streams are never ended"))

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._context.limits.handshake_seconds):
                await self.opening.run()
        except TimeoutError as error:
            raise SetupTimeout("the peer sent no setup") from error
        if self.opening.follows:
            await self.subscriber.follow()

    async def _isolate(self, work: Coroutine[Any, Any, None]) -> None:
        """Whatever one task of the session runs into costs the session, not the process."""
        try:
            await work
        except SessionError as error:
            self.end(error)
        except WireError as error:
            self.end(ProtocolViolation(str(error)))
        except MoqError as error:
            logger.debug("task ended session=%d reason=%s", self.number, error)
        except Exception:
            logger.exception("session failed session=%d", self.number)
            self.close(codes.INTERNAL, "internal error")
