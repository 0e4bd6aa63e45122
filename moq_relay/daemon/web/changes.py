"""What may be changed at ``internal.listen``: a POST by who has the token, and a line in the log.

Pages of other sites are turned away before, by ``Hosts``, which says so in the log too.
"""

import hmac
import json
import logging
import math
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from moq_relay.daemon.auth import bearer
from moq_relay.daemon.config.hidden import hidden
from moq_relay.daemon.config.sources import Loaded
from moq_relay.daemon.drain import Drain
from moq_relay.daemon.logs.plain import short
from moq_relay.errors import ConfigError, Unauthorized

LONGEST_DEADLINE = 86_400.0
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Facts = dict[str, Any]
Change = Callable[[Mapping[str, Any]], str]
"""Does what the body says, and says that in words; raises ``Refusal``."""

log = logging.getLogger(__name__)


def token(loaded: Loaded) -> str | None:
    """By which changes are taken; None: none are.

    Raises:
        ConfigError: its file cannot be read, or is empty.
    """
    internal = loaded.settings.internal
    found = hidden(loaded, "internal.token", internal.token, internal.token_file)
    if found is None and internal.token_file is not None:
        # Nobody who named a file meant to have none.
        where = loaded.where("internal.token_file")
        raise ConfigError(f"{where} = {internal.token_file}: is empty")
    return found


class Refusal(Exception):
    """The change was not made."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Changes:
    """Drain and uncordon over HTTP."""

    def __init__(self, token: str | None, drain: Drain, deadline: float) -> None:
        """Change ``drain`` for who has ``token``; without one, for nobody."""
        self._token = token
        self._drain = drain
        self._deadline = deadline
        self._instance = secrets.token_hex(8)
        """Tells whoever asks again that it is still this process."""

    def add_to(self, app: web.Application) -> None:
        """Serve them."""
        app.router.add_get("/drain", self._look)
        app.router.add_post("/drain", self.post("drain", self._begin))
        app.router.add_post("/uncordon", self.post("uncordon", self._undo))

    async def _look(self, _request: web.Request) -> web.Response:
        return self._answer()

    def _answer(self) -> web.Response:
        drain = self._drain
        facts = {
            "state": drain.state,
            "sessions": drain.sessions,
            "seconds_left": round(drain.seconds_left, 3),
            "leaves": drain.leaves,
            "instance": self._instance,
        }
        text = json.dumps(facts, indent=1) + "\n"
        return web.Response(text=text, content_type="application/json", headers=HEADERS)

    def post(
        self, name: str, change: Change, answer: Callable[[], web.Response] | None = None
    ) -> Callable[[web.Request], Any]:
        """Answers a POST that makes ``change``: for who may, and with a line in the log."""

        async def post(request: web.Request) -> web.Response:
            try:
                self._admit(request)
                done = change(_object(await request.text()))
            except Refusal as refusal:
                log.warning(
                    "change refused what=%s by=%s reason=%s", name, request.remote, refusal.reason
                )
                return web.Response(
                    status=refusal.status, text=f"{refusal.reason}\n", headers=HEADERS
                )
            log.info("changed what=%s by=%s %s", name, request.remote, done)
            return (answer or self._answer)()

        return post

    def _admit(self, request: web.Request) -> None:
        if not self._token:
            raise Refusal(403, "this relay takes no changes: internal.token is not set")
        try:
            given = bearer(request.headers.get("Authorization")) or ""
        except Unauthorized as error:
            raise Refusal(401, str(error)) from error
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Refusal(401, "the token is wrong: Authorization: Bearer takes internal.token")
        if request.content_type != "application/json":
            raise Refusal(415, "the body has to be JSON, with Content-Type: application/json")

    # Changes.

    def _begin(self, body: Mapping[str, Any]) -> str:
        only(body, "deadline", "stay")
        deadline, stay = body.get("deadline", self._deadline), body.get("stay", False)
        number = isinstance(deadline, int | float) and not isinstance(deadline, bool)
        if not number or not math.isfinite(deadline) or not 0 <= deadline <= LONGEST_DEADLINE:
            raise Refusal(400, f"deadline is a number of seconds, at most {LONGEST_DEADLINE:g}")
        if not isinstance(stay, bool):
            raise Refusal(400, "stay is true or false")
        self._drain.begin(float(deadline), leave=not stay)
        return f"deadline={deadline:g} stay={str(stay).lower()}"

    def _undo(self, body: Mapping[str, Any]) -> str:
        only(body)
        if self._drain.final:
            raise Refusal(409, "a signal ends this relay: that cannot be undone")
        if not self._drain.undo():
            raise Refusal(409, "this relay does not drain")
        return "state=serving"


def _object(text: str) -> Mapping[str, Any]:
    try:
        body = json.loads(text or "{}")
    except ValueError as error:
        raise Refusal(400, "the body is not JSON") from error
    if not isinstance(body, dict):
        raise Refusal(400, "the body is not an object")
    return body


def only(body: Mapping[str, Any], *known: str) -> None:
    """Refuse a body with more than what is known."""
    strange = sorted(set(body) - set(known))
    if strange:
        raise Refusal(400, f"{short(strange[0])} is not known here")
