"""``moq-relay token``: makes keys, signs tokens with them, and says what a token allows.

The options are those of ``moq-token``, and more where a relay looks at more. Keys and tokens come
from files or from the standard input, never from the command line, which everybody on a machine
can read.
"""

import argparse
import base64
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import algorithms

from moq_relay.cluster.address import node_url
from moq_relay.daemon.commands import revoking
from moq_relay.daemon.config import values
from moq_relay.daemon.tokens.claims import Rules, verify
from moq_relay.daemon.tokens.jwk import KINDS, Key, parse, read_text, usable_kid
from moq_relay.errors import ConfigError, Unauthorized

STREAM = "-"
SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
MODULUS_BITS = 2048
CURVES: Mapping[str | None, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi"})
"""What a JWK has of the private half."""
USAGE = """\
moq-relay token generate [--algorithm ALG] [--id KID] [--out FILE | --out-dir DIR]
                         [--public FILE | --public-dir DIR]
                         [--root PATH] [--publish PATH …] [--subscribe PATH …]
moq-relay token sign --key FILE [--root PATH] [--publish PATH …] [--subscribe PATH …]
                     [--expires TIME] [--issued TIME] [--not-before TIME]
                     [--cluster] [--node URL] [--issuer TEXT] [--audience TEXT …]
                     [--token-id TEXT] [--subject TEXT]
moq-relay token verify --key FILE [--in FILE] [--issuer TEXT] [--audience TEXT …]
moq-relay token revoke --in FILE | --token-id TEXT … | --subject TEXT … [--issued-until TIME]
                       [--expires TIME] [--internal URL] [--token-file FILE]"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"token: {message.removeprefix('argument ')}\n{USAGE}")


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Make a key, sign, verify or take back a token; the exit code, 1 for one that is not valid.

    Raises:
        ConfigError: it can't be done; the text says why, and no key was written.
        Unanswered: the relay that should take it back did not.
    """
    asked = _parse(arguments)
    if asked.command == "generate":
        _generate(asked)
    elif asked.command == "sign":
        _say(_sign(asked))
    elif asked.command == "revoke":
        token = None if asked.token is None else _read(asked.token)
        return revoking.run(asked, token, environment)
    else:
        return _verify(asked)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="moq-relay token", add_help=False, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    def command(name: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, add_help=False, allow_abbrev=False)

    generate, sign, check = command("generate"), command("sign"), command("verify")
    revoke = command("revoke")
    generate.add_argument("--algorithm", default="HS256", choices=list(KINDS))
    generate.add_argument("--id")
    for one, other in (("--out", "--out-dir"), ("--public", "--public-dir")):
        either = generate.add_mutually_exclusive_group()
        either.add_argument(one)
        either.add_argument(other)
    for which in (generate, sign):
        which.add_argument("--root", default="")
        which.add_argument("--publish", action="append", default=[])
        which.add_argument("--subscribe", action="append", default=[])
    for which in (sign, check):
        which.add_argument("--key", required=True)
        which.add_argument("--issuer")
        which.add_argument("--audience", action="append", default=[])
    for flag in ("--expires", "--issued", "--not-before"):
        sign.add_argument(flag, type=_moment)
    sign.add_argument("--cluster", action="store_true")
    for flag in ("--node", "--token-id", "--subject"):
        sign.add_argument(flag)
    check.add_argument("--in", dest="token", default=STREAM)
    revoke.add_argument("--in", dest="token")
    for flag in ("--token-id", "--subject"):
        revoke.add_argument(flag, action="append", default=[])
    for flag in ("--issued-until", "--expires"):
        revoke.add_argument(flag, type=_moment)
    for flag in ("--internal", "--token-file"):
        revoke.add_argument(flag)
    return parser.parse_args(list(arguments[1:]))


def _moment(text: str) -> int:
    """Unix seconds, or after a plus the time from now until then."""
    if text.startswith("+"):
        try:
            return int(time.time() + values.seconds(text[1:]))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
    if not re.fullmatch(r"\d{1,12}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: unix seconds, or like +24h")
    return int(text)


# Keys.


def _generate(asked: argparse.Namespace) -> None:
    kid = secrets.token_hex(8) if asked.id is None else asked.id
    if not usable_kid(kid):
        raise ConfigError("token: --id is 1 to 128 of A-Z a-z 0-9 . _ -, without two dots")
    private: dict[str, Any] = {"alg": asked.algorithm, "key_ops": ["sign", "verify"], "kid": kid}
    private |= material(asked.algorithm)
    if asked.publish or asked.subscribe:
        private["scope"] = {"root": asked.root, "put": asked.publish, "get": asked.subscribe}
    elif asked.root:
        raise ConfigError("token: --root is the scope's, which needs --publish or --subscribe")
    Key.of(private, "the key", "sign")
    files = [(asked.out or _named(asked.out_dir, kid) or STREAM, private)]
    public = asked.public or _named(asked.public_dir, kid)
    if public is not None:
        if private["kty"] == "oct":
            raise ConfigError(f"token: {asked.algorithm} has a secret and no public half")
        half = {name: value for name, value in private.items() if name not in PRIVATE}
        files.append((public, half | {"key_ops": ["verify"]}))
    names = [name for name, _ in files]
    if names.count(STREAM) > 1:
        raise ConfigError("token: both halves go to the standard output; name a file for one")
    for name in names:
        if name != STREAM and os.path.lexists(name):
            raise ConfigError(f"{name} is there already, and a key cannot be made again")
    for name, jwk in files:
        _write(name, jwk)


def material(algorithm: str) -> dict[str, Any]:
    """A new key for an algorithm: the members of its JWK that are its kind's."""
    kind, curve = KINDS[algorithm]
    jwk: dict[str, Any]
    if kind == "oct":
        secret = secrets.token_bytes(SECRET_BYTES[algorithm])
        return {"kty": "oct", "k": base64.urlsafe_b64encode(secret).decode().rstrip("=")}
    if kind == "RSA":
        jwk = algorithms.RSAAlgorithm.to_jwk(
            rsa.generate_private_key(65537, MODULUS_BITS), as_dict=True
        )
    elif kind == "EC":
        jwk = algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(CURVES[curve]), as_dict=True)
    else:
        jwk = algorithms.OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True)
    return {name: value for name, value in jwk.items() if name != "key_ops"}


def _named(directory: str | None, kid: str) -> str | None:
    return None if directory is None else str(Path(directory) / f"{kid}.jwk")


def _write(name: str, jwk: dict[str, Any]) -> None:
    content = base64.urlsafe_b64encode(json.dumps(jwk).encode()).decode().rstrip("=")
    if name == STREAM:
        _say(content)
        return
    mode = 0o600 if PRIVATE & set(jwk) or jwk["kty"] == "oct" else 0o644
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{content}\n")
    except FileExistsError as error:
        raise ConfigError(
            f"{name} is there already; a key that is lost cannot be made again"
        ) from error
    except OSError as error:
        raise ConfigError(f"can't write {name}: {error.strerror}") from error


# Tokens.


def _sign(asked: argparse.Namespace) -> str:
    key = _key(asked.key, "sign")
    said: dict[str, Any] = {
        "root": asked.root,
        "put": asked.publish,
        "get": asked.subscribe,
        "cluster": asked.cluster,
        "node": asked.node,
        "iss": asked.issuer,
        "aud": asked.audience,
        "sub": asked.subject,
        "jti": asked.token_id,
    }
    claims = {name: value for name, value in said.items() if value}
    times = {"exp": asked.expires, "iat": asked.issued, "nbf": asked.not_before}
    claims |= {name: value for name, value in times.items() if value is not None}
    if not asked.publish and not asked.subscribe and not asked.cluster:
        raise ConfigError("token: a token without --publish, --subscribe and --cluster is useless")
    if asked.node is not None:
        try:
            node_url(asked.node)
        except ValueError as error:
            raise ConfigError(f"token: --node {error}") from error
    token = key.sign(**claims)
    try:
        # At the first moment of its life: what a relay would refuse then, it always refuses.
        verify(token, [key], Rules(audience=tuple(asked.audience)), _birth(claims))
    except Unauthorized as error:
        raise ConfigError(f"token: no relay would take it: {error}") from error
    return token


def _birth(claims: Mapping[str, Any]) -> float:
    return float(max(claims.get("nbf", 0), claims.get("iat", 0)))


def _verify(asked: argparse.Namespace) -> int:
    if asked.key == asked.token == STREAM:
        raise ConfigError("token: --key and --in cannot both be the standard input")
    key = _key(asked.key, "verify")
    token = _read(asked.token)
    try:
        said = json.loads(key.opened(token))
        audience = tuple(asked.audience) or _audience(said)
        verify(token, [key], Rules(asked.issuer, audience), time.time())
    except Unauthorized as error:
        sys.stderr.write(f"moq-relay: {error}\n")
        return 1
    _say(json.dumps(said, indent=1, ensure_ascii=True))
    return 0


def _audience(said: Any) -> tuple[str, ...]:
    """Whoever it is for, where nobody asked whether it is for somebody."""
    aud = said.get("aud") if isinstance(said, dict) else None
    listed = aud if isinstance(aud, list) else [aud]
    return tuple(one for one in listed if isinstance(one, str))


def _key(name: str, operation: Any) -> Key:
    where = "the standard input" if name == STREAM else name
    return Key.of(parse(_read(name), where), where, operation)


def _read(name: str) -> str:
    return sys.stdin.read().strip() if name == STREAM else read_text(Path(name))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
