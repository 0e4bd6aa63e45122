"""A whole node without sockets, and peers by script that publish to it and watch."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from moq_relay.relay.access import Access
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.sessions.context import Context, Extension, Limits, Resolve
from moq_relay.sessions.host import Host
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.sessions.transport import Arrival
from moq_relay.transports.memory import Memory, pair
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.lite.versions import VERSIONS
from moq_relay.wire.version import Slot, Version
from tests.support.peer import HeardGroup, Peer, Stream

HOP = 7_000_007
"""The node's id inside announcements."""


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """Let the loop turn until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Node:
    """One node's model and sessions; peers come in over pairs in memory."""

    def __init__(self, host: Host, context: Context) -> None:
        self.host = host
        self.context = context
        self.origin = context.origin
        self.counters = context.counters

    def connect(
        self,
        version: Version,
        *,
        target: str | None = "/",
        binding: str = "memory",
        protocol: str | None = "its own",
        versions: tuple[Version, ...] = VERSIONS,
        streams: int = 100,
    ) -> Peer:
        """A peer whose session has begun; it has said nothing yet."""
        near, far = pair(streams=streams)
        near.binding = far.binding = binding
        peer = Peer(near, version)
        alpn = version.alpn if protocol == "its own" else protocol
        far.events = self.host.accept(Arrival(binding, "test", alpn, target), far, versions)
        return peer

    async def publisher(
        self, version: Version, *suffixes: str, hop: int = 11, **options: Any
    ) -> "Publisher":
        """A peer that publishes and has announced ``suffixes``."""
        streams = options.pop("streams", 100)
        target = options.pop("target", "/")
        peer = self.connect(version, streams=streams, target=target)
        peer.setup(hop=hop, **options)
        publisher = Publisher(peer, hop)
        await publisher.begin()
        for suffix in suffixes:
            publisher.announce(suffix)
        await peer.round_trip()
        return publisher

    async def viewer(self, version: Version, *, hop: int = 0, **options: Any) -> "Viewer":
        """A peer that watches; it has asked for nothing yet."""
        streams = options.pop("streams", 100)
        target = options.pop("target", "/")
        peer = self.connect(version, streams=streams, target=target)
        peer.setup(hop=hop, **options)
        await peer.round_trip()
        return Viewer(peer)

    def session(self, peer: Peer) -> LiteSession:
        """The node's end of a peer's session."""
        far = far_end(peer)
        assert isinstance(far.events, LiteSession)
        return far.events


def far_end(peer: Peer) -> Memory:
    """The node's transport towards a peer."""
    assert isinstance(peer.transport, Memory)
    return peer.transport.far


@asynccontextmanager
async def node(
    *,
    access: Callable[[str], Access] = lambda _target: Access(),
    clock: Callable[[], float] | None = None,
    linger: float = 0.0,
    hop: int = HOP,
    alone: bool = True,
    cache: CacheLimits | None = None,
    resolve: Resolve | None = None,
    extensions: Mapping[int, Extension] | None = None,
    **limits: Any,
) -> AsyncIterator[Node]:
    """A node that runs, and that is seen to leave no task, no error and no session behind.

    Args:
        alone: whether no other node runs that may have begun tasks since.
    """
    loop = asyncio.get_running_loop()
    counters = Counters()
    origin = Origin(
        hop,
        Cache(cache or CacheLimits(), counters),
        clock or loop.time,
        loop.call_later,
        linger=linger,
    )
    context = Context(origin, Limits(**limits), access, counters, extensions or {}, resolve=resolve)
    errors = Errors()
    unretrieved: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, about: unretrieved.append(about))
    before = asyncio.all_tasks()
    logging.getLogger("moq_relay").addHandler(errors)
    failure = None
    try:
        async with Host(context) as host:
            try:
                yield Node(host, context)
            except Exception as error:
                failure = error
        if failure is not None:
            raise failure
    finally:
        logging.getLogger("moq_relay").removeHandler(errors)
        loop.set_exception_handler(None)
    assert not errors.records, errors.records
    assert not unretrieved, unretrieved
    assert not alone or asyncio.all_tasks() <= before
    assert not host.sessions
    assert counters.viewers == counters.upstream == 0
    assert not +counters.sessions


class Errors(logging.Handler):
    """Keeps what was logged as an error: a mistake of ours, whatever the peer did."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


class Publisher:
    """A peer that announces, describes and sends, as its version does."""

    def __init__(self, peer: Peer, hop: int = 11) -> None:
        self.peer = peer
        self.version = peer.version
        self.hop = hop
        self.wanted: wire.AnnounceRequest | None = None
        """What the node asked to be announced."""
        self._announces: Stream | None = None
        self._ids: dict[str, int] = {}
        self._next = 0

    @property
    def announces(self) -> Stream:
        assert self._announces is not None
        return self._announces

    async def begin(self) -> None:
        """Take the node's announce request and open the answer."""
        self._announces = await self.peer.asked(BiStream.ANNOUNCE)
        self.wanted = await self.announces.read(Slot.ANNOUNCE_REQUEST)
        if self.version.features.announce_ok:
            self.announces.write(wire.AnnounceOk(self.hop, 0))
        if self.version.features.announce_init:
            self.announces.write(wire.AnnounceInit())

    def announce(
        self, suffix: str, hops: tuple[int, ...] = (), *, warm: int = 0, cold: int = 0
    ) -> None:
        """Say that a broadcast is live, or live another way; ``hops`` without this peer."""
        features = self.version.features
        if features.announce_ids and suffix in self._ids:
            self.announces.write(wire.AnnounceUpdate(self._ids[suffix], hops, warm, cold))
        elif features.announce_ids:
            self._ids[suffix], self._next = self._next, self._next + 1
            self.announces.write(wire.AnnounceStart(suffix, hops, warm, cold))
        else:
            chain = (*hops, self.hop) if features.sender_in_hops else hops
            self.announces.write(wire.Announce(wire.Status.ACTIVE, suffix, chain))

    def end(self, suffix: str) -> None:
        """Say that a broadcast ended."""
        if self.version.features.announce_ids:
            self.announces.write(wire.AnnounceEnd(self._ids.pop(suffix)))
        else:
            self.announces.write(wire.Announce(wire.Status.ENDED, suffix))

    async def describe(
        self, *, priority: int = 1, max_age: int = 30_000, timescale: int = 1_000_000
    ) -> wire.TrackRequest | None:
        """Answer the next TRACK, where the version has it."""
        if not self.version.features.track_stream:
            return None
        stream = await self.peer.asked(BiStream.TRACK)
        wanted: wire.TrackRequest = await stream.read(Slot.TRACK)
        stream.write(
            wire.TrackInfo(priority=priority, max_age=max_age, timescale=timescale), fin=True
        )
        return wanted

    async def accept(self, start: int | None = None, **info: Any) -> "Sending":
        """Describe the next track that is asked for and accept its subscription."""
        await self.describe(**info)
        return await self.accept_described(start)

    async def accept_described(self, start: int | None = None) -> "Sending":
        """Accept the next subscription, to a track that the node knows."""
        stream = await self.peer.asked(BiStream.SUBSCRIBE)
        wanted: wire.Subscribe = await stream.read(Slot.SUBSCRIBE)
        if self.version.features.subscribe_ok:
            stream.write(wire.SubscribeOk())
        sending = Sending(self.peer, stream, wanted)
        if start is not None:
            sending.start(start)
        return sending


class Sending:
    """One subscription, as the publisher serves it."""

    def __init__(self, peer: Peer, stream: Stream, wanted: wire.Subscribe) -> None:
        self.peer = peer
        self.stream = stream
        self.wanted = wanted

    def start(self, group: int) -> None:
        if self.peer.version.features.subscribe_start:
            self.stream.write(wire.SubscribeStart(group))

    def group(self, sequence: int, *frames: Any, first: int = 0, fin: bool = True) -> Stream:
        return self.peer.group(self.wanted.id, sequence, *frames, first=first, fin=fin)

    def end(self, group: int) -> None:
        """END where there is one, and FIN."""
        if self.peer.version.features.subscribe_start:
            self.stream.write(wire.SubscribeEnd(group))
        self.stream.finish()


class Viewer:
    """A peer that asks for announcements and tracks, as its version does."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.version = peer.version
        self._next = 0

    async def watch(self, prefix: str = "", exclude: int = 0) -> "Watching":
        """Ask for announcements and read the opening of the answer."""
        stream = self.peer.open(BiStream.ANNOUNCE, wire.AnnounceRequest(prefix, exclude))
        watching = Watching(self.version, stream)
        if self.version.features.announce_ok or self.version.features.announce_init:
            await watching.open()
        return watching

    def subscribe(self, broadcast: str, track: str, **options: Any) -> "Watched":
        """Ask for a track; ``options`` as in ``Subscribe``."""
        number, self._next = options.pop("id", self._next), self._next + 1
        options = {"priority": 0, "max_age": 30_000} | options
        message = wire.Subscribe(number, broadcast, track, **options)
        return Watched(self.peer, self.peer.open(BiStream.SUBSCRIBE, message), number)

    def track(self, broadcast: str, track: str) -> Stream:
        return self.peer.open(BiStream.TRACK, wire.TrackRequest(broadcast, track))

    def fetch(self, broadcast: str, track: str, group: int, **options: Any) -> Stream:
        return self.peer.open(BiStream.FETCH, wire.Fetch(broadcast, track, 0, group, **options))


class Watched:
    """One subscription, as the viewer sees it."""

    def __init__(self, peer: Peer, stream: Stream, number: int) -> None:
        self.peer = peer
        self.stream = stream
        self.number = number

    @property
    def groups(self) -> list[HeardGroup]:
        return [g for g in self.peer.groups if g.header.subscribe == self.number]

    @property
    def whole(self) -> dict[int, list[bytes]]:
        """Payloads of the groups that are complete, by sequence."""
        return {group.sequence: group.payloads for group in self.groups if group.complete}

    async def heard(self, *sequences: int) -> list[HeardGroup]:
        """Wait until these groups are here whole; they, in this order."""
        await self.peer.until(lambda: set(sequences) <= set(self.whole))
        by_sequence = {group.sequence: group for group in self.groups if group.complete}
        return [by_sequence[sequence] for sequence in sequences]

    async def opened(self, sequence: int) -> HeardGroup:
        """Wait until a group's stream is here; whole or not."""

        def found() -> list[HeardGroup]:
            return [group for group in self.groups if group.sequence == sequence]

        await self.peer.until(found)
        return found()[0]

    async def accepted(self) -> None:
        """Read SUBSCRIBE_OK, where there is one."""
        if self.peer.version.features.subscribe_ok:
            assert isinstance(await self.stream.read(Slot.SUBSCRIBE_REPLY), wire.SubscribeOk)

    async def replies(self) -> list[Any]:
        """Everything that the subscription is told, to its FIN."""
        await self.peer.until(lambda: self.stream.over)
        found = []
        while (reply := self.stream.pop(Slot.SUBSCRIBE_REPLY)) is not None:
            found.append(reply)
        await self.stream.ended()
        return found


class Watching:
    """One announce stream, as the viewer sees it."""

    def __init__(self, version: Version, stream: Stream) -> None:
        self.version = version
        self.stream = stream
        self.hop = 0
        """The sender's id, where it says it."""
        self.count: int | None = None
        """How many announcements of the snapshot follow, where the sender says it."""
        self.snapshot: tuple[str, ...] = ()
        """The snapshot, where it comes in one message."""

    async def open(self) -> None:
        match await self.stream.read(Slot.ANNOUNCE_OPENING):
            case wire.AnnounceOk(hop, active):
                self.hop, self.count = hop, active
            case wire.AnnounceInit(suffixes):
                self.snapshot = suffixes

    async def next(self) -> Any:
        """The next announcement."""
        return await self.stream.read(Slot.ANNOUNCEMENT)

    def rest(self) -> list[Any]:
        """What else is there already."""
        found = []
        while (message := self.stream.pop(Slot.ANNOUNCEMENT)) is not None:
            found.append(message)
        return found
