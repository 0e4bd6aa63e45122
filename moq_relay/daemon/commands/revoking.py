"""``moq-relay token revoke``: has a relay take tokens back, and sees that the others know."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from moq_relay.daemon.commands import changing
from moq_relay.daemon.commands.asking import Facts, Unanswered, base_url, get
from moq_relay.errors import ConfigError

TOLD_SECONDS = 5.0
LOOK_SECONDS = 0.1
HINT = "it ends with its exp, or with the key that signed it"


def run(
    asked: argparse.Namespace,
    token: str | None,
    environment: Mapping[str, str],
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Take back ``token``, or those that ``asked`` names; 0 once the registry has them.

    Raises:
        ConfigError: nothing is named, or there is no ``internal.token``.
        Unanswered: the relay does not answer, refuses, or could not tell the others.
    """
    body = _body(asked, token)
    base = base_url(asked.internal, environment)
    facts = changing.post(base, "/revoke", changing.token(asked.token_file, environment), body)
    _follow(base, facts, pause)
    return 0


def _body(asked: argparse.Namespace, token: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"jti": asked.token_id, "sub": asked.subject}
    if token is not None:
        body |= _names_in(token, body)
    elif not asked.token_id and not asked.subject:
        raise ConfigError("token: --in, --token-id or --subject says which tokens are taken back")
    if asked.issued_until is not None:
        if body["jti"]:
            raise ConfigError("token: --issued-until goes with --subject alone")
        body["issued_until"] = asked.issued_until
    if asked.expires is not None:
        body["expires"] = asked.expires
    return {name: value for name, value in body.items() if value != []}


def _names_in(token: str, named: Mapping[str, list[str]]) -> dict[str, Any]:
    """By what a token can be taken back; it is not verified, since whoever asks has its name."""
    if named["jti"] or named["sub"]:
        raise ConfigError("token: --in goes without --token-id and --subject")
    try:
        said = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise ConfigError("token: --in holds no token") from error
    found: dict[str, Any] = {}
    if isinstance(said.get("exp"), int | float):
        found["expires"] = said["exp"]
    if isinstance(said.get("jti"), str) and said["jti"]:
        return found | {"jti": [said["jti"]]}
    if isinstance(said.get("sub"), str) and said["sub"]:
        raise ConfigError("token: it has no jti; --subject takes back all tokens of its sub")
    raise ConfigError(f"token: it has neither jti nor sub, so it cannot be taken back: {HINT}")


def _follow(base: str, facts: Facts, pause: Callable[[float], None]) -> None:
    """Until the registry, and so every relay that hears it, knows.

    Raises:
        Unanswered: it did not come to that.
    """
    if not facts["shared"]:
        sys.stdout.write("taken back on this relay, which stands alone, until it is restarted\n")
        return
    left = TOLD_SECONDS
    while facts["pending"] and left > 0:
        pause(LOOK_SECONDS)
        left -= LOOK_SECONDS
        facts = get(base, "/revocations")
    if facts["pending"]:
        why = json.dumps(facts["isolated"] or "the registry does not take it")
        raise Unanswered(
            f"taken back on {base}, and not told to the others yet: {why}; "
            "it tells them when it can, if it is not restarted before"
        )
    sys.stdout.write("taken back on every relay that is in touch with the registry\n")
