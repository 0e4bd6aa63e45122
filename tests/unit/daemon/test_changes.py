"""Who may change a relay over HTTP, what they are told, and what stands in the log of it."""

import json
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from moq_relay.daemon.config.sources import Layer, load
from moq_relay.daemon.drain import Drain
from moq_relay.daemon.web import changes
from moq_relay.daemon.web.changes import Changes
from moq_relay.daemon.web.hosts import Hosts
from moq_relay.errors import ConfigError

TOKEN = "a token of some length"
GOOD = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


class Crowd:
    """One session that stays."""

    def present(self):
        return {1: "viewer"}

    def ask(self, number):
        pass

    def cut_off(self):
        pass


class Relay:
    """The drain of a relay, and who asks for it."""

    def __init__(self, client, drain, caplog):
        self.client = client
        self.drain = drain
        self._caplog = caplog

    async def post(self, path, body="{}", **headers):
        answer = await self.client.post(path, data=body, headers=headers)
        return answer.status, await answer.text()

    @property
    def lines(self):
        return [r.getMessage() for r in self._caplog.records if "what=" in r.getMessage()]


@pytest.fixture
async def relay(caplog):
    caplog.set_level(logging.INFO)
    made = []

    async def make(token=TOKEN):
        drain = Drain(
            Crowd(), clock=lambda: 0.0, settle=0.0, say=lambda _: None, leave=lambda: None
        )
        app = web.Application(middlewares=[Hosts(["relay.example.com"]).guard])
        Changes(token, drain, 20.0).add_to(app)
        client = TestClient(TestServer(app))
        await client.start_server()
        made.append(client)
        return Relay(client, drain, caplog)

    yield make
    for client in made:
        await client.close()


async def test_with_the_token_a_drain_begins_and_says_how_far_it_is(relay):
    it = await relay()

    status, said = await it.post("/drain", '{"deadline": 5, "stay": true}', **GOOD)

    facts = json.loads(said)
    assert status == 200
    assert facts.pop("instance")
    assert facts == {"state": "settling", "sessions": 1, "seconds_left": 5.0, "leaves": False}
    assert it.lines == ["changed what=drain by=127.0.0.1 deadline=5 stay=true"]
    looked = await it.client.get("/drain")
    assert (await looked.json())["state"] == "settling"


async def test_what_is_left_out_is_the_relay_s_own_deadline_and_an_end(relay):
    it = await relay()

    await it.post("/drain", "", **GOOD)

    assert (it.drain.seconds_left, it.drain.leaves, it.drain.final) == (20.0, True, False)


async def test_uncordon_undoes_it(relay):
    it = await relay()
    await it.post("/drain", **GOOD)

    status, said = await it.post("/uncordon", **GOOD)

    assert (status, json.loads(said)["state"]) == (200, "serving")
    assert it.lines[-1] == "changed what=uncordon by=127.0.0.1 state=serving"


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"Content-Type": "application/json"}, 401, "the token is wrong"),
        (GOOD | {"Authorization": "Bearer another"}, 401, "the token is wrong"),
        (GOOD | {"Authorization": f"Bearer {TOKEN}x"}, 401, "the token is wrong"),
        (GOOD | {"Authorization": "Basic YTpi"}, 401, "only Authorization: Bearer"),
        (GOOD | {"Content-Type": "text/plain"}, 415, "the body has to be JSON"),
        (
            GOOD | {"Content-Type": "application/x-www-form-urlencoded"},
            415,
            "the body has to be JSON",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/drain", "/uncordon"])
async def test_who_may_not_is_told_why_in_a_line_and_changes_nothing(
    relay, path, headers, status, words
):
    it = await relay()

    found, said = await it.post(path, **headers)

    assert found == status
    assert said.startswith(words)
    assert said.count("\n") == 1
    assert it.drain.state == "serving"
    assert it.lines == [
        f"change refused what={path[1:]} by=127.0.0.1 reason={said.rstrip()}",
    ]
    assert TOKEN not in it.lines[0]


@pytest.mark.parametrize(
    ("header", "status", "said"),
    [
        ({"Origin": "https://evil.example"}, 403, "pages of other sites may not ask this relay"),
        ({"Origin": "null"}, 403, "pages of other sites may not ask this relay"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "pages of other sites may not ask this relay"),
        (
            {"Host": "evil.example"},
            421,
            "the host 'evil.example' is none of this relay's names; internal.hosts takes more",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/drain", "/uncordon"])
async def test_a_page_of_another_site_changes_nothing_even_with_the_token(
    relay, path, header, status, said
):
    it = await relay()

    assert await it.post(path, **(GOOD | header)) == (status, f"{said}\n")

    assert it.drain.state == "serving"
    assert it.lines == [f"change refused what={path[1:]} by=127.0.0.1 reason={said}"]


async def test_the_relay_s_own_page_may(relay):
    it = await relay()

    own = {"Host": "relay.example.com:9101", "Origin": "http://relay.example.com:9101"}
    status, _ = await it.post("/drain", **(GOOD | own))

    assert status == 200
    assert it.drain.state != "serving"


@pytest.mark.parametrize("token", [None, ""])
async def test_without_a_token_set_nobody_may(relay, token):
    it = await relay(token)

    for given in ("Bearer x", "Bearer None", ""):
        status, said = await it.post("/drain", **(GOOD | {"Authorization": given}))
        assert (status, said) == (
            403,
            "this relay takes no changes: internal.token is not set\n",
        )

    assert it.drain.state == "serving"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "the body is not JSON\n"),
        ("[]", "the body is not an object\n"),
        ('{"dedline": 3}', "dedline is not known here\n"),
        ('{"deadline": "3"}', "deadline is a number of seconds, at most 86400\n"),
        ('{"deadline": -1}', "deadline is a number of seconds, at most 86400\n"),
        ('{"deadline": NaN}', "deadline is a number of seconds, at most 86400\n"),
        ('{"deadline": true}', "deadline is a number of seconds, at most 86400\n"),
        ('{"stay": 1}', "stay is true or false\n"),
    ],
)
async def test_what_makes_no_sense_is_refused(relay, body, said):
    it = await relay()

    assert await it.post("/drain", body, **GOOD) == (400, said)

    assert it.drain.state == "serving"


async def test_there_is_nothing_to_undo_or_it_cannot_be(relay):
    it = await relay()

    assert await it.post("/uncordon", **GOOD) == (409, "this relay does not drain\n")
    it.drain.begin(5, leave=True, final=True)
    assert await it.post("/uncordon", **GOOD) == (
        409,
        "a signal ends this relay: that cannot be undone\n",
    )


async def test_nothing_is_changed_by_a_get(relay):
    it = await relay()

    assert (await it.client.get("/uncordon", headers=GOOD)).status == 405
    await it.client.get("/drain", headers=GOOD)

    assert it.drain.state == "serving"


# --- settings -------------------------------------------------------------------------------------


def loaded(**settings):
    tree = {"internal": settings, "server": {"tls": {"generate": "localhost"}}}
    return load([Layer("relay.toml", tree)])


def internal(**settings):
    return loaded(**settings).settings.internal


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:9101", "127.1.2.3:1", "[::1]:9101", "localhost:9101"]
)
def test_loopback_needs_no_token(listen):
    assert str(internal(listen=listen).listen) == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:9101", "[::]:9101", "192.0.2.1:9101", "relay:9101"])
def test_every_other_address_needs_a_token_or_to_be_open(listen):
    with pytest.raises(ConfigError) as refused:
        internal(listen=listen)

    assert str(refused.value) == (
        f"relay.toml: internal.listen = {listen} is not loopback; set internal.token, or "
        "internal.open = true to let everybody there read"
    )
    for settings in ({"token": "x"}, {"token_file": "/run/token"}, {"open": True}):
        assert str(internal(listen=listen, **settings).listen) == listen


def test_a_token_is_never_shown():
    assert "secret" not in repr(internal(token="secret"))


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_file_is_no_token(tmp_path, content):
    """Else whoever gets there could read what its operator thought was guarded."""
    (tmp_path / "token").write_text(content)
    file = str(tmp_path / "token")

    with pytest.raises(ConfigError, match=r"internal\.token_file = .*token: is empty$"):
        changes.token(loaded(listen="0.0.0.0:9101", token_file=file))


def test_the_token_is_that_of_the_setting_or_of_the_file(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    assert changes.token(loaded(token=TOKEN)) == TOKEN
    assert changes.token(loaded(token_file=str(tmp_path / "token"))) == TOKEN
    assert changes.token(loaded()) is None
