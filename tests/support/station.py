"""A broadcast made in the test's own process, and a reader that holds it to its word."""

from collections.abc import Callable

from moq_relay.errors import NotFound, RequestError
from moq_relay.relay.feed import Demand, Feed, TrackInfo
from moq_relay.relay.group import Frame, Group

MAX_AGE = 30.0


def content(sequence: int, index: int, size: int) -> bytes:
    """The only payload that frame ``index`` of group ``sequence`` may have."""
    return (b"%d/%d " % (sequence, index) * (size // 4 + 1))[:size]


class Station:
    """A source whose every track is the same: groups of ``frames`` frames of ``size`` bytes."""

    def __init__(self, *, frames: int, size: int) -> None:
        self.sequence = -1
        """The latest group; -1 before the first ``write``."""
        self.written = 0
        """Frames so far."""
        self.feeds: dict[Feed, Group | None] = {}
        """Who listens, and the group that is open there."""
        self.frames = frames
        self._size = size
        self._frames: list[Frame] = []

    def write(self) -> None:
        """One more frame; a group ends with its last one, and the next write begins another."""
        index = len(self._frames)
        if index in {0, self.frames}:
            self.sequence, index = self.sequence + 1, 0
            self._frames.clear()
            for feed in tuple(self.feeds):
                self.feeds[feed] = feed.open_group(self.sequence)
        self.written += 1
        frame = Frame(content(self.sequence, index, self._size), 1000 * self.written)
        self._frames.append(frame)
        for group in tuple(self.feeds.values()):
            if group is not None:
                group.append(frame)
        if index + 1 == self.frames:
            self._end_groups()

    def _end_groups(self) -> None:
        for feed, group in tuple(self.feeds.items()):
            if group is not None:
                group.finish()
                feed.group_ended(group)

    # What the relay asks of a source.

    def describe(self, feed: Feed) -> None:
        feed.described(TrackInfo(max_age=MAX_AGE))

    def subscribe(self, feed: Feed) -> None:
        """The latest group from its first frame, then all that come."""
        self.feeds[feed] = None
        if self.sequence < 0:
            return
        feed.started(self.sequence)
        group = self.feeds[feed] = feed.open_group(self.sequence)
        if group is None:
            return
        for frame in self._frames:
            group.append(frame)
        if len(self._frames) == self.frames:
            group.finish()
            feed.group_ended(group)

    def update(self, feed: Feed) -> None: ...

    def unsubscribe(self, feed: Feed) -> None:
        self.feeds.pop(feed, None)

    def fetch(self, path: str, track: str, group: Group) -> None:
        group.abort(NotFound("the past is gone"))


class Listening:
    """A reader of a station's track: what came whole, and everything that was wrong."""

    def __init__(self, *, frames: int, size: int) -> None:
        self.first: int | None = None
        self.whole: set[int] = set()
        self.faults: list[str] = []
        self.over = False
        self._frames = frames
        self._size = size

    @property
    def missing(self) -> list[int]:
        """Groups between the first and the last whole one that did not come whole."""
        if not self.whole:
            return []
        return sorted(set(range(min(self.whole), max(self.whole))) - self.whole)

    # What the track tells.

    def started(self, first: int) -> None:
        self.first = first

    def opened(self, group: Group) -> None:
        reader = _Listener(group, self._ended)
        group.join(reader)
        reader.ready()

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        self.faults.append(f"a datagram of group {sequence}")

    def ended(self, error: RequestError | None, final: int | None) -> None:
        self.over = True
        if error is not None:
            self.faults.append(f"the track ended: {type(error).__name__} {error}")

    def _ended(self, group: Group) -> None:
        number = group.sequence
        if group.error is not None:
            self.faults.append(f"group {number} broke off: {group.error}")
        elif number in self.whole:
            self.faults.append(f"group {number} came twice")
        elif [frame.payload for frame in group.frames] != [
            content(number, index, self._size) for index in range(self._frames)
        ]:
            self.faults.append(f"group {number} holds other bytes")
        else:
            self.whole.add(number)


class _Listener:
    """Waits for the end of one group."""

    def __init__(self, group: Group, ended: Callable[[Group], None]) -> None:
        self._group = group
        self._ended = ended

    def ready(self) -> None:
        if not self._group.open:
            self._group.leave(self)
            self._ended(self._group)


EVERYTHING = Demand(max_age=MAX_AGE)
"""From the latest group on, late ones too."""
