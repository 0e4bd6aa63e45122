"""Clusters of real processes with the real client: publish on any, watch on any, whatever dies."""

import asyncio
import re
import signal
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.interop.clients import publishing
from tests.interop.viewers import Viewer
from tests.support.cluster_process import LEASE_SECONDS, ClusterProcess, eventually
from tests.support.media import Track
from tests.support.redis_server import redis_binary, running

pytestmark = pytest.mark.timeout(120)

PULSE = Track("pulse", frame_bytes=300, frames_per_group=4, frames_per_second=20)
"""Five groups a second."""
CATCH_UP_SECONDS = 10


@pytest.fixture
def build(tmp_path, request):
    """Make clusters that end well, or are killed and shown when the test failed."""
    made = []
    failed = request.session.testsfailed

    def build(*names, **options):
        made.append(ClusterProcess(tmp_path, names, **options))
        return made[-1]

    yield build
    try:
        for cluster in made:
            if request.session.testsfailed > failed:
                print(cluster.log())
            else:
                cluster.stop()
    finally:
        for cluster in made:
            cluster.kill()


@asynccontextmanager
async def watched(path, publisher, viewers):
    """Publish at one node and watch at others; on leaving nobody may have missed anything."""
    watching = [Viewer(node.moqt, path, [PULSE], patience=15) for node in viewers]
    async with (
        publishing(publisher.moqt, path, [PULSE]) as sender,
        asyncio.TaskGroup() as tasks,
    ):
        for viewer in watching:
            tasks.create_task(viewer.run())
        for viewer in watching:
            await viewer.joined.wait()
        since = dict(sender.groups)
        yield sender
        sender.finish()
        await sender.sent.wait()
        for viewer in watching:
            await viewer.caught_up(since, sender.groups, CATCH_UP_SECONDS)
            viewer.leave()
    for node, viewer in zip(viewers, watching, strict=True):
        assert viewer.report() == "", f"at {node}"
        assert viewer.epoch == 1, f"at {node}"


async def groups(sender, count):
    """Wait until so many more groups were sent."""
    wanted = sender.groups["pulse"] + count
    async with asyncio.timeout(30):
        while sender.groups["pulse"] < wanted:
            await asyncio.sleep(0.05)


def root_of_seed(cluster):
    """As the seed's documentation writes a root: a key, a name, no word of Redis."""
    return f"""
[server.tls]
generate = ["localhost"]
[client.tls]
disable_verify = true
[auth]
key = "{cluster.directory}/key.jwk"
public = ""
[cluster]
node = "{cluster.address("root")}"
shared_token = true
"""


def leaf_of_seed(cluster, root, node):
    return f"""
[server.tls]
generate = ["localhost"]
[client.tls]
disable_verify = true
[auth]
key = "{cluster.directory}/key.jwk"
public = ""
[cluster]
{root}
{node}
token = "{cluster.directory}/cluster.jwt"
"""


async def test_the_files_of_the_seed_make_a_cluster(build):
    cluster = build("root", "one", "two")
    (cluster.directory / "cluster.jwt").write_text(cluster.key.sign(cluster=True, get="", put=""))
    root, one, two = (cluster.address(name) for name in ("root", "one", "two"))
    cluster.add_as_written("root", root_of_seed(cluster))
    cluster.add_as_written(
        "one", leaf_of_seed(cluster, f'connect = "{root}"', f'advertise = "{one}"')
    )
    cluster.add_as_written(
        "two", leaf_of_seed(cluster, f'root = "https://{root}"', f'node = "https://{two}/"')
    )

    await cluster.start()

    for node in cluster.nodes.values():
        assert node.facts("/nodes")["self"] == node.url
    async with watched("room/alice", cluster["one"], [cluster["two"], cluster["root"]]) as sender:
        await groups(sender, 5)
    assert (cluster.directory / "root/registry/appendonlydir").is_dir()
    assert "is set: whoever has a token without the claim node" in cluster["root"].log()
    assert "reason=reached at its URL" in cluster["root"].log()


async def test_three_nodes_go_on_while_their_root_is_killed_and_comes_back(build):
    cluster = build("root", "east", "west")
    cluster.add("root", rest="[redis]\ntimeout = 0.5")
    cluster.add_through("east", "root")
    cluster.add_through("west", "root")
    await cluster.start()
    root, east, west = cluster.nodes.values()
    for publisher in (root, east, west):
        async with watched(f"on/{publisher}", publisher, [root, east, west]) as sender:
            await groups(sender, 2)

    async with watched("room/alice", east, [east, west]) as sender:
        dials = west.counter("moq_cluster_link_dials_total")
        root.kill()
        await eventually(lambda: not west.ready(), "west notices")
        ready = west.facts("/ready")
        assert ready["ready"], "it has its copy, and serves from it"
        assert ready["isolated"]
        assert ready["reasons"][0].startswith("isolated: the registry is unreachable: ")
        async with asyncio.timeout(10):
            newcomer = Viewer(west.moqt, "room/alice", [PULSE])
            task = asyncio.create_task(newcomer.run())
            await newcomer.joined.wait()
        newcomer.leave()
        await task
        assert newcomer.report() == ""
        await groups(sender, 5)

        begun = time.monotonic()
        await asyncio.to_thread(root.start)
        await eventually(lambda: root.table() == {"room/alice": {east.url}}, "its table")
        print(f"the root's table was complete {time.monotonic() - begun:.1f} s after exec")
        await cluster.complete()
        await groups(sender, 5)
        assert west.counter("moq_cluster_link_dials_total") == dials


async def test_five_nodes_with_two_roots_on_one_redis_lose_nothing(build, tmp_path):
    cluster = build("a", "b", "c", "d", "e")
    with running(redis_binary(), tmp_path / "redis") as server:
        redis = f'[redis]\nurl = "{server.url}"\ntimeout = 0.5'
        for name in ("a", "b"):
            cluster.add(name, rest=redis)
        cluster.add_through("c", "a", "b")
        cluster.add_through("d", "b", "a")
        token = f'token = "{tmp_path}/e.jwt"'
        cluster.add("e", cluster=f'root = "{cluster.address("a")}"\n{token}', rest=redis)
        await cluster.start()
        a, b, c, d, e = cluster.nodes.values()
        everybody = list(cluster.nodes.values())

        async with watched("room/alice", c, [b, c, d, e]) as sender:
            # A root is killed; what is published meanwhile is watched elsewhere.
            a.kill()
            async with watched("room/bob", e, [b, d, e]) as other:
                await groups(other, 5)
            await asyncio.to_thread(a.start)
            await cluster.complete()

            # Redis comes back empty.
            server.kill()
            await eventually(lambda: not e.ready(), "e notices")
            async with asyncio.timeout(10):
                newcomer = Viewer(d.moqt, "room/alice", [PULSE])
                task = asyncio.create_task(newcomer.run())
                await newcomer.joined.wait()
            newcomer.leave()
            await task
            assert newcomer.report() == ""
            assert d.table() == {"room/alice": {c.url}}
            server.start()
            await cluster.complete()
            for node in everybody:
                took = await eventually(
                    lambda n=node: n.table() == {"room/alice": {c.url}}, f"{node} is exact", 5
                )
                assert took < 5
            await groups(sender, 5)
        for node in everybody:
            assert node.counter("moq_cluster_audit_repairs_total") == 0
            assert node.counter("moq_cluster_fenced_total") == 0
            assert node.counter("moq_cluster_epoch_changes_total") > 0

        # A node is killed: its broadcasts go with its lease.
        async with publishing(d.moqt, "room/ghost", [PULSE]):
            for node in everybody:
                await eventually(lambda n=node: "room/ghost" in n.table(), f"{node} knows it")
            d.kill()
            begun = time.monotonic()
            for node in (a, b, c, e):
                await eventually(lambda n=node: "room/ghost" not in n.table(), "the ghost is gone")
            took = time.monotonic() - begun
            assert took < LEASE_SECONDS + 1.0, f"gone after {took:.1f} s"
        assert d.url not in a.members()


async def test_a_node_that_is_stopped_takes_leave_at_once(build):
    cluster = build("root", "east")
    cluster.add("root", rest="[redis]\ntimeout = 0.5")
    cluster.add_through("east", "root")
    await cluster.start()
    root, east = cluster.nodes.values()

    async with publishing(east.moqt, "room/alice", [PULSE]):
        await eventually(lambda: root.table() == {"room/alice": {east.url}}, "root knows it")
        await asyncio.to_thread(east.stop)

    assert root.table() == {}
    assert root.members() == {root.url: "up"}


async def test_whatever_is_missing_at_the_start_is_waited_for(build, tmp_path):
    """First the nodes, then the root, and its Redis last."""
    (tmp_path / "redis").mkdir()
    cluster = build("root", "east")
    url = f"unix://{tmp_path}/redis/redis.sock"
    cluster.add("root", rest=f'[redis]\nurl = "{url}"\ntimeout = 0.5')
    cluster.add_through("east", "root")
    root, east = cluster.nodes.values()

    await asyncio.to_thread(east.start)
    with ExitStack() as redis:
        async with watched("room/alice", east, [east]) as sender:
            status, said = unready(east)
            assert status == 503
            assert "not read the registry since it started" in said
            await asyncio.to_thread(root.start)
            await eventually(lambda: "registry is unreachable" in unready(root)[1], "root says so")
            redis.enter_context(running(redis_binary(), tmp_path / "redis"))
            await cluster.complete()
            await eventually(lambda: root.table() == {"room/alice": {east.url}}, "the table")
            async with watched("room/bob", root, [east]) as other:
                await groups(other, 3)
            await groups(sender, 3)


async def test_the_files_of_the_readme_make_a_cluster(build, tmp_path):
    """Two machines and one Redis, no token."""
    cluster = build("one", "two")
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    with running(redis_binary(), tmp_path / "redis") as server:
        for name in ("one", "two"):
            text = re.search(rf"```toml\n(# {name}\.toml\n.*?)```", readme, re.DOTALL)[1]
            text = text.replace("redis://redis.example.com:6379", server.url)
            for other in ("one", "two"):
                text = text.replace(f"{other}.example.com:4443", cluster.address(other))
            text = re.sub(r"\w+\.example\.com", "localhost", text)
            node = cluster.add_as_written(name, text.replace("[::]:4443", cluster.address(name)))
            node.toml += f'[internal]\nlisten = "127.0.0.1:{node.internal_port}"\n'
            node.whole = True
        await cluster.start()
        one, two = cluster.nodes.values()

        assert {node["region"] for node in one.facts("/nodes")["nodes"]} == {
            "us-central",
            "eu-west",
        }
        async with watched("room/alice", two, [one, two]) as sender:
            await groups(sender, 3)
        async with watched("room/bob", one, [two]) as sender:
            await groups(sender, 3)
        assert "are not set: this relay is a member by Redis alone" in two.log()


async def test_a_root_without_a_name_keeps_the_registry_and_claims_nothing(build, tmp_path):
    cluster = build("root", "east")
    with running(redis_binary(), tmp_path / "redis") as server:
        root = cluster.add("root", rest=f'[redis]\nurl = "{server.url}"\ntimeout = 0.5')
        # Without a name it is not known to be of this machine, where the others are.
        allow = 'allow = ["127.0.0.1", "localhost"]\n'
        root.toml = re.sub(r"node = .*\n", allow, root.toml, count=1)
        east = cluster.add_through("east", "root")
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in (root, east)))
        await eventually(lambda: root.ready() and east.ready(), "both are ready")
        assert "cluster.node is not set: this relay keeps the registry" in root.log()
        await eventually(lambda: root.members() == {east.url: "up"}, "the root knows east")
        assert east.members() == {east.url: "up"}

        async with watched("room/alice", east, [root, east]) as sender:
            await groups(sender, 3)
        async with watched("room/local", root, [root]) as sender:
            await groups(sender, 2)
            assert "room/local" not in east.table()
        assert root.facts("/nodes")["self"] is None


async def test_a_name_that_two_processes_have_belongs_to_the_later_one(build, tmp_path):
    cluster = build("root", "first", "second")
    cluster.add("root", rest="[redis]\ntimeout = 0.5")
    first = cluster.add_through("first", "root")
    second = cluster.add_through("second", "root")
    await cluster.start("root", "first")
    second.toml = second.toml.replace(
        f'node = "{cluster.address("second")}"', f'node = "{cluster.address("first")}"'
    ).replace("second.jwt", "first.jwt")

    await asyncio.to_thread(second.start)
    await eventually(second.ready, "the later one has it")
    await eventually(lambda: unready(first)[0] == 503, "the first says so")

    assert "another live process has this node's name" in unready(first)[1]
    await asyncio.to_thread(second.stop)
    await eventually(first.ready, "it is free again")
    assert f"name taken node={first.url}" in first.log()
    first.kill()  # its log has an error line, as it should


def unready(node):
    """Status and text of /ready."""
    try:
        return 200, node.get("/ready")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def fetched(node, path):
    """A group of it, by HTTP."""
    address = f"http://127.0.0.1:{node.web_port}/fetch/{path}"
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode()}".encode()


async def test_twelve_nodes_know_each_other_and_every_broadcast(build):
    names = ["root", *(f"n{number}" for number in range(1, 12))]
    cluster = build(*names, times="renew = 1\nlease = 4\n")
    cluster.add("root", rest="[redis]\ntimeout = 1")
    for name in names[1:]:
        cluster.add_through(name, "root")

    await cluster.start()

    nodes = list(cluster.nodes.values())
    async with (
        publishing(nodes[1].moqt, "room/one", [PULSE]),
        publishing(nodes[7].moqt, "room/seven", [PULSE]),
    ):
        wanted = {"room/one": {nodes[1].url}, "room/seven": {nodes[7].url}}
        for node in nodes:
            await eventually(lambda n=node: n.table() == wanted, f"{node} knows both")
        for node in nodes:
            for path in wanted:
                group = await asyncio.to_thread(fetched, node, f"{path}/pulse")
                assert len(group) == PULSE.frame_bytes * PULSE.frames_per_group, (node, group)
        routes = nodes[3].facts("/routes/room/seven")["routes"]
        assert [(route["node"], route["in_use"]) for route in routes] == [(nodes[7].url, True)]


@pytest.mark.alone
@pytest.mark.parametrize("registry", ["embedded", "redis"])
async def test_a_root_has_its_table_at_once_though_nobody_else_answers(build, tmp_path, registry):
    """Killed and started again while every other node is frozen."""
    cluster = build("root", "east", "west", times="")
    with ExitStack() as stack:
        redis = ""
        if registry == "redis":
            server = stack.enter_context(running(redis_binary(), tmp_path / "redis"))
            redis = f'[redis]\nurl = "{server.url}"'
        root = cluster.add("root", rest=redis)
        others = [cluster.add_through(name, "root") for name in ("east", "west")]
        await cluster.start()
        async with publishing(others[0].moqt, "room/alice", [PULSE]):
            wanted = {"room/alice": {others[0].url}}
            await eventually(lambda: root.table() == wanted, "the root knows it")
            for node in others:
                node.send(signal.SIGSTOP)
            root.kill()

            begun = time.monotonic()
            await asyncio.to_thread(root.start)
            await eventually(lambda: root.table() == wanted, "its table")
            took = time.monotonic() - begun

            assert set(root.members()) == {node.url for node in (root, *others)}
            for node in others:
                node.send(signal.SIGCONT)
            await cluster.complete()
            assert took < 4, f"{took:.1f} s after exec"
