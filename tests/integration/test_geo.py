"""Where a root's ``/geo`` sends clients, while real nodes drain and die."""

import asyncio
import contextlib
import http.client
import json
import time

import pytest

from tests.support.cluster_process import LEASE_SECONDS, ClusterProcess, eventually

NAMES = ["root", "a", "b", "c"]
TOKEN = "accept-it"
LATE = LEASE_SECONDS + 1.0
"""Seconds after which a dead node may not be told any more."""


@pytest.fixture
def cluster(tmp_path):
    cluster = ClusterProcess(tmp_path, NAMES)
    for number, name in enumerate(NAMES):
        place = f'addresses = ["192.0.2.{number}", "2001:db8::{number}"]\n'
        place += f'coordinates = "{10 * number}, 8"\n'
        if name != "root":
            root = cluster.address("root")
            place += f'root = "{root}"\ntoken = "{cluster.directory}/{name}.jwt"\n'
        node = cluster.add(name, cluster=place, rest="[redis]\ntimeout = 0.5\n")
        node.environment["MOQ_INTERNAL_TOKEN"] = TOKEN
    yield cluster
    cluster.kill()


def ask(node, path, body=None, token=TOKEN):
    """Status and text of an answer; a POST where there is a body."""
    connection = http.client.HTTPConnection("127.0.0.1", node.internal_port, timeout=5)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


def facts(root):
    status, text = ask(root, "/geo")
    return json.loads(text) if status == 200 else {"held": None, "nodes": []}


def told(root):
    """The nodes of an answer, by the last number of their address."""
    return {one["a"][0].rpartition(".")[2] for one in facts(root)["nodes"]}


async def opened(root):
    """Wait until the root has looked for a lease."""
    await eventually(lambda: told(root) == {"0", "1", "2", "3"}, "all four are told")


async def test_a_root_that_starts_says_that_it_does_not_know_yet(cluster):
    await asyncio.to_thread(cluster["root"].start)

    status, text = await asyncio.to_thread(ask, cluster["root"], "/geo")

    assert status == 503
    assert text.startswith("this root has ")


async def test_a_dead_node_leaves_and_half_of_all_stays_until_that_is_accepted(cluster):
    await cluster.start()
    root = cluster["root"]
    await opened(root)

    cluster["a"].kill()
    gone = await eventually(lambda: told(root) == {"0", "2", "3"}, "the dead one is not told")
    assert gone <= LATE

    cluster["b"].kill()
    cluster["c"].kill()
    sizes = []
    begun = time.monotonic()
    while time.monotonic() - begun < LATE:
        sizes.append(len(await asyncio.to_thread(told, root)))
        await asyncio.sleep(0.05)
    # Both may be found dead in one moment: then none of the two goes.
    assert min(sizes) >= 2, "half of the last good set stays"
    assert "1 nodes are ready, fewer than half of the last good" in facts(root)["held"]

    status, _ = ask(root, "/geo/accept", {}, token="wrong")
    assert status == 401
    assert len(told(root)) == sizes[-1]
    status, text = ask(root, "/geo/accept", {})
    assert status == 200
    assert [one["a"] for one in json.loads(text)["nodes"]] == [["192.0.2.0"]]
    assert told(root) == {"0"}
    assert facts(root)["held"] is None


async def test_a_draining_node_leaves_within_a_second_and_returns(cluster):
    await cluster.start()
    root = cluster["root"]
    await opened(root)

    begun = time.monotonic()
    status, _ = ask(cluster["b"], "/drain", {"stay": True})
    assert status == 200
    await eventually(lambda: told(root) == {"0", "1", "3"}, "who drains is not told")
    assert time.monotonic() - begun <= 1.0

    ask(cluster["b"], "/uncordon", {})
    await eventually(lambda: told(root) == {"0", "1", "2", "3"}, "who serves again is told")

    _, zone = ask(root, "/geo?format=octodns&name=relay&ttl=30")
    assert zone.startswith("---\nrelay:\n")
    assert '"192.0.2.2"' in zone
    assert '"2001:db8::2"' in zone
    assert ask(root, "/geo?format=zone")[0] == 400
    assert ask(root, "/geo?ttl=0")[0] == 400
    assert ask(root, "/geo?name=a%0Ab")[0] == 400
    assert ask(cluster["a"], "/geo") == (404, "only a root answers /geo\n")
    assert ask(cluster["a"], "/geo/accept", {})[0] == 404
