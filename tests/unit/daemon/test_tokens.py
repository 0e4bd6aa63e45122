"""Tokens: whose signature counts, and what a claim allows where."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moq_relay.daemon.auth import Authority, bearer
from moq_relay.daemon.config.values import Public
from moq_relay.daemon.tokens.claims import Rules, TokenFile, read_token, verify
from moq_relay.daemon.tokens.jwk import Key
from moq_relay.daemon.tokens.keys import OneKey
from moq_relay.errors import ConfigError, Unauthorized
from moq_relay.relay.access import Access, Holder

SECRET = b"s" * 32


def encoded(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwk(**fields):
    return {"kty": "oct", "alg": "HS256", "k": encoded(SECRET)} | fields


KEY = Key.of(jwk(), "test")


def forged(header, claims, secret=SECRET):
    """A token as nobody's library would make it."""
    head = encoded(json.dumps(header).encode()) + "." + encoded(json.dumps(claims).encode())
    return head + "." + encoded(hmac.new(secret, head.encode(), hashlib.sha256).digest())


def rights(path="/", *, public=None, shared_token=False, query="", **claims):
    authority = Authority(public, keys=OneKey(KEY), shared_token=shared_token)
    return authority.authorise(f"{path}?jwt={KEY.sign(**claims)}{query}")


# --- whose signature counts -----------------------------------------------------------------------


def test_a_token_signed_with_the_key_says_what_its_bearer_may():
    access = rights(root="demo", put="mine", get=["", "other"])

    assert access.publish == ("demo/mine",)
    assert access.subscribe == ("demo", "demo/other")
    assert not access.cluster
    assert access.credential


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (KEY.sign(get=""), None),
        (forged({"alg": "HS256"}, {"get": ""}), None),
        (KEY.sign(get="", exp=time.time() - 1), "the token has expired"),
        (KEY.sign(get="", nbf=4e9), "the token is not valid yet"),
        (Key("HS256", b"t" * 32, b"t" * 32).sign(get=""), "not signed with this relay's key"),
        (forged({"alg": "HS256"}, {"get": ""}, b"t" * 32), "not signed with this relay's key"),
        (forged({"alg": "none"}, {"get": ""}), "not signed with this relay's key"),
        (forged({"alg": "HS512"}, {"get": ""}), "not signed with this relay's key"),
        (forged({"alg": "none"}, {"get": ""}).rpartition(".")[0] + ".", "not signed with"),
        (forged({}, {"get": ""}), "the token cannot be read|not signed with"),
        (forged({"alg": "HS256"}, ["get"]), "the token cannot be read"),
        (forged({"alg": "HS256"}, {"get": "", "exp": "soon"}), "the token's exp is no time"),
        ("a.b.c", "the token cannot be read"),
        ("x", "the token cannot be read"),
    ],
)
def test_only_the_algorithm_and_the_secret_of_the_key_count(token, reason):
    authority = Authority(None, keys=OneKey(KEY))

    if reason is None:
        assert authority.authorise(f"/?jwt={token}").subscribe == ("",)
        return
    with pytest.raises(Unauthorized, match=reason):
        authority.authorise(f"/?jwt={token}")


@pytest.mark.parametrize("said", [{"exp": 100}, {"exp": 100.0}, {"exp": 1}, {"exp": -1}])
def test_a_token_is_over_from_its_exp_on_without_mercy(said):
    assert verify(KEY.sign(get="", exp=100), [KEY], Rules(), 99.9).expires == 100
    with pytest.raises(Unauthorized, match="the token has expired"):
        verify(KEY.sign(get="", **said), [KEY], Rules(), 100.0)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_clock_that_is_ahead_by_five_seconds_may_sign(name):
    token = KEY.sign(get="", **{name: 105})

    assert verify(token, [KEY], Rules(), 100.0).subscribe == ("",)
    with pytest.raises(Unauthorized, match="the token is not valid yet"):
        verify(token, [KEY], Rules(), 99.9)


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value", ["9999999999", True, [], float("nan"), float("inf"), 10**400], ids=str
)
def test_what_is_no_time_is_refused_and_not_taken_for_ever(name, value):
    with pytest.raises(Unauthorized, match=f"the token's {name} is no time"):
        verify(KEY.sign(get="", **{name: value}), [KEY], Rules(), 100.0)


def test_a_time_that_is_null_is_none():
    assert verify(KEY.sign(get="", exp=None, nbf=None), [KEY], Rules(), 100.0).expires is None


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iat": 100, "exp": 160}, None),
        ({"exp": 160}, None),
        ({"iat": 99, "exp": 160}, "the token lives longer than 60 s"),
        ({"exp": 161}, "the token lives longer than 60 s"),
        ({}, "the token has no exp, and this relay takes none without"),
    ],
)
def test_a_relay_may_bound_how_long_tokens_live(claims, reason):
    look(claims, Rules(max_lifetime=60), reason)


@pytest.mark.parametrize(
    ("issuer", "claims", "reason"),
    [
        ("https://id", {"iss": "https://id"}, None),
        (None, {"iss": "https://other"}, None),
        ("https://id", {"iss": "https://other"}, "the token is not from this relay's issuer"),
        ("https://id", {"iss": ["https://id"]}, "the token is not from this relay's issuer"),
        ("https://id", {}, "the token is not from this relay's issuer"),
    ],
)
def test_a_token_of_another_issuer_is_refused_where_one_is_set(issuer, claims, reason):
    look(claims, Rules(issuer=issuer), reason)


@pytest.mark.parametrize(
    ("audience", "claims", "reason"),
    [
        (("relay", "other"), {"aud": "relay"}, None),
        (("relay",), {"aud": ["x", "relay"]}, None),
        ((), {}, None),
        (("relay",), {}, "the token is not for this relay"),
        (("relay",), {"aud": ["x"]}, "the token is not for this relay"),
        (("relay",), {"aud": {"relay": 1}}, "the token is not for this relay"),
        ((), {"aud": "relay"}, "the token is not for this relay"),
        ((), {"aud": []}, "the token is not for this relay"),
    ],
)
def test_a_token_for_somebody_else_is_refused(audience, claims, reason):
    look(claims, Rules(audience=audience), reason)


def look(claims, rules, reason):
    token = KEY.sign(get="", **claims)
    if reason is None:
        assert verify(token, [KEY], rules, 100.0).subscribe == ("",)
        return
    with pytest.raises(Unauthorized, match=reason):
        verify(token, [KEY], rules, 100.0)


@pytest.mark.parametrize(
    ("scope", "claims", "reason"),
    [
        ({"root": "a", "put": "x", "get": ""}, {"root": "a", "put": "x/y", "get": ["b"]}, None),
        ({"root": "a", "put": "x"}, {"put": "/a/x/"}, None),
        ({"root": "a", "put": "x"}, {"root": "a", "put": "xy"}, "more than the scope"),
        ({"root": "a", "put": "x"}, {"root": "a", "put": ""}, "more than the scope"),
        ({"root": "a", "put": ""}, {"root": "a", "put": "", "get": ""}, "more than the scope"),
        ({"root": "a", "put": ""}, {"put": ["a", "b"]}, "more than the scope"),
        ({"put": "", "get": ""}, {"cluster": True, "node": "a:1"}, "so it makes no node"),
    ],
)
def test_a_token_allows_no_more_than_the_scope_of_its_key(scope, claims, reason):
    scoped = Key.of(jwk(scope=scope), "scoped")

    if reason is None:
        verify(KEY.sign(**claims), [scoped], Rules(), 100.0)
        return
    with pytest.raises(Unauthorized, match=reason):
        verify(KEY.sign(**claims), [scoped], Rules(), 100.0)


def test_of_several_keys_the_one_that_signed_it_counts():
    other = Key.of(jwk(k=encoded(b"t" * 32), scope={"put": "x"}), "other")

    assert verify(KEY.sign(get=""), [other, KEY], Rules(), 100.0).subscribe == ("",)
    with pytest.raises(Unauthorized, match="not signed with this relay's key"):
        verify(KEY.sign(get=""), [other], Rules(), 100.0)
    with pytest.raises(Unauthorized, match="names a key that this relay does not have"):
        verify(KEY.sign(get=""), [], Rules(), 100.0)


@pytest.mark.parametrize("kid", ["", "a" * 129, "a\n", "a\x00", "a\x7f", "é", "a\u202eb"])
def test_a_kid_that_can_be_no_name_is_refused_whatever_the_keys_are(kid):
    token = Key("HS256", SECRET, SECRET, kid=kid).sign(get="")

    with pytest.raises(Unauthorized, match="kid cannot be the name of a key"):
        Authority(None, keys=OneKey(KEY)).authorise(f"/?jwt={token}")


def test_keys_that_a_token_brings_along_count_for_nothing():
    mine = jwk(k=encoded(b"m" * 32))
    header = {"alg": "HS256", "jwk": mine, "jku": "https://mine/", "x5u": "https://mine/"}

    with pytest.raises(Unauthorized, match="not signed with this relay's key"):
        Authority(None, keys=OneKey(KEY)).authorise(
            f"/?jwt={forged(header, {'get': ''}, b'm' * 32)}"
        )
    assert Authority(None, keys=OneKey(KEY)).authorise(f"/?jwt={forged(header, {'get': ''})}")


def test_a_token_longer_than_any_line_of_http_is_not_looked_at():
    with pytest.raises(Unauthorized, match="longer than 8192 characters"):
        Authority(None, keys=OneKey(KEY)).authorise(f"/?jwt={KEY.sign(get='a' * 8192)}")


def test_a_token_file_holds_a_token_and_nothing_else(tmp_path):
    file = tmp_path / "node.jwt"
    file.write_text(KEY.sign(cluster=True) + "\n")

    assert verify(read_token(file), [KEY], Rules(), 100.0).cluster
    file.write_text("no token")
    with pytest.raises(ConfigError, match=r"node\.jwt: holds no token"):
        read_token(file)


def test_a_token_file_that_is_replaced_has_the_new_token_and_while_it_is_broken_the_old_one(
    tmp_path, caplog
):
    file = tmp_path / "node.jwt"
    first, second = KEY.sign(get="a"), KEY.sign(get="b")
    file.write_text(first)
    current = TokenFile(file)
    assert current() == first

    file.write_text("half a tok")
    assert [current(), current()] == [first, first]
    assert [record.message for record in caplog.records] == [
        f"token kept reason={file}: holds no token"
    ]

    file.write_text(second)
    assert current() == second


# --- what a claim allows where --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "claims", "publish", "subscribe"),
    [
        ("/", {"root": "", "put": "", "get": ""}, ("",), ("",)),
        ("/a", {"put": "", "get": ""}, ("a",), ("a",)),
        ("/a/b", {"root": "a", "put": "", "get": ""}, ("a/b",), ("a/b",)),
        ("/a/b", {"root": "a", "put": "b/c", "get": "x"}, ("a/b/c",), ()),
        ("/a/b", {"root": "a", "put": "b", "get": ["b/c", "b/d"]}, ("a/b",), ("a/b/c", "a/b/d")),
        ("/", {"root": "a", "get": ["b", "c"]}, (), ("a/b", "a/c")),
        ("/a", {"root": "/a/b/", "put": "/c/"}, ("a/b/c",), ()),
    ],
)
def test_the_path_of_the_session_is_its_root_and_cuts_the_rights_down(
    path, claims, publish, subscribe
):
    access = rights(path, **claims)

    assert (access.root, access.publish, access.subscribe) == (path[1:], publish, subscribe)


@pytest.mark.parametrize(
    ("path", "claims", "reason"),
    [
        ("/b", {"root": "a", "put": "", "get": ""}, "the token allows nothing below /b"),
        ("/ab", {"root": "a", "get": ""}, "the token allows nothing below /ab"),
        ("/a/c", {"root": "a", "get": "b"}, "the token allows nothing below /a/c"),
        ("/", {}, "the token allows nothing below /"),
        ("/", {"root": 1}, "root is no path"),
        ("/", {"get": 1}, "get is neither a path nor a list"),
        ("/", {"put": ["a", 1]}, "put is neither a path nor a list"),
        ("/", {"get": "/".join("a" * 33)}, "get is no path"),
        ("/", {"get": "", "cluster": "yes"}, "cluster is neither true nor false"),
        ("/", {"get": "", "node": 1}, "node is no URL"),
        ("/", {"get": "", "node": "http://a"}, "node is no URL"),
        ("/", {"root": "a", "get": "", "cluster": True}, "cannot have a root"),
    ],
)
def test_a_token_that_allows_nothing_here_or_makes_no_sense_is_refused(path, claims, reason):
    with pytest.raises(Unauthorized, match=reason):
        rights(path, **claims)


SEGMENTS = st.lists(st.sampled_from(("a", "ab", "b")), max_size=3)
CLAIMS = st.lists(SEGMENTS, max_size=3)


@given(SEGMENTS, SEGMENTS, CLAIMS, CLAIMS, SEGMENTS)
def test_a_session_may_what_its_token_says_and_its_path_covers(path, root, put, get, asked):
    """Against the rule itself, segment by segment, for every path that might be asked for."""

    def may(listed):
        below = [root + one for one in listed]
        said = any(asked[: len(one)] == one for one in below)
        return said and asked[: len(path)] == path

    def anything(listed):
        return any(
            full[: len(path)] == path or path[: len(full)] == full
            for full in (root + one for one in listed)
        )

    def joined(listed):
        return ["/".join(one) for one in listed]

    claims = {"root": "/".join(root), "put": joined(put), "get": joined(get)}
    try:
        access = rights("/" + "/".join(path), **claims)
    except Unauthorized:
        assert not anything(put)
        assert not anything(get)
        return
    assert access.may_publish("/".join(asked)) == may(put)
    assert access.may_subscribe("/".join(asked)) == may(get)
    assert (bool(access.publish), bool(access.subscribe)) == (anything(put), anything(get))


def test_who_brings_no_token_has_what_is_public_and_who_brings_one_has_only_that():
    public = Public(("anon",), ("anon",))

    assert Authority(public, keys=OneKey(KEY)).authorise("/anon").publish == ("anon",)
    assert rights("/", public=public, get="a").subscribe == ("a",)
    with pytest.raises(Unauthorized, match="the token allows nothing below /anon"):
        rights("/anon", public=public, get="a")
    with pytest.raises(Unauthorized, match="this relay takes no tokens"):
        Authority(public).authorise(f"/anon?jwt={KEY.sign(get='')}")
    assert Authority(public).authorise("/anon?jwt=").publish == ("anon",)


def test_a_relay_with_a_key_does_not_refuse_everybody():
    assert not Authority(None, keys=OneKey(KEY)).refuses_all


@pytest.mark.parametrize("header", ["Bearer x.y.z", "bearer  x.y.z "])
def test_the_token_of_a_header_is_a_bearers(header):
    assert bearer(header) == "x.y.z"
    assert bearer(None) is None


@pytest.mark.parametrize("header", ["", "Bearer", "Basic eDp5", "x.y.z"])
def test_no_other_header_is_understood(header):
    with pytest.raises(Unauthorized, match="only Authorization: Bearer"):
        bearer(header)


# --- nodes ----------------------------------------------------------------------------------------


def test_a_token_with_its_node_makes_a_node_and_registers_that_one():
    access = rights(cluster=True, node="EU.example:443", get="", query="&register=eu.example")

    assert access == Access(
        "",
        (),
        ("",),
        cluster=True,
        node="https://eu.example/",
        register="https://eu.example/",
        credential=access.credential,
    )


def test_a_token_for_nodes_needs_no_path():
    assert rights(cluster=True, node="a:1").cluster


def test_below_a_path_nobody_is_a_node():
    assert not rights("/a", cluster=True, node="a:1", get="").cluster
    with pytest.raises(Unauthorized, match="a node registers at the path /"):
        rights("/a", cluster=True, node="a:1", get="", query="&register=a:1")


def test_a_shared_token_makes_nodes_only_where_that_is_set():
    assert rights(cluster=True, get="", shared_token=True, query="&register=a:1").register
    assert not rights(cluster=True, get="").cluster
    with pytest.raises(Unauthorized, match=r"the token names no node.*cluster\.shared_token"):
        rights(cluster=True, get="", query="&register=a:1")


@pytest.mark.parametrize(
    ("claims", "register", "reason"),
    [
        ({"get": ""}, "a:1", "only a token with the claim cluster may register"),
        ({"cluster": True, "node": "a:1"}, "b:1", "the token is another node's"),
        ({"cluster": True, "node": "a:1"}, "a:2", "the token is another node's"),
        ({"cluster": True, "node": "a:1"}, "http://a:1", "the node to register has the scheme"),
        ({"cluster": True, "node": "a:1"}, "", "the node to register has ''"),
    ],
)
def test_who_may_not_be_that_node_cannot_register_it(claims, register, reason):
    with pytest.raises(Unauthorized, match=reason):
        rights(**claims, query=f"&register={register}")


def test_the_public_registers_no_node():
    with pytest.raises(Unauthorized, match="only a token with the claim cluster"):
        Authority(Public(("",), ("",))).authorise("/?register=a:1")


def test_a_link_is_served_from_here_alone():
    assert rights(cluster=True, node="a:1", get="", query="&link").local_only
    assert Authority(Public(("",), ())).authorise("/?link=").local_only


def test_a_challenge_opens_the_door_to_nothing_else():
    authority = Authority(Public(("",), ("",)), challenged=lambda challenge: challenge == "abc")

    assert authority.authorise("/?challenge=abc") == Access("", (), (), challenge="abc")
    with pytest.raises(Unauthorized, match="this process was not challenged"):
        authority.authorise("/?challenge=abd")


# --- who it is, for those who account -------------------------------------------------------------


def test_the_holder_is_named_by_the_root_of_the_token_and_hashes_of_what_it_says():
    holder = rights("/acme/eu/x", root="/acme//eu/", get="", jti="id", sub="alice").holder

    assert holder.tenant == "acme/eu"
    assert holder.subject == hashlib.sha256(b"alice").hexdigest()[:32]
    assert holder.token == hashlib.sha256(b"id").hexdigest()[:32]


def test_without_a_root_the_holder_is_the_first_segment_of_the_path():
    assert rights("/acme/x", get="").holder == Holder("acme")
    assert rights("/", get="", jti=5, sub="").holder == Holder("")


def test_a_root_that_is_no_path_is_said_to_be_none():
    with pytest.raises(Unauthorized, match="the token's root is no path"):
        rights(root="/".join("x" * 40))
