"""What a cluster shows: the tables over HTTP, on the command line and in the metrics."""

import asyncio
import json
import subprocess
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

import pytest

from moq_relay.daemon.tokens.jwk import Key
from tests.interop.clients import connected
from tests.support.cluster_process import ClusterProcess, eventually
from tests.support.relay_process import EXECUTABLE, RelayProcess, environment, free_ports

HOSTILE = (
    "room/[red]warm[/red]",
    "room/[link=https:evil.example]click[/link]",
    "room/\x1b[31mred\x1b]8;;https:evil.example\x07",
    "room/\u202egnp.exe",
    '<img src=x onerror="alert(1)">',
    "k" * 1000,
)


@pytest.fixture
def cluster(tmp_path):
    cluster = ClusterProcess(tmp_path, ["root", "east"])
    cluster.add("root", rest='[redis]\ntimeout = 0.5\n[log]\nlevel = "debug"')
    cluster.add_through("east", "root")
    yield cluster
    try:
        cluster.stop()
    finally:
        cluster.kill()


@asynccontextmanager
async def announced(node, *paths):
    async with connected(node.moqt) as connection:
        held = []
        for path in paths:
            broadcast = connection.create_broadcast(path)
            track = broadcast.publish_track("chat")
            broadcast.announce()
            track.write_frame(b"hello", 0)
            held.append((broadcast, track))
        yield


def command(*words, port=None, **variables):
    """The command line: exit code, stdout, stderr."""
    place = () if port is None else ("--internal", f"http://127.0.0.1:{port}")
    done = subprocess.run(
        [str(EXECUTABLE), *words, *place],
        capture_output=True,
        timeout=20,
        env=environment() | variables,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_the_tables_are_as_documented(cluster):
    await cluster.start()
    root, east = cluster.nodes.values()
    async with announced(east, "room/alice", "room/bob"):
        await eventually(lambda: len(root.table()) == 2, "root knows both")

        def leases():
            told = [node["lease_remaining_seconds"] for node in root.facts("/nodes")["nodes"]]
            return None not in told and max(told) <= 2

        await eventually(leases, "the ends of all leases are known")
        nodes = root.facts("/nodes")
        assert set(nodes) == {"cluster_version", "self", "root", "isolated", "nodes"}
        assert nodes["self"] == root.url
        assert nodes["root"] is True
        assert nodes["isolated"] is None
        assert nodes["cluster_version"] >= 2
        first, second = sorted(nodes["nodes"], key=lambda node: node["region"])
        assert (first["node"], first["region"]) == (east.url, "east")
        assert (first["state"], first["broadcasts"], first["roles"]) == ("up", 2, [])
        assert second["roles"] == ["root"]
        assert 0 < first["rtt_seconds"] < 1, "of the session by which it joined"
        seen = {node["node"]: node["rtt_seconds"] for node in east.facts("/nodes")["nodes"]}
        assert 0 < seen[root.url] < 1
        assert seen[east.url] is None

        origins = root.facts("/origins?limit=1")
        (origin,) = origins["origins"]
        assert origins["next"] == origin["path"] == "room/alice"
        (claim,) = origin["claims"]
        assert set(claim) == {"node", "region", "generation", "since", "state"}
        assert claim["state"] == "live"
        rest = root.facts("/origins?limit=1&after=room/alice")
        assert rest["next"] is None
        assert rest["origins"][0]["path"] == "room/bob"
        assert root.facts("/origins?prefix=room/bob")["origins"] == rest["origins"]
        assert root.facts("/origins?prefix=roo")["origins"] == []

        routes = root.facts("/routes/room/alice")
        assert routes["broadcast"] == "room/alice"
        (route,) = routes["routes"]
        assert route["reason"] == "the only claim"
        assert route["in_use"] is True
        own = east.facts("/routes/room/alice/below")
        assert own["broadcast"] == "room/alice"
        assert own["routes"][0]["in_use"] is True
        assert root.facts("/routes/nowhere") == {
            "path": "nowhere",
            "broadcast": None,
            "routes": [],
        }
        for question, said in [
            ("/origins?limit=0", "limit is a number from 1 to 10000"),
            ("/origins?limit=x", "limit is a number"),
            ("/routes/" + "a/" * 40, "the path is no path"),
        ]:
            with pytest.raises(urllib.error.HTTPError) as refused:
                root.facts(question)
            with refused.value as error:
                assert error.code == 400
                assert said in error.read().decode()


async def test_the_command_line_shows_the_same_as_tables_and_as_json(cluster):
    await cluster.start()
    root, east = cluster.nodes.values()
    async with announced(east, "room/alice"):
        await eventually(lambda: root.table(), "root knows it")

        code, out, err = command("nodes", port=root.internal_port)
        assert (code, err) == (0, "")
        assert "2 nodes, cluster version" in out
        name = f"localhost:{east.port}"
        (line,) = [line for line in out.splitlines() if line.startswith(name)]
        assert line.split()[1:4] == ["east", "up", "1"]
        code, out, _ = command("origins", "room", port=root.internal_port)
        assert code == 0
        assert "room/alice" in out
        assert name in out
        code, out, _ = command("routes", "room/alice", port=root.internal_port)
        assert code == 0
        assert "→" in out
        assert "the only claim" in out
        for words, key in [
            (("nodes",), "nodes"),
            (("origins",), "origins"),
            (("routes", "room/alice"), "routes"),
        ]:
            code, out, _ = command(
                *words, "--json", MOQ_INTERNAL_LISTEN=f"127.0.0.1:{root.internal_port}"
            )
            assert code == 0
            assert len(json.loads(out)[key]) in {1, 2}
        code, out, _ = command("routes", "nowhere", port=root.internal_port)
        assert (code, out) == (0, "Nobody has nowhere.\n")


async def test_names_that_publishers_chose_are_plain_text_everywhere(cluster):
    await cluster.start()
    root, east = cluster.nodes.values()
    async with announced(east, *HOSTILE):
        await eventually(lambda: len(root.table()) == len(HOSTILE), "root knows all")

        assert set(root.table()) == set(HOSTILE)
        raw = await asyncio.to_thread(root.get, "/origins")
        assert raw.isascii()
        shown = []
        for words in (
            ("origins",),
            ("origins", "--json"),
            ("nodes",),
            *(("routes", path) for path in HOSTILE),
            ("routes", HOSTILE[2], "--json"),
        ):
            code, out, err = command(*words, port=root.internal_port, FORCE_COLOR="")
            assert (code, err) == (0, "")
            shown.append(out)
        for out in shown:
            assert "\x1b" not in out
            assert "\u202e" not in out
            assert all(line.isprintable() for line in out.splitlines())
        assert "room/[red]warm[/red]" in shown[0]
        assert "room/[link=https:evil.example]click[/link]" in shown[0]
        assert "room/\\x1b[31mred" in shown[0]
        assert "room/\\u202egnp.exe" in shown[0]
        assert shown[3 + HOSTILE.index("k" * 1000)].startswith("k" * 59 + " … " + "k" * 59 + "\n")
        assert {one["path"] for one in json.loads(shown[1])["origins"]} == set(HOSTILE)
        with urllib.request.urlopen(f"http://127.0.0.1:{root.web_port}/announced") as answer:
            assert answer.headers.get_content_type() == "text/plain"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for node in (root, east):
            written = node.log_path.read_text()
            assert "\x1b" not in written
            assert "\u202e" not in written


async def test_the_metrics_know_the_cluster(cluster):
    await cluster.start()
    root, east = cluster.nodes.values()
    async with announced(east, "room/alice"):
        await eventually(lambda: root.table(), "root knows it")

        def value(node, name, **labels):
            return node.metric(f"moq_cluster_{name}")[frozenset(labels.items())]

        assert value(root, "connected") == 1
        assert value(root, "isolated") == 0
        assert value(root, "staleness_seconds") < 2
        assert value(root, "nodes", peer_region="east", state="up") == 1
        assert value(root, "nodes", peer_region="root", state="up") == 1
        assert value(root, "broadcasts") == 1
        assert value(root, "claims") == 0
        assert value(east, "claims") == 1
        assert value(root, "registrations_total") == 1
        assert value(root, "audit_repairs_total", kind="ghost") == 0
        assert value(root, "redis_faults", check="persistence") == 0
        assert value(root, "links", state="up") == 0
        (info,) = root.metric("moq_relay_info")
        assert dict(info)["node"] == root.url
        assert 'moq_relay_viewers{relay_region="root"} 0.0' in root.get("/metrics")
        assert len(root.get("/metrics").splitlines()) < 2500


async def test_a_node_that_may_not_join_says_why(cluster, tmp_path):
    root, east = cluster.nodes.values()
    stranger = Key("HS256", b"x" * 32, b"x" * 32).sign(cluster=True, node=east.url, get="")
    (tmp_path / "east.jwt").write_text(stranger)
    await asyncio.to_thread(root.start)
    await asyncio.to_thread(east.start)

    def said():
        try:
            return east.get("/ready")
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code} {error.read().decode()}"

    await eventually(lambda: "not signed with this relay's key" in said(), "it says why")

    assert said().startswith("503 ")
    assert "the relay has not read the registry since it started" in said()
    assert root.members() == {root.url: "up"}
    warning = "no way through root=" + root.url + " reason=the token is not signed"
    assert east.log_path.read_text().count(warning) == 1, "one line, however often it tries"


def test_a_relay_that_is_not_there_is_one_line():
    (port,) = free_ports(1)

    code, out, err = command("nodes", port=port)

    assert (code, out) == (1, "")
    assert err == (
        f"moq-relay: http://127.0.0.1:{port} does not answer: connection refused; "
        "--internal takes the URL of the relay's internal.listen\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("routes",), "the following arguments are required: path; see moq-relay --help"),
        (("nodes", "x"), "unrecognized arguments: x; see moq-relay --help"),
        (("nodes", "--internal", "ftp://x"), "--internal takes a URL, like http://127.0.0.1:9101"),
    ],
)
def test_a_wrong_question_is_one_line(words, said):
    assert command(*words) == (2, "", f"moq-relay: {said}\n")


def test_a_relay_alone_shows_its_own(tmp_path):
    relay = RelayProcess(tmp_path, ["moq-lite-05"], "[demo]\nenabled = true")
    relay.start()
    try:
        assert relay.get_json("/nodes") == {
            "cluster_version": 0,
            "self": None,
            "root": True,
            "nodes": [],
        }
        (origin,) = relay.get_json("/origins")["origins"]
        assert origin["path"] == "demo/clock"
        assert origin["claims"][0]["node"] is None
        (route,) = relay.get_json("/routes/demo/clock")["routes"]
        assert route["in_use"]
        code, out, _ = command("nodes", port=relay.internal_port)
        assert (code, out) == (
            0,
            "This relay stands alone: it has no cluster.node and no redis.url.\n",
        )
        assert command("routes", "demo/clock", port=relay.internal_port)[0] == 0
        assert "this relay" in command("origins", port=relay.internal_port)[1]
    finally:
        relay.stop()
