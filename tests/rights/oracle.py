"""What every token may do at every path, by a rule of its own: lists of segments, and no code of
the relay's."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

SECRET = b"rights-of-tokens-against-an-oracle"
JWK = {"kty": "oct", "alg": "HS256", "k": base64.urlsafe_b64encode(SECRET).decode().rstrip("=")}
PUBLIC = {"subscribe": ["pub", "hall/door"], "publish": ["pub/in"]}

Prefixes = tuple[tuple[str, ...], ...]


def segments(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part)


def within(path: tuple[str, ...], prefix: tuple[str, ...]) -> bool:
    return path[: len(prefix)] == prefix


@dataclass(frozen=True)
class Bearer:
    """Somebody with a token, or without one."""

    name: str
    token: str | None
    valid: bool
    put: Prefixes = ()
    get: Prefixes = ()

    def admitted(self, path: str) -> bool:
        """Whether there is anything for it at a path: below it, or all around it."""
        here = segments(path)
        return self.valid and any(
            within(here, prefix) or within(prefix, here) for prefix in self.put + self.get
        )

    def may_put(self, path: str, full: str) -> bool:
        return self._may(self.put, path, full)

    def may_get(self, path: str, full: str) -> bool:
        return self._may(self.get, path, full)

    def _may(self, prefixes: Prefixes, path: str, full: str) -> bool:
        asked = segments(full)
        return (
            self.admitted(path)
            and within(asked, segments(path))
            and any(within(asked, prefix) for prefix in prefixes)
        )


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(claims: dict[str, Any], *, alg: str = "HS256", secret: bytes = SECRET) -> str:
    """A token by hand, RFC 7515 section 3.1."""
    head = f"{_encoded(json.dumps({'alg': alg}).encode())}.{_encoded(json.dumps(claims).encode())}"
    hashes = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}
    if alg not in hashes:
        return f"{head}."
    return f"{head}.{_encoded(hmac.new(secret, head.encode(), hashes[alg]).digest())}"


def _listed(root: str, value: Any) -> Prefixes:
    listed = [value] if isinstance(value, str) else list(value)
    return tuple(segments(root) + segments(one) for one in listed)


def bearers() -> list[Bearer]:
    """All of them; those whose tokens are wrong would else be allowed everything."""
    now = time.time()
    everything: dict[str, Any] = {"put": "", "get": ""}
    claims: dict[str, dict[str, Any]] = {
        "everything": everything,
        "a room": {"root": "room", "put": "", "get": ""},
        "a room, one's own part of it": {"root": "/room/", "put": "alice", "get": [""]},
        "lists": {"put": ["room/alice", "hall"], "get": ["room", "pub/in"]},
        "watching only": {"root": "room/alice", "get": ""},
        "publishing only": {"root": "hall", "put": ["", "door"]},
        "half a segment": {"root": "ro", "put": "", "get": ""},
        "deeper than the path": {"root": "room/alice/cam", "get": "", "put": "x//y"},
        "in time": everything | {"exp": now + 3600, "nbf": now - 60, "iat": now},
    }
    wrong = {
        "expired": signed(everything | {"exp": int(now) - 1}),
        "not yet": signed(everything | {"nbf": now + 3600}),
        "for somebody else": signed(everything | {"aud": "others"}),
        "another key": signed(everything, secret=b"x" * 32),
        "another algorithm": signed(everything, alg="HS512"),
        "no algorithm": signed(everything, alg="none"),
        "nothing allowed": signed({"root": "room"}),
        "not a token": "swordfish",
    }
    found = [
        Bearer(
            name,
            signed(said),
            True,
            _listed(said.get("root", ""), said.get("put", ())),
            _listed(said.get("root", ""), said.get("get", ())),
        )
        for name, said in claims.items()
    ]
    found += [Bearer(name, token, False) for name, token in wrong.items()]
    public = {name: _listed("", prefixes) for name, prefixes in PUBLIC.items()}
    found.append(Bearer("nobody", None, True, public["publish"], public["subscribe"]))
    return found
