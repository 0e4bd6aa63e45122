"""``/revoke`` and ``/revocations`` of internal.listen: tokens are taken back, on all nodes."""

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from moq_relay.cluster.revocations import FOREVER, Kind, Revocation, Revocations
from moq_relay.daemon.cluster import Cluster
from moq_relay.daemon.tokens.claims import digest
from moq_relay.daemon.web.changes import HEADERS, Changes, Refusal, only
from moq_relay.errors import LimitReached

NAMES_AT_ONCE = 1_000
LONGEST_NAME = 1_024
KINDS: tuple[Kind, ...] = ("jti", "sub")


class RevocationHttp:
    """Takes tokens back, and says whether the others know."""

    def __init__(
        self,
        revocations: Revocations,
        cluster: Cluster | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Change ``revocations``, which the nodes of ``cluster`` share; ``now``: unix seconds."""
        self._revocations = revocations
        self._cluster = cluster
        self._now = now

    def add_to(self, app: web.Application, changes: Changes | None) -> None:
        """Serve them; tokens are taken back by who may make ``changes``."""
        app.router.add_get("/revocations", self._look)
        if changes is not None:
            app.router.add_post("/revoke", changes.post("revoke", self._revoke, self._answer))

    async def _look(self, _request: web.Request) -> web.Response:
        return self._answer()

    def _answer(self) -> web.Response:
        cluster = self._cluster
        facts = {
            "revocations": len(self._revocations),
            "pending": 0 if cluster is None else self._revocations.pending,
            "shared": cluster is not None,
            "known": cluster is None or cluster.registry.hears_of_revocations,
            "isolated": None if cluster is None else cluster.isolated,
        }
        text = json.dumps(facts, indent=1) + "\n"
        return web.Response(text=text, content_type="application/json", headers=HEADERS)

    def _revoke(self, body: Mapping[str, Any]) -> str:
        only(body, "jti", "sub", "issued_until", "expires")
        now = self._now()
        named = {kind: _names(body.get(kind, []), kind) for kind in KINDS}
        if not any(named.values()):
            raise Refusal(400, "jti or sub says which tokens are taken back")
        if named["jti"] and "issued_until" in body:
            raise Refusal(400, "issued_until goes with sub alone: a jti is of one token")
        until = _second(body.get("expires", FOREVER), "expires")
        if until <= now:
            raise Refusal(400, "expires is over: such tokens have ended")
        before: dict[Kind, int] = {
            "jti": FOREVER,
            "sub": _second(body.get("issued_until", int(now)), "issued_until"),
        }
        said = []
        try:
            for kind, names in named.items():
                for name in names:
                    self._revocations.add(Revocation(kind, name, before[kind], until))
                    said.append(f"{kind}={name}")
        except LimitReached as error:
            raise Refusal(507, str(error)) from error
        return " ".join([*said, f"issued_until={before['sub']}" if named["sub"] else ""]).strip()


def _names(value: Any, kind: str) -> list[str]:
    """What stands for each name."""
    listed = value if isinstance(value, list) else [value]
    if len(listed) > NAMES_AT_ONCE:
        raise Refusal(400, f"{kind} has more than {NAMES_AT_ONCE} names: send them in parts")
    found = []
    for one in listed:
        hashed = digest(one)
        if hashed is None or len(one) > LONGEST_NAME:
            raise Refusal(400, f"{kind} is the text of that claim, or a list of such texts")
        found.append(hashed)
    return found


def _second(value: Any, name: str) -> int:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= FOREVER:
        raise Refusal(400, f"{name} is a time in unix seconds")
    return math.ceil(value) if name == "expires" else int(value)
