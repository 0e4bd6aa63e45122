"""Keys: which are taken, for which algorithm, and that nothing of them is ever said."""

import contextlib
import json
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt import algorithms

from moq_relay.daemon.auth import Authority
from moq_relay.daemon.tokens.jwk import KINDS, Key, NotThisKeys
from moq_relay.daemon.tokens.keys import OneKey
from moq_relay.errors import ConfigError, Unauthorized
from tests.unit.daemon.test_tokens import KEY, SECRET, encoded, jwk

RSA = rsa.generate_private_key(65537, 2048)
HALVES = {
    ("RSA", None): (algorithms.RSAAlgorithm, RSA),
    ("EC", "P-256"): (algorithms.ECAlgorithm, ec.generate_private_key(ec.SECP256R1())),
    ("EC", "P-384"): (algorithms.ECAlgorithm, ec.generate_private_key(ec.SECP384R1())),
    ("EC", "P-521"): (algorithms.ECAlgorithm, ec.generate_private_key(ec.SECP521R1())),
    ("OKP", "Ed25519"): (algorithms.OKPAlgorithm, ed25519.Ed25519PrivateKey.generate()),
}


def pair(kind):
    """Public and private JWK of a kind, without alg and key_ops."""
    if kind == ("oct", None):
        return jwk(alg=None), jwk(alg=None)
    algorithm, private = HALVES[kind]
    both = [algorithm.to_jwk(key, as_dict=True) for key in (private.public_key(), private)]
    for one in both:
        one.pop("key_ops", None)
    return both


def bare(fields):
    return {name: value for name, value in fields.items() if value is not None}


@pytest.mark.parametrize("algorithm", KINDS)
def test_what_the_private_half_signs_the_public_half_verifies(algorithm):
    public, private = (bare(half) | {"alg": algorithm} for half in pair(KINDS[algorithm]))
    token = Key.of(private, "private", "sign").sign(get="")

    assert json.loads(Key.of(public, "public").opened(token)) == {"get": ""}
    assert json.loads(Key.of(private, "private").opened(token)) == {"get": ""}
    head, payload, signature = token.split(".")
    other = encoded(b"\0" * (len(signature) * 3 // 4))
    with pytest.raises(NotThisKeys):
        Key.of(public, "public").opened(f"{head}.{payload}.{other}")


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        (("oct", None), "HS256"),
        (("RSA", None), "RS256"),
        (("EC", "P-256"), "ES256"),
        (("EC", "P-384"), "ES384"),
        (("EC", "P-521"), "ES512"),
        (("OKP", "Ed25519"), "EdDSA"),
    ],
)
def test_a_key_without_an_algorithm_has_the_one_of_its_kind(kind, algorithm):
    assert Key.of(bare(pair(kind)[0]), "bare").algorithm == algorithm


def test_a_token_cannot_choose_the_algorithm():
    public, private = pair(("RSA", None))
    signed = Key.of(private | {"alg": "PS256"}, "private", "sign").sign(get="")
    # The classic: the public key, which everybody has, as the secret of an HMAC.
    secret = json.dumps(public).encode()
    forged = Key("HS256", secret, secret).sign(get="")

    for token in (signed, forged):
        with pytest.raises(NotThisKeys):
            Key.of(public | {"alg": "RS256"}, "public").opened(token)


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        (("RSA", None), {"alg": "ES256"}, "has kty 'RSA', alg 'ES256'; this relay takes HS256, "),
        (("RSA", None), {"alg": "HS256"}, "has kty 'RSA', alg 'HS256'"),
        (("EC", "P-256"), {"alg": "ES384"}, "has kty 'EC', crv 'P-256', alg 'ES384'"),
        (("EC", "P-256"), {"crv": "secp256k1"}, "has kty 'EC', crv 'secp256k1'; this relay takes"),
        (("EC", "P-256"), {"x": encoded(b"\1" * 32)}, "its numbers are no key for ES256"),
        (("EC", "P-256"), {"y": 5}, "its numbers are no key for ES256"),
        (("OKP", "Ed25519"), {"x": "AA"}, "its numbers are no key for EdDSA"),
        (("OKP", "Ed25519"), {"crv": ["Ed25519"]}, r"has kty .OKP., crv \['Ed25519'\]"),
        (("RSA", None), {"n": "AQ"}, "its numbers are no key for RS256"),
        (("RSA", None), {"use": "enc"}, "its use is 'enc', not sig"),
        (("RSA", None), {"kid": 5}, "its kid is no text"),
        (("RSA", None), {"key_ops": "verify"}, "its key_ops do not allow to verify"),
    ],
)
def test_a_key_of_another_kind_or_for_another_use_is_refused(kind, fields, reason):
    with pytest.raises(ConfigError, match=f"key.jwk: {reason}"):
        Key.of(pair(kind)[0] | fields, "key.jwk")


def test_a_short_modulus_is_refused():
    short = algorithms.RSAAlgorithm.to_jwk(
        rsa.generate_private_key(65537, 1024).public_key(), as_dict=True
    )

    with pytest.raises(ConfigError, match="has 1024 bits; RS256 needs 2048"):
        Key.of(short, "short")


def test_only_a_private_half_that_may_sign_signs():
    public, private = pair(("EC", "P-256"))

    with pytest.raises(ConfigError, match="has no private half, so it cannot sign"):
        Key.of(public, "public", "sign")
    with pytest.raises(ConfigError, match="its key_ops do not allow to sign"):
        Key.of(private | {"key_ops": ["verify"]}, "private", "sign")


def test_a_secret_is_taken_by_any_of_the_three_hashes():
    for algorithm in ("HS256", "HS384", "HS512"):
        key = Key.of(jwk(alg=algorithm), "secret")
        assert json.loads(key.opened(key.sign(get="a"))) == {"get": "a"}


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ([], "its scope has to be a table of root, put and get"),
        ({"put": "a", "v": 1}, "its scope has to be a table of root, put and get"),
        ({"publish": ["a/**"]}, "its scope has to be a table of root, put and get"),
        ({"put": 5}, "its scope has what is no path"),
        ({"root": None, "put": ""}, "its scope has what is no path"),
        ({"root": "a"}, "its scope allows nothing"),
        ({"put": [], "get": []}, "its scope allows nothing"),
    ],
)
def test_a_scope_that_is_not_understood_is_not_guessed_at(scope, reason):
    with pytest.raises(ConfigError, match=reason):
        Key.of(jwk(scope=scope), "scoped")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"k": encoded(b"s" * 31)}, "its secret has 31 bytes; HS256 needs 32"),
        ({"k": "~~~"}, "its k is not base64url"),
        ({"k": None}, "its k is not base64url"),
        ({"alg": "none"}, "alg 'none'; this relay takes"),
        ({"alg": "none", "kty": "RSA"}, "alg 'none'; this relay takes"),
        ({"alg": "RS256", "kty": "RSA"}, "its numbers are no key for RS256"),
        ({"key_ops": ["sign"]}, "do not allow to verify"),
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

    assert Key.read(plain).opened(token) == Key.read(wrapped).opened(token)
    with pytest.raises(ConfigError, match="junk: is not a JWK"):
        Key.read(junk)
    with pytest.raises(ConfigError, match="none: cannot be read: no such file"):
        Key.read(tmp_path / "none")


def test_a_key_without_a_kty_is_a_secret_as_it_was_for_moq_token():
    old = {"alg": "HS256", "key_ops": ["verify", "sign"], "k": encoded(SECRET)}

    assert Key.of(old, "old").opened(KEY.sign(get="")) == b'{"get":""}'
    with pytest.raises(ConfigError, match="bare: is not a JWK"):
        Key.of({"k": encoded(SECRET)}, "bare")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below),
    max_leaves=6,
)
MEMBERS = st.sampled_from(
    ("kty", "crv", "alg", "use", "key_ops", "kid", "scope", "k", "x", "y", "d", "n", "e", "p", "q")
)
WORDS = st.sampled_from((*KINDS, "oct", "RSA", "EC", "OKP", "P-256", "Ed25519", "sig", "verify"))


@given(JSON | st.dictionaries(MEMBERS, JSON | WORDS | st.lists(WORDS)))
def test_whatever_stands_where_a_key_belongs_is_a_key_or_refused(made_up):
    with contextlib.suppress(ConfigError):
        Key.of(made_up, "made up")


@given(st.data(), st.sampled_from([("RSA", None), ("EC", "P-256"), ("OKP", "Ed25519")]))
def test_a_key_with_a_broken_member_is_a_key_or_refused(data, kind):
    for half in pair(kind):
        member = data.draw(st.sampled_from(sorted(half)))
        with contextlib.suppress(ConfigError):
            Key.of(half | {member: data.draw(JSON)}, "broken")


CLAIMS = ("root", "put", "get", "cluster", "node", "exp", "nbf", "iat", "aud", "iss", "sub", "jti")
PARTS = JSON.map(lambda said: encoded(json.dumps(said).encode())) | st.text(max_size=8)
HEADERS = st.fixed_dictionaries(
    {"alg": WORDS | st.just("none")},
    optional={"kid": JSON, "crit": JSON, "b64": JSON, "typ": JSON, "zip": JSON, "jwk": JSON},
).map(lambda said: encoded(json.dumps(said).encode()))


@given(st.tuples(PARTS | HEADERS, PARTS, PARTS).map(".".join) | st.text())
def test_whatever_stands_where_a_token_belongs_is_refused_in_a_line(made_up):
    with pytest.raises(Unauthorized) as caught:
        Authority(None, keys=OneKey(KEY)).authorise(f"/?jwt={quote(made_up) or 'x'}")
    assert "\n" not in str(caught.value)


@given(st.dictionaries(st.sampled_from(CLAIMS), JSON))
def test_whatever_a_signed_token_says_is_rights_or_a_line(said):
    with contextlib.suppress(Unauthorized):
        access = Authority(None, keys=OneKey(KEY)).authorise(f"/?jwt={KEY.sign(**said)}")
        assert access.publish or access.subscribe or access.cluster
