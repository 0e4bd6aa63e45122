"""One relay with a secret of each kind, shown to every face that it has: none tells any of them.

The same relay sees to its end what tokens allow for a time.
"""

import asyncio
import base64
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from moq_relay.daemon.tokens.jwk import Key
from moq_relay.errors import MoqError
from moq_relay.sessions.host import Host
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.transports.quic.dialer import Trust, dial
from moq_relay.wire.lite.versions import LITE_06
from tests.support.own_client import PATIENCE, make_context, make_origin, until
from tests.support.redis_server import RedisServer, client, redis_binary
from tests.support.relay_process import EXECUTABLE, RelayProcess, environment

CANARY = "canary7f3a"
SECRET = f"{CANARY}-the-secret-of-the-key-is-long".encode()
PASSWORD, INTERNAL = f"{CANARY}-of-redis", f"{CANARY}-of-internal"
JWK = {"kty": "oct", "alg": "HS256", "k": base64.urlsafe_b64encode(SECRET).decode().rstrip("=")}
KEY = Key.of(JWK, "key")
INSIDE = ("/nodes", "/origins", "/routes/room/a", "/topology", "/", "/metrics", "/ready", "/geo")
VALID = KEY.sign(root="room", get="", put="", sub=f"{CANARY}-subject", jti=f"{CANARY}-name")
NODE = KEY.sign(cluster=True, node="https://elsewhere:1/", get="")
EXPIRED = KEY.sign(root="room", get="", exp=1)
FORGED = Key("HS256", bytes(32), bytes(32)).sign(root="room", get="", put="")
TOKENS = (VALID, NODE, EXPIRED, FORGED)
LATER = Key("HS256", SECRET, SECRET, kid="later")
FAIL, FAIL_LATER, DIE = (
    key.sign(root=root, get="", sub=f"{CANARY}-subject")
    for key, root in ((KEY, "fail"), (LATER, "fail"), (LATER, "die"))
)
HIDDEN = [CANARY, base64.b64encode(SECRET).decode()[:40], JWK["k"]]
HIDDEN += [part for token in (*TOKENS, FAIL, FAIL_LATER, DIE) for part in token.split(".")[1:]]


def bare(text):
    """What of the hidden is in a text."""
    data = text if isinstance(text, bytes) else text.encode()
    return [one for one in HIDDEN if one.encode() in data]


@contextlib.asynccontextmanager
async def coming(port, target, *, webtransport):
    """A session that came by ``target``, or an error where it could not."""
    context = make_context(make_origin(linger=0.0))
    async with Host(context) as host, contextlib.AsyncExitStack() as stack:
        sessions = []

        def accept(_arrival, transport):
            sessions.append(LiteSession(transport, LITE_06, context, target=target, dialled=True))
            return host.start(sessions[0])

        await stack.enter_async_context(
            dial(
                "127.0.0.1",
                port,
                accept=accept,
                protocols=[LITE_06.alpn],
                path=target if webtransport else None,
                trust=Trust(verify=False),
                server_name="localhost",
            )
        )
        yield sessions[0]


@pytest.fixture
def place(tmp_path):
    """A relay over a Redis that asks for a password."""
    redis = RedisServer(redis_binary(), tmp_path, "--rdbcompression", "no")
    redis.start()
    redis.execute("CONFIG", "SET", "requirepass", PASSWORD)
    (tmp_path / "key.jwk").write_text(json.dumps(JWK))
    (tmp_path / "internal").write_text(INTERNAL)
    (tmp_path / "traces").mkdir()
    log = '[log]\nlevel = "debug"\nsessions = "sessions.jsonl"\n'
    relay = RelayProcess(
        tmp_path, [LITE_06.name], f'key = "key.jwk"\n{log}[redis]\nurl = "{redis.url}"\n'
    )
    relay.environment = {
        # Other tools that speak QUIC write traces and keys there.
        "QLOGDIR": str(tmp_path / "traces"),
        "SSLKEYLOGFILE": str(tmp_path / "traces" / "keys"),
        "MOQ_REDIS_PASSWORD": PASSWORD,
        "MOQ_INTERNAL_TOKEN_FILE": "internal",
        "MOQ_CLUSTER_NODE": f"localhost:{relay.web_port}",
    }
    relay.start()
    yield relay, redis
    relay.kill()
    redis.kill()


def web(port, path, **headers):
    """Everything that an answer has."""
    asking = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        data=b"{}" if "Content_Type" in headers else None,
    )
    try:
        with urllib.request.urlopen(asking, timeout=5) as answer:
            return f"{answer.status}\n{answer.headers}\n{answer.read()}"
    except urllib.error.HTTPError as error:
        return f"{error.code}\n{error.headers}\n{error.read()}"


async def refused(port, target, *, webtransport):
    """Come where nobody lets us; a raw session is told why when it has begun."""
    try:
        async with (
            asyncio.timeout(PATIENCE),
            coming(port, target, webtransport=webtransport) as one,
        ):
            await one.ended()
            assert one.farewell[0] == 2
            return one.farewell[1]
    except Exception as error:
        if webtransport:
            return repr(error)
        raise


def tree(pid):
    """A process and its children."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def check(directory, *words, variables=None):
    """What ``moq-relay`` says and how it ends."""
    done = subprocess.run(
        [EXECUTABLE, *words],
        cwd=directory,
        env=environment() | (variables or {}),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


async def test_no_face_of_a_relay_shows_a_secret(place, tmp_path):
    relay, redis = place
    port = relay.web_port
    shown = {}

    # Everybody brings what should not be seen, and some of it is wrong.
    async with coming(port, f"/room?jwt={VALID}", webtransport=True) as one:
        await until(lambda: "session opened" in relay.log())
        assert not one.over
        for name in INSIDE:
            shown[name] = web(relay.internal_port, name)
        shown["/announced"] = web(port, "/announced/room", Authorization=f"Bearer {VALID}")
        shown["/fetch"] = web(port, f"/fetch/room/a/video?group=x&jwt={VALID}")
    for token in TOKENS[1:]:
        for webtransport in (True, False):
            target = f"/room?register=https://elsewhere:1/&jwt={token}"
            key = f"refused {webtransport} {TOKENS.index(token)}"
            shown[key] = await refused(port, target, webtransport=webtransport)
        shown[f"/announced {token[:5]}"] = web(port, f"/announced/room?jwt={token}")
        shown[f"/fetch {token[:5]}"] = web(
            port, "/fetch/a/b?group=x", Authorization=f"Bearer {token}"
        )
    shown["another scheme"] = web(port, "/announced", Authorization=f"Basic {CANARY}")
    shown["a name of a key"] = web(
        port, f"/announced?jwt={Key('HS256', SECRET, SECRET, kid=f'../{CANARY}').sign(get='')}"
    )
    for token in (INTERNAL[:-1], f"{INTERNAL} "):
        shown[f"POST {token}"] = web(
            relay.internal_port,
            "/drain",
            Authorization=f"Bearer {token}-",
            Content_Type="application/json",
        )
    with client(unix_socket_path=str(redis.socket), password=PASSWORD) as asking:
        names = list(asking.scan_iter())
        assert names
        shown["redis"] = b"\n".join(names + [asking.dump(name) for name in names])
    for pid in tree(relay.pid):
        shown[f"argv {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
    code, shown["check"] = check(tmp_path, "check", "relay.toml", variables=relay.environment)
    assert code == 0
    relay.stop()
    shown["log"] = relay.log_path.read_bytes()
    shown["session lines"] = (tmp_path / "sessions.jsonl").read_bytes()

    assert {name: bare(text) for name, text in shown.items() if bare(text)} == {}
    # The faces had something to say.
    assert all(shown.values())
    assert len(shown["session lines"].splitlines()) >= 4
    assert b"the token has expired" in shown["log"]
    assert shown["/nodes"].startswith("200")
    assert shown["/fetch"].startswith("400")
    assert shown["another scheme"].startswith("403")
    # Python's own TLS, by which keys are fetched, opens the file; nobody fetched any here.
    assert list((tmp_path / "traces").rglob("*")) == [tmp_path / "traces" / "keys"]
    written = (tmp_path / "traces" / "keys").read_text().splitlines()
    assert [line for line in written if not line.startswith("#")] == []


FAILING = """
import sys
from moq_relay.daemon import auth, cli, clients
from moq_relay.daemon.tokens import keys

judge, find, mortal = auth.Authority._claims, keys.Pack.find, []

def judge_or_fail(self, token, known):
    claims = judge(self, token, known)
    if claims.root == "fail":
        raise RuntimeError("a fault")
    if claims.root == "die":
        mortal.append(token)
    return claims

def turn_or_fail(self):
    for token in mortal:
        raise RuntimeError("a fault")

auth.Authority._claims, clients.Clients.turn = judge_or_fail, turn_or_fail
keys.Pack.find = lambda self, kid: None if kid == "later" else find(self, kid)
sys.exit(cli.main())
"""
"""The relay as it is, but that it fails with a token in its hands: at once where that says root
fail, and as a whole once somebody came with the root die. Of a key named later it learns in a task.
"""


@pytest.mark.parametrize(
    ("end", "code"), [("an exception", 1), ("a signal", -signal.SIGABRT)], ids=["raised", "signal"]
)
async def test_a_relay_that_fails_shows_no_secret(end, code, tmp_path):
    # Given a relay that is told to say of its end whatever Python has to say.
    (tmp_path / "key.jwk").write_text(json.dumps(JWK))
    log = '[log]\nlevel = "debug"\nsessions = "sessions.jsonl"\n'
    relay = RelayProcess(tmp_path, [LITE_06.name], f'key = "key.jwk"\n{log}')
    relay.environment = {"MOQ_INTERNAL_TOKEN": INTERNAL, "MOQ_REDIS_PASSWORD": PASSWORD}
    relay.command = [sys.executable, "-X", "dev", "-c", FAILING]
    await asyncio.to_thread(relay.start)
    shown = {}

    async def come(token, *, webtransport):
        try:
            async with (
                asyncio.timeout(PATIENCE),
                coming(relay.web_port, f"/?jwt={token}", webtransport=webtransport) as one,
            ):
                await one.ended()
                return repr(one.farewell)
        except (MoqError, ExceptionGroup) as error:
            return repr(error)

    try:
        # When it fails at what somebody with a token asks of it, and then altogether.
        for name, token in (("at once", FAIL), ("later", FAIL_LATER)):
            for webtransport in (True, False):
                key = f"session {name} {webtransport}"
                shown[key] = await come(token, webtransport=webtransport)
            for path in ("/announced/fail", "/fetch/fail/video"):
                shown[f"{path} {name}"] = web(relay.web_port, f"{path}?jwt={token}")
        failures = relay.log(2_000).count("RuntimeError: a fault")
        async with coming(relay.web_port, f"/room?jwt={VALID}", webtransport=True):
            if end == "a signal":
                os.kill(relay.pid, signal.SIGABRT)
            else:
                shown["the last session"] = await come(DIE, webtransport=False)
            await until(lambda: relay.ended() is not None)
        ended = relay.ended()
    finally:
        relay.kill()
    shown["log"] = relay.log_path.read_bytes()

    # Then it says that it did, and where, and nothing else.
    assert {name: bare(text) for name, text in shown.items() if bare(text)} == {}
    assert failures == 8
    assert ended == code
    last = b"Fatal Python error: Aborted" if end == "a signal" else b"in turn_or_fail"
    assert last in shown["log"]
    assert all(shown.values())


BAD = [
    f'[redis]\npassword = ["{CANARY}"]',
    f'[redis]\npassword = "{CANARY}',
    f'[redis]\npasswrd = "{CANARY}"',
    f'[redis]\nurl = "redis://me:{CANARY}@host:port"',
    f'[redis]\nurl = "ftp://me:{CANARY}@host"',
    f'[internal]\ntoken = {{a = "{CANARY}"}}',
    '[auth]\nkey = "broken"',
    '[auth]\njwks = "broken"\naudience = "a"',
    '[auth]\nkey = "short"',
    '[auth]\nkey = "numbers"',
    f'[auth]\nkey = "https://me:{CANARY}@keys.example/"',
    '[cluster]\nroot = "r:1"\nnode = "n:1"\ntoken = "broken"',
]


@pytest.mark.parametrize("settings", BAD, ids=range(len(BAD)))
def test_no_line_about_a_mistake_repeats_a_secret(settings, tmp_path, monkeypatch, capsys):
    from moq_relay.daemon import cli

    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").write_text(f'{{"k": "{CANARY}"')
    (tmp_path / "short").write_text(json.dumps(JWK | {"k": CANARY}))
    (tmp_path / "numbers").write_text(
        json.dumps({"kty": "EC", "crv": "P-256", "x": CANARY, "y": CANARY, "d": CANARY})
    )
    (tmp_path / "relay.toml").write_text(f'{settings}\n[server.tls]\ngenerate = "localhost"\n')

    assert cli.main(["check", "relay.toml"]) == 2

    said = "".join(capsys.readouterr())
    assert said.startswith("moq-relay: ")
    assert CANARY not in said


async def test_a_session_ends_within_a_second_of_its_token(place):
    relay, _ = place
    ends = math.ceil(time.time()) + 2
    token = KEY.sign(root="room", get="", exp=ends)

    async def last(*, webtransport):
        async with coming(relay.web_port, f"/room?jwt={token}", webtransport=webtransport) as one:
            await one.ended()
            return time.time() - ends, one.farewell

    async with asyncio.TaskGroup() as tasks:
        found = [tasks.create_task(last(webtransport=which)) for which in (True, False)]

    for late, farewell in (one.result() for one in found):
        assert 0 <= late < 1
        assert farewell == (2, "the token has expired")
    relay.stop()
