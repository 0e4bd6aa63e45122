"""One relay: ``Node.load`` builds it from settings, ``Node.run`` runs it to its end."""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import time

from aiohttp import web

from moq_relay import __version__
from moq_relay.cluster.dialling import Dialler
from moq_relay.cluster.joining import Challenges
from moq_relay.cluster.membership import NAME_TAKEN
from moq_relay.cluster.revocations import Revocations
from moq_relay.daemon import clustering, doors, sockets
from moq_relay.daemon.auth import OPEN, Authority
from moq_relay.daemon.certificates import Certificates
from moq_relay.daemon.certified import by_certificate
from moq_relay.daemon.clients import Clients
from moq_relay.daemon.cluster import Cluster
from moq_relay.daemon.clustering import Part
from moq_relay.daemon.commands import welcome
from moq_relay.daemon.config import bounds
from moq_relay.daemon.config.sources import Loaded
from moq_relay.daemon.config.values import Address
from moq_relay.daemon.demo import PATH, Demo
from moq_relay.daemon.drain import Drain
from moq_relay.daemon.guard import Guard
from moq_relay.daemon.guests import Guests, doorkeeper
from moq_relay.daemon.logs.linefile import LineFile
from moq_relay.daemon.logs.usage import Ledger
from moq_relay.daemon.metrics import families
from moq_relay.daemon.metrics.readings import LAG_BUCKETS, Readings
from moq_relay.daemon.notify import Manager
from moq_relay.daemon.saturation import Saturation
from moq_relay.daemon.silence import Silence
from moq_relay.daemon.tokens.standing import Standing
from moq_relay.daemon.web import changes
from moq_relay.daemon.web.changes import Changes
from moq_relay.daemon.web.geo_http import GeoHttp
from moq_relay.daemon.web.hosts import Hosts
from moq_relay.daemon.web.http import Door, PublicHttp
from moq_relay.daemon.web.internal import InternalHttp, Readiness
from moq_relay.daemon.web.live import Live
from moq_relay.daemon.web.revocation_http import RevocationHttp
from moq_relay.daemon.web.serving import serving
from moq_relay.daemon.web.topology import Topology
from moq_relay.daemon.web.views import Views
from moq_relay.errors import ConfigError
from moq_relay.relay.counters import Counters
from moq_relay.relay.histogram import Histogram
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache
from moq_relay.sessions.context import Context, Extension
from moq_relay.sessions.experience import Experience
from moq_relay.sessions.host import Host
from moq_relay.transports.quic import listener as quic

TICK_SECONDS = 0.25
SWEEP_TICKS = 4
LEAVE_SECONDS = 5.0
"""How long sessions may take to end once they are closed."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


class Node:
    """Everything of one relay; the only place that knows all floors."""

    def __init__(self, loaded: Loaded, certificates: Certificates, part: Part) -> None:
        settings = loaded.settings
        self._loaded = loaded
        self._settings = settings
        self._certificates = certificates
        self._counters = Counters()
        challenges = Challenges()
        revocations = Revocations(time.time)
        self._standing = Standing(revocations, settings.auth.revocation, self._in_touch)
        self._authority = Authority.of(loaded, challenges.__contains__, self._standing)
        self._cluster: Cluster | None = None
        self.origin = Origin(
            1 + secrets.randbelow(2**62 - 1),
            Cache(bounds.cache_limits(settings), self._counters),
            time.monotonic,
            lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call),
            linger=settings.cluster.linger,
            stamp=None if part.mode == "standalone" else self._stamp,
        )
        extensions: dict[int, Extension] = {}
        experience = Experience()
        self._guard = Guard(settings, self._counters)
        self._context = Context(
            self.origin,
            bounds.limits(settings),
            doorkeeper(self._authority.authorise, lambda: self._drain.closed, self._turned_away),
            self._counters,
            extensions,
            resolve=None if part.mode == "standalone" else self._resolve,
            experience=experience,
            certified=by_certificate,
            gate=self._guard.gate,
            tenants=self._guard.tenants,
        )
        self._lines = LineFile.of(loaded)
        self._ledger = Ledger.of(loaded, self._lines, time.monotonic)
        self._host = Host(self._context, self._ledger.ended)
        self._saturation = Saturation.of(settings, self._host.sessions, self._counters)
        self._clients = Clients(lambda: self._host.sessions, experience)
        self._silence = Silence(lambda: self._host.sessions)
        if part.mode != "standalone":
            dialler = Dialler(self._host, self._context, certificates.trust, part.destinations())
            certificates.follow(dialler.believe)
            self._cluster = Cluster(
                part,
                settings.redis,
                origin=self.origin,
                dial=dialler,
                challenges=challenges,
                extensions=extensions,
                revocations=revocations,
            )
            experience.region_of = self._cluster.region_of
            self._cluster.regions.on_gone(experience.forget)
        self._drain = Drain(
            Guests(lambda: self._host.sessions),
            clock=time.monotonic,
            settle=settings.drain.settle,
            say=self._say_state,
            leave=self._depart,
        )
        self._changes = Changes(changes.token(loaded), self._drain, settings.drain.deadline)
        self._geo = GeoHttp(self._cluster)
        self._revoking = RevocationHttp(revocations, self._cluster)
        self._lag = Histogram(LAG_BUCKETS)
        self._listeners: list[quic.Listener] = []
        self._doors: list[Door] = []
        self._demo = Demo(lambda: len(self._host.sessions)) if settings.demo.enabled else None
        self._manager = Manager(os.environ)
        self._stopping = asyncio.Event()

    @classmethod
    def load(cls, loaded: Loaded) -> "Node":
        """Build a node; nothing is listened on yet.

        Raises:
            ConfigError: something that the settings name cannot be used.
        """
        part = clustering.part(loaded)
        return cls(loaded, Certificates(loaded), part)

    async def run(self, *, greet: bool = False) -> None:
        """Serve until it is drained, after SIGTERM or a drain by command, then end every session.

        SIGINT, and a second SIGTERM, do not wait for that.

        Raises:
            ConfigError: an address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stop, number)
        refused: ConfigError | None = None
        async with contextlib.AsyncExitStack() as stack, self._host:
            # Kept and raised outside, because a task group would wrap it.
            try:
                await self._open(stack)
            except ConfigError as error:
                refused = error
            else:
                self._say_hello(greet=greet)
                # What a start leaves lives for ever: without it the collector looks at less, and
                # sooner at what ended sessions leave.
                gc.collect()
                gc.freeze()
                await self._serve()
                self._leave()
        if refused is not None:
            raise refused
        log.info("relay stopped")

    # Opening.

    async def _open(self, stack: contextlib.AsyncExitStack) -> None:
        # The first here, so the last there: every session has its line then.
        stack.callback(self._lines.close)
        for entry in self._settings.server.listen:
            for listener, door in await doors.listen(
                entry, self._loaded, self._certificates, self._host, self._guard
            ):
                stack.callback(listener.close)
                self._listeners.append(listener)
                self._doors.append(door)
        demo = self._settings.demo
        public = PublicHttp(
            self.origin,
            self._authority,
            lambda: self._certificates.fingerprint,
            self._doors if demo.enabled or demo.page else None,
            resolve=self._context.resolve,
            requests=self._guard.requests,
        )
        readings = Readings(
            counters=self._counters,
            origin=self.origin,
            lag=self._lag,
            census=lambda: [listener.live() for listener in self._listeners],
            expiry=self._certificates.expiry,
            reloads=self._certificates.reloads,
            files_refused=self._certificates.refused,
            keys=self._authority.keys,
            cluster=self._cluster,
            experience=self._context.experience,
            sessions=lambda: self._host.sessions,
            saturation=self._saturation.ratios,
            session_lines=self._lines.counts,
            newcomers=lambda: self._guard.gate.loop.spent,
            drain=self._drain,
            http=self._guard.connections,
            standing=self._standing,
            silent_publishers=lambda: self._silence.publishers,
        )
        views = Views(self.origin, self._cluster)
        live = Live(Topology(views, readings).look)
        hosts = Hosts.of(self._settings)
        registry = families.registry(readings)
        internal = InternalHttp(
            registry,
            self._readiness,
            views,
            live,
            hosts,
            changes=self._changes,
            others=[self._geo, self._revoking],
        )
        web_http = await self._serve_http(
            stack, "web.http", self._settings.web.http.listen, public.application()
        )
        inside = await self._serve_http(
            stack, "internal", self._settings.internal.listen, internal.application()
        )
        # Only now, so that nothing is said to listen before a line that says why there is no relay.
        for listener, door in zip(self._listeners, self._doors, strict=True):
            address = Address(*listener.address[:2])
            log.info("listening udp=%s versions=%s", address, ",".join(door.versions))
        for name, opened in (("web.http", web_http), ("internal", inside)):
            for one in opened:
                log.info("listening %s=%s", name, _bound(one))

    async def _serve_http(
        self,
        stack: contextlib.AsyncExitStack,
        name: str,
        address: Address | None,
        application: web.Application,
    ) -> list[socket.socket]:
        if address is None:
            return []
        opened = await sockets.bind_tcp(address, self._loaded.where(f"{name}.listen"))
        served = serving(application, opened, self._guard.connections[name])
        await stack.enter_async_context(served)
        return opened

    # Running.

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            chores = [
                tasks.create_task(self._keep_house(), name="housekeeping"),
                tasks.create_task(self._manager.watch(), name="watchdog"),
                tasks.create_task(self._drain.run(), name="drain"),
                tasks.create_task(self._authority.run(), name="keys"),
            ]
            if self._cluster is not None:
                chores.append(tasks.create_task(self._cluster.run(), name="cluster"))
            if self._demo is not None:
                self.origin.publish(PATH, self._demo)
                chores.append(tasks.create_task(self._demo.run(), name="demo"))
            await self._stopping.wait()
            for chore in chores:
                chore.cancel()

    def _leave(self) -> None:
        """Let nobody new in, and say goodbye to who is there; who does not leave is cut off."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            listener.refuse()
            loop.call_later(LEAVE_SECONDS, listener.close)
        self._host.close(0, "the relay is shutting down")

    def _stop(self, number: signal.Signals) -> None:
        log.info("relay stopping signal=%s sessions=%d", number.name, len(self._host.sessions))
        self._manager.stopping()
        if number == signal.SIGINT or self._drain.final:
            self._stopping.set()
        else:
            self._drain.begin(self._settings.drain.deadline, leave=True, final=True)

    async def _keep_house(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(SWEEP_TICKS):
                due = loop.time() + TICK_SECONDS
                await asyncio.sleep(TICK_SECONDS)
                self._lag.observe(max(0.0, loop.time() - due))
                self._ledger.turn(self._host.sessions)
                self._standing.end(self._host.sessions, time.time())
            self.origin.sweep(time.monotonic())
            self._clients.turn()
            self._silence.turn()
            self._saturation.turn()
            self._guard.turn(self._saturation, self._host.sessions, self.origin.cache)
            self._geo.turn()
            if self._cluster is not None:
                load = max(self._saturation.ratios().values())
                self._cluster.offer(load, ready=not self._readiness().reasons)
            self._certificates.turn()

    def _say_state(self, draining: bool) -> None:
        if self._cluster is not None:
            self._cluster.registry.set_state("draining" if draining else "up")

    def _depart(self) -> None:
        self._manager.stopping()
        self._stopping.set()

    def _turned_away(self) -> None:
        self._counters.sessions_refused["draining"] += 1

    # Facts.

    def _stamp(self) -> float:
        return 0.0 if self._cluster is None else self._cluster.registry.redis_now()

    def _in_touch(self) -> bool:
        return self._cluster is None or self._cluster.registry.hears_of_revocations

    async def _resolve(self, path: str) -> None:
        assert self._cluster is not None
        await self._cluster.resolve(path)

    def _readiness(self) -> Readiness:
        reasons = []
        if self._stopping.is_set():
            reasons.append("the relay is shutting down")
        elif self._drain.closed:
            reasons.append("the relay is draining")
        if self._certificates.expired:
            reasons.append("the certificate has expired")
        isolated = None if self._cluster is None else self._cluster.isolated
        if self._cluster is not None and not self._cluster.synced:
            reasons.append("the relay has not read the registry since it started")
        if self._cluster is not None and self._cluster.name_taken:
            reasons.append(NAME_TAKEN)
        return Readiness(reasons, isolated)

    def _say_hello(self, *, greet: bool) -> None:
        log.info(
            "relay started version=%s sha256=%s expires=%s",
            __version__,
            self._certificates.fingerprint,
            self._certificates.expires_at.isoformat(),
        )
        if self._authority.refuses_all:
            log.warning("everybody is refused, because nothing is public; %s", OPEN)
        self._manager.ready(f"serving, version {__version__}")
        if greet:
            welcome.greet(self._listeners[0].port, self._settings)


def _bound(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return Address(host, port)
