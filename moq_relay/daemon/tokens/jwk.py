"""JSON Web Keys (RFC 7517): what a key is for, and what it signs and verifies.

Which algorithm a signature has is the key's to say, by ``alg``, or by ``kty`` and ``crv`` where it
has none; what a token says of that, or of keys it wants to be judged by, counts for nothing.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jwt
from jwt import algorithms

from moq_relay.errors import ConfigError, Unauthorized, WireError
from moq_relay.relay.path import covers, join, normalise

KINDS: Mapping[str, tuple[str, str | None]] = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), ("oct", None)),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Algorithm -> ``kty`` and ``crv`` of its keys. A key without ``alg`` has the first of its kind."""
SMALLEST_SECRET = 32
"""Bytes; a shorter one than SHA-256's can be found by trying (RFC 7518 section 3.2)."""
SMALLEST_MODULUS = 2048
"""Bits (RFC 7518 section 3.3)."""
LONGEST_TOKEN = 8192
"""Characters; as many as HTTP servers take in a line."""
KID = re.compile(r"[ -~]{1,128}")
"""A key's name in a token, which may come from anybody; some providers' have ``+/=``."""
FILED_KID = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""One that goes into the name of a file or a URL."""
NO_NAME = "the token's kid cannot be the name of a key"

Operation = Literal["verify", "sign"]


class _Secret(algorithms.HMACAlgorithm):
    """HMAC with the secret of a JWK, whose length is judged once, when the key is made."""

    def prepare_key(self, key: str | bytes) -> bytes:
        assert isinstance(key, bytes)
        return key

    def check_key_length(self, key: bytes) -> str | None:
        return None


def _codec() -> jwt.PyJWS:
    codec = jwt.PyJWS(algorithms=[name for name, (kind, _) in KINDS.items() if kind != "oct"])
    codec.register_algorithm("HS256", _Secret(_Secret.SHA256))
    codec.register_algorithm("HS384", _Secret(_Secret.SHA384))
    codec.register_algorithm("HS512", _Secret(_Secret.SHA512))
    return codec


_CODEC = _codec()


@dataclass(frozen=True, slots=True)
class Scope:
    """What the tokens of a key may allow at most. Prefixes are full paths."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def allows(self, publish: Sequence[str], subscribe: Sequence[str]) -> bool:
        """Whether each of those prefixes is one of these, or lies below one."""
        return _all_below(publish, self.publish) and _all_below(subscribe, self.subscribe)


def _all_below(asked: Sequence[str], allowed: Sequence[str]) -> bool:
    return all(any(covers(prefix, one) for prefix in allowed) for one in asked)


class Key:
    """One key, for one algorithm. What it holds is never shown."""

    def __init__(
        self,
        algorithm: str,
        verifying: Any,
        signing: Any = None,
        *,
        kid: str | None = None,
        scope: Scope | None = None,
    ) -> None:
        """Take what cryptography, or of a secret its bytes, stand for either half."""
        self.algorithm = algorithm
        self.kid = kid
        self.scope = scope
        self._verifying = verifying
        self._signing = signing

    @classmethod
    def read(cls, path: Path, operation: Operation = "verify") -> "Key":
        """Read a JWK file: JSON, or JSON in base64url as ``moq-token`` writes it.

        Raises:
            ConfigError: it cannot be read or used; the text never has what the file holds.
        """
        return cls.of(parse(read_text(path), str(path)), str(path), operation)

    @classmethod
    def of(cls, jwk: Any, name: str, operation: Operation = "verify") -> "Key":
        """The key that a JWK stands for; ``name`` is for the error.

        Raises:
            ConfigError: it cannot be used for that.
        """
        if not isinstance(jwk, Mapping) or not {"kty", "alg"} & set(jwk):
            raise ConfigError(f"{name}: is not a JWK")
        # Keys from before moq-token wrote a kty are secrets.
        kind, curve = jwk.get("kty", "oct"), jwk.get("crv")
        algorithm = _algorithm(jwk, kind, curve, name)
        _may(jwk, operation, name)
        kid = jwk.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise ConfigError(f"{name}: its kid is no text")
        scope = _scope(jwk["scope"], name) if jwk.get("scope") is not None else None
        verifying, signing = _halves({**jwk, "kty": kind}, algorithm, name)
        if operation == "sign" and signing is None:
            raise ConfigError(f"{name}: has no private half, so it cannot sign")
        return cls(algorithm, verifying, signing, kid=kid, scope=scope)

    def opened(self, token: str) -> bytes:
        """What a token holds, if this key signed it.

        Raises:
            NotThisKeys: it did not.
            Unauthorized: it is no token.
        """
        try:
            found = _CODEC.decode_complete(token, self._verifying, algorithms=[self.algorithm])
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as error:
            raise NotThisKeys("the token is not signed with this relay's key") from error
        except (jwt.PyJWTError, ValueError) as error:
            raise Unauthorized("the token cannot be read") from error
        payload = found["payload"]
        assert isinstance(payload, bytes)
        return payload

    def sign(self, **claims: Any) -> str:
        """A token that says ``claims``; they are not looked at."""
        headers = None if self.kid is None else {"kid": self.kid}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return _CODEC.encode(payload, self._signing, self.algorithm, headers)


class NotThisKeys(Unauthorized):
    """Another key may have signed the token."""


def named_key(token: str) -> str | None:
    """The ``kid`` by which a token names its key; None: it names none. Nothing is verified.

    Raises:
        Unauthorized: it is no token, or that cannot be the name of a key.
    """
    if len(token) > LONGEST_TOKEN:
        raise Unauthorized(f"the token is longer than {LONGEST_TOKEN} characters")
    try:
        kid = _CODEC.get_unverified_header(token).get("kid")
    except (jwt.PyJWTError, ValueError) as error:
        raise Unauthorized("the token cannot be read") from error
    if kid is not None and KID.fullmatch(kid) is None:
        raise Unauthorized(NO_NAME)
    return kid


def usable_kid(kid: str) -> bool:
    """Whether that may be the name of a file: it has no slash, and leads nowhere else."""
    return FILED_KID.fullmatch(kid) is not None and ".." not in kid


def read_text(path: Path) -> str:
    """The text of a file that holds keys or a token.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{path}: cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error


def parse(text: str, name: str) -> Any:
    """JSON, or JSON in base64url.

    Raises:
        ConfigError: it is neither.
    """
    if not text.startswith("{"):
        text = (base64url(text) or b"").decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # Chained, the error would have the text.
        raise ConfigError(f"{name}: is not a JWK") from None


def base64url(text: Any) -> bytes | None:
    """Bytes from base64url, padded or not; None where it is something else."""
    if not isinstance(text, str):
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        return base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None


def _algorithm(jwk: Mapping[str, Any], kind: Any, curve: Any, name: str) -> str:
    algorithm = jwk.get("alg")
    if algorithm is None:
        algorithm = next((n for n, of in KINDS.items() if of == (kind, curve)), None)
    if not isinstance(algorithm, str) or KINDS.get(algorithm) != (kind, curve):
        have = ", ".join(f"{n} {jwk[n]!r}" for n in ("kty", "crv", "alg") if n in jwk)
        raise ConfigError(f"{name}: has {have}; this relay takes {', '.join(KINDS)}")
    return algorithm


def _may(jwk: Mapping[str, Any], operation: Operation, name: str) -> None:
    if jwk.get("use", "sig") != "sig":
        raise ConfigError(f"{name}: its use is {jwk['use']!r}, not sig")
    operations = jwk.get("key_ops", [operation])
    if not isinstance(operations, list) or operation not in operations:
        raise ConfigError(f"{name}: its key_ops do not allow to {operation}")


def _scope(scope: Any, name: str) -> Scope:
    known = {"root", "put", "get"}
    if not isinstance(scope, Mapping) or set(scope) - known:
        # What is not understood may narrow it.
        raise ConfigError(f"{name}: its scope has to be a table of root, put and get")
    try:
        found = Scope(
            prefixes(scope.get("root", ""), scope.get("put", ())),
            prefixes(scope.get("root", ""), scope.get("get", ())),
        )
    except (TypeError, WireError) as error:
        raise ConfigError(f"{name}: its scope has what is no path") from error
    if not found.publish and not found.subscribe:
        raise ConfigError(f"{name}: its scope allows nothing")
    return found


def prefixes(root: Any, value: Any) -> tuple[str, ...]:
    """Full paths from one path below ``root`` or a list of them, each once.

    Raises:
        TypeError: one of them is no text.
        WireError: one of them has too many segments.
    """
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not isinstance(root, str):
        raise TypeError("neither a path nor a list of paths")
    if not all(isinstance(one, str) for one in listed):
        raise TypeError("neither a path nor a list of paths")
    base = normalise(root)
    return tuple(dict.fromkeys(normalise(join(base, normalise(one))) for one in listed))


def _halves(jwk: Mapping[str, Any], algorithm: str, name: str) -> tuple[Any, Any]:
    """What verifies, and what signs; None for the private half of a public key."""
    if jwk["kty"] == "oct":
        secret = base64url(jwk.get("k"))
        if secret is None:
            raise ConfigError(f"{name}: its k is not base64url")
        if len(secret) < SMALLEST_SECRET:
            raise ConfigError(
                f"{name}: its secret has {len(secret)} bytes; {algorithm} needs {SMALLEST_SECRET}"
            )
        return secret, secret
    try:
        key: Any = jwt.PyJWK({**jwk, "alg": algorithm}, algorithm).key
    except Exception:
        # The library's texts may have what the key holds, and its kinds of errors are many.
        raise ConfigError(f"{name}: its numbers are no key for {algorithm}") from None
    signing = key if hasattr(key, "sign") else None
    verifying = key.public_key() if signing is not None else key
    if jwk["kty"] == "RSA" and verifying.key_size < SMALLEST_MODULUS:
        raise ConfigError(
            f"{name}: has {verifying.key_size} bits; {algorithm} needs {SMALLEST_MODULUS}"
        )
    return verifying, signing
