"""A client that goes from node to node: when it is asked to, or when it was cut off."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from moq_relay.errors import MoqError
from moq_relay.relay.origin import Origin
from moq_relay.sessions.context import Context, Use
from moq_relay.sessions.host import Host
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.transport import Arrival, Transport
from moq_relay.transports.quic.dialer import Trust, dial
from moq_relay.wire.lite.messages import Role
from moq_relay.wire.version import Version
from tests.support.own_client import make_context

SETTLE_SECONDS = 0.2
"""How long a session has to last: one that the handshake lets in may be turned away after it."""
AGAIN_SECONDS = 0.1
HANDOVER_SECONDS = 10.0


class Stay:
    """A session with one node."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.asked = False
        """Whether the node asked the client to go."""
        self.over = asyncio.Event()
        """It was asked, or the session has ended."""
        self.session: LiteSession | None = None
        self._stack = AsyncExitStack()

    async def begin(
        self, host: Host, context: Context, port: int, version: Version, role: Role
    ) -> bool:
        """Connect; False when the node does not take the client."""

        def accept(_arrival: Arrival, transport: Transport) -> LiteSession:
            use = Use(role=role, ending=self.over.set)
            session = LiteSession(transport, version, context, target="/", dialled=True, use=use)
            self.session = session
            prefer_others = session.subscriber.leaving

            def leaving() -> None:
                self.asked = True
                self.over.set()
                prefer_others()

            session.subscriber.leaving = leaving  # type: ignore[method-assign]
            return host.start(session)

        try:
            await self._stack.enter_async_context(
                dial(
                    "127.0.0.1",
                    port,
                    accept=accept,
                    protocols=[version.alpn],
                    trust=Trust(verify=False),
                    server_name="localhost",
                )
            )
            async with asyncio.timeout(SETTLE_SECONDS):
                await self.over.wait()
        except TimeoutError:
            return True
        except (MoqError, OSError):
            pass
        if self.asked:
            return True
        await self.end()
        return False

    async def end(self) -> None:
        """Leave."""
        await self._stack.aclose()


class Mover:
    """Publishes what its origin has, or watches into it, at one node of several at a time.

    The next session is up before the last one is left.
    """

    def __init__(
        self,
        ports: Sequence[int],
        place: int,
        version: Version,
        origin: Origin,
        role: Role,
        moved: Callable[[Stay], Callable[[], bool]],
    ) -> None:
        """``moved`` is called with the old stay once a new one has begun.

        It returns what says whether the old one is not needed any more.
        """
        self.place = place
        self.stays = 0
        self.asked = 0
        """Stays that ended because the node asked for it."""
        self._ports = ports
        self._version = version
        self._context = make_context(origin)
        self._role = role
        self._moved = moved

    async def run(self) -> None:
        """Be somewhere until cancelled."""
        async with Host(self._context) as host:
            before: Stay | None = None
            now = await self._somewhere(host, self.place)
            try:
                while True:
                    await now.over.wait()
                    before, now = now, await self._somewhere(host, now.place + 1)
                    self.asked += before.asked
                    await self._hand_over(before)
                    before = None
            finally:
                for stay in (before, now):
                    if stay is not None:
                        await stay.end()

    async def _somewhere(self, host: Host, place: int) -> Stay:
        while True:
            place %= len(self._ports)
            stay = Stay(place)
            if await stay.begin(host, self._context, self._ports[place], self._version, self._role):
                self.place = place
                self.stays += 1
                return stay
            place += 1
            await asyncio.sleep(AGAIN_SECONDS)

    async def _hand_over(self, before: Stay) -> None:
        done = self._moved(before)
        loop = asyncio.get_running_loop()
        limit = loop.time() + HANDOVER_SECONDS
        while not done() and loop.time() < limit:
            await asyncio.sleep(0.02)
        await before.end()
