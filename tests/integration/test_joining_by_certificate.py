"""Joining and linking by certificate, over real sockets, among relays that know no certificates."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from moq_relay.cluster import targets
from moq_relay.cluster.address import node_url
from moq_relay.cluster.dialling import links
from moq_relay.cluster.joining import QUIET, Joiner
from moq_relay.cluster.memory import MemoryStore
from moq_relay.cluster.registry import Registry
from moq_relay.cluster.rootroad import RootRoad
from moq_relay.errors import MoqError
from moq_relay.transports.quic.dialer import Trust
from moq_relay.transports.verification import Roots
from tests.integration.test_joining import QUICK, SHARED, Relay
from tests.support.node import until
from tests.support.odd_certificates import OTHER_ROOT, ROOT, made

NAME = "node.example"
SHOWN = made("127.0.0.1", "node.example", by=ROOT)
ASKING = {"peers": lambda: Roots([ROOT.leaf])}


def trust(own=SHOWN):
    return Trust(roots=ROOT.pem, own=own)


@pytest.fixture
async def relays():
    """Starts relays whose server certificates are one authority's."""
    async with AsyncExitStack() as stack:

        async def start(**options):
            relay = Relay(**{"trust": trust(None)} | options)
            return await stack.enter_async_context(relay.running(SHOWN))

        yield start


def joiner(relay, name=NAME, token=None):
    return Joiner(
        relay.dial,
        relay.challenges,
        node=node_url(name),
        token=token,
        instance="an instance",
        certified=True,
    )


async def root_among(relays, **options):
    root = await relays(**options)
    root.let_nodes_join(MemoryStore())
    return root


async def test_a_node_joins_by_its_certificate_without_a_token_and_is_not_dialled(relays):
    root, node = await root_among(relays, **ASKING), await relays(trust=trust())

    async with joiner(node, f"{NAME}:4444").joined(root.url) as joined:
        assert (joined.accepted, joined.reason) == (True, "its certificate names it")
        assert root.admission.nodes() == {f"https://{NAME}:4444/"}
    # Nobody asked by token, neither here nor there.
    assert root.came == node.came == []


async def test_the_registry_is_reached_through_a_root_by_certificate(relays):
    root, node = await root_among(relays, **ASKING), await relays(trust=trust())
    here = Registry(root.junction, node=root.url, settings=QUICK)
    road = RootRoad([root.url], joiner(node).road)
    there = Registry(road, node=node_url(NAME), settings=QUICK)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one.run()) for one in (here, there)]
        there.claim("room/a", 0.0)
        await until(lambda: list(here.paths()) == ["room/a"])
        for task in running:
            task.cancel()


async def test_a_link_by_certificate_may_read_everything_and_publish_nothing(relays):
    owner, node = await relays(**ASKING), await relays(trust=trust())

    async with links(node.dial, node_url(NAME), None)(owner.url, lambda: None):
        await until(lambda: owner.host.sessions)
        (session,) = owner.host.sessions
        await until(session.opening._finished.is_set)
        access = session.publisher.access

    assert (access.node, access.cluster, access.local_only) == (node_url(NAME), True, True)
    assert access.may_subscribe("room/a")
    assert not access.may_publish("room/a")


async def test_a_certificate_is_no_other_nodes(relays):
    root, node = await root_among(relays, **ASKING), await relays(trust=trust())

    for other in ("other.example", "127.0.0.1", f"{NAME}.example"):
        with pytest.raises(MoqError, match=f"for {NAME} and not for {other}"):
            async with joiner(node, other).joined(root.url):
                pass
    assert root.admission.nodes() == set()


@pytest.mark.parametrize("own", [made(NAME, by=OTHER_ROOT), made(NAME)], ids=["foreign", "own"])
async def test_a_foreign_certificate_is_refused_with_the_reason_and_whatever_the_token(relays, own):
    root, node = await root_among(relays, **ASKING), await relays(trust=trust(own))

    with pytest.raises(MoqError, match="was not issued by an authority that is believed here"):
        async with joiner(node, token=SHARED).joined(root.url):
            pass
    assert root.came == []


async def test_without_a_certificate_and_a_token_nobody_joins(relays):
    root, node = await root_among(relays, **ASKING), await relays(trust=trust(None))

    with pytest.raises(MoqError):
        async with joiner(node).joined(root.url):
            pass


# --- relays that have certificates among relays that have not -------------------------------------


async def test_a_node_with_a_token_alone_joins_a_root_that_asks_for_certificates(relays):
    root, node = await root_among(relays, **ASKING), await relays(trust=trust(None))

    async with node.joiner().joined(root.url) as joined:
        assert (joined.accepted, joined.reason) == (True, "reached at its URL")


async def test_a_node_with_both_joins_a_root_that_asks_for_none_by_its_token(relays):
    root, node = await root_among(relays), await relays(trust=trust())

    async with node.joiner().joined(root.url) as joined:
        assert (joined.accepted, joined.reason) == (True, "reached at its URL")
    assert root.came == [targets.to_join(node.url, SHARED)]


async def test_a_token_counts_beside_a_certificate_that_does_not_name_the_node(relays):
    """As with nodes that are named by an address, which no certificate proves."""
    root, node = await root_among(relays, **ASKING), await relays(trust=trust())

    async with node.joiner().joined(root.url) as joined:
        assert (joined.accepted, joined.reason) == (True, "reached at its URL")


async def test_a_viewer_with_a_certificate_is_judged_as_one_without(relays):
    root, node = await relays(**ASKING), await relays(trust=trust())

    async with node.dial(root.url, "/?jwt=a.b.c", QUIET) as session:
        await session.ended()

    assert root.came == ["/?jwt=a.b.c"]
