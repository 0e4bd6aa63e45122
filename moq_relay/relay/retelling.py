"""A group that is here in part, and that another source tells from its beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moq_relay.errors import Internal, RequestError

if TYPE_CHECKING:
    from moq_relay.relay.feed import Feed
    from moq_relay.relay.group import Frame, Group


class Retelling:
    """What another source is given to fill when a group was cut off on its way; a ``GroupWriter``.

    A frame that is here already is compared and dropped, so that what is added continues nothing
    but its like: whoever completes the group has told every frame of it. A retelling that differs
    is given up; the group then waits for whoever else brings it, and breaks off if nobody does.
    """

    __slots__ = ("_at", "_caught_up", "_feed", "_group", "_over")

    def __init__(self, feed: Feed, group: Group, first: int) -> None:
        """Begin at the frame with index ``first``, which the group has or lacks next."""
        self._feed = feed
        self._group = group
        self._at = first - group.first
        """Which of the group's frames comes next; below 0 for such as the group skipped."""
        self._caught_up = False
        self._over = False

    @property
    def sequence(self) -> int:
        return self._group.sequence

    @property
    def frames(self) -> list[Frame]:
        return self._group.frames[: max(self._at, 0)]

    @property
    def open(self) -> bool:
        return self._group.open and not self._over

    def append(self, frame: Frame) -> None:
        if not self.open:
            return
        group, at = self._group, self._at
        self._at += 1
        if at < 0:
            return
        if at < len(group.frames):
            if group.frames[at].payload != frame.payload:
                self.abort(Internal(f"two sources tell group {group.sequence} differently"))
            return
        if not self._caught_up:
            self._caught_up = True
            self._feed.track.supply.overtaken(self._feed, group)
        group.bring(frame)

    def finish(self) -> None:
        if not self.open:
            return
        group = self._group
        if self._at != len(group.frames):
            self.abort(Internal(f"two sources end group {group.sequence} differently"))
            return
        self._over = True
        group.ahead = 0
        group.finish()

    def abort(self, error: RequestError) -> None:
        if self.open:
            self._over = True
            self._feed.track.supply.gave_up(self._feed, self._group, error)
