"""Which of the peer's requests is answered by whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from moq_relay.errors import ProtocolViolation, Unsupported, WireError
from moq_relay.sessions.context import Extension
from moq_relay.sessions.lite import codes
from moq_relay.sessions.streams import RequestStream
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.version import Slot

if TYPE_CHECKING:
    from moq_relay.sessions.lite.session import LiteSession

Service = Callable[[RequestStream], Awaitable[None]]


class Services:
    """The table of request streams: their type, the message they begin with, who serves them."""

    def __init__(self, session: LiteSession, extensions: Mapping[int, Extension]) -> None:
        self._session = session
        self._extensions = extensions
        publisher = session.publisher
        self._table: dict[int, tuple[type, Service]] = {
            BiStream.ANNOUNCE: (wire.AnnounceRequest, publisher.serve_announce),
            BiStream.SUBSCRIBE: (wire.Subscribe, publisher.serve_subscribe),
            BiStream.FETCH: (wire.Fetch, publisher.serve_fetch),
            BiStream.TRACK: (wire.TrackRequest, publisher.serve_track),
            BiStream.PROBE: (wire.Probe, _refuse_probe),
            BiStream.GOAWAY: (wire.Goaway, self._serve_goaway),
            BiStream.CLIENT_SETUP: (wire.ClientSetup, session.opening.serve_client_setup),
        }

    async def serve(self, request: RequestStream) -> None:
        """Serve one request by its type.

        Raises:
            Unsupported: no version knows the type.
            ProtocolViolation: the type is not one of this version's, or an announce request, or
                a setup, is malformed.
        """
        kind = await request.read_type()
        if kind not in self._table:
            await self._serve_extension(kind, request)
            return
        message, service = self._table[kind]
        if message not in self._session.version.layouts:
            raise ProtocolViolation(f"stream type {kind} is not one of this version's")
        opening = kind == BiStream.CLIENT_SETUP
        if opening:
            request.rewind()
        else:
            await self._session.opening.done()
        try:
            await service(request)
        except WireError as error:
            if opening or kind == BiStream.ANNOUNCE:
                raise ProtocolViolation(str(error)) from error
            raise

    async def _serve_extension(self, kind: int, request: RequestStream) -> None:
        extension = self._extensions.get(kind)
        if extension is not None:
            await self._session.opening.done()
        if extension is None or not extension.allows(self._session.publisher.access):
            raise Unsupported(f"stream type {kind}")
        await extension.serve(self._session, request)

    async def _serve_goaway(self, request: RequestStream) -> None:
        """The peer is about to leave: prefer every other route from now on."""
        await request.read(Slot.GOAWAY)
        self._session.subscriber.leaving()
        request.finish()
        if self._session.opening.leaves:
            self._session.close(codes.NO_ERROR, "the peer is about to go")


async def _refuse_probe(_request: RequestStream) -> None:
    raise Unsupported("this relay does not measure bandwidth")
