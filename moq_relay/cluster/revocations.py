"""Tokens that were taken back: a set that only grows until its entries end, alike on every node.

Entries of one name merge to the wider of them, whatever the order and however often they are heard
of. So every node keeps them all, and says again what the registry has lost.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from moq_relay.cluster.backoff import Backoff
from moq_relay.cluster.cursor import Call
from moq_relay.cluster.reader import MAX_BACKOFF_SECONDS
from moq_relay.cluster.scripts import OPERATIONS
from moq_relay.errors import ClusterError, LimitReached

logger = logging.getLogger(__name__)

Kind = Literal["jti", "sub"]
"""The claim (RFC 7519 section 4.1) by which tokens are named."""

FOREVER = 99_999_999_999
"""As a second: later than any token's."""
MOST = 65_536
"""Entries that the registry, and a node, keep; the scripts have the same number."""
READ_AT_ONCE = 1_000
"""Entries up to which all are read whenever it is time for that; above, more rarely."""

_NAME = re.compile(r"(jti|sub):[0-9a-f]{32}")
_SECOND = re.compile(r"\d{1,11}")


@dataclass(frozen=True, slots=True)
class Revocation:
    """All tokens that have this name and were signed in time to be meant."""

    kind: Kind
    digest: str
    """Of the claim's value; see ``Holder``."""
    before: int = FOREVER
    """Unix second; tokens whose ``iat`` is later are not meant. Those without one always are."""
    until: int = FOREVER
    """Unix second from which on all of them have ended anyway."""

    @property
    def name(self) -> str:
        """By which the registry knows it."""
        return f"{self.kind}:{self.digest}"


class Extent(NamedTuple):
    """How far an entry reaches: its ``before`` and its ``until``."""

    before: int
    until: int

    def merged(self, other: Extent) -> Extent:
        """The wider of the two, in each way."""
        return Extent(max(self.before, other.before), max(self.until, other.until))


NOWHERE = Extent(-1, -1)


class Revocations:
    """What this node knows to be taken back, and how it brings the registry to that."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Nothing is known, and nothing said before ``run``; ``clock`` tells unix seconds."""
        self.known = False
        """What the registry has was read at least once."""
        self.reasserted = 0
        """Entries that the registry had lost and was told again."""
        self.malformed = 0
        """Entries that could not be read."""
        self._clock = clock
        self._entries: dict[str, Extent] = {}
        self._dirty: set[str] = set()
        self._unsure = True
        self._turns = 0
        self._soonest = FOREVER
        """Second before which no entry ends."""
        self._wake = asyncio.Event()

    # What it says.

    def __len__(self) -> int:
        """How many there are."""
        return len(self._entries)

    @property
    def pending(self) -> int:
        """How many the registry may not have."""
        return len(self._dirty)

    def covers(self, token: str | None, subject: str | None, issued: float | None) -> bool:
        """Whether tokens with these hashes of ``jti`` and ``sub``, and this ``iat``, are meant."""
        return self._reaches("jti", token, issued) or self._reaches("sub", subject, issued)

    def _reaches(self, kind: Kind, digest: str | None, issued: float | None) -> bool:
        extent = None if digest is None else self._entries.get(f"{kind}:{digest}")
        return extent is not None and (issued is None or issued <= extent.before)

    # What changes it.

    def add(self, revocation: Revocation) -> None:
        """Take tokens back; from now on here, and a moment later wherever the registry is heard.

        Raises:
            LimitReached: there are as many as are kept.
        """
        name = revocation.name
        if name not in self._entries and len(self._entries) >= MOST:
            raise LimitReached("revocations", f"{MOST} revocations are kept, and no more")
        if self._merge(name, Extent(revocation.before, revocation.until)):
            self._dirty.add(name)
            self._wake.set()

    def heard(self, words: Sequence[str]) -> None:
        """The registry has this entry: ``name before until``.

        Raises:
            ValueError: it is none.
        """
        name, extent = _read(words)
        if extent.until > self._clock():
            self._take(name, extent)

    def unsure(self) -> None:
        """The registry may have lost some, or been told of some that were not heard of."""
        self._unsure = True
        self._wake.set()

    def next_turn(self) -> None:
        """It is time to compare, though nothing is known to be wrong."""
        self._turns += 1
        if self._turns * READ_AT_ONCE >= len(self._entries):
            self._turns = 0
            self.unsure()

    def sweep(self) -> None:
        """Let go of those whose tokens have all ended."""
        now = self._clock()
        if now < self._soonest:
            return
        for name in [name for name, extent in self._entries.items() if extent.until <= now]:
            del self._entries[name]
            self._dirty.discard(name)
        self._soonest = min((extent.until for extent in self._entries.values()), default=FOREVER)

    def _merge(self, name: str, extent: Extent) -> bool:
        """Whether that changed anything."""
        before = self._entries.get(name, NOWHERE)
        self._entries[name] = now = before.merged(extent)
        self._soonest = min(self._soonest, now.until)
        return now != before

    def _take(self, name: str, theirs: Extent) -> None:
        self._merge(name, theirs)
        if self._entries[name] == theirs:
            self._dirty.discard(name)
        else:
            self._dirty.add(name)

    # How the registry comes to it.

    async def run(self, call: Call, connected: Callable[[], bool]) -> None:
        """Read what the registry has, and tell it what it lacks, until cancelled."""
        backoff = Backoff(cap=MAX_BACKOFF_SECONDS)
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not connected():
                continue
            try:
                if self._unsure:
                    await self._read(call)
                await self._tell(call)
                backoff.reset()
            except ClusterError as error:
                logger.debug("revocations not told reason=%s", error)
                self._unsure = True
                await backoff.pause()
                self._wake.set()

    async def _read(self, call: Call) -> None:
        self._unsure = False
        answer = await call("revoked", None, [])
        theirs: dict[str, Extent] = {}
        for field, value in zip(answer[1][::2], answer[1][1::2], strict=True):
            try:
                name, extent = _read([field, *value.split(" ")])
            except ValueError:
                self.malformed += 1
                continue
            theirs[name] = extent
        lost = self._entries.keys() - theirs.keys() - self._dirty
        self.reasserted += len(lost)
        self._dirty = set(self._entries)
        now = self._clock()
        for name, extent in theirs.items():
            if extent.until > now:
                self._take(name, extent)
        self.known = True

    async def _tell(self, call: Call) -> None:
        while self._dirty:
            names = list(itertools.islice(self._dirty, OPERATIONS))
            said = {name: self._entries[name] for name in names}
            words = [(name, *map(str, extent)) for name, extent in said.items()]
            answer = await call("revoke", None, list(itertools.chain(*words)))
            if answer[0] != "OK":
                return  # the registry was emptied; whoever runs us reads it and wakes us
            if answer[1]:
                logger.error("revocations not kept by the registry count=%d: it is full", answer[1])
            self._dirty -= {name for name in names if self._entries.get(name) == said[name]}


def are_entries(words: Sequence[str]) -> bool:
    """Whether these are what a ``revoke`` takes, each ``name before until``."""
    try:
        entries = [_read(words[at : at + 3]) for at in range(0, len(words), 3)]
    except ValueError:
        return False
    return bool(entries)


def _read(words: Sequence[str]) -> tuple[str, Extent]:
    """An entry; fields of a later version are passed over.

    Raises:
        ValueError: it is none.
    """
    name, before, until = words[:3]
    if not (_NAME.fullmatch(name) and _SECOND.fullmatch(before) and _SECOND.fullmatch(until)):
        raise ValueError(name)
    return name, Extent(int(before), int(until))
