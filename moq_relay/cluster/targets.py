"""The URLs by which nodes come to each other: what the query of a session's target says."""

from collections.abc import Callable
from urllib.parse import quote

Token = str | Callable[[], str]
"""A token, or what knows the one to use now."""

TOKEN, REGISTER, CHALLENGE, LINK = "jwt", "register", "challenge", "link"
"""A token; the URL of a node that wants to join; the hash of a nonce; a link, and whose."""


def to_join(node: str, token: Token | None) -> str:
    """Of the session by which ``node`` joins a root; without a token by its certificate alone."""
    return _target({REGISTER: node} if token is None else {REGISTER: node, TOKEN: _now(token)})


def to_link(node: str, token: Token | None) -> str:
    """Of the session by which ``node`` takes what publishers at another node have."""
    return _target({LINK: node} if token is None else {LINK: node, TOKEN: _now(token)})


def to_challenge(digest: str) -> str:
    """Of the session that asks for the nonce with this hash."""
    return _target({CHALLENGE: digest})


def to_probe() -> str:
    """Of the session by which a node without a token measures the way to a root."""
    return "/"


def _now(token: Token) -> str:
    return token if isinstance(token, str) else token()


def _target(query: dict[str, str]) -> str:
    return "/?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
