"""One relay, and every bearer at every path by every transport and version: what each may do."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp

from moq_relay.relay.origin import Origin
from moq_relay.transports.quic.dialer import DialFailed, Trust, dial
from moq_relay.wire.lite.messages import BiStream
from moq_relay.wire.lite.versions import VERSIONS
from moq_relay.wire.version import Version
from tests.interop.clients import connected as real_client
from tests.rights.oracle import JWK, PUBLIC, Bearer, bearers, segments, within
from tests.support.node import Publisher, Viewer
from tests.support.own_client import connected, publish, until
from tests.support.peer import Peer
from tests.support.relay_process import RelayProcess
from tests.support.station import Station

BROADCASTS = (
    *("room/alice/cam", "room/bob/cam", "roo/cam", "ro/cam", "hall/cam", "hall/door/cam"),
    *("pub/cam", "pub/in/cam", "other/cam"),
)
"""What is there to watch."""
PATHS = ("", "room", "room/alice", "room/bob", "ro", "hall", "pub/in", "other", "room//alice/")
PLACES = ("", "room", "room/alice", "room/alice/cam/x/y", "ro", "hall/door", "pub", "pub/in", "x")
"""Where everybody tries to publish."""
UNROUTABLE = 0x36
NEWEST = VERSIONS[0]

_names = count()


@dataclass(frozen=True)
class Way:
    """A transport with a version; the real client chooses its own."""

    transport: str
    version: Version | None = None

    def __str__(self) -> str:
        return f"{self.transport} {self.version.name}" if self.version else self.transport


WAYS = (
    *(Way("webtransport", version) for version in VERSIONS),
    *(Way("quic", v) for v in VERSIONS if v.features.setup_stream or v.features.inband_setup),
    *(Way("http"), Way("moq-rs https"), Way("moq-rs moqt")),
)


@dataclass
class Result:
    """What was looked at, and what was not as it should be."""

    cases: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self, about: str, seen: object, expected: object) -> None:
        """One case."""
        self.cases += 1
        if seen != expected:
            self.wrong.append(f"{about}: {seen!r}, where {expected!r} is right")


class Place:
    """A relay with everything published, and somebody who sees everything."""

    def __init__(self, relay: RelayProcess, control: Origin, web: aiohttp.ClientSession) -> None:
        self.relay = relay
        self.control = control
        self.web = web

    async def judge(self, way: Way, bearer: Bearer, path: str, result: Result) -> None:
        """Come as ``bearer`` at ``path``, and try everything."""
        about = f"{bearer.name}, at /{path}, by {way}"
        query = "" if bearer.token is None else f"?jwt={bearer.token}"
        if way.transport == "http":
            await self._by_http(about, bearer, path, result)
        elif way.version is None:
            await self._by_the_real_client(way, about, bearer, path, query, result)
        else:
            await self._by_session(way.version, way, about, bearer, path, query, result)

    # Sessions of ours.

    async def _by_session(
        self,
        version: Version,
        way: Way,
        about: str,
        bearer: Bearer,
        path: str,
        query: str,
        result: Result,
    ) -> None:
        target, over = f"/{path}{query}", way.transport == "webtransport"
        admitted = False
        try:
            async with self._peer(version, target if over else None) as peer:
                peer.setup(hop=7, **({} if over else {"path": target}))
                closed = await _ended(peer)
                admitted = closed is None
                if closed is not None:
                    result.check(f"{about}: the code of the refusal", closed, 2)
                elif bearer.admitted(path):
                    await self._watch(about, peer, bearer, path, result)
                    await self._subscribe(about, peer, bearer, path, result)
                    await self._publish(about, peer, bearer, path, result)
        except DialFailed as error:
            result.check(f"{about}: the refusal", str(error), "refused with status 403")
        result.check(f"{about}: admitted", admitted, bearer.admitted(path))

    @asynccontextmanager
    async def _peer(self, version: Version, target: str | None) -> AsyncIterator[Peer]:
        peers: list[Peer] = []
        failure: BaseException | None = None

        def accept(_arrival: object, transport: object) -> Peer:
            peers.append(Peer(transport, version))  # type: ignore[arg-type]
            return peers[0]

        async with dial(
            "127.0.0.1",
            self.relay.ports[version.name],
            accept=accept,
            protocols=[version.alpn],
            path=target,
            trust=Trust(verify=False),
            server_name="localhost",
        ):
            try:
                yield peers[0]
            except BaseException as error:  # a task group would wrap it
                failure = error
            peers[0].transport.close(0, "")
        if failure is not None:
            raise failure

    async def _watch(
        self, about: str, peer: Peer, bearer: Bearer, path: str, result: Result
    ) -> None:
        watching = await Viewer(peer).watch()
        seen = set(watching.snapshot)
        for _ in range(watching.count or 0):
            seen.add((await watching.next()).suffix)
        await peer.round_trip()
        seen |= {getattr(message, "suffix", None) for message in watching.rest()} - {None}
        full = {"/".join((*segments(path), one)) for one in seen}
        for broadcast in BROADCASTS:
            expected = bearer.may_get(path, broadcast)
            result.check(f"{about}: sees {broadcast}", broadcast in full, expected)
        strange = sorted(one for one in full if not bearer.may_get(path, one))
        result.check(f"{about}: what it sees else", strange, [])

    async def _subscribe(
        self, about: str, peer: Peer, bearer: Bearer, path: str, result: Result
    ) -> None:
        viewer, here = Viewer(peer), segments(path)
        for broadcast in BROADCASTS:
            asked = segments(broadcast)
            below = "/".join(asked[len(here) :]) if within(asked, here) else f"../{broadcast}"
            watched = viewer.subscribe(below, "video")
            await peer.until(lambda w=watched: w.whole or w.stream.reset_code is not None)
            got = bool(watched.whole) or watched.stream.reset_code
            right = True if bearer.may_get(path, broadcast) else UNROUTABLE
            result.check(f"{about}: subscribes to {broadcast}", got, right)
            watched.stream.stop(0)
            watched.stream.reset(0)

    async def _publish(
        self, about: str, peer: Peer, bearer: Bearer, path: str, result: Result
    ) -> None:
        here, name = segments(path), f"made-{next(_names)}"
        places = [p for p in map(segments, PLACES) if within(p, here)]
        wanted = {"/".join((*place, name)) for place in places}
        right = {one for one in wanted if bearer.may_put(path, one)}
        asks = any(within(here, p) or within(p, here) for p in bearer.put)
        if asks:
            publisher = Publisher(peer, hop=7)
            await publisher.begin()
            for one in sorted(wanted):
                publisher.announce("/".join(segments(one)[len(here) :]))
            publisher.announce(f"../{name}")
        await peer.round_trip()
        result.check(
            f"{about}: is asked what it publishes",
            bool(peer.requests(BiStream.ANNOUNCE)) or asks,
            asks,
        )
        if right:
            await until(lambda: right <= set(self.control.broadcasts))
        there = {one for one in self.control.broadcasts if segments(one)[-1] == name}
        for one in sorted(wanted):
            result.check(f"{about}: publishes {one}", one in there, one in right)
        result.check(
            f"{about}: publishes nothing else",
            sorted(there - wanted),
            [one for one in sorted(there - wanted) if bearer.may_put(path, one)],
        )

    # Everybody else.

    async def _by_http(self, about: str, bearer: Bearer, path: str, result: Result) -> None:
        headers = {} if bearer.token is None else {"Authorization": f"Bearer {bearer.token}"}
        async with self.web.get(f"{self._base}/announced/{path}", headers=headers) as answer:
            lines = (await answer.text()).splitlines()
            seen = {one for one in lines if one in BROADCASTS} if answer.status == 200 else None
        here = segments(path)
        right: set[str] | None = {one for one in BROADCASTS if bearer.may_get(path, one)}
        watches = any(within(here, p) or within(p, here) for p in bearer.get)
        if not (bearer.admitted(path) and watches):
            right = None
        result.check(f"{about}: what is announced", seen, right)
        for broadcast in BROADCASTS:
            if not within(segments(broadcast), here):
                continue
            url = f"{self._base}/fetch/{broadcast}/video"
            async with self.web.get(url, headers=headers) as answer:
                status = answer.status
            expected = 200 if bearer.may_get(broadcast, broadcast) else 403
            result.check(f"{about}: fetches {broadcast}", status, expected)

    async def _by_the_real_client(
        self, way: Way, about: str, bearer: Bearer, path: str, query: str, result: Result
    ) -> None:
        port = self.relay.ports[NEWEST.name]
        scheme = way.transport.split()[1]
        admitted = False
        try:
            async with real_client(f"{scheme}://127.0.0.1:{port}/{path}{query}", 3.0) as client:
                if scheme == "https" or await _stays(client):
                    admitted = True
                    for broadcast in BROADCASTS:
                        if bearer.may_get(path, broadcast):
                            below = "/".join(segments(broadcast)[len(segments(path)) :])
                            async with asyncio.timeout(5):
                                await client.announced_broadcast(below)
                            result.check(f"{about}: sees {broadcast}", True, True)
        except Exception as error:  # moq-rs has one kind for everything
            if admitted:
                result.check(f"{about}: watches", repr(error), "no error")
        result.check(f"{about}: admitted", admitted, bearer.admitted(path))

    @property
    def _base(self) -> str:
        return f"http://127.0.0.1:{self.relay.web_port}"


async def _ended(peer: Peer) -> int | None:
    """The code with which the relay sent the peer away; None: it may stay."""
    stream = peer.open(BiStream.PROBE + 1000)
    await peer.until(lambda: stream.over or peer.close is not None)
    return None if peer.close is None else peer.close[0]


async def _stays(client: object) -> bool:
    """Whether the session is there a moment later: raw QUIC is told in it that it may not be."""
    try:
        async with asyncio.timeout(0.3):
            await client.session.closed()  # type: ignore[attr-defined]
    except TimeoutError:
        return True
    return False


@asynccontextmanager
async def place(directory: Path) -> AsyncIterator[Place]:
    """A relay that takes these tokens."""
    (directory / "key.jwk").write_text(json.dumps(JWK))
    relay = RelayProcess(directory, [v.name for v in VERSIONS], 'key = "key.jwk"')
    relay.environment = {
        "MOQ_AUTH_PUBLIC_SUBSCRIBE": ",".join(PUBLIC["subscribe"]),
        "MOQ_AUTH_PUBLIC_PUBLISH": ",".join(PUBLIC["publish"]),
    }
    relay.start()
    failure: BaseException | None = None
    everything = next(one for one in bearers() if one.name == "everything")
    try:
        target = f"/?jwt={everything.token}"
        station = Station(frames=1, size=10)
        async with (
            aiohttp.ClientSession() as web,
            connected(relay.ports[NEWEST.name], NEWEST, path=target) as control,
            connected(relay.ports[NEWEST.name], NEWEST, path=target) as publisher,
        ):
            for broadcast in BROADCASTS:
                publish(publisher, broadcast, station)
            station.write()
            await until(lambda: set(BROADCASTS) <= set(control.broadcasts))
            try:
                yield Place(relay, control, web)
            except BaseException as error:  # a task group would wrap it
                failure = error
        if failure is not None:
            raise failure
        relay.stop()
    finally:
        relay.kill()


def everything(ways: tuple[Way, ...] = WAYS) -> Iterator[tuple[Way, Bearer, str]]:
    """All there is to judge."""
    for bearer in bearers():
        for path in PATHS:
            for way in ways:
                yield way, bearer, path
