"""Documents with keys, a JWK or a set of them, that are read again and again."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping

from moq_relay.daemon.tokens.jwk import Key, parse
from moq_relay.daemon.tokens.places import Found, Gone, Place, Unread
from moq_relay.errors import ConfigError

FIRST_RETRY, LAST_RETRY = 2.0, 60.0
"""Seconds after a failure; the pause doubles in between."""
READ, UNCHANGED, MISSING, FAILED = OUTCOMES = ("read", "unchanged", "missing", "failed")
"""What comes of reading a document."""

Reader = Callable[[str, str], tuple[Key, ...]]
"""Text of a document and its name to keys; raises ``ConfigError``."""

log = logging.getLogger(__name__)


def one_key(text: str, name: str) -> tuple[Key, ...]:
    """The key of a JWK.

    Raises:
        ConfigError: it cannot be used.
    """
    return (Key.of(parse(text, name), name),)


def key_set(text: str, name: str) -> tuple[Key, ...]:
    """The keys of a JWK Set (RFC 7517 section 5) that can be used; the others are passed over.

    Raises:
        ConfigError: it is no set, or none can.
    """
    found = parse(text, name)
    listed = found.get("keys") if isinstance(found, Mapping) else None
    if not isinstance(listed, list):
        raise ConfigError(f"{name}: is not a set of JWKs")
    keys, reason = [], "it is empty"
    for number, jwk in enumerate(listed):
        try:
            keys.append(Key.of(jwk, f"key {number}"))
        except ConfigError as error:
            reason = str(error)
    if not keys:
        raise ConfigError(f"{name}: has no key that can be used: {reason}")
    return tuple(keys)


class Document:
    """Keys as they were when the document could be read last."""

    def __init__(
        self,
        place: Place,
        reader: Reader,
        *,
        loud: bool = True,
        counted: Counter[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read ``place`` by ``reader``; if not ``loud``, say nothing before it was read once.

        ``counted`` gets how often it was read, by what came of that.
        """
        self.keys: tuple[Key, ...] | None = None
        """None: it was never read."""
        self.due = 0.0
        """When to read it anew, by ``clock``."""
        self._place = place
        self._reader = reader
        self._loud = loud
        self._clock = clock
        self._counted = Counter() if counted is None else counted
        self._good_until = clock()
        self._stamp: object = None
        self._turn = asyncio.Lock()
        self._rounds = 0
        self._failures = 0
        self._failure: Unread | None = None

    @property
    def busy(self) -> bool:
        """Whether somebody is reading it."""
        return self._turn.locked()

    def stale(self) -> float:
        """Seconds for which its keys, or that there are none, ought to be news and are not.

        0 while the last time that it was read was no failure.
        """
        return 0.0 if self._failure is None else max(0.0, self._clock() - self._good_until)

    async def refresh(self) -> None:
        """Read it; who comes meanwhile waits for the same. The keys of before stay if that fails.

        Raises:
            Unread: it cannot be had, or used.
        """
        rounds = self._rounds
        async with self._turn:
            if rounds == self._rounds:
                await self._read()
            if self._failure is not None:
                raise self._failure

    async def _read(self) -> None:
        try:
            self.take(await self._place.read(self._stamp))
        except ConfigError as error:
            self._failed(Unread(str(error)))
        except Unread as error:
            self._failed(error)
        self._rounds += 1

    def take(self, found: Found) -> None:
        """Use what was found.

        Raises:
            ConfigError: it cannot be used, and nothing has changed.
        """
        if found.text is not None:
            self.keys = self._reader(found.text, self._place.name)
            self._stamp = found.stamp
            log.info("keys read place=%s keys=%d", self._place.name, len(self.keys))
        elif self._failures:
            log.info("keys as before place=%s", self._place.name)
        self._counted[UNCHANGED if found.text is None else READ] += 1
        self.due = self._good_until = self._clock() + found.fresh
        self._failures, self._failure = 0, None

    def _failed(self, error: Unread) -> None:
        self._counted[MISSING if isinstance(error, Gone) else FAILED] += 1
        if not self._failures and (self._loud or self.keys is not None):
            fate = "kept" if self.keys is not None else "missing"
            log.warning("keys %s place=%s reason=%s", fate, self._place.name, error)
        pause = min(LAST_RETRY, FIRST_RETRY * 2 ** min(self._failures, 16))
        self.due = self._clock() + random.uniform(pause / 2, pause)  # noqa: S311
        self._failures += 1
        self._failure = error
