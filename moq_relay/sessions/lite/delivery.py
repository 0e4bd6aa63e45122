"""What is measured of one group on its way to one viewer; of most groups nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from moq_relay.relay.group import Group
from moq_relay.relay.sampling import Times
from moq_relay.sessions.experience import CACHED, LOCAL, REMOTE

if TYPE_CHECKING:
    from moq_relay.sessions.lite.egress import Line


class Subscription(Protocol):
    """Whose group it is."""

    asked: float | None
    """When the viewer subscribed; None once it was shown something, and for a node."""
    of_node: bool
    """The viewer is another node, which takes the track for viewers of its own."""

    def stopped(self, stream: int) -> None:
        """The peer no longer reads the group on ``stream``."""

    def finished(self) -> None:
        """One of its streams was acknowledged to its end."""


class Delivery:
    """Takes the times of one group; stands between its stream and its owner, as an ``Owner``."""

    __slots__ = ("_kept", "_line", "_live", "_origin", "_owner", "_shown", "_subscribe", "_times")

    def __init__(self, line: Line, owner: Subscription, group: Group, subscribe: int) -> None:
        self._line = line
        self._owner = owner
        self._subscribe = subscribe
        self._live = group.open
        """Whether the viewer was there when the group ended."""
        self._kept = bool(group.frames) or not group.open
        """Whether some of it was here before the viewer was."""
        self._shown = False
        self._times: Times | None = None
        """Of the group, once all of it was handed over."""
        self._origin = ""

    # What the egress tells.

    def handed_over(self, group: Group, *, first: bool) -> None:
        """Bytes of the group are the engine's, perhaps those of its ``first`` frame all."""
        if self._shown or not first:
            return
        self._shown = True
        line, times = self._line, group.times
        experience, now = line.experience, line.clock()
        if times is not None and times.first is not None and not self._kept:
            experience.residence.observe(now - times.first)
        if self._owner.asked is not None:
            path = CACHED if self._kept else REMOTE if group.origin else LOCAL
            region = experience.region_of(group.origin if path == REMOTE else "")
            experience.first_object[path, region].observe(now - self._owner.asked)
            self._owner.asked = None

    def ended(self, group: Group) -> None:
        """All of the group is the engine's."""
        line, times = self._line, group.times
        if times is None or not self._live:
            return
        self._times, self._origin = times, group.origin
        line.experience.age[line.transport.binding].observe(group.age(line.clock()))
        if line.tell is not None and times.whole is not None and not group.origin:
            line.tell(self._subscribe, group.sequence, times.whole)

    # What the transport tells.

    def sent(self, group: Group) -> None:
        """The egress says it to the owner itself."""

    def stopped(self, stream: int) -> None:
        self._owner.stopped(stream)

    def finished(self) -> None:
        times = self._times
        if times is not None and times.whole is not None and not self._owner.of_node:
            line = self._line
            half = (line.transport.stats().rtt_seconds or 0.0) / 2
            region = line.experience.region_of(self._origin)
            # Two clocks that are a little apart may make it less than nothing.
            seconds = max(line.clock() - times.whole - half, 0.0)
            line.experience.delivery[region].observe(seconds)
        self._owner.finished()
