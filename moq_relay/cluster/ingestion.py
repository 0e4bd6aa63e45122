"""When groups came to their end at their publisher's node, told beside each link.

The node that takes the tracks asks for it, on a request stream that older nodes and other relays
refuse; what is told is the time of a sample of groups, on Redis' clock. So the delay of viewers is
known across nodes, and nothing of it is in what the protocol sends.
"""

from __future__ import annotations

import logging
import math

from moq_relay.cluster.clock import RedisClock
from moq_relay.cluster.records import MICROSECONDS
from moq_relay.errors import RequestError, Unsupported, WireError
from moq_relay.relay.access import Access
from moq_relay.sessions.lite import codes
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.streams import RequestStream
from moq_relay.sessions.transport import Transport
from moq_relay.wire import ingested
from moq_relay.wire.ingested import Ingested

ERROR_SECONDS = 0.010
"""Largest bound of both clocks' errors together with which a time is believed."""

logger = logging.getLogger(__name__)


def of_links(access: Access) -> bool:
    """Whether the peer takes what publishers of this node send."""
    return access.local_only


class Ingestion:
    """Both ends of the stream, by one node's estimate of Redis' clock."""

    def __init__(self, clock: RedisClock) -> None:
        self._clock = clock

    async def serve(self, session: LiteSession, request: RequestStream) -> None:
        """Tell a node the times of the groups that it takes over ``session``, until it leaves.

        Raises:
            Unsupported: it is told already.
        """
        publisher = session.publisher
        if publisher.tells_times:
            raise Unsupported("the times are told already")
        publisher.tell_times(_Mouth(self._clock, session.transport, request).tell)
        try:
            await request.ended()
        finally:
            publisher.tell_times(None)
        request.finish()

    async def follow(self, session: LiteSession) -> None:
        """Take note of the times that the far end of ``session`` tells, until either ends."""
        await session.may_request()
        request = session.open_request()
        request.write_type(ingested.STREAM)
        try:
            request.pour(_Ear(self._clock, session, request).hear)
            await request.ended()
        except (RequestError, WireError) as error:
            logger.debug("no times of groups session=%d reason=%s", session.number, error)
        finally:
            request.give_up(codes.CANCEL)
            request.done()


class _Mouth:
    """Says when groups ended here."""

    def __init__(self, clock: RedisClock, transport: Transport, request: RequestStream) -> None:
        self._clock = clock
        self._transport = transport
        self._request = request

    def tell(self, subscribe: int, sequence: int, at: float) -> None:
        """A group of ``subscribe`` ended ``at``, by this node's clock; see ``Line.tell``."""
        reading = self._clock.reading
        # What waits for room would only be in the way of groups.
        if reading is None or reading.error > ERROR_SECONDS or not self._transport.writable():
            return
        message = Ingested(
            subscribe,
            sequence,
            max(round((at + reading.offset) * MICROSECONDS), 0),
            math.ceil(reading.error * MICROSECONDS),
        )
        self._request.write_bytes(ingested.encode(message))


class _Ear:
    """Hears when groups ended there; holds less than one message."""

    def __init__(self, clock: RedisClock, session: LiteSession, request: RequestStream) -> None:
        self._clock = clock
        self._session = session
        self._request = request
        self._buffer = bytearray()
        self._deaf = False

    def hear(self, data: bytes, _fin: bool) -> None:
        """Bytes of the stream, in order."""
        if self._deaf:
            return
        self._buffer += data
        at = 0
        try:
            while (found := ingested.parse(self._buffer, at)) is not None:
                message, at = found
                self._heard(message)
        except WireError as error:
            self._deaf = True
            self._request.interrupt(error)
        del self._buffer[:at]

    def _heard(self, message: Ingested) -> None:
        reading = self._clock.reading
        error = message.error_us / MICROSECONDS
        if reading is not None and reading.error + error <= ERROR_SECONDS:
            at = message.at_us / MICROSECONDS - reading.offset
            self._session.subscriber.ended_there(message.subscribe, message.sequence, at)
