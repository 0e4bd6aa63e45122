"""A moq-lite session: hands each stream to whoever speaks for it, and ends them together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
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
    Unauthorized,
    WireError,
)
from moq_relay.sessions.context import Context
from moq_relay.sessions.lite import codes
from moq_relay.sessions.lite.egress import Line
from moq_relay.sessions.lite.ingress import GroupIngress, Inlet
from moq_relay.sessions.lite.opening import Opening
from moq_relay.sessions.lite.publisher import Publisher
from moq_relay.sessions.lite.services import Services
from moq_relay.sessions.lite.subscriber import Subscriber
from moq_relay.sessions.scheduler import Scheduler
from moq_relay.sessions.streams import Interrupted, RequestStream
from moq_relay.sessions.transport import UNI, Transport
from moq_relay.wire import varint
from moq_relay.wire.lite.messages import UniStream
from moq_relay.wire.version import Version

logger = logging.getLogger(__name__)

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
    ) -> None:
        """Get ready; ``run`` does the talking. ``target`` as in ``Arrival``.

        Raises:
            Unauthorized: the target is known already, and nobody may enter there.
        """
        self.number = next(_numbers)
        self.version = version
        self.transport = transport
        origin, clock, counters = context.origin, context.origin.clock, context.counters
        self.scheduler = Scheduler(transport, context.limits.viewer_backlog)
        line = Line(transport, self.scheduler, version, counters, clock)
        self._inlet = Inlet(
            version,
            counters,
            clock,
            transport.stop,
            frame_limit=context.limits.frame_bytes,
            message_limit=context.limits.message_bytes,
        )
        self.subscriber = Subscriber(self, self._inlet, context)
        self.publisher = Publisher(line, origin, self.subscriber)
        self.opening = Opening(self, context, target=target, dialled=dialled)
        self._services = Services(self)
        self._context = context
        self._requests: dict[int, RequestStream | None] = {}
        self._served = 0
        self._uni: dict[int, bytearray | GroupIngress | None] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._waiting_work: list[tuple[Coroutine[Any, Any, None], str]] = []
        self._over = asyncio.Event()
        self._credit: asyncio.Event | None = None

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
                await self._over.wait()
                raise _Leave
        except* _Leave:
            pass
        finally:
            counters.sessions[label] -= 1
            self.transport.close(codes.INTERNAL, "internal error")

    def close(self, code: int, reason: str) -> None:
        """End the session from our side."""
        self.transport.close(code, reason)

    def end(self, error: SessionError) -> None:
        """The session cannot go on: say why and close."""
        if isinstance(error, ProtocolViolation):
            self._context.counters.violations += 1
        logger.info("session ended session=%d reason=%s", self.number, error)
        self.transport.close(codes.of_session(error), str(error))

    @property
    def over(self) -> bool:
        """Whether the transport is gone."""
        return self._over.is_set()

    # What the transport tells us.

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        try:
            if stream & UNI:
                self._feed_uni(stream, data, fin)
            else:
                self._feed_request(stream, data, fin)
        except SessionError as error:
            self.end(error)
        except WireError as error:
            self.end(ProtocolViolation(str(error)))
        except Exception:
            logger.exception("session failed session=%d", self.number)
            self.transport.close(codes.INTERNAL, "internal error")

    def stream_reset(self, stream: int, code: int) -> None:
        if stream & UNI:
            ingress = self._uni.pop(stream, None)
            if isinstance(ingress, GroupIngress):
                ingress.reset(code)
            return
        request = self._requests.get(stream)
        if request is None:
            self._requests.pop(stream, None)
        elif self.opening.carries(stream):
            self.close(codes.NO_ERROR, "the peer ended its session stream")
        else:
            request.fail(codes.error(code))

    def stream_stopped(self, stream: int, code: int) -> None:
        self.publisher.stopped(stream)
        request = self._requests.get(stream)
        if request is not None and not self._is_ours(stream):
            request.stopped(codes.error(code))

    def stream_finished(self, stream: int) -> None:
        self.publisher.finished(stream)

    def datagram(self, data: bytes) -> None:
        if self.version.features.datagrams:
            self.subscriber.datagram(data)

    def transport_writable(self) -> None:
        if self._credit is not None:
            self._credit.set()
        self.scheduler.resume()

    def closed(self, code: int, reason: str) -> None:
        if self._over.is_set():
            return
        logger.info(
            "session closed session=%d code=%d reason=%s", self.number, code, reason or "none"
        )
        self._over.set()
        error = SessionClosed("the session ended")
        self.subscriber.lost()
        uni, self._uni = self._uni, {}
        for ingress in uni.values():
            if isinstance(ingress, GroupIngress):
                ingress.abort(Internal("the publisher's session ended"))
        for request in self._requests.values():
            if request is not None:
                request.fail(error)

    # Streams.

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
        if stream not in self._requests:
            if self._is_ours(stream):
                return
            self._accept(stream)
        request = self._requests[stream]
        if request is not None:
            request.feed(data, fin)
        elif fin:
            del self._requests[stream]

    def _is_ours(self, stream: int) -> bool:
        """Whether we opened the bidirectional ``stream``: the dialling side has the even ones."""
        return (stream & 1) != int(self.opening.dialled)

    # Requests.

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run ``work`` as a task of this session, as soon as the session runs."""
        if self._over.is_set():
            work.close()
        elif self._tasks is None:
            self._waiting_work.append((work, name))
        else:
            self._tasks.create_task(self._isolate(work), name=name)

    async def open_request(self) -> RequestStream:
        """A new bidirectional stream, once the peer's credit allows one.

        Raises:
            SessionClosed: the session ended first.
        """
        while not self.transport.can_open_bi():
            self._credit = asyncio.Event()
            if self._over.is_set():
                raise SessionClosed("the session ended")
            await self._credit.wait()
        stream = self.transport.open_bi()
        return self._keep(stream)

    def _keep(self, stream: int) -> RequestStream:
        limit = self._context.limits.message_bytes
        request = RequestStream(self.transport, self.version, stream, limit, forget=self._forget)
        self._requests[stream] = request
        return request

    def _accept(self, stream: int) -> None:
        if self._served >= self._context.limits.requests_per_session:
            self._context.counters.requests_refused += 1
            self._requests[stream] = None
            self.transport.stop(stream, codes.CANCEL)
            self.transport.reset(stream, codes.CANCEL)
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
        if request.read_over:
            self._requests.pop(request.stream, None)
        elif request.stream in self._requests:
            self._requests[request.stream] = None

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
        except Unauthorized as error:
            self._context.counters.sessions_refused["unauthorized"] += 1
            self.end(error)
        except SessionError as error:
            self.end(error)
        except WireError as error:
            self.end(ProtocolViolation(str(error)))
        except MoqError as error:
            logger.debug("task ended session=%d reason=%s", self.number, error)
        except Exception:
            logger.exception("session failed session=%d", self.number)
            self.transport.close(codes.INTERNAL, "internal error")
