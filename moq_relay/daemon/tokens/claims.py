"""Tokens: JSON Web Tokens (RFC 7519), and what they allow."""

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moq_relay.cluster.address import node_url
from moq_relay.daemon.tokens.jwk import Key, NotThisKeys, prefixes, read_text
from moq_relay.errors import ConfigError, Unauthorized, WireError

HASH_DIGITS = 32
"""Of the SHA-256 that stands for a token's ``jti`` or ``sub``: as many as no two names share."""
LEEWAY = 5.0
"""Seconds by which the clock of who signs may be ahead. A token's end has none."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says. Prefixes are full paths."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    cluster: bool = False
    """The bearer is a node of the cluster."""
    node: str | None = None
    """The URL of that very node."""
    expires: float | None = None
    """Unix seconds from which on it says nothing; None: it never ends."""
    credential: str = ""
    """Tells tokens apart, and cannot be used as one."""
    root: str = ""
    token: str | None = None
    """Hash of ``jti``."""
    subject: str | None = None
    """Hash of ``sub``."""
    issued: float | None = None
    """``iat``, unix seconds."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token has to say besides."""

    issuer: str | None = None
    """``iss``; None: anybody's."""
    audience: tuple[str, ...] = field(default=())
    """One of them has to be in ``aud``; empty: there must be none."""
    max_lifetime: float | None = None
    """Seconds from ``iat``, or where that is missing from now, until ``exp``."""


def verify(token: str, keys: Sequence[Key], rules: Rules, now: float) -> Claims:
    """What ``token`` says, at ``now`` in unix seconds.

    Raises:
        Unauthorized: no key signed it, it is not valid now or here, or it says what cannot be.
    """
    for key in keys:
        try:
            payload = key.opened(token)
        except NotThisKeys:
            continue
        said = _object(payload)
        _judge(said, rules, now)
        claims = _claims(said, hashlib.sha256(token.encode()).hexdigest())
        if key.scope is not None:
            if claims.cluster:
                raise Unauthorized("the token's key has a scope, so it makes no node")
            if not key.scope.allows(claims.publish, claims.subscribe):
                raise Unauthorized("the token allows more than the scope of its key")
        return claims
    if not keys:
        raise Unauthorized("the token names a key that this relay does not have")
    raise Unauthorized("the token is not signed with this relay's key")


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    token = read_text(path)
    if token.count(".") != 2 or not token.isascii() or any(map(str.isspace, token)):
        raise ConfigError(f"{path}: holds no token")
    return token


class TokenFile:
    """The token in a file that may be replaced, each time it is asked for."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            ConfigError: it cannot be read, or holds none.
        """
        self._path = path
        self._token = read_token(path)
        self._failed = False

    def __call__(self) -> str:
        """The token that is there; while none is, the last one that was."""
        try:
            self._token, self._failed = read_token(self._path), False
        except ConfigError as error:
            if not self._failed:
                log.warning("token kept reason=%s", error)
            self._failed = True
        return self._token


def _object(payload: bytes) -> dict[str, Any]:
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Unauthorized("the token cannot be read") from error
    if not isinstance(said, dict):
        raise Unauthorized("the token cannot be read")
    return said


def _judge(said: dict[str, Any], rules: Rules, now: float) -> None:
    """Whether the token is valid at ``now``, and meant for this relay."""
    expires, issued, begins = (_moment(said, name) for name in ("exp", "iat", "nbf"))
    if expires is not None and now >= expires:
        raise Unauthorized("the token has expired")
    if any(moment is not None and moment > now + LEEWAY for moment in (issued, begins)):
        raise Unauthorized("the token is not valid yet")
    if rules.max_lifetime is not None:
        if expires is None:
            raise Unauthorized("the token has no exp, and this relay takes none without")
        if expires - (now if issued is None else issued) > rules.max_lifetime:
            raise Unauthorized(f"the token lives longer than {rules.max_lifetime:g} s")
    if rules.issuer is not None and said.get("iss") != rules.issuer:
        raise Unauthorized("the token is not from this relay's issuer")
    audience = said.get("aud")
    if audience is None and not rules.audience:
        return
    listed = audience if isinstance(audience, list) else [audience]
    if not any(one in rules.audience for one in listed if isinstance(one, str)):
        raise Unauthorized("the token is not for this relay: its aud is another one")


def _moment(said: dict[str, Any], name: str) -> float | None:
    """Unix seconds; infinity and such would pass each comparison."""
    value = said.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthorized(f"the token's {name} is no time")
    try:
        moment = float(value)
    except OverflowError as error:
        raise Unauthorized(f"the token's {name} is no time") from error
    if not math.isfinite(moment):
        raise Unauthorized(f"the token's {name} is no time")
    return moment


def _claims(said: dict[str, Any], credential: str) -> Claims:
    root, cluster, node = said.get("root", ""), said.get("cluster", False), said.get("node")
    if not isinstance(root, str):
        raise Unauthorized("the token's root is no path")
    whole = _prefixes("", root, "root")[0]
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
        expires=_moment(said, "exp"),
        credential=credential,
        root=whole,
        token=digest(said.get("jti")),
        subject=digest(said.get("sub")),
        issued=_moment(said, "iat"),
    )


def digest(name: Any) -> str | None:
    """What stands for a ``jti`` or ``sub`` outside of its token; None where there is none."""
    if not isinstance(name, str) or not name:
        return None
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]


def _prefixes(root: str, value: Any, name: str) -> tuple[str, ...]:
    try:
        return prefixes(root, value)
    except TypeError as error:
        raise Unauthorized(f"the token's {name} is neither a path nor a list of paths") from error
    except WireError as error:
        raise Unauthorized(f"the token's {name} is no path: {error}") from error
