"""Joining over real sockets: certificates, tokens, dials back, and the road that follows."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from moq_relay.cluster import targets
from moq_relay.cluster.address import node_url
from moq_relay.cluster.admission import Admission
from moq_relay.cluster.channel import JOIN, PROVE, ROAD
from moq_relay.cluster.destinations import Destinations
from moq_relay.cluster.dialling import Dialler, links
from moq_relay.cluster.gateway import Gateway, Junction
from moq_relay.cluster.joining import QUIET, Challenges, Joiner, was_challenged
from moq_relay.cluster.memory import MemoryRoad, MemoryStore
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.rootroad import RootRoad
from moq_relay.cluster.status import RegistrySettings
from moq_relay.daemon.auth import Authority
from moq_relay.daemon.certified import by_certificate
from moq_relay.daemon.tokens.keys import OneKey
from moq_relay.errors import MoqError
from moq_relay.relay.counters import Counters
from moq_relay.relay.origin import Origin
from moq_relay.relay.retention import Cache, CacheLimits
from moq_relay.sessions.context import Context, Extension, Limits
from moq_relay.sessions.host import Host
from moq_relay.transports import tls
from moq_relay.transports.quic.dialer import Trust
from moq_relay.transports.quic.listener import listen
from moq_relay.wire.lite.versions import VERSIONS
from tests.support.node import until
from tests.support.street import KEY

CERTIFICATE = tls.generate(["127.0.0.1"])
STRANGE = tls.generate(["127.0.0.1"])
ROOTS = Trust(roots=CERTIFICATE.pem)
SHARED = KEY.sign(cluster=True, get="")
QUICK = RegistrySettings(renew=0.5, command_timeout=0.5, lease=2.0)


class Relay:
    """A node with a socket, without a daemon around it."""

    def __init__(self, *, trust=ROOTS, shared_token=True, peers=None):
        loop = asyncio.get_running_loop()
        counters = Counters()
        self.challenges = Challenges()
        self.came = []
        self.peers = peers
        authority = Authority(
            None,
            keys=OneKey(KEY),
            shared_token=shared_token,
            challenged=self.challenges.__contains__,
        )

        def authorise(target):
            self.came.append(target)
            return authority.authorise(target)

        cache = Cache(CacheLimits(), counters)
        self.extensions = {PROVE: Extension(self.challenges.prove, was_challenged)}
        self.context = Context(
            Origin(id(self) % 2**60, cache, loop.time, loop.call_later),
            Limits(),
            authorise,
            counters,
            self.extensions,
            certified=by_certificate,
        )
        self.host = Host(self.context)
        self.dial = Dialler(self.host, self.context, trust)
        self.port = 0

    @property
    def heard(self):
        """Connections that somebody began here."""
        return self.listener.counters.connections

    @property
    def url(self):
        return node_url(f"127.0.0.1:{self.port}")

    @asynccontextmanager
    async def running(self, certificate=CERTIFICATE):
        async with self.host:
            listener = await listen(
                "127.0.0.1",
                0,
                credentials=tls.Credentials(certificate),
                accept=self.host.acceptor(VERSIONS),
                protocols=[version.alpn for version in VERSIONS],
                peers=self.peers,
            )
            self.listener, self.port = listener, listener.port
            try:
                yield self
            finally:
                listener.close()

    def let_nodes_join(self, store):
        """Be a root."""
        self.junction = Junction(MemoryRoad(store))
        self.admission = Admission(
            self.dial,
            known=lambda _node, _instance: False,
            clock=asyncio.get_running_loop().time,
            destinations=Destinations(node=self.url),
        )
        gateway = Gateway(self.junction, self.admission.joined)
        self.extensions[JOIN] = Extension(self.admission.serve)
        self.extensions[ROAD] = Extension(gateway.serve)

    def joiner(self, token=SHARED):
        return Joiner(
            self.dial, self.challenges, node=self.url, token=token, instance="an instance"
        )


@pytest.fixture
async def pair():
    """A root with a registry, and a node."""
    async with AsyncExitStack() as stack:
        root, node = [await stack.enter_async_context(Relay().running()) for _ in range(2)]
        root.let_nodes_join(MemoryStore())
        yield root, node


async def test_a_node_is_reached_at_the_url_that_it_joins_as(pair):
    root, node = pair

    async with node.joiner().joined(root.url) as joined:
        assert (joined.accepted, joined.reason) == (True, "reached at its URL")
        assert root.admission.nodes() == {node.url}
        assert joined.session.transport.stats().rtt_seconds > 0
    assert root.came == [targets.to_join(node.url, SHARED)]
    assert [target.startswith("/?challenge=") for target in node.came] == [True]
    await until(lambda: not root.host.sessions and not node.host.sessions)


async def test_another_process_at_that_url_is_found_out(pair):
    root, node = pair
    async with Relay().running() as twin:
        joiner = Joiner(
            twin.dial, twin.challenges, node=node.url, token=SHARED, instance="an instance"
        )
        async with joiner.joined(root.url) as joined:
            assert joined.accepted is False
            assert "this process was not challenged" in joined.reason


async def test_a_url_where_nobody_listens_is_no_node(pair):
    root, node = pair
    joiner = Joiner(
        node.dial, node.challenges, node="https://127.0.0.1:9/", token=SHARED, instance="i"
    )

    async with joiner.joined(root.url) as joined:
        assert joined.accepted is False
        assert "not reached at https://127.0.0.1:9/" in joined.reason


async def test_a_token_goes_to_nobody_whose_certificate_was_not_verified(pair):
    _, node = pair
    async with Relay().running(STRANGE) as impostor:
        with pytest.raises(MoqError):
            async with node.joiner().joined(impostor.url):
                pass
        assert impostor.came == []

        careless = Dialler(node.host, node.context, Trust(verify=False))
        joiner = Joiner(
            careless, node.challenges, node=node.url, token=SHARED, instance="an instance"
        )
        with pytest.raises(MoqError):
            async with joiner.joined(impostor.url):
                pass
        assert impostor.came == [targets.to_join(node.url, SHARED)]


async def test_a_root_is_asked_for_by_name_and_has_to_show_that_name(pair):
    root, node = pair
    url = node_url(f"localhost:{root.port}")

    with pytest.raises(MoqError):
        async with node.dial(url, targets.to_probe(), QUIET, address="127.0.0.1"):
            pass
    assert root.came == []


async def test_two_nodes_share_a_registry_through_a_root(pair):
    root, node = pair
    here = Registry(root.junction, node=root.url, settings=QUICK)
    road = RootRoad([root.url], node.joiner().road)
    there = Registry(road, node=node.url, settings=QUICK)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one.run()) for one in (here, there)]
        there.claim("room/a", 0.0)
        here.claim("room/b", 0.0)
        for registry in (here, there):
            await until(lambda one=registry: sorted(one.paths()) == ["room/a", "room/b"])
        assert set(here.members) == {root.url, node.url}
        for number in range(300):
            here.claim(f"hall/{number}", 0.0)
        await until(lambda: len(list(there.paths())) == 302)
        for task in running:
            task.cancel()


async def test_a_link_is_quiet_and_hears_of_its_end_first(pair):
    root, node = pair
    ends = []
    dial = links(node.dial, node.url, SHARED)

    async with dial(root.url, lambda: ends.append("ending")) as link:
        await until(lambda: root.host.sessions)
        (accepted,) = root.host.sessions
        await until(accepted.opening._finished.is_set)
        assert accepted.publisher.access.local_only
        assert accepted.publisher.access.cluster
        assert not accepted.publisher.access.publish
        assert not accepted.opening.follows
        assert not link.session.opening.follows
        link.ping()
        assert link.silent_seconds < 5
        await until(lambda: link.rtt_seconds)
        accepted.close(0, "restart")
        await link.ended()
        assert ends == ["ending"]


async def test_nothing_is_sent_to_a_node_that_may_not_be_dialled(pair):
    root, node = pair
    allowing = Destinations(["relay.example"], node="https://relay.example/")
    dial = Dialler(node.host, node.context, ROOTS, allowing)

    with pytest.raises(MoqError, match="may not be dialled: 127"):
        async with dial(root.url, targets.to_link(node.url, SHARED), QUIET):
            pass
    assert root.heard == 0


@pytest.mark.parametrize(
    ("own", "may"), [("https://relay.example/", False), ("https://127.0.0.1/", True)]
)
async def test_a_name_that_leads_to_this_machine_is_dialled_only_from_there(pair, own, may):
    root, node = pair

    async def addresses(place):
        return ["127.0.0.1" if place.host == "127.0.0.1" else "192.0.2.1"]

    class Innocent(Destinations):
        """Takes localhost for a name as any other, as that of a record that somebody forged."""

        def refusal(self, _node):
            return None

    dial = Dialler(
        node.host, node.context, Trust(verify=False), Innocent(node=own, resolve=addresses)
    )

    reached = None
    try:
        async with dial(f"https://localhost:{root.port}/", targets.to_probe(), QUIET):
            reached = True
    except MoqError as error:
        reached = "localhost is at no address that may be dialled" not in str(error)

    assert reached == may
    assert (root.heard > 0) == may
