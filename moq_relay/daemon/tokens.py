"""Tokens: JSON Web Tokens signed with the key of ``auth.key``, and what they allow."""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from moq_relay.cluster.address import node_url
from moq_relay.errors import ConfigError, Unauthorized, WireError
from moq_relay.relay.path import join, normalise

ALGORITHMS = ("HS256",)
SMALLEST_SECRET = 32
"""Bytes; a shorter one than the hash can be found by trying (RFC 7518 section 3.2)."""
HASH_DIGITS = 32
"""Of the SHA-256 that stands for a token's ``jti`` or ``sub``: as many as no two names share."""
SCOPE = "scope"
"""Where a key restricts the tokens it signs; not to honour it would widen them."""
OPTIONS: Any = {
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
    "verify_exp": True,
    "verify_nbf": True,
}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says. Prefixes are full paths."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    cluster: bool = False
    """The bearer is a node of the cluster."""
    node: str | None = None
    """The URL of that very node."""
    credential: str = ""
    """Tells tokens apart, and cannot be used as one."""
    root: str = ""
    token: str | None = None
    """Hash of ``jti``."""
    subject: str | None = None
    """Hash of ``sub``."""


class Key:
    """A JWK that verifies tokens. Which algorithm they have the key says, never the token."""

    def __init__(self, algorithm: str, secret: bytes) -> None:
        self._algorithm = algorithm
        self._secret = secret
        self._codec = jwt.PyJWT()

    @classmethod
    def read(cls, path: Path) -> "Key":
        """Read a JWK file: JSON, or JSON in base64url as ``moq-token-cli`` writes it.

        Raises:
            ConfigError: it cannot be read or used; the text never has what the file holds.
        """
        try:
            text = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise _unreadable(path, error) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not a JWK") from error
        return cls.of(_json(text), str(path))

    @classmethod
    def of(cls, jwk: Any, name: str) -> "Key":
        """The key that a JWK stands for; ``name`` is for the error.

        Raises:
            ConfigError: it cannot be used.
        """
        if not isinstance(jwk, dict) or "alg" not in jwk:
            raise ConfigError(f"{name}: is not a JWK with an alg")
        # Keys from before moq-token wrote a kty are secrets.
        kind, algorithm = jwk.get("kty", "oct"), jwk["alg"]
        if algorithm not in ALGORITHMS or kind != "oct":
            known = ", ".join(ALGORITHMS)
            have = f"kty {kind!r} and alg {algorithm!r}"
            raise ConfigError(f'{name}: has {have}; this relay takes kty "oct" with alg {known}')
        if "verify" not in jwk.get("key_ops", ["verify"]):
            raise ConfigError(f"{name}: its key_ops do not allow to verify")
        if jwk.get(SCOPE) is not None:
            raise ConfigError(f"{name}: restricts its tokens by a scope; that is not supported")
        secret = _base64url(jwk.get("k"))
        if secret is None:
            raise ConfigError(f"{name}: its k is not base64url")
        if len(secret) < SMALLEST_SECRET:
            raise ConfigError(
                f"{name}: its secret has {len(secret)} bytes; {algorithm} needs {SMALLEST_SECRET}"
            )
        return cls(algorithm, secret)

    def verify(self, token: str) -> Claims:
        """What ``token`` says.

        Raises:
            Unauthorized: it is not signed with this key, not valid now, or says what cannot be.
        """
        try:
            said = self._codec.decode(
                token, self._secret, algorithms=[self._algorithm], options=OPTIONS
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthorized("the token has expired") from error
        except jwt.ImmatureSignatureError as error:
            raise Unauthorized("the token is not valid yet") from error
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as error:
            raise Unauthorized("the token is not signed with this relay's key") from error
        except (jwt.PyJWTError, ValueError) as error:
            raise Unauthorized("the token cannot be read") from error
        return _claims(said, hashlib.sha256(token.encode()).hexdigest())

    def sign(self, **claims: Any) -> str:
        """A token that says ``claims``; for a cluster on one machine, and tests."""
        return self._codec.encode(claims, self._secret, algorithm=self._algorithm)


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: holds no token") from error
    if token.count(".") != 2 or not token.isascii() or any(map(str.isspace, token)):
        raise ConfigError(f"{path}: holds no token")
    return token


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}")


def _claims(said: dict[str, Any], credential: str) -> Claims:
    root, cluster, node = said.get("root", ""), said.get("cluster", False), said.get("node")
    if not isinstance(root, str):
        raise Unauthorized("the token's root is no path")
    if not isinstance(cluster, bool):
        raise Unauthorized("the token's cluster is neither true nor false")
    if node is not None and not isinstance(node, str):
        raise Unauthorized("the token's node is no URL")
    if cluster and root.strip("/"):
        raise Unauthorized("a token for nodes of the cluster cannot have a root")
    try:
        named = None if node is None else node_url(node)
    except ValueError as error:
        raise Unauthorized("the token's node is no URL") from error
    return Claims(
        publish=_prefixes(root, said.get("put", ()), "put"),
        subscribe=_prefixes(root, said.get("get", ()), "get"),
        cluster=cluster,
        node=named,
        credential=credential,
        root=_prefixes("", root, "root")[0],
        token=_hashed(said.get("jti")),
        subject=_hashed(said.get("sub")),
    )


def _hashed(name: Any) -> str | None:
    """What stands for a name in the lines of sessions; None where there is none."""
    if not isinstance(name, str) or not name:
        return None
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]


def _prefixes(root: str, value: Any, name: str) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        raise Unauthorized(f"the token's {name} is neither a path nor a list of paths")
    try:
        full = [normalise(join(normalise(root), normalise(one))) for one in listed]
    except WireError as error:
        raise Unauthorized(f"the token's {name} is no path: {error}") from error
    return tuple(dict.fromkeys(full))


def _json(text: str) -> Any:
    if not text.startswith("{"):
        text = (_base64url(text) or b"").decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _base64url(text: Any) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        return base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
