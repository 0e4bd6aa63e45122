"""One link to another node: dialled when needed, shared by all tracks, closed when idle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from moq_relay.cluster.backoff import Backoff, pause
from moq_relay.cluster.placement import LinkState, LinkView
from moq_relay.errors import (
    Cancelled,
    Internal,
    MoqError,
    NotFound,
    RequestError,
    SessionClosed,
)
from moq_relay.relay.feed import Feed
from moq_relay.relay.group import Group
from moq_relay.relay.path import covers
from moq_relay.relay.route import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTimes:
    """How patient links are, in seconds."""

    ping: float = 0.5
    """Between two pings, while tracks are taken over the link."""
    suspect: float = 1.5
    """Of unanswered pings, or of dialling, until others are preferred."""
    idle: float = 30.0
    """How long a link that nothing is taken over stays open."""
    backoff: float = 2.0
    """The longest pause before it is dialled again."""
    lost: float = 1.0
    """Before a node that has lost a publisher is asked for its broadcast again."""
    settle: float = 0.05
    """How long a new session has to last until others switch to it: one that is let in by the
    handshake may be turned away a moment later."""


TIMES = LinkTimes()


class LinkSession(Protocol):
    """A session to another node, in the role of a subscriber."""

    subscriber: Source

    @property
    def rtt_seconds(self) -> float | None:
        """Smoothed round trip; None before the first sample."""

    @property
    def silent_seconds(self) -> float:
        """How long nothing came from the peer."""

    def ping(self) -> None:
        """Make the peer answer."""


Dial = Callable[[str, Callable[[], None]], AbstractAsyncContextManager[LinkSession]]
"""A session to a node's URL; the second argument is called at the very beginning of its end,
before any feed of it ends. Raises ``MoqError`` when there is none to be had."""


class LinkListener(Protocol):
    """Who routes by the state of links."""

    def link_changed(self, node: str) -> None:
        """The link to ``node`` came up, is suspected, was lost, or is not needed any more."""

    def wanted(self, node: str) -> bool:
        """Whether something would be taken over the link if only it were up."""

    def routed(self, path: str, node: str) -> bool:
        """Whether ``node`` still claims what ``path`` belongs to."""

    def refused(self, path: str, node: str, error: RequestError) -> bool:
        """``node`` ended a track of ``path``. True: its viewers stay, and it is asked for again."""

    def is_lost(self, path: str, node: str) -> bool:
        """Whether ``node`` said that it has lost the publisher of ``path``."""


class _Ask(Enum):
    """What is wanted of a feed's source."""

    DESCRIBE = auto()
    SUBSCRIBE = auto()


class PeerLink:
    """The one link to one node; a ``Source`` for everything that is claimed by it."""

    def __init__(
        self,
        node: str,
        dial: Dial,
        listener: LinkListener,
        start: Callable[[PeerLink], None],
        times: LinkTimes = TIMES,
    ) -> None:
        self.node = node
        self.state: LinkState = "idle"
        """Never ``dialling``: who wants to wait for a link says so."""
        self.dials = 0
        """Sessions that were asked for so far."""
        self.running = False
        """Whether ``run`` is under way, or about to be."""
        self.watched = False
        """Whether it is pinged though it carries nothing: routes stand on its being up alone."""
        self.doubted_until = 0.0
        """Until when, on the loop's clock, it is held and pinged because its node may be dead."""
        self._dial = dial
        self._listener = listener
        self._start = start
        self._times = times
        self._session: LinkSession | None = None
        self._queued: dict[Feed, _Ask] = {}
        """What cannot be asked for now."""
        self._asked: set[Feed] = set()
        """Subscriptions of the session."""
        self._fetches: dict[Group, tuple[str, str]] = {}
        self._dialling: asyncio.Timeout | None = None
        self._wake = asyncio.Event()
        self._gone = asyncio.Event()
        """The session is over, or of no use."""
        self._retry: asyncio.TimerHandle | None = None
        self._stopping = False
        """Links end with the node: nothing that happens now is news."""
        self._backoff = Backoff(cap=times.backoff)

    def __repr__(self) -> str:
        return f"<link {self.node} {self.state}>"

    @property
    def view(self) -> LinkView:
        """How the link looks to whoever chooses routes."""
        return LinkView(
            None if self._session is None else self._session.rtt_seconds,
            self.state,
        )

    @property
    def connected(self) -> bool:
        """Whether there is a session, whatever is thought of it."""
        return self._session is not None

    @property
    def subscriptions(self) -> int:
        """Tracks that are taken over the link now."""
        return len(self._asked)

    # A source.

    def describe(self, feed: Feed) -> None:
        self._ask(feed, _Ask.DESCRIBE)

    def subscribe(self, feed: Feed) -> None:
        self._ask(feed, _Ask.SUBSCRIBE)

    def update(self, feed: Feed) -> None:
        if self._session is not None and feed in self._asked:
            self._session.subscriber.update(feed)

    def unsubscribe(self, feed: Feed) -> None:
        self._asked.discard(feed)
        if self._queued.pop(feed, None) is None and self._session is not None:
            self._session.subscriber.unsubscribe(feed)

    def fetch(self, path: str, track: str, group: Group) -> None:
        if self._session is not None:
            self._session.subscriber.fetch(path, track, group)
            return
        self._fetches[group] = path, track
        group.on_abandoned = lambda: self._abandon_fetch(group)
        self.want()

    def _abandon_fetch(self, group: Group) -> None:
        if self._fetches.pop(group, None) is not None:
            group.abort(Cancelled("nobody reads the group any more"))

    def _ask(self, feed: Feed, what: _Ask) -> None:
        feed.on_refused = self._refused
        if self._session is None:
            self._queued[feed] = what
            self.want()
        elif self._listener.is_lost(feed.track.path, self.node):
            self._queued[feed] = what
            if self._retry is None:
                loop = asyncio.get_running_loop()
                self._retry = loop.call_later(self._times.lost, self._hand_over)
        else:
            self._pass_on(self._session, feed, what)

    def _pass_on(self, session: LinkSession, feed: Feed, what: _Ask) -> None:
        if what is _Ask.DESCRIBE:
            session.subscriber.describe(feed)
        else:
            self._asked.add(feed)
            session.subscriber.subscribe(feed)

    def _hand_over(self) -> None:
        """Ask for all that is wanted, also where that was in vain a while ago."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        queued, self._queued = self._queued, {}
        fetches, self._fetches = self._fetches, {}
        for feed, what in queued.items():
            if self._session is None:
                self._queued[feed] = what
            elif feed.live:
                self._pass_on(self._session, feed, what)
        for group, (path, track) in fetches.items():
            if self._session is None:
                self._fetches[group] = path, track
            elif group.open:
                self._session.subscriber.fetch(path, track, group)

    def _refused(self, feed: Feed, error: RequestError) -> bool:
        """A feed broke off; whether to ask for it again."""
        self._asked.discard(feed)
        if self._session is None:
            return self._listener.routed(feed.track.path, self.node)
        return self._listener.refused(feed.track.path, self.node, error)

    def abandon(self, path: str) -> None:
        """The node claims ``path`` no more: who waits for it is told."""
        for feed in tuple(self._queued):
            if covers(path, feed.track.path) and self._queued.pop(feed, None) is not None:
                feed.ended(Internal("the broadcast ended"))

    # Its life.

    def want(self) -> None:
        """Be up soon, and for as long as it is needed."""
        if not self.running:
            self.running = True
            self._start(self)

    def try_now(self) -> None:
        """There is reason to believe that dialling is of use: wait no longer."""
        self._wake.set()

    def redial(self) -> None:
        """Another process has the node's name now: the old one will not answer any more."""
        self._gone.set()
        self._backoff.reset()
        self._wake.set()
        if self._dialling is not None and self._dialling.when() is None:
            self._dialling.reschedule(asyncio.get_running_loop().time())

    def _needed(self) -> bool:
        self._forget_dead()
        if self._queued or self._asked or self._fetches:
            return True
        return self._listener.wanted(self.node)

    def _forget_dead(self) -> None:
        self._asked = {feed for feed in self._asked if feed.live}
        self._queued = {feed: what for feed, what in self._queued.items() if feed.live}

    async def run(self) -> None:
        """Keep the link up for as long as it is needed."""
        try:
            while self._needed():
                try:
                    if await self._live():
                        continue
                except MoqError as error:
                    level = logging.DEBUG if self.state == "down" else logging.WARNING
                    logger.log(level, "link failed node=%s reason=%s", self.node, error)
                except Exception:
                    logger.exception("link broken node=%s", self.node)
                self._fail()
                if self._needed():
                    self._wake.clear()
                    await pause(self._backoff.next_delay(), self._wake)
        finally:
            self.running = False
            self._set("idle")
            self._listener.link_changed(self.node)

    async def _live(self) -> bool:
        """One session, from the dial to its end; True when it ended because nobody needs it.

        Raises:
            MoqError: there was none, or it was lost.
        """
        self.dials += 1
        self._gone.clear()
        loop = asyncio.get_running_loop()
        slow = loop.call_later(self._times.suspect, self._set, "down")
        attempt = self.dials

        def ending() -> None:
            if attempt == self.dials:
                self._lost()

        try:
            async with AsyncExitStack() as stack:
                session = await self._answer(stack, ending)
                slow.cancel()
                self._session = session
                self._backoff.succeeded()
                logger.info("link up node=%s", self.node)
                self._hand_over()
                try:
                    return await self._watch(session)
                except asyncio.CancelledError:
                    self._stopping = True
                    raise
                finally:
                    self._lost()
        finally:
            slow.cancel()

    async def _answer(self, stack: AsyncExitStack, ending: Callable[[], None]) -> LinkSession:
        """A session, which ends with ``stack``.

        Raises:
            MoqError: there was none.
        """
        try:
            # Dialling has a limit of its own; this one is for ``redial``.
            async with asyncio.timeout(None) as self._dialling:
                return await stack.enter_async_context(self._dial(self.node, ending))
        except TimeoutError as error:
            raise SessionClosed("another process is dialled") from error
        finally:
            self._dialling = None

    async def _watch(self, session: LinkSession) -> bool:
        """Until the session ends or nobody has used it for a while; suspect it when it is silent.

        Raises:
            SessionClosed: it ended.
        """
        loop = asyncio.get_running_loop()
        if await pause(self._times.settle, self._gone):
            raise SessionClosed("the session ended")
        self._set("up")
        idle_since: float | None = loop.time()
        pinged: float | None = None
        missed = 0
        while not await pause(self._times.ping, self._gone):
            self._forget_dead()
            # Counted in pings, not in seconds: if this process stood still, nobody was silent.
            unheard = pinged is not None and session.silent_seconds > loop.time() - pinged
            missed = missed + 1 if unheard else 0
            if missed * self._times.ping >= self._times.suspect:
                self._set("suspect")
            elif not missed:
                self._set("up")
            doubted = loop.time() < self.doubted_until
            busy = bool(self._asked or self._queued or self.watched or doubted)
            pinged = None
            if busy or self.state == "suspect":
                pinged = loop.time()
                session.ping()
            if busy:
                idle_since = None
            elif idle_since is None:
                idle_since = loop.time()
            elif loop.time() - idle_since >= self._times.idle:
                return True
        raise SessionClosed("the session ended")

    def _lost(self) -> None:
        """There is no session any more; said before its feeds end, so that tracks can move."""
        self._gone.set()
        if self._session is not None:
            self._session = None
            self._set("down" if self._needed() else "idle")

    def _fail(self) -> None:
        """Dialling was in vain, or the session was lost."""
        fetches, self._fetches = self._fetches, {}
        for group in fetches:
            group.abort(NotFound("the node that has it cannot be reached"))
        self._set("down" if self._needed() else "idle")

    def _set(self, state: LinkState) -> None:
        if state == self.state or self._stopping:
            return
        self.state = state
        if state in {"suspect", "down"}:
            logger.warning("link %s node=%s", state, self.node)
        self._listener.link_changed(self.node)
