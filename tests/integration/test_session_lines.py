"""The lines of sessions, of a real relay under traffic: what was used is what was counted."""

import base64
import hashlib
import json
import os
import re
from contextlib import AsyncExitStack

import pytest

from moq_relay.daemon.tokens.jwk import Key
from moq_relay.wire.lite.versions import LITE_05, LITE_06
from tests.support.cluster_process import ClusterProcess
from tests.support.own_client import connected, publish, until
from tests.support.relay_process import RelayProcess
from tests.support.station import EVERYTHING, Listening, Station

FRAMES, SIZE, GROUPS = 5, 20_000, 12
ODD = 'ali"ce\n\u202e{"event": "session"}'
"""A name that would like to be a line of its own."""


@pytest.fixture
def relay(tmp_path):
    """A function that starts a relay with more settings; each is stopped by its test."""
    running = []

    def relay(settings):
        running.append(RelayProcess(tmp_path, [LITE_05.name, LITE_06.name], settings))
        running[-1].start()
        return running[-1]

    yield relay
    for one in running:
        one.kill()


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def counted(relay):
    """What the relay's own counters say, by the names of the lines."""
    found = {}
    for name in ("bytes", "groups"):
        for labels, value in relay.metric(f"moq_relay_{name}_total").items():
            found[f"{name}_{dict(labels)['direction']}"] = value
    return found


def token(tmp_path, **claims):
    secret = base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")
    jwk = {"kty": "oct", "alg": "HS256", "k": secret, "key_ops": ["verify", "sign"]}
    (tmp_path / "key.jwk").write_text(json.dumps(jwk))
    return Key.of(jwk, "key").sign(**claims)


async def traffic(relay, target):
    """A publisher, one viewer to the end and one that leaves half way; all of them tenants."""
    station = Station(frames=FRAMES, size=SIZE)
    async with AsyncExitStack() as stack:
        port = relay.ports[LITE_06.name]
        publisher = await stack.enter_async_context(connected(port, LITE_06, path="/acme"))
        publish(publisher, "live", station)
        station.write()
        stays = Listening(frames=FRAMES, size=SIZE)
        seen = await stack.enter_async_context(connected(port, LITE_06, path=target))
        await until(lambda: "live" in seen.broadcasts)
        seen.subscribe("live", "video", stays, EVERYTHING)
        async with connected(relay.ports[LITE_05.name], LITE_05) as soon_gone:
            leaves = Listening(frames=FRAMES, size=SIZE)
            await until(lambda: "acme/live" in soon_gone.broadcasts)
            soon_gone.subscribe("acme/live", "video", leaves, EVERYTHING)
            await until(lambda: stays.first is not None and leaves.first is not None)
            while station.sequence < GROUPS // 2:
                station.write()
            await until(lambda: len(leaves.whole) == GROUPS // 2)
        while station.sequence < GROUPS:
            station.write()
        await until(lambda: len(stays.whole) == GROUPS)
    await until(lambda: not relay.sessions())


async def test_the_lines_add_up_to_what_the_relay_counted(relay, tmp_path):
    signed = token(tmp_path, root="acme", get="", sub=ODD, jti="t-1", exp=4_000_000_000)
    written = tmp_path / "sessions.jsonl"
    one = relay(f'key = "key.jwk"\n[log]\nsessions = "{written}"')

    await traffic(one, f"/acme?jwt={signed}")
    whole = counted(one)
    await until(lambda: written.read_text().count("\n") == 3)
    (told,) = (
        value
        for labels, value in one.metric("moq_relay_session_lines_total").items()
        if ("outcome", "written") in labels
    )
    one.stop()

    found = lines(written)
    assert told == 3
    assert whole["bytes_in"] > GROUPS * FRAMES * SIZE
    assert whole["bytes_out"] > 1.4 * whole["bytes_in"]
    for name, value in whole.items():
        assert sum(line[name] for line in found) == pytest.approx(value, rel=0.001), name
    leaver, *others = found
    publisher = next(line for line in others if line["role"] == "publisher")
    viewer = next(line for line in others if line["role"] == "viewer")
    assert {line["event"] for line in found} == {"session"}
    assert {line["interim"] for line in found} == {False}
    assert len({line["id"] for line in found}) == 3
    assert (leaver["tenant"], leaver["path"], leaver["transport"]) == ("", "/", "quic")
    assert leaver["version"] == LITE_05.name
    assert (publisher["tenant"], publisher["path"], publisher["token"]) == ("acme", "/acme", None)
    assert (publisher["broadcasts"], publisher["bytes_out"]) == (1, 0)
    assert publisher["bytes_in"] == whole["bytes_in"]
    assert (viewer["tenant"], viewer["transport"]) == ("acme", "webtransport")
    assert viewer["subject"] == hashlib.sha256(ODD.encode()).hexdigest()[:32]
    assert viewer["token"] == hashlib.sha256(b"t-1").hexdigest()[:32]
    assert (viewer["requests"], viewer["bytes_in"]) == (1, 0)
    assert viewer["groups_out"] == GROUPS + 1
    assert {line["address"].rpartition(":")[0] for line in found} == {"127.0.0.1"}
    for line in found:
        assert (line["ended_by"], line["reason"]) == ("peer", "no_error")
        assert 0 < line["rtt_seconds"] < 5
        assert 0 < line["seconds"] < 60
        assert line["time"].endswith("Z")


async def test_the_lines_add_up_on_both_ends_of_a_link(tmp_path):
    cluster = ClusterProcess(tmp_path, ("root", "leaf"))
    joining = f'root = "{cluster.address("root")}"\ntoken = "{tmp_path}/leaf.jwt"'
    rest = '[redis]\ntimeout = 0.5\n[log]\nsessions = "s.jsonl"'
    cluster.add("root", rest=rest)
    cluster.add("leaf", cluster=joining, rest=rest)
    station, heard = Station(frames=FRAMES, size=SIZE), Listening(frames=FRAMES, size=SIZE)
    try:
        await cluster.start()
        async with (
            connected(cluster["root"].port, LITE_06) as publisher,
            connected(cluster["leaf"].port, LITE_06) as viewer,
        ):
            publish(publisher, "acme/live", station)
            station.write()
            await until(lambda: "acme/live" in viewer.broadcasts)
            viewer.subscribe("acme/live", "video", heard, EVERYTHING)
            await until(lambda: heard.first is not None)
            # A relay asks a new publisher for its latest group alone, and then for late ones too.
            await until(lambda: all(feed.demand.max_age > 0 for feed in station.feeds))
            while station.sequence < GROUPS:
                station.write()
            await until(lambda: len(heard.whole) == GROUPS)
        whole = {name: counted(node) for name, node in cluster.nodes.items()}
        cluster.stop()
    finally:
        cluster.kill()

    for name, node in cluster.nodes.items():
        found = lines(tmp_path / name / "s.jsonl")
        for field, value in whole[name].items():
            assert sum(line[field] for line in found) == pytest.approx(value, rel=0.001), field
        assert {line["node"] for line in found} == {node.url}
        assert {line["region"] for line in found} == {name}
        of_clients = {line["role"] for line in found} - {"node"}
        assert of_clients == {"publisher" if name == "root" else "viewer"}
        links = [line for line in found if line["role"] == "node"]
        assert sum(line["bytes_in"] + line["bytes_out"] for line in links) > GROUPS * FRAMES * SIZE


@pytest.mark.parametrize(
    ("mode", "shown"), [("prefix", "127.0.0.0/24"), ("none", "-"), ("full", "127.0.0.1:")]
)
@pytest.mark.parametrize("form", ["text", "json"])
async def test_no_line_has_more_of_a_clients_address_than_it_may(
    relay, tmp_path, mode, shown, form
):
    log = f'[log]\nsessions = "s.jsonl"\naddresses = "{mode}"\nformat = "{form}"'
    one = relay(f"{log}\n[limits]\nsessions = 1")
    async with connected(one.ports[LITE_06.name], LITE_06, path="/acme"):
        await until(one.sessions)
        with pytest.raises(ExceptionGroup):
            async with connected(one.ports[LITE_06.name], LITE_06, path="/acme"):
                raise AssertionError("two sessions where one may be")
        await until(lambda: "session refused" in one.log())
    await until(lambda: "session closed" in one.log())
    one.stop()

    log = (tmp_path / "relay.log").read_text()
    both = log + (tmp_path / "s.jsonl").read_text()
    assert f'"address": "{shown}' in both
    of_clients = [
        line for line in both.splitlines() if re.search(r"session (opened|refused)|tenant", line)
    ]
    assert len(of_clients) == 3, both
    # When: every port of loopback that is not one of the relay's own is a client's.
    own = {str(port) for port in (*one.ports.values(), one.web_port, one.internal_port)}
    clients = set(re.findall(r"127\.0\.0\.1:(\d+)", both)) - own
    assert bool(clients) == (mode == "full")
    assert all(shown in line for line in of_clients)


async def test_the_last_lines_are_those_of_sessions_that_the_relay_ended(relay, tmp_path):
    one = relay('[log]\nsessions = "s.jsonl"')
    async with connected(one.ports[LITE_06.name], LITE_06, path="/acme"):
        await until(one.sessions)
        one.stop()

    (line,) = lines(tmp_path / "s.jsonl")
    assert (line["ended_by"], line["reason"]) == ("relay", "no_error")
    assert line["text"] == "the relay is shutting down"


async def test_a_file_that_takes_nothing_costs_lines_and_nothing_else(relay):
    one = relay('[log]\nsessions = "/dev/full"')
    station = Station(frames=FRAMES, size=SIZE)
    async with connected(one.ports[LITE_06.name], LITE_06) as publisher:
        publish(publisher, "live", station)
        for _ in range(5):
            async with connected(one.ports[LITE_06.name], LITE_06, path="/") as seen:
                await until(lambda seen=seen: "live" in seen.broadcasts)
                heard = Listening(frames=FRAMES, size=SIZE)
                seen.subscribe("live", "video", heard, EVERYTHING)
                for _ in range(FRAMES):
                    station.write()
                await until(lambda heard=heard: heard.whole)

        def lost():
            told = one.metric("moq_relay_session_lines_total")
            return {dict(labels)["outcome"]: value for labels, value in told.items()}

        await until(lambda: lost() == {"written": 0, "lost": 5})
    one.stop()

    assert one.log().count("lines are lost") == 1


async def test_a_reader_that_stops_reading_does_not_stop_the_relay(relay, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    one = relay('[log]\nsessions = "pipe"')
    try:
        async with connected(one.ports[LITE_06.name], LITE_06, path="/"):
            await until(one.sessions)
        await until(lambda: not one.sessions())
        os.close(reading)
        reading = -1
        async with connected(one.ports[LITE_06.name], LITE_06, path="/"):
            await until(one.sessions)
        await until(lambda: "lines are lost" in one.log())
        one.stop()
    finally:
        if reading >= 0:
            os.close(reading)


def test_a_file_that_cannot_be_is_one_line(relay):
    with pytest.raises(AssertionError, match="ended with 2") as refused:
        relay('[log]\nsessions = "/nowhere/at/all"')

    said = "relay.toml: log.sessions = /nowhere/at/all: cannot be written to: no such file or dir"
    assert said in str(refused.value)
