"""Single groups of the past, asked of the peer one by one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from moq_relay.errors import Cancelled, MalformedTrack, NotFound, RequestError, WireError, WrongSize
from moq_relay.relay.group import Frame, Group
from moq_relay.sessions.lite import codes
from moq_relay.sessions.lite.ingress import Inlet
from moq_relay.sessions.streams import RequestStream
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.frames import FrameDecoder
from moq_relay.wire.lite.messages import BiStream


class Opener(Protocol):
    """What those who ask the peer need of its session."""

    async def may_request(self, wanted: Callable[[], bool] = ...) -> None:
        """Wait until ``open_request`` may be called, in the same turn, or it is not ``wanted``."""

    def nudge(self) -> None:
        """Something that waited for credit is not wanted any more."""

    def open_request(self) -> RequestStream:
        """A new bidirectional stream."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run ``work`` as a task of the session."""


class Fetches:
    """The fetches that are under way at one peer."""

    def __init__(self, session: Opener, inlet: Inlet) -> None:
        self._session = session
        self._inlet = inlet
        self._asked: dict[Group, RequestStream | None] = {}

    def begin(self, path: str, track: str, group: Group) -> None:
        """Fill ``group`` and finish it, or abort it; ``path`` is as on the peer's wire."""
        self._asked[group] = None
        group.on_abandoned = lambda: self._abandon(group)
        self._session.spawn(self._fetch(path, track, group), f"fetch-{track}-{group.sequence}")

    @property
    def under_way(self) -> bool:
        """Whether there is any."""
        return bool(self._asked)

    def lost(self, error: RequestError) -> None:
        """The session is gone."""
        for group in tuple(self._asked):
            group.abort(error)
        self._asked.clear()

    async def _fetch(self, path: str, track: str, group: Group) -> None:
        await self._session.may_request(lambda: group.open)
        if not group.open:
            # The session may have ended meanwhile, and forgotten all fetches.
            self._asked.pop(group, None)
            return
        request = self._asked[group] = self._session.open_request()
        request.write_type(BiStream.FETCH)
        try:
            request.write(wire.Fetch(path, track, 0, group.sequence))
            request.pour(self._filling(group, request))
            await request.ended()
            # Not before the answer: publishers take a FIN for a cancel.
            request.finish()
        except RequestError as error:
            group.abort(error)
            request.give_up(codes.CANCEL)
        finally:
            if group.open:
                group.abort(NotFound("the fetch broke off"))
            self._asked.pop(group, None)
            request.done()

    def _filling(self, group: Group, request: RequestStream) -> Callable[[bytes, bool], None]:
        """What becomes of the bytes of a fetch."""
        inlet = self._inlet
        decoder = FrameDecoder(inlet.version.features.timestamps, inlet.frame_limit)

        def arrived(payload: bytes, fin: bool) -> None:
            if not group.open:
                return
            try:
                for timestamp, frame in decoder.feed(payload):
                    group.append(Frame(frame, timestamp or 0))
                if fin and decoder.partial:
                    raise WrongSize("a fetched group ended inside a frame")
            except RequestError as error:
                group.abort(error)
                request.interrupt(error)
            except WireError as error:
                broken = MalformedTrack(str(error))
                group.abort(broken)
                request.interrupt(broken)
            if fin:
                group.finish()

        return arrived

    def _abandon(self, group: Group) -> None:
        """Nobody reads a fetched group any more."""
        error = Cancelled("nobody reads the group any more")
        request = self._asked.get(group)
        group.abort(error)
        if request is not None:
            request.interrupt(error)
        self._session.nudge()
