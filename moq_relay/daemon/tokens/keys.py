"""The keys that verify tokens: where they are kept, and how they are found by the name in a token.

A name comes from whoever brings a token, so what is looked up for one has a budget. What is read
anew on schedule has none of it: many tokens with names that nobody knows cannot keep a new key out.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from moq_relay.daemon.tokens.jwk import NO_NAME, Key, usable_kid
from moq_relay.daemon.tokens.keyfiles import Document
from moq_relay.daemon.tokens.places import FILE_SECONDS, Gone, Unread
from moq_relay.errors import Unauthorized

TURN_SECONDS = 1.0
ASK_SECONDS = 10.0
"""How often a set is read anew because a token names a key that it lacks."""
UNKNOWN_SECONDS = 30.0
"""How long a key that is not there is not asked for again."""
AGAIN_SECONDS = 5.0
"""The same where nobody could say whether it is there."""
UNKNOWN = 4096
"""Names of which that is remembered."""
KNOWN = 1024
"""Keys of a directory that are kept; with more, the one that was found first goes."""
AT_A_TIME = 32
"""Keys of a directory that are looked up at a time, and read anew at a time."""
LOOK_UPS, BURST = 10.0, 50.0
"""Keys of a directory that tokens may have looked up each second, and at once."""

Clock = Callable[[], float]

log = logging.getLogger(__name__)


class Keyring(Protocol):
    """Knows keys by the name that a token gives its own."""

    def find(self, kid: str | None) -> Sequence[Key] | None:
        """The keys with that name, or for tokens without one; None: they have to be looked up.

        Raises:
            Unauthorized: a token needs a name here, or another one.
        """

    async def look_up(self, kid: str | None) -> Sequence[Key]:
        """The same, from where they are kept.

        Raises:
            Unauthorized: nobody can say now, or that is no name here.
        """

    async def run(self) -> None:
        """Keep them as they are where they are kept, until cancelled, or if they never change."""

    @property
    def reads(self) -> Mapping[str, int]:
        """How often they were read, by what came of that."""

    def stale(self) -> float:
        """Seconds for which any of them ought to have been read anew, and could not be."""


class OneKey:
    """A key for every token, whatever name that gives it."""

    def __init__(self, key: Key) -> None:
        self._keys = (key,)
        self.reads: Mapping[str, int] = {}

    def stale(self) -> float:
        return 0.0

    def find(self, _kid: str | None) -> Sequence[Key]:
        return self._keys

    async def look_up(self, _kid: str | None) -> Sequence[Key]:
        return self._keys

    async def run(self) -> None:
        return


class Pack:
    """All keys of one document: a set, or one key that is for every token."""

    def __init__(
        self,
        document: Document,
        *,
        named: bool,
        reads: Mapping[str, int] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Pick from ``document``, which counts in ``reads``, by name if they are ``named``."""
        self.reads = {} if reads is None else reads
        self._document = document
        self._named = named
        self._clock = clock
        self._ask_at = 0.0

    def find(self, kid: str | None) -> Sequence[Key] | None:
        keys = self._document.keys
        if keys is None:
            return None
        found = self._pick(keys, kid)
        if found or not (self._document.busy or self._clock() >= self._ask_at):
            return found
        return None

    async def look_up(self, kid: str | None) -> Sequence[Key]:
        document = self._document
        if document.keys is not None:
            self._ask_at = self._clock() + ASK_SECONDS
        elif not document.busy and self._clock() < document.due:
            raise Unauthorized("this relay's keys cannot be had now; try again")
        try:
            await document.refresh()
        except Unread as error:
            if document.keys is None:
                raise Unauthorized("this relay's keys cannot be had now; try again") from error
        return self._pick(document.keys or (), kid)

    async def run(self) -> None:
        while True:
            await self.turn()
            await asyncio.sleep(TURN_SECONDS)

    def stale(self) -> float:
        return self._document.stale()

    async def turn(self) -> None:
        """Read the document anew if that is due."""
        if self._document.due <= self._clock():
            with contextlib.suppress(Unread):
                await self._document.refresh()

    def _pick(self, keys: Sequence[Key], kid: str | None) -> Sequence[Key]:
        if not self._named:
            return keys
        if kid is not None:
            return [key for key in keys if key.kid == kid]
        if len(keys) == 1:
            return keys
        raise Unauthorized("the token does not name its key, and this relay has several")


class Directory:
    """Keys by name, a document for each."""

    def __init__(
        self,
        document: Callable[[str, bool], Document],
        names: Callable[[], Awaitable[Sequence[str]]] | None = None,
        *,
        reads: Mapping[str, int] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Read the ``document`` of a name when it is asked for, and of all ``names`` beforehand.

        Its second argument is whether the document is known to be there. They count in ``reads``.
        """
        self.reads = {} if reads is None else reads
        self._document = document
        self._names = names
        self._clock = clock
        self._list_at = 0.0
        self._listed: dict[str, Document] = {}
        """Those that are there, and could not be read yet."""
        self._documents: dict[str, Document] = {}
        self._asked: dict[str, Document] = {}
        """Those that are being looked up."""
        self._unknown: dict[str, float] = {}
        """Names not to ask for, and until when; the oldest first."""
        self._budget = BURST
        self._counted_at = clock()
        self._cut_off = False

    def find(self, kid: str | None) -> Sequence[Key] | None:
        if kid is None:
            raise Unauthorized("the token does not name its key (kid)")
        document = self._documents.get(kid)
        if document is not None:
            return document.keys or ()
        if not usable_kid(kid):
            raise Unauthorized(NO_NAME)
        return () if self._clock() < self._unknown.get(kid, 0.0) else None

    async def look_up(self, kid: str | None) -> Sequence[Key]:
        if kid is None or not usable_kid(kid):
            raise Unauthorized(NO_NAME)
        document = self._asked.get(kid)
        if document is None:
            if len(self._asked) >= AT_A_TIME or not self._may_ask():
                raise Unauthorized("too many tokens name keys that are not known here; try again")
            document = self._asked[kid] = self._document(kid, False)
        try:
            await document.refresh()
        except Gone:
            self._forget(kid, UNKNOWN_SECONDS)
            return ()
        except Unread as error:
            self._forget(kid, AGAIN_SECONDS)
            if not self._cut_off:
                self._cut_off = True
                log.warning("a key cannot be had reason=%s", error)
            raise Unauthorized("the token's key cannot be had now; try again") from error
        finally:
            self._asked.pop(kid, None)
        self._cut_off = False
        self._keep(kid, document)
        return document.keys or ()

    async def run(self) -> None:
        while True:
            await self.turn()
            await asyncio.sleep(TURN_SECONDS)

    def stale(self) -> float:
        known = (*self._documents.values(), *self._listed.values())
        return max((document.stale() for document in known), default=0.0)

    async def turn(self) -> None:
        """Read anew what is due, and what is new where that can be listed."""
        if self._names is not None and self._list_at <= self._clock():
            self._list_at = self._clock() + FILE_SECONDS
            self._list(await self._names())
        now = self._clock()
        due = [
            (kid, document)
            for kid, document in (*self._documents.items(), *self._listed.items())
            if document.due <= now
        ]
        for start in range(0, len(due), AT_A_TIME):
            async with asyncio.TaskGroup() as tasks:
                for kid, document in due[start : start + AT_A_TIME]:
                    tasks.create_task(self._renew(kid, document), name=f"key-{kid}")

    def _list(self, names: Sequence[str]) -> None:
        fresh = [kid for kid in names if kid not in self._documents and usable_kid(kid)]
        listed = self._listed
        self._listed = {
            kid: listed.get(kid) or self._document(kid, True)
            for kid in fresh[: KNOWN - len(self._documents)]
        }

    async def _renew(self, kid: str, document: Document) -> None:
        try:
            await document.refresh()
        except Gone:
            if self._documents.pop(kid, None) is not None:
                log.info("key gone kid=%s", kid)
        except Unread:
            pass
        else:
            self._keep(kid, document)

    def _keep(self, kid: str, document: Document) -> None:
        self._unknown.pop(kid, None)
        self._listed.pop(kid, None)
        self._documents[kid] = document
        if len(self._documents) > KNOWN:
            del self._documents[next(iter(self._documents))]

    def _forget(self, kid: str, seconds: float) -> None:
        self._unknown.pop(kid, None)
        self._unknown[kid] = self._clock() + seconds
        if len(self._unknown) > UNKNOWN:
            del self._unknown[next(iter(self._unknown))]

    def _may_ask(self) -> bool:
        now = self._clock()
        self._budget = min(BURST, self._budget + (now - self._counted_at) * LOOK_UPS)
        self._counted_at = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True
