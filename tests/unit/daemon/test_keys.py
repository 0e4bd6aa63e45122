"""Keys by name: what is kept, what is looked up, and what a stranger's tokens can cost."""

import asyncio
import json
import random

import pytest

from moq_relay.daemon.auth import Authority
from moq_relay.daemon.config.sources import Layer, load
from moq_relay.daemon.tokens import keys
from moq_relay.daemon.tokens.claims import Rules
from moq_relay.daemon.tokens.jwk import Key
from moq_relay.daemon.tokens.keyfiles import Document, key_set, one_key
from moq_relay.daemon.tokens.keyring import keyring
from moq_relay.daemon.tokens.keys import Directory, Pack
from moq_relay.daemon.tokens.places import FILE_SECONDS, Found, Gone, Unread
from moq_relay.errors import ConfigError, Unauthorized
from tests.support.node import Clock, until
from tests.unit.daemon.test_tokens import encoded, jwk

FRESH = 300.0
HERE = Rules(audience=("here",))


def named(kid, letter=b"a"):
    return jwk(kid=kid, k=encoded(letter * 32))


PROVIDERS = {
    "Auth0": "NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg",
    "Auth0 of late": "q7_xT2-bWcVnR0aLdKeJp",
    "Azure AD": "X5eXk4xyojNFum1kl2Ytv8dlNP4-c57dO6QGTVBwaNk",
    "Cognito": "u9EJSOdlZT/CNQ0qk+ybOCZ2cJRxjtnqYHg9kSkYV84=",
    "Google": "f833e8a7fe3fe4b878948219a1684afa373ca86f",
    "Keycloak": "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbh-_E",
    "Okta": "U5R8cHbGw445Qbq8zVO1PcCpXL8yG6IcovVa3laCoxM",
    "some other": "https://id.example/keys/1 (2026)",
}
"""Names of keys as identity providers make them."""


def text_of(*jwks):
    return json.dumps({"keys": list(jwks)})


def token(kid, letter=b"a", **claims):
    secret = letter * 32
    return Key("HS256", secret, secret, kid=kid).sign(**({"get": ""} | claims))


class Shelf:
    """Places by name, that hold what a test puts there."""

    def __init__(self):
        self.held = {}
        self.read = []
        self.gate = asyncio.Event()
        self.gate.set()

    def place(self, name):
        shelf = self

        class Place:
            def __init__(self):
                self.name = name

            async def read(self, stamp):
                shelf.read.append(name)
                await shelf.gate.wait()
                held = shelf.held.get(name, Gone(f"{name}: gone"))
                if isinstance(held, Exception):
                    raise held
                return Found(None if stamp == held else held, held, FRESH)

        return Place()


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pack(shelf, clock):
    return Pack(Document(shelf.place("set"), key_set, clock=clock), named=True, clock=clock)


@pytest.fixture
def directory(shelf, clock):
    def document(kid, loud):
        return Document(shelf.place(kid), one_key, loud=loud, clock=clock)

    return Directory(document, clock=clock)


async def asked(ring, kid):
    found = ring.find(kid)
    found = await ring.look_up(kid) if found is None else found
    return [key.kid for key in found]


# --- a set ----------------------------------------------------------------------------------------


async def test_a_set_is_read_once_and_known_by_name_from_then_on(pack, shelf):
    shelf.held["set"] = text_of(named("a"), named("b"), named("b", b"b"))

    assert await asked(pack, "a") == ["a"]
    assert [key.kid for key in pack.find("b")] == ["b", "b"]
    assert shelf.read == ["set"]


async def test_tokens_that_come_before_the_set_wait_for_one_reading(pack, shelf):
    shelf.held["set"] = text_of(named("a"))
    shelf.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(asked(pack, "a")) for _ in range(50)]
        await until(lambda: shelf.read)
        waiting[0].cancel()
        shelf.gate.set()

    assert [one.result() for one in waiting[1:]] == [["a"]] * 49
    assert len(shelf.read) <= 2


@pytest.mark.parametrize("form", ["x{}", "x/{}+="])
async def test_a_name_that_the_set_lacks_has_it_read_anew_every_ten_seconds(
    pack, shelf, clock, form
):
    shelf.held["set"] = text_of(named("a"))
    await asked(pack, "a")
    for number in range(1000):
        assert await asked(pack, form.format(number)) == []
    assert len(shelf.read) == 2

    clock.now += keys.ASK_SECONDS
    shelf.held["set"] = text_of(named("b"))
    assert await asked(pack, "b") == ["b"]
    assert pack.find("a") == []


async def test_names_that_nobody_knows_cannot_keep_a_new_key_out(pack, shelf, clock):
    shelf.held["set"] = text_of(named("a"))
    await asked(pack, "a")
    shelf.held["set"] = text_of(named("a"), named("b"))
    # As soon as tokens may ask again, a stranger's does.
    clock.now += FRESH
    shelf.held["set"], later = Unread("away"), shelf.held["set"]
    await asked(pack, "x")
    shelf.held["set"] = later
    clock.now += keys.ASK_SECONDS - 1
    assert pack.find("b") == []

    await pack.turn()

    assert [key.kid for key in pack.find("b")] == ["b"]


async def test_a_set_outlives_an_outage_and_says_so_once(pack, shelf, clock, caplog):
    caplog.set_level("INFO")
    shelf.held["set"] = text_of(named("a"))
    await pack.turn()
    shelf.held["set"] = Unread("set: answers 500")
    for _ in range(50):
        clock.now += 70
        await pack.turn()
    assert [key.kid for key in pack.find("a")] == ["a"]
    shelf.held["set"] = text_of(named("a"))
    clock.now += 70
    await pack.turn()

    assert [record.message for record in caplog.records] == [
        "keys read place=set keys=1",
        "keys kept place=set reason=set: answers 500",
        "keys as before place=set",
    ]


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ("junk", "set: is not a JWK"),
        ("[]", "set: is not a JWK"),
        ('{"keys": {}}', "set: is not a set of JWKs"),
        (text_of(), "set: has no key that can be used: it is empty"),
        (text_of(named("b") | {"use": "enc"}), "key 0: its use is 'enc'"),
    ],
)
async def test_a_set_that_makes_no_sense_replaces_nothing(pack, shelf, clock, caplog, held, reason):
    shelf.held["set"] = text_of(named("a"))
    await pack.turn()
    shelf.held["set"] = held
    clock.now += FRESH
    await pack.turn()

    assert [key.kid for key in pack.find("a")] == ["a"]
    assert reason in caplog.text


async def test_keys_of_a_set_that_cannot_be_used_are_passed_over(pack, shelf):
    shelf.held["set"] = text_of(named("a"), "junk", named("b") | {"use": "enc"}, {"kty": "X"})

    assert await asked(pack, "a") == ["a"]
    assert await asked(pack, "b") == []


async def test_until_the_set_could_be_read_tokens_are_refused_and_do_not_ask_again(
    pack, shelf, clock, monkeypatch
):
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    shelf.held["set"] = Unread("away")
    for _ in range(100):
        with pytest.raises(Unauthorized, match="this relay's keys cannot be had now; try again"):
            await asked(pack, "a")
    assert shelf.read == ["set"]

    clock.now += 2
    shelf.held["set"] = text_of(named("a"))
    assert await asked(pack, "a") == ["a"]


async def test_a_token_without_a_name_is_for_the_only_key(pack, shelf, clock):
    shelf.held["set"] = text_of(named("a"))
    assert await asked(pack, None) == ["a"]
    shelf.held["set"] = text_of(named("a"), named("b"))
    clock.now += FRESH
    await pack.turn()

    with pytest.raises(Unauthorized, match="does not name its key, and this relay has several"):
        pack.find(None)


async def test_one_key_is_for_every_name(shelf, clock):
    shelf.held["key"] = json.dumps(named("a"))
    pack = Pack(Document(shelf.place("key"), one_key, clock=clock), named=False, clock=clock)

    assert await asked(pack, "x") == ["a"]
    assert await asked(pack, None) == ["a"]


# --- a directory ----------------------------------------------------------------------------------


async def test_a_key_is_looked_up_by_its_name_once(directory, shelf):
    shelf.held["a"] = json.dumps(named("whatever"))
    shelf.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(asked(directory, "a")) for _ in range(50)]
        await until(lambda: shelf.read)
        waiting[0].cancel()
        shelf.gate.set()

    assert [one.result() for one in waiting[1:]] == [["whatever"]] * 49
    assert await asked(directory, "a") == ["whatever"]
    assert len(shelf.read) <= 2
    with pytest.raises(Unauthorized, match="does not name its key"):
        directory.find(None)


async def test_a_key_that_is_not_there_is_not_asked_for_again_for_a_while(directory, shelf, clock):
    for _ in range(5):
        assert await asked(directory, "a") == []
    assert shelf.read == ["a"]

    clock.now += keys.UNKNOWN_SECONDS
    shelf.held["a"] = json.dumps(named("a"))
    assert await asked(directory, "a") == ["a"]


async def test_look_ups_have_a_budget_and_what_is_known_needs_none(directory, shelf, clock):
    shelf.held["a"] = json.dumps(named("a"))
    await asked(directory, "a")
    refused = 0
    for number in range(1000):
        try:
            await asked(directory, f"x{number}")
        except Unauthorized:
            refused += 1
    assert len(shelf.read) == keys.BURST
    assert refused == 1000 - keys.BURST + 1
    with pytest.raises(Unauthorized, match="too many tokens name keys that are not known here"):
        await asked(directory, "x")

    assert await asked(directory, "a") == ["a"]
    shelf.held["a"] = json.dumps(named("renewed"))
    clock.now += FRESH
    directory._budget = 0
    await directory.turn()
    assert await asked(directory, "a") == ["renewed"]


@pytest.mark.parametrize(
    "kid",
    ["a/b", "..", "../a", "a..b", "a b", "%2e%2e%2f", "a\\b", "a?b", "a#b", PROVIDERS["Cognito"]],
)
async def test_a_kid_that_is_no_name_of_a_file_is_refused_before_anything_is_looked_up(
    directory, shelf, kid
):
    authority = Authority(None, keys=directory)

    with pytest.raises(Unauthorized, match="kid cannot be the name of a key"):
        authority.authorise(f"/?jwt={token(kid)}")
    with pytest.raises(Unauthorized, match="kid cannot be the name of a key"):
        await directory.look_up(kid)

    assert shelf.read == []


async def test_look_ups_that_hang_are_bounded(directory, shelf):
    shelf.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(asked(directory, f"x{n}")) for n in range(keys.AT_A_TIME)]
        await until(lambda: len(shelf.read) == keys.AT_A_TIME)
        with pytest.raises(Unauthorized, match="too many tokens"):
            await asked(directory, "another")
        shelf.gate.set()

    assert all(one.result() == [] for one in waiting)
    assert not directory._asked


async def test_what_is_remembered_of_strangers_is_bounded(directory, clock):
    for number in range(keys.UNKNOWN + 10):
        clock.now += 1
        await asked(directory, f"x{number}")

    assert len(directory._unknown) == keys.UNKNOWN


async def test_a_key_that_is_taken_away_verifies_nothing_more(directory, shelf, clock):
    shelf.held["a"] = json.dumps(named("a"))
    await asked(directory, "a")
    shelf.held["a"] = Unread("away")
    clock.now += FRESH
    await directory.turn()
    assert await asked(directory, "a") == ["a"]
    del shelf.held["a"]
    clock.now += 70
    await directory.turn()

    assert await asked(directory, "a") == []


async def test_a_key_that_cannot_be_had_is_said_once_and_asked_for_again_soon(
    directory, shelf, clock, caplog
):
    shelf.held |= {kid: Unread(f"{kid}: answers 500") for kid in "abc"}
    for kid in "abc":
        with pytest.raises(Unauthorized, match="the token's key cannot be had now; try again"):
            await asked(directory, kid)
    assert [record.message for record in caplog.records] == [
        "a key cannot be had reason=a: answers 500"
    ]

    clock.now += keys.AGAIN_SECONDS
    shelf.held["a"] = json.dumps(named("a"))
    assert await asked(directory, "a") == ["a"]


async def test_what_can_be_listed_is_known_without_being_asked_for(shelf, clock, caplog):
    async def names():
        return sorted(shelf.held)

    directory = Directory(
        lambda kid, loud: Document(shelf.place(kid), one_key, loud=loud, clock=clock),
        names,
        clock=clock,
    )
    shelf.held |= {"a": json.dumps(named("a")), "bad": "junk", "../x": "junk"}
    directory._budget = 0
    for _ in range(5):
        await directory.turn()
        clock.now += FILE_SECONDS

    assert [key.kid for key in directory.find("a")] == ["a"]
    assert caplog.text.count("keys missing place=bad reason=bad: is not a JWK") == 1
    assert "../x" not in shelf.read
    shelf.held["bad"] = json.dumps(named("good"))
    clock.now += 120
    await directory.turn()
    assert [key.kid for key in directory.find("bad")] == ["good"]


# --- the whole way --------------------------------------------------------------------------------


async def test_rights_come_later_where_the_key_has_to_be_looked_up(directory, shelf):
    shelf.held["a"] = json.dumps(named("a"))
    authority = Authority(None, keys=directory)
    target = f"/room?jwt={token('a')}"

    later = authority.authorise(target)
    assert (await later()).subscribe == ("room",)
    assert authority.authorise(target).subscribe == ("room",)
    with pytest.raises(Unauthorized, match="not signed with this relay's key"):
        authority.authorise(f"/room?jwt={token('a', b'b')}")
    with pytest.raises(Unauthorized, match="names a key that this relay does not have"):
        await authority.authorise(f"/?jwt={token('unknown')}")()
    assert (await authority.below("room", token("a"))).subscribe == ("room",)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_token_names_its_key_as_its_provider_does(provider, tmp_path):
    kid = PROVIDERS[provider]
    others = [named(one, b"b") for one in PROVIDERS.values() if one != kid]
    (tmp_path / "set").write_text(text_of(*others, named(kid)))
    (tmp_path / "key").write_text(json.dumps(named("another")))
    mine, nobodys = (f"/?jwt={token(one, aud='here')}" for one in (kid, f"{kid}="))

    for auth in ({"jwks": f"{tmp_path}/set"}, {"key": f"{tmp_path}/key"}):
        authority = Authority(None, keys=ring(**auth, audience="here"), rules=HERE)
        assert authority.authorise(mine).subscribe == ("",)
    authority = Authority(None, keys=ring(jwks=f"{tmp_path}/set", audience="here"), rules=HERE)
    with pytest.raises(Unauthorized, match="names a key that this relay does not have"):
        await authority.authorise(nobodys)()


# --- settings -------------------------------------------------------------------------------------


def ring(**auth):
    tree = {"auth": auth, "server": {"tls": {"generate": "localhost"}}}
    return keyring(load([Layer("relay.toml", tree)]))


async def test_files_are_read_at_the_start(tmp_path):
    (tmp_path / "a.jwk").write_text(json.dumps(named("a")))
    (tmp_path / "set").write_text(text_of(named("a"), named("b")))

    assert [key.kid for key in ring(key=f"{tmp_path}/a.jwk").find("x")] == ["a"]
    assert [key.kid for key in ring(jwks=f"{tmp_path}/set", audience="me").find("b")] == ["b"]
    assert await asked(ring(key_dir=str(tmp_path)), "a") == ["a"]
    assert await asked(ring(key_dir=str(tmp_path)), "b") == []
    assert ring() is None


def test_what_servers_have_is_not_asked_for_before_the_relay_runs():
    assert ring(key="https://keys.example/a.jwk").find(None) is None
    assert ring(key_dir="https://keys.example/keys/").find("a") is None
    assert ring(jwks="http://localhost/set", audience=["me"]).find("a") is None


@pytest.mark.parametrize(
    ("auth", "reason"),
    [
        ({"key": "a", "jwks": "b"}, "auth.key and relay.toml: auth.jwks are both set"),
        ({"jwks": "b"}, "auth.jwks is set without auth.audience"),
        ({"key": "none"}, "auth.key = none: cannot be read: no such file"),
        ({"key_dir": "none"}, "auth.key_dir = none: is no directory"),
        ({"key": "http://keys.example/a"}, "auth.key is not https"),
        ({"key_dir": "ftp://x/"}, "auth.key_dir is no URL of a document"),
        ({"key": "https://me:swordfish@x/"}, "auth.key has a user name, a password or"),
        ({"key_dir": "https://x/?a=b"}, "has a query, and the names of keys come behind it"),
        ({"key": "https://x/", "ca": "none"}, "auth.ca = none: cannot be read: no such file"),
        ({"key": "https://x/", "ca": "/dev/null"}, "auth.ca = /dev/null: holds no certificate"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_line(auth, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        ring(**auth)
    assert "\n" not in str(caught.value)
    assert "swordfish" not in str(caught.value)


def test_a_key_file_that_cannot_be_used_stops_the_start_without_a_word_of_it(tmp_path):
    (tmp_path / "k").write_text(json.dumps(named("a") | {"k": encoded(b"swordfish")}))

    with pytest.raises(ConfigError, match=r"auth\.key = .*k: its secret has 9 bytes") as caught:
        ring(key=f"{tmp_path}/k")
    assert encoded(b"swordfish") not in str(caught.value)
