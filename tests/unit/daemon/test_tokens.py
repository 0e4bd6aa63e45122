"""Tokens: whose signature counts, and what a claim allows where."""

import base64
import hashlib
import hmac
import json
import time

import pytest

from moq_relay.daemon.auth import Authority, bearer
from moq_relay.daemon.tokens import Key, read_token
from moq_relay.daemon.values import Public
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
    authority = Authority(public, key=KEY, shared_token=shared_token)
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
        (Key("HS256", b"t" * 32).sign(get=""), "not signed with this relay's key"),
        (forged({"alg": "HS256"}, {"get": ""}, b"t" * 32), "not signed with this relay's key"),
        (forged({"alg": "none"}, {"get": ""}), "not signed with this relay's key"),
        (forged({"alg": "HS512"}, {"get": ""}), "not signed with this relay's key"),
        (forged({"alg": "none"}, {"get": ""}).rpartition(".")[0] + ".", "not signed with"),
        (forged({}, {"get": ""}), "the token cannot be read|not signed with"),
        (forged({"alg": "HS256"}, ["get"]), "the token cannot be read"),
        (forged({"alg": "HS256"}, {"get": "", "exp": "soon"}), "the token cannot be read"),
        ("a.b.c", "the token cannot be read"),
        ("x", "the token cannot be read"),
    ],
)
def test_only_the_algorithm_and_the_secret_of_the_key_count(token, reason):
    authority = Authority(None, key=KEY)

    if reason is None:
        assert authority.authorise(f"/?jwt={token}").subscribe == ("",)
        return
    with pytest.raises(Unauthorized, match=reason):
        authority.authorise(f"/?jwt={token}")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"k": encoded(b"s" * 31)}, "its secret has 31 bytes; HS256 needs 32"),
        ({"k": "~~~"}, "its k is not base64url"),
        ({"k": None}, "its k is not base64url"),
        ({"alg": "none"}, "alg 'none'; this relay takes"),
        ({"alg": None}, "alg None; this relay takes"),
        ({"alg": "RS256", "kty": "RSA"}, "alg 'RS256'; this relay takes"),
        ({"key_ops": ["sign"]}, "do not allow to verify"),
        ({"scope": {"root": "a"}}, "restricts its tokens by a scope"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_without_a_word_of_its_secret(fields, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        Key.of(jwk(**fields), "key.jwk")

    assert encoded(SECRET) not in str(caught.value)


def test_a_key_file_is_json_or_json_in_base64url(tmp_path):
    plain, wrapped, junk = (tmp_path / name for name in ("plain", "wrapped", "junk"))
    plain.write_text(json.dumps(jwk()) + "\n")
    wrapped.write_text(encoded(json.dumps(jwk(key_ops=["sign", "verify"])).encode()))
    junk.write_text("[]")
    token = KEY.sign(get="")

    assert Key.read(plain).verify(token).subscribe == ("",)
    assert Key.read(wrapped).verify(token).subscribe == ("",)
    with pytest.raises(ConfigError, match="junk: is not a JWK"):
        Key.read(junk)
    with pytest.raises(ConfigError, match="none: cannot be read: no such file"):
        Key.read(tmp_path / "none")


def test_a_key_without_a_kty_is_a_secret_as_it_was_for_moq_token():
    old = {"alg": "HS256", "key_ops": ["verify", "sign"], "k": encoded(SECRET)}

    assert Key.of(old, "old").verify(KEY.sign(get="")).subscribe == ("",)
    with pytest.raises(ConfigError, match="is not a JWK with an alg"):
        Key.of({"k": encoded(SECRET), "kty": "oct"}, "bare")


def test_a_token_file_holds_a_token_and_nothing_else(tmp_path):
    file = tmp_path / "node.jwt"
    file.write_text(KEY.sign(cluster=True) + "\n")

    assert KEY.verify(read_token(file)).cluster
    file.write_text("no token")
    with pytest.raises(ConfigError, match=r"node\.jwt: holds no token"):
        read_token(file)


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


def test_who_brings_no_token_has_what_is_public_and_who_brings_one_has_only_that():
    public = Public(("anon",), ("anon",))

    assert Authority(public, key=KEY).authorise("/anon").publish == ("anon",)
    assert rights("/", public=public, get="a").subscribe == ("a",)
    with pytest.raises(Unauthorized, match="the token allows nothing below /anon"):
        rights("/anon", public=public, get="a")
    with pytest.raises(Unauthorized, match="this relay takes no tokens"):
        Authority(public).authorise(f"/anon?jwt={KEY.sign(get='')}")
    assert Authority(public).authorise("/anon?jwt=").publish == ("anon",)


def test_a_relay_with_a_key_does_not_refuse_everybody():
    assert not Authority(None, key=KEY).refuses_all


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
