"""Nodes that reach each other by URL without sockets, each with its rights and its extensions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from moq_relay.cluster.admission import Admission
from moq_relay.cluster.channel import JOIN, PROVE, ROAD
from moq_relay.cluster.destinations import Destinations
from moq_relay.cluster.gateway import Gateway, Junction
from moq_relay.cluster.joining import Challenges, Joiner, was_challenged
from moq_relay.cluster.memory import MemoryRoad, MemoryStore
from moq_relay.cluster.road import Road
from moq_relay.daemon.auth import Authority
from moq_relay.daemon.tokens.jwk import Key
from moq_relay.daemon.tokens.keys import OneKey
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.sessions.context import Context, Extension, Limits, Use
from moq_relay.sessions.host import Host
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.transport import Arrival
from moq_relay.transports.memory import Memory, pair
from moq_relay.transports.quic.dialer import DialFailed
from moq_relay.wire.lite.versions import LITE_05, VERSIONS

KEY = Key("HS256", b"k" * 32, b"k" * 32)
FAR = "192.0.2.1"


class House:
    """One node."""

    def __init__(self, url: str, host: Host, context: Context, challenges: Challenges) -> None:
        self.url = url
        self.host = host
        self.context = context
        self.challenges = challenges
        self.extensions: dict[int, Extension] = context.extensions  # type: ignore[assignment]
        self.extensions[PROVE] = Extension(challenges.prove, was_challenged)
        self.targets: list[str] = []
        """By which others came."""
        self.transports: list[Memory] = []
        """Its ends of what others dialled."""
        self.reachable = True

    def open_as_root(
        self, dial, road: Road, *, timeout: float = 2.0, known=lambda _node, _instance: False
    ) -> "Root":
        """Let nodes join here."""
        root = Root(dial, road, self.url, timeout=timeout, known=known)
        self.extensions[JOIN] = Extension(root.admission.serve)
        self.extensions[ROAD] = Extension(root.gateway.serve)
        return root


class Root:
    """What makes a house a root."""

    def __init__(self, dial, road, url, *, timeout, known) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.junction = Junction(road)
        self.admission = Admission(
            dial,
            known=known,
            clock=asyncio.get_running_loop().time,
            destinations=Destinations(node=url, resolve=self.resolve),
        )
        self.gateway = Gateway(self.junction, self.admission.joined, timeout=timeout)

    async def resolve(self, place) -> list[str]:
        return self.addresses.get(place.host, [FAR])


class Street:
    """Every house by its URL."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.houses: dict[str, House] = {}
        self.store = MemoryStore()
        self._stack = stack

    async def build(self, url: str, *, shared_token: bool = True, public=None) -> House:
        """A node that takes tokens signed with ``KEY``."""
        loop = asyncio.get_running_loop()
        counters, challenges = Counters(), Challenges()
        authority = Authority(
            public, keys=OneKey(KEY), shared_token=shared_token, challenged=challenges.__contains__
        )
        origin = Origin(
            len(self.houses) + 1, Cache(CacheLimits(), counters), loop.time, loop.call_later
        )
        house: House | None = None

        def authorise(target: str):
            assert house is not None
            house.targets.append(target)
            return authority.authorise(target)

        context = Context(origin, Limits(), authorise, counters, {})
        host = await self._stack.enter_async_context(Host(context))
        house = self.houses[url] = House(url, host, context, challenges)
        return house

    def dial(self, own: House):
        """How ``own`` reaches the others."""

        @asynccontextmanager
        async def dial(
            url: str, target: str, use: Use, *, address: str | None = None
        ) -> AsyncIterator[LiteSession]:
            house = self.houses.get(url)
            if house is None or not house.reachable:
                raise DialFailed("nobody is there")
            near, far = pair()
            use = replace(use, peer=f"node {url}")
            session = LiteSession(near, LITE_05, own.context, target=target, dialled=True, use=use)
            near.events = session
            arrival = Arrival("memory", own.url, LITE_05.alpn, None)
            far.events = house.host.accept(arrival, far, VERSIONS)
            house.transports.append(far)
            own.host.start(session)
            try:
                yield session
            finally:
                session.close(0, "")

        return dial

    def joiner(self, house: House, *, token: str | None = None, **options) -> Joiner:
        """What joins in the name of ``house``, by default with a token that names it."""
        options = {"silence": 5.0, "instance": f"instance of {house.url}"} | options
        token = token or KEY.sign(cluster=True, node=house.url)
        return Joiner(self.dial(house), house.challenges, node=house.url, token=token, **options)

    async def root(
        self, url: str, road: Callable[[], Road] | None = None, *, running: bool = True, **options
    ) -> Root:
        """A root whose road is up, or is about to come up, or is run by somebody else."""
        house = await self.build(url)
        made = (road or (lambda: MemoryRoad(self.store)))()
        root = house.open_as_root(self.dial(house), made, **options)
        if not running:
            return root
        tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        task = tasks.create_task(root.junction.run(lambda _event: None))
        self._stack.callback(task.cancel)
        if road is None:
            async with asyncio.timeout(5):
                while root.junction.connected is None:
                    await asyncio.sleep(0)
        return root


@asynccontextmanager
async def street() -> AsyncIterator[Street]:
    """An empty one."""
    async with AsyncExitStack() as stack:
        yield Street(stack)
