"""``moq-relay token``: keys and tokens as a relay takes them, and a line for each mistake."""

import io
import json
import stat
import time

import pytest

from moq_relay.daemon import cli
from moq_relay.daemon.tokens.claims import Rules, verify
from moq_relay.daemon.tokens.jwk import KINDS, Key, parse
from tests.unit.daemon.test_tokens import encoded, jwk


@pytest.fixture
def token(tmp_path, monkeypatch, capsys):
    """Run the command in a directory of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def token(words, given=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        return cli.main(["token", *words.split()]), *capsys.readouterr()

    return token


def said(path):
    return parse(path.read_text().strip(), str(path))


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_key_of_every_algorithm_signs_what_its_public_half_verifies(token, tmp_path, algorithm):
    secret = algorithm.startswith("HS")
    public = "" if secret else "--public public"
    assert token(f"generate --algorithm {algorithm} --out private {public}") == (0, "", "")
    code, signed, _ = token("sign --key private --root a --publish b --subscribe c --expires +1h")
    assert code == 0

    code, claims, _ = token(f"verify --key {'private' if secret else 'public'}", signed)

    assert code == 0
    claims = json.loads(claims)
    assert 3590 < claims.pop("exp") - time.time() <= 3600
    assert claims == {"root": "a", "put": ["b"], "get": ["c"]}
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
    if not secret:
        private, half = said(tmp_path / "private"), said(tmp_path / "public")
        assert private["kid"] == half["kid"]
        assert half["key_ops"] == ["verify"]
        assert not {"d", "p", "q", "dp", "dq", "qi"} & set(half)
        assert token("sign --key public --publish a")[0] == 2


def test_every_claim_that_a_relay_looks_at_can_be_signed(token):
    _, key, _ = token("generate --id me")
    code, signed, _ = token(
        "sign --key - --cluster --node eu.example --subscribe a --issued 1 --not-before 2 "
        "--expires 4000000000 --issuer i --audience x --audience y --token-id t --subject s",
        key,
    )
    found = Key.of(parse(key.strip(), "key"), "key")

    assert code == 0
    assert found.kid == "me"
    assert json.loads(found.opened(signed.strip())) == {
        "get": ["a"],
        "cluster": True,
        "node": "eu.example",
        "iat": 1,
        "nbf": 2,
        "exp": 4_000_000_000,
        "iss": "i",
        "aud": ["x", "y"],
        "jti": "t",
        "sub": "s",
    }
    assert verify(signed.strip(), [found], Rules("i", ("y",)), 100.0).cluster


def test_keys_are_named_by_their_kid_in_a_directory(token, tmp_path):
    (tmp_path / "public").mkdir()
    assert token("generate --algorithm EdDSA --id k.1 --out-dir . --public-dir public")[0] == 0

    assert said(tmp_path / "k.1.jwk")["kid"] == said(tmp_path / "public/k.1.jwk")["kid"] == "k.1"


def test_a_scoped_key_signs_nothing_beyond_its_scope(token):
    token("generate --out key --root a --publish b --subscribe c")

    assert token("sign --key key --root a --publish b/x")[0] == 0
    code, out, error = token("sign --key key --root a --publish x")
    assert (code, out) == (2, "")
    assert "no relay would take it: the token allows more than the scope of its key" in error


@pytest.mark.parametrize(
    ("claims", "options", "reason"),
    [
        ({"exp": 1}, "", "the token has expired"),
        ({"aud": "x"}, "--audience y", "the token is not for this relay"),
        ({"iss": "x"}, "--issuer y", "the token is not from this relay's issuer"),
        ({"exp": 4e9, "aud": ["x", "z"], "iss": "x"}, "--audience x --issuer x", None),
        ({"aud": "x", "iss": "x"}, "", None),
    ],
)
def test_a_token_is_judged_as_a_relay_would(token, tmp_path, claims, options, reason):
    (tmp_path / "key").write_text(json.dumps(jwk()))
    (tmp_path / "t").write_text(Key.of(jwk(), "key").sign(get="", **claims))

    code, out, error = token(f"verify --key key --in t {options}")

    if reason is None:
        assert (code, json.loads(out), error) == (0, {"get": "", **claims}, "")
    else:
        assert (code, out) == (1, "")
        assert reason in error


@pytest.mark.parametrize("given", ["junk", "a.b.c", ""])
def test_what_is_no_token_is_said_to_be_none_without_repeating_it(token, tmp_path, given):
    (tmp_path / "key").write_text(json.dumps(jwk()))

    assert token("verify --key key", given) == (1, "", "moq-relay: the token cannot be read\n")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "the following arguments are required: command"),
        ("make", "invalid choice: 'make'"),
        ("generate --algorithm HS1", "invalid choice: 'HS1'"),
        ("generate --id a/b", "--id is 1 to 128 of"),
        ("generate --id ..", "--id is 1 to 128 of"),
        ("generate --out a --out-dir b", "not allowed with argument --out"),
        ("generate --public a", "HS256 has a secret and no public half"),
        ("generate --algorithm ES256 --public -", "both halves go to the standard output"),
        ("generate --root a", "--root is the scope's, which needs --publish or --subscribe"),
        ("generate --out key", "key is there already, and a key cannot be made again"),
        ("generate --out none/key", "can't write none/key: No such file or directory"),
        ("sign --publish a", "required: --key"),
        ("sign --key key", "a token without --publish, --subscribe and --cluster is useless"),
        (
            "sign --key key --publish a --expires soon",
            "'soon' is no time: unix seconds, or like +24h",
        ),
        ("sign --key key --publish a --expires +soon", "'+soon' must be a time in seconds"),
        ("sign --key key --cluster --node http://a", "--node has the scheme"),
        (
            "sign --key key --cluster --root a",
            "a token for nodes of the cluster cannot have a root",
        ),
        ("sign --key none --publish a", "none: cannot be read: no such file"),
        ("sign --key - --publish a", "the standard input: is not a JWK"),
        ("verify --key - --in -", "--key and --in cannot both be the standard input"),
    ],
)
def test_a_mistake_costs_a_line_and_writes_nothing(token, tmp_path, words, reason):
    (tmp_path / "key").write_text(json.dumps(jwk()))

    code, out, error = token(words)

    assert (code, out) == (2, "")
    assert reason in error
    assert encoded(b"s" * 32) not in error
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]
