"""This node among the others: its registry, its links, and whom it lets join."""

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path

from moq_relay import __version__
from moq_relay.cluster.admission import Admission
from moq_relay.cluster.advertiser import Advertiser
from moq_relay.cluster.apart import apart
from moq_relay.cluster.canary import Canary
from moq_relay.cluster.channel import JOIN, PROVE, ROAD
from moq_relay.cluster.dialling import Dial, Link, links
from moq_relay.cluster.discovery import Discovery
from moq_relay.cluster.embedded import Embedded
from moq_relay.cluster.endpoint import Endpoint
from moq_relay.cluster.failovers import Failovers
from moq_relay.cluster.gateway import Gateway, Junction
from moq_relay.cluster.ingestion import Ingestion, of_links
from moq_relay.cluster.joining import Attendance, Challenges, Joiner, was_challenged
from moq_relay.cluster.membership import NAME_TAKEN
from moq_relay.cluster.news import News
from moq_relay.cluster.peers import Links
from moq_relay.cluster.probes import Probes
from moq_relay.cluster.records import Member
from moq_relay.cluster.redis import RedisRoad
from moq_relay.cluster.regions import OTHER, Regions
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.revocations import Revocations
from moq_relay.cluster.road import Road
from moq_relay.cluster.rootroad import SILENCE_SECONDS, RootRoad
from moq_relay.cluster.roundtrips import Method, RoundTrips, Way
from moq_relay.cluster.timing import TimedRoad
from moq_relay.daemon.chronicle import Chronicle, Overheard
from moq_relay.daemon.clustering import Part
from moq_relay.daemon.config.settings import Redis
from moq_relay.daemon.geo.answer import coarse
from moq_relay.relay.origin import Origin
from moq_relay.sessions.context import Extension
from moq_relay.wire import ingested

log = logging.getLogger(__name__)


class Cluster:
    """What a node is made of besides its sessions, when it does not stand alone."""

    def __init__(
        self,
        part: Part,
        redis: Redis,
        *,
        origin: Origin,
        dial: Dial,
        challenges: Challenges,
        extensions: MutableMapping[int, Extension],
        revocations: Revocations | None = None,
    ) -> None:
        """Nothing is started or dialled before ``run``.

        Args:
            part: what the settings make of this node.
            redis: the settings of the registry.
            origin: of this node.
            dial: reaches other nodes.
            challenges: what this node can answer to who asks whether it is itself.
            extensions: of the sessions' context; gets what nodes say to each other.
            revocations: the tokens that were taken back, shared with all nodes.

        Raises:
            ConfigError: its own registry cannot be started.
        """
        self.part = part
        self.node = part.node or ""
        instance = secrets.token_hex(8)
        extensions[PROVE] = Extension(challenges.prove, was_challenged)
        self.regions = Regions(part.region, self._member)
        self.roundtrips = RoundTrips(self.regions, came=self._came)
        joining: Method = "probe" if part.mode == "direct" else "quic"
        joiner = Joiner(
            self.roundtrips.measured(dial, joining),
            challenges,
            node=self.node,
            token=part.bearer,
            instance=instance,
            certified=part.certified,
        )
        self._embedded: Embedded | None = None
        road = self._lay(redis, joiner)
        junction = Junction(road) if part.mode == "root" else None
        self.road = TimedRoad(junction or road)
        self.registry = Registry(
            self.road,
            node=self.node,
            region=part.region,
            hop=origin.hop,
            roles=("root",) if part.mode == "root" else (),
            version=__version__,
            settings=part.times,
            vouched_for=self._vouched_for,
            instance=instance,
            revocations=revocations,
        )
        self._load: int | None = None
        self.registry.table.admit(part.destinations().admits)
        self.registry.offer(part.offer)
        self.registry.watch(self.regions)
        self.chronicle = Chronicle(self.registry)
        self.registry.watch(self.chronicle)
        self.news = News(self.registry, self.regions)
        self.road.on_claim = self.news.heard
        self.canary = Canary(self.road, lambda: len(self.registry.table.shards))
        self._attendance = Attendance(part.roots, joiner) if part.mode == "direct" else None
        self._admission: Admission | None = None
        if junction is not None:
            self._admission = self._receive(junction, dial, extensions)
        self.failovers = Failovers(origin, self.regions)
        self.failovers.on_failover = self.chronicle.failed_over
        self.discovery = Discovery(
            origin, self.registry, region=part.region, failovers=self.failovers
        )
        self.dials = 0
        """Sessions that links asked for so far."""
        ingestion = Ingestion(self.registry.redis_clock)
        extensions[ingested.STREAM] = Extension(ingestion.serve, of_links)
        measured = self.roundtrips.measured(dial, "quic")
        self._link = links(measured, self.node, part.bearer, beside=ingestion.follow)
        self.links = Links(self._dial_link, Overheard(self.discovery, self._link_changed))
        self.probes = Probes(
            links(self.roundtrips.measured(dial, "probe"), self.node, part.bearer),
            self.node,
            lambda: self.registry.members,
            self._attended,
        )
        self._advertiser = Advertiser(origin, self.registry)

    def _lay(self, redis: Redis, joiner: Joiner) -> Road:
        part, times = self.part, self.part.times
        if part.mode == "through":
            # Given up early enough for another root to renew the lease.
            silence = min(SILENCE_SECONDS, times.lease * 3 / 8)
            return RootRoad(part.roots, joiner.road, timeout=times.command_timeout, silence=silence)
        endpoint = part.endpoint
        if endpoint is None:
            self._embedded = Embedded(Path(redis.dir))
            endpoint = Endpoint(path=str(self._embedded.socket))
        return RedisRoad(
            endpoint,
            prefix=redis.prefix,
            shards=times.shards,
            timeout=times.command_timeout,
            probe_seconds=times.renew,
            prepare=None if self._embedded is None else self._embedded.ready,
        )

    def _receive(
        self, junction: Junction, dial: Dial, extensions: MutableMapping[int, Extension]
    ) -> Admission:
        """Let others join here, and come to the registry through here."""
        admission = Admission(
            dial,
            known=self._knows,
            clock=time.monotonic,
            destinations=self.part.destinations(),
        )
        gateway = Gateway(junction, admission.joined, timeout=self.part.times.command_timeout)
        extensions[JOIN] = Extension(admission.serve)
        extensions[ROAD] = Extension(gateway.serve)
        return admission

    def _member(self, node: str) -> Member | None:
        return self.registry.table.member(node)

    def _knows(self, node: str, instance: str) -> bool:
        member = self._member(node)
        return member is not None and member.instance == instance

    def _vouched_for(self, node: str) -> bool:
        return self.links.vouches_for(node)

    def _link_changed(self, node: str) -> None:
        link = self.links.known(node)
        if link is not None:
            self.chronicle.link_changed(node, link.state)

    def _dial_link(
        self, url: str, ending: Callable[[], None]
    ) -> contextlib.AbstractAsyncContextManager[Link]:
        self.dials += 1
        return self._link(url, ending)

    # Its life.

    async def run(self) -> None:
        """Be a member until cancelled, and take leave of the others then."""
        part = self.part
        log.info(
            "cluster entered mode=%s node=%s region=%s roots=%s",
            part.mode,
            part.node or "none",
            part.region or "none",
            ",".join(part.roots) or "none",
        )
        self.discovery.start(self.links)
        if self.node:
            self._advertiser.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                others = [tasks.create_task(self.links.run(), name="links")]
                if self._attendance is not None:
                    others.append(tasks.create_task(self._attendance.run(), name="attendance"))
                if part.mode == "root":
                    others.append(tasks.create_task(self.canary.run(), name="canary"))
                others.append(tasks.create_task(self.probes.run(), name="probes"))
                others.append(tasks.create_task(self.roundtrips.run(), name="round-trips"))
                others.append(tasks.create_task(self.failovers.run(), name="failovers"))
                try:
                    # Unregisters when it is cancelled; what flows over links flows until then.
                    await self.registry.run()
                finally:
                    self._advertiser.stop()
                    self.discovery.stop()
                    for task in others:
                        task.cancel()
        finally:
            if self._embedded is not None:
                await apart(self._embedded.stop(), "registry-stop")

    async def resolve(self, path: str) -> None:
        """Ask for a path that nobody here has; see ``Context``."""
        await self.discovery.resolve(path)

    # What it says of itself.

    def offer(self, load: float, *, ready: bool) -> None:
        """Say how much is in use here, 0 to 1, of what there is least of.

        Who is not ready offers clients no address.
        """
        self._load = coarse(load, self._load)
        mine = self.part.offer
        addresses = mine.addresses if ready else ()
        self.registry.offer(dataclasses.replace(mine, addresses=addresses, load=self._load))

    def region_of(self, node: str) -> str:
        """As what the region of a node is counted, by its URL; of this node for an empty one."""
        region = self.regions.of(node) if node else self.regions.own
        return OTHER if region is None else self.regions.label(region)

    @property
    def isolated(self) -> str | None:
        """Why it makes no promises to the others now."""
        return self.registry.status.isolated

    @property
    def synced(self) -> bool:
        """Whether it ever read all of the table: then it serves from that, come what may."""
        return all(feed.epoch is not None for feed in self.registry.table.feeds())

    def rtts(self) -> Mapping[str, float]:
        """Measured round trips, by node: the shortest of all sessions with it."""
        ways = [(way.session.rtt_seconds, way.node) for way in self.roundtrips.ways()]
        longest_first = sorted(((rtt, node) for rtt, node in ways if rtt is not None), reverse=True)
        return {node: rtt for rtt, node in longest_first}

    def _came(self) -> Iterator[Way]:
        """The sessions by which others have joined here."""
        joined = {} if self._admission is None else self._admission.sessions()
        for session, node in joined.items():
            yield Way(node, "quic", Link(session))

    def _attended(self) -> Iterator[str]:
        """The root to which a session is open that measures the way."""
        at = self._attendance
        if at is not None and at.root is not None:
            yield at.root

    @property
    def name_taken(self) -> bool:
        """Whether another live process has its name."""
        return self.isolated == NAME_TAKEN
