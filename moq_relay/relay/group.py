"""A group: frames in order, and many readers, each with a cursor of its own."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from moq_relay.errors import GroupTooLarge, Internal, MoqError, RequestError
from moq_relay.relay.retention import Cache
from moq_relay.relay.sampling import Times

logger = logging.getLogger(__name__)


class Frame(NamedTuple):
    """One payload, never split or merged by the relay."""

    payload: bytes
    timestamp: int
    """In units of the track's timescale."""
    subgroup: int = 0
    """Which stream of the group it came on; 0 where the protocol has one stream a group."""


class GroupReader(Protocol):
    """Reads a group from a cursor of its own."""

    def ready(self) -> None:
        """Frames were appended, or the group ended; called after each change."""


class GroupWriter(Protocol):
    """What a source fills: a group, or one that another source has told in part already."""

    @property
    def sequence(self) -> int:
        """Of the group."""

    @property
    def frames(self) -> Sequence[Frame]:
        """What was appended so far."""

    @property
    def open(self) -> bool:
        """Whether more frames are wanted."""

    def append(self, frame: Frame) -> None:
        """The next frame. Nothing happens once the group has ended.

        Raises:
            GroupTooLarge: the group would outgrow its limits and was aborted.
        """

    def finish(self) -> None:
        """No more frames will come: the group is complete."""

    def abort(self, error: RequestError) -> None:
        """The source will not complete it."""


class Group:
    """Frames of one sequence number, kept while the cache keeps the group."""

    __slots__ = (
        "_cache",
        "_readers",
        "ahead",
        "codings",
        "error",
        "fetched",
        "finished",
        "first",
        "frames",
        "number",
        "on_abandoned",
        "opened_at",
        "origin",
        "sequence",
        "size",
        "superseded_at",
        "times",
        "track",
    )

    def __init__(
        self,
        sequence: int,
        cache: Cache,
        *,
        now: float,
        first: int = 0,
        track: Any = None,
        fetched: bool = False,
    ) -> None:
        self.sequence = sequence
        self.first = first
        """Index of the first frame kept here; above 0 when the publisher skipped the start."""
        self.frames: list[Frame] = []
        self.ahead = 0
        """How many of the last frames came by ``bring`` and have yet to come by ``append``."""
        self.finished = False
        self.error: RequestError | None = None
        self.size = 0
        """Payload bytes."""
        self.opened_at = now
        self.superseded_at: float | None = None
        """When a newer group of the track existed; a group's age counts from here."""
        self.codings: dict[Any, Any] = {}
        """Encodings that sessions share between viewers; opaque here, gone with the last reader."""
        self.track = track
        """Whose group it is; None for a group on its own."""
        self.fetched = fetched
        """Asked for by number, not told by the track's feed."""
        self.origin = ""
        """URL of the node that its publisher is connected to; empty for this node."""
        self.times: Times | None = None
        """When it came; None for all but a sample of groups."""
        self.on_abandoned: Callable[[], None] = _nothing
        """Called when the last reader leaves an open group, or the cache gives it up."""
        self._cache = cache
        self._readers: dict[GroupReader, None] = {}
        self.number = cache.add(self)
        """The cache's own name for it."""
        if fetched:
            self.supersede(now)

    @property
    def open(self) -> bool:
        """Whether more frames may come."""
        return not self.finished and self.error is None

    @property
    def readers(self) -> int:
        """How many read it now."""
        return len(self._readers)

    def age(self, now: float) -> float:
        """Seconds since a newer group existed; 0 for the latest."""
        return 0.0 if self.superseded_at is None else now - self.superseded_at

    def supersede(self, now: float) -> None:
        """A newer group exists since ``now``."""
        if self.superseded_at is None:
            self.superseded_at = now
            self._cache.outdated(self)

    def append(self, frame: Frame) -> None:
        """Keep a frame and ring every reader. Nothing happens once the group has ended.

        Raises:
            GroupTooLarge: the group would outgrow its limits and was aborted.
        """
        if self.finished or self.error is not None:
            return
        if self.ahead:
            self._compare(frame)
            return
        size = len(frame.payload)
        limits = self._cache.limits
        if self.size + size > limits.group_bytes or len(self.frames) >= limits.group_frames:
            error = GroupTooLarge(f"group {self.sequence} outgrew its limits")
            self.abort(error)
            raise error
        if self.times is not None and not self.frames:
            self.times.first = self.times.clock()
        self.frames.append(frame)
        self.size += size
        self._cache.charge(self, size)
        self._ring()

    def bring(self, frame: Frame) -> None:
        """Keep a frame from elsewhere; by ``append`` it is not kept a second time.

        Raises:
            GroupTooLarge: as from ``append``.
        """
        if self.open:
            ahead, self.ahead = self.ahead, 0
            self.append(frame)
            self.ahead = ahead + 1

    def _compare(self, frame: Frame) -> None:
        """A frame comes that is here already."""
        if self.frames[-self.ahead].payload != frame.payload:
            self.abort(Internal(f"two sources tell group {self.sequence} differently"))
        self.ahead -= 1

    def finish(self) -> None:
        """No more frames will come: the group is complete."""
        if self.open and self.ahead:
            self.abort(Internal(f"two sources end group {self.sequence} differently"))
        elif self.open:
            self.finished = True
            if self.times is not None and not self.origin:
                self.times.whole = self.times.clock()
            self._ring()
            if not self._readers:
                self.codings.clear()

    def abort(self, error: RequestError) -> None:
        """The group will never be complete; readers stop, and its bytes leave the cache.

        A complete group that nobody reads stays complete for whoever holds it.
        """
        if self.error is not None:
            return
        if self.open or self._readers:
            self.error = error
        # Out of the cache and the track first: a reader that is rung may look there.
        self._cache.discard(self)
        if self.track is not None:
            self.track.forget(self)
        if self.error is not None:
            self._ring()
            # A source may hold an aborted group for as long as its stream is open.
            self.frames = []
        self._readers.clear()
        self.codings.clear()

    def join(self, reader: GroupReader) -> None:
        """Ring ``reader`` from now on. It is not rung for what is there already."""
        self._readers[reader] = None

    def leave(self, reader: GroupReader) -> None:
        """Ring ``reader`` no more. Harmless when it has left."""
        if reader not in self._readers:
            return
        del self._readers[reader]
        if self._readers:
            return
        if self.open:
            self.on_abandoned()
        else:
            self.codings.clear()

    def _ring(self) -> None:
        readers = self._readers
        for reader in tuple(readers):
            # An earlier reader's turn may have been the end of this one's.
            if reader not in readers:
                continue
            try:
                reader.ready()
            except MoqError as error:
                logger.debug("group reader gave up reason=%s", error)
                self.leave(reader)
            except Exception:
                logger.exception("group reader failed")
                self.leave(reader)


def _nothing() -> None:
    pass
