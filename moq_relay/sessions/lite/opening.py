"""How a session begins: both SETUPs, the rights that follow from the path, and who follows whom."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from moq_relay.errors import ProtocolViolation, Unauthorized, VersionMismatch, WireError
from moq_relay.relay.access import Access
from moq_relay.sessions.context import Context, Later, Use
from moq_relay.sessions.streams import RequestStream
from moq_relay.wire import varint
from moq_relay.wire.lite.messages import (
    ClientSetup,
    Role,
    ServerSetup,
    Setup,
    UniStream,
)
from moq_relay.wire.negotiate import inband
from moq_relay.wire.version import Slot

if TYPE_CHECKING:
    from moq_relay.sessions.lite.session import LiteSession


class Opening:
    """The first exchange. ``done`` returns once the peer's rights are known."""

    def __init__(
        self,
        session: LiteSession,
        context: Context,
        *,
        target: str | None,
        dialled: bool,
        use: Use,
    ) -> None:
        """Know the target where the transport carried it.

        Raises:
            Unauthorized: nobody may enter there.
        """
        self.dialled = dialled
        self.follows = True
        """Whether to ask the peer for its announcements."""
        self.granted = False
        """Whether the peer was given rights, which are its session's from then on."""
        self._session = session
        self._context = context
        self._target = target
        self._use = use
        self._finished = asyncio.Event()
        self._setup_seen = False
        self._session_stream: int | None = None
        features = session.version.features
        self._greeted = not features.setup_stream and not features.inband_setup
        """Whether the peer's setup was read, or its version has none."""
        self._role: Role | None = None
        self._later: Later | None = None
        """The peer's rights, while they have to be waited for."""
        if dialled:
            self._grant(Access(publish=(), subscribe=()) if use.quiet else Access())
        elif target is not None or self._greeted:
            self._later = self._admit(target or "")
        self._advance()

    @property
    def leaves(self) -> bool:
        """Whether to go as soon as the peer is about to."""
        return self._use.leaves

    def carries(self, stream: int) -> bool:
        """Whether ``stream`` is the one that stands for the session itself."""
        return stream == self._session_stream

    async def run(self) -> None:
        """Say who we are, and wait until the peer has.

        Raises:
            SessionError: the peer said something that cannot be.
        """
        session, features = self._session, self._session.version.features
        if features.setup_stream:
            await session.credit(session.transport.can_open_uni)
            stream = session.transport.open_uni()
            path = None
            if self.dialled and session.transport.binding != "webtransport":
                path = self._target
            setup = Setup.of(hop=self._context.origin.hop, path=path, role=self._use.role)
            message = varint.encode(UniStream.SETUP) + session.version.encode(setup)
            session.transport.send(stream, message, fin=True)
        elif features.inband_setup and self.dialled:
            await self._offer()
        if self._later is not None:
            await self._wait(self._later)
        await self._finished.wait()

    async def done(self) -> None:
        """Wait until the peer's rights are known, and its SETUP was read where it has one."""
        await self._finished.wait()

    # SETUP streams.

    def setup_bytes(self, head: bytearray, at: int, fin: bool) -> bool:
        """What has come of the peer's SETUP stream; True once it was read.

        Raises:
            ProtocolViolation: it is malformed, cut short, a second one, or not of this version.
            Unauthorized: nobody may enter at its path.
        """
        session = self._session
        if not session.version.features.setup_stream:
            raise ProtocolViolation("this version has no SETUP stream")
        if self._setup_seen:
            raise ProtocolViolation("a second SETUP stream")
        limit = self._context.limits.message_bytes
        found = session.version.parse(Slot.SETUP, head, at, limit)
        if found is None:
            if fin:
                raise ProtocolViolation("a SETUP stream ended too soon")
            return False
        self._setup_seen = True
        setup = found[0]
        assert isinstance(setup, Setup)
        self._accept(setup)
        self._greet()
        return True

    def _accept(self, setup: Setup) -> None:
        session = self._session
        if not self.dialled:
            if self._target is not None and setup.path is not None:
                raise ProtocolViolation("a path in SETUP where the URL carries it")
            self._role = setup.role
            if self._target is None:
                self._admit_later(setup.path or "")
            elif self.granted:
                self._take_role(setup.role)
        session.publisher.hop = session.subscriber.hop = setup.hop
        session.subscriber.link_cost = setup.cost

    def _greet(self) -> None:
        self._greeted = True
        self._advance()

    def _advance(self) -> None:
        if self._greeted and self.granted:
            self._finished.set()

    # Rights.

    def _admit(self, target: str) -> Later | None:
        """Give the peer the rights of who comes by ``target``, or say what to wait for.

        Raises:
            Unauthorized: nobody may enter there.
        """
        names = self._session.transport.peer_names
        certified = self._context.certified(target, names) if names else None
        found = certified or self._context.authorise(target)
        if not isinstance(found, Access):
            return found
        self._enter(found)
        return None

    def _admit_later(self, target: str) -> None:
        """The same in a session that runs already."""
        later = self._admit(target)
        if later is not None:
            self._session.spawn(self._wait(later), "rights")

    async def _wait(self, later: Later) -> None:
        self._enter(await later())
        self._advance()

    def _enter(self, access: Access) -> None:
        self._grant(access)
        self._take_role(self._role)

    def _take_role(self, role: Role | None) -> None:
        access = self._session.publisher.access
        if role is Role.PUBLISHER:
            if not access.publish:
                raise Unauthorized("nobody may publish here")
            self._grant(replace(access, subscribe=()))
        elif role is Role.SUBSCRIBER:
            if not access.subscribe:
                raise Unauthorized("nobody may subscribe here")
            self._grant(replace(access, publish=()))

    def _grant(self, access: Access) -> None:
        session = self._session
        if not self.dialled and not self.granted:
            self._context.admit(session.number, session.transport.peer, access)
        self.granted = True
        self._session.publisher.access = self._session.subscriber.access = access
        if access.local_only and access.cluster:
            self._session.scheduler.limit = self._context.limits.link_backlog
        # Nodes learn from the registry what the other has, and from nowhere else.
        self.follows = bool(access.publish) and not access.local_only and access.register is None

    # In-band setup.

    async def serve_client_setup(self, request: RequestStream) -> None:
        """The client's first request stream, which stands for the session until it ends.

        Raises:
            SessionError: it is not the first, or offers nothing that we speak.
        """
        if self._setup_seen or self.dialled:
            raise ProtocolViolation("a second CLIENT_SETUP")
        self._setup_seen = True
        offer = await request.read(Slot.CLIENT_SETUP)
        version = self._session.version
        if inband(offer, [version]) is None or version.wire_number is None:
            raise VersionMismatch("no version in common")
        if self._target is None:
            self._admit_later(_path(offer))
        self._session_stream = request.stream
        request.write(ServerSetup(version.wire_number))
        self._greet()
        await self._stand(request)

    async def _offer(self) -> None:
        version = self._session.version
        assert version.wire_number is not None
        parameters: tuple[tuple[int, bytes], ...] = ()
        if self._target and self._session.transport.binding != "webtransport":
            parameters = ((1, self._target.encode()),)
        await self._session.may_request()
        request = self._session.open_request()
        self._session_stream = request.stream
        request.write(ClientSetup((version.wire_number,), parameters))
        answer: ServerSetup = await request.read(Slot.SERVER_SETUP)
        if answer.version != version.wire_number:
            raise VersionMismatch("the peer took a version that was not offered")
        self._session.spawn(self._stand(request), "session-stream")
        self._greet()

    async def _stand(self, request: RequestStream) -> None:
        """The first request stream stands for the session until the peer ends it."""
        await request.ended()
        self._session.close(0, "the peer ended its session stream")


def _path(offer: ClientSetup) -> str:
    """The PATH parameter of draft-14's setup, which these versions borrow."""
    raw = next((value for number, value in offer.parameters if number == 1), b"")
    if not isinstance(raw, bytes):
        return ""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise WireError("the path is not UTF-8") from error
