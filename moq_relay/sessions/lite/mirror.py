"""The peer's announcements, read: what each number or suffix on one announce stream stands for."""

from __future__ import annotations

from typing import Any, Protocol

from moq_relay.errors import WireError
from moq_relay.relay.path import normalise
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.version import Version


class Announced(Protocol):
    """What the mirror tells of; suffixes are normalised."""

    announce_limit: int
    """Broadcasts that one peer may announce."""

    def may_announce(self, suffix: str) -> bool:
        """Whether a new broadcast of the peer is wanted; counts those that are not."""

    def announce(self, suffix: str, hops: tuple[int, ...], warm: int, cold: int) -> None:
        """The peer has a broadcast, or has it another way."""

    def ended(self, suffix: str) -> None:
        """The peer has it no more. Harmless when it was not announced."""


class Mirror:
    """One announce stream's state."""

    def __init__(self, to: Announced, version: Version) -> None:
        self._to = to
        self._features = version.features
        self._sender: tuple[int, ...] = ()
        self._suffixes: dict[int, str] = {}
        self._live: set[str] = set()
        self._next_id = 0
        self._refused = False
        """Whether some numbers stand for broadcasts that were not wanted; they are not kept."""

    def opening(self, message: Any) -> None:
        """The first reply: who sends, or what is live."""
        match message:
            case wire.AnnounceOk(hop, _):
                self._sender = (hop,)
            case wire.AnnounceInit(suffixes):
                for suffix in suffixes:
                    self._active(normalise(suffix), (0,))

    def heard(self, message: Any) -> None:
        """One announcement.

        Raises:
            WireError: it speaks of something that is not there, or twice of what is.
        """
        match message:
            case wire.Announce(wire.Status.ENDED, suffix, _):
                self._to.ended(normalise(suffix))
            case wire.Announce(_, suffix, hops):
                self._active(normalise(suffix), hops)
            case wire.AnnounceStart(suffix, hops, warm, cold):
                self._start(normalise(suffix), hops, warm, cold)
            case wire.AnnounceUpdate(number, hops, warm, cold):
                if (known := self._known(number)) is not None:
                    self._to.announce(known, self._chain(hops), warm, cold)
            case wire.AnnounceEnd(number):
                if (known := self._known(number)) is not None:
                    del self._suffixes[number]
                    self._live.discard(known)
                    self._to.ended(known)
            case _:
                pass

    def _active(self, suffix: str, hops: tuple[int, ...]) -> None:
        if self._to.may_announce(suffix):
            self._to.announce(suffix, self._chain(hops), 0, 0)

    def _start(self, suffix: str, hops: tuple[int, ...], warm: int, cold: int) -> None:
        number, self._next_id = self._next_id, self._next_id + 1
        if suffix in self._live:
            raise WireError(f"{suffix!r} was announced twice")
        if not self._to.may_announce(suffix) or len(self._live) >= self._to.announce_limit:
            self._refused = True
            return
        self._live.add(suffix)
        self._suffixes[number] = suffix
        self._to.announce(suffix, self._chain(hops), warm, cold)

    def _known(self, number: int) -> str | None:
        """What a number stands for; None when it may be one that was not wanted."""
        suffix = self._suffixes.get(number)
        if suffix is None and (number >= self._next_id or not self._refused):
            raise WireError(f"announcement {number} is not there")
        return suffix

    def _chain(self, hops: tuple[int, ...]) -> tuple[int, ...]:
        """The hops up to and with the sender, who is anonymous where it does not say."""
        return (*hops, *self._sender) or (0,)
