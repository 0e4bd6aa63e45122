"""Rights by certificate: those of a node, for the node that it names, and for nothing else."""

import pytest

from moq_relay.cluster import targets
from moq_relay.daemon.certified import by_certificate
from moq_relay.errors import Unauthorized

NAMES = ("node.example", "also.example")
NODE = "https://node.example:4443/"


def test_a_node_that_joins_may_join_and_read():
    access = by_certificate(targets.to_join(NODE, None), NAMES)

    assert (access.node, access.register, access.cluster) == (NODE, NODE, True)
    assert access.by_certificate
    assert access.may_subscribe("any/thing")
    assert not access.may_publish("any/thing")


def test_a_link_is_local_and_registers_nobody():
    access = by_certificate(targets.to_link("https://also.example/", "a.b.c"), NAMES)

    assert (access.node, access.register, access.local_only) == (
        "https://also.example/",
        None,
        True,
    )


@pytest.mark.parametrize(
    "other", ["other.example", "node.example.com", "10.0.0.1", "a.node.example"]
)
def test_another_nodes_name_is_refused(other):
    with pytest.raises(
        Unauthorized, match=rf"for node\.example, also\.example and not for {other}$"
    ):
        by_certificate(targets.to_join(f"https://{other}/", None), NAMES)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/",
        "/room?jwt=a",
        targets.to_challenge("digest"),
        targets.to_join("https://other.example/", "a.b.c"),
        "/?register=",
        "/?link=",
        "/?register=ftp://node.example",
        "/?register=%ff",
        "/room?register=node.example",
        "/?challenge=1&register=node.example",
    ],
)
def test_it_says_nothing_of_who_does_not_come_as_that_node(target):
    assert by_certificate(target, NAMES) is None
