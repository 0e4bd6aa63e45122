"""How a node is left without a gap: who is here is asked to go, publishers first, and waited for.

A node that drains says so to the others at once, and takes nobody new once ``settle`` is over. Who
was asked and has gone on elsewhere is let go, for clients keep the session that they left for a
while. The node is drained when nobody is left, or at the deadline, when the rest is cut off.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from moq_relay.cluster.backoff import pause
from moq_relay.daemon.clients import BOTH, PUBLISHER

LOOK_SECONDS = 0.25
"""How often those who are left are counted."""
IDLE_SECONDS = 3600.0
WAVES = 10
WAVE_SECONDS = 0.5
"""Between two waves, so that those who go do not all arrive elsewhere in one moment."""
WAVE_LEAST = 25
"""Sessions that are asked at a time at least."""
SPENT_SECONDS = 1.0
"""How long nothing may have been under way in a session before it is ended for that."""
TELLING = 1 / 3
"""Share of the time in which all are asked: who is asked late can still go in peace."""

LINK = "link"
"""Another node, while it takes tracks from here: it leaves when it has them from elsewhere."""

State = Literal["serving", "settling", "draining", "drained"]

log = logging.getLogger(__name__)


class Crowd(Protocol):
    """The sessions that have to go."""

    def present(self) -> Mapping[int, str]:
        """What each does here, by its number: ``ROLES``, or ``link``, which goes by itself."""

    def ask(self, number: int) -> None:
        """Ask one of those that were ``present`` last to go elsewhere."""

    def spent(self, number: int) -> bool:
        """Whether one of those needs its session no more, and nobody needs it for that."""

    def let_go(self, number: int) -> None:
        """End the session of one who was asked and is ``spent``."""

    def cut_off(self) -> None:
        """End all that are left."""


class Drain:
    """Whether this node serves, and if not, how far it has come. ``turn`` does what is due."""

    def __init__(
        self,
        crowd: Crowd,
        *,
        clock: Callable[[], float],
        settle: float,
        say: Callable[[bool], None],
        leave: Callable[[], None],
    ) -> None:
        """Serve.

        Args:
            crowd: who has to go.
            clock: seconds.
            settle: how long newcomers are still taken, for they come by what is cached elsewhere.
            say: tells the cluster that this node drains, or does not any more.
            leave: called once it is drained and is not to stay.
        """
        self.state: State = "serving"
        self.leaves = False
        """Whether the process ends once it is drained."""
        self.final = False
        """Whether nobody can take that back."""
        self._crowd = crowd
        self._clock = clock
        self._settle = settle
        self._say = say
        self._leave = leave
        self._deadline = self._settled = self._next_wave = 0.0
        self._wave_seconds, self._wave_size = WAVE_SECONDS, WAVE_LEAST
        self._asked: set[int] = set()
        self._spent: dict[int, float] = {}
        """Of those asked, who has nothing under way, and since when."""
        self._wake = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether nobody new is taken."""
        return self.state in {"draining", "drained"}

    @property
    def sessions(self) -> int:
        """How many have to go; 0 while it serves."""
        return 0 if self.state == "serving" else len(self._crowd.present())

    @property
    def seconds_left(self) -> float:
        """Until those who are left are cut off."""
        under_way = self.state in {"settling", "draining"}
        return max(0.0, self._deadline - self._clock()) if under_way else 0.0

    def begin(self, deadline: float, *, leave: bool, final: bool = False) -> None:
        """Be drained within ``deadline`` seconds; asked again, the sooner end counts.

        Args:
            deadline: seconds from now.
            leave: end the process then.
            final: and do not let it be undone.
        """
        now = self._clock()
        self.leaves, self.final = self.leaves or leave, self.final or final
        if self.state in {"serving", "drained"}:
            self.state = "settling"
            self._asked.clear()
            self._spent.clear()
            # At once, also where newcomers are still taken: they come by what others believe.
            self._say(True)
            self._deadline = now + deadline
            self._settled = now + min(self._settle, deadline / 2)
            log.info("drain begun deadline=%g leave=%s", deadline, str(self.leaves).lower())
        else:
            self._deadline = min(self._deadline, now + deadline)
        self._wake.set()

    def undo(self) -> bool:
        """Serve again; False when it does already, or the process is as good as gone."""
        gone = self.final or (self.leaves and self.state == "drained")
        if gone or self.state == "serving":
            return False
        self.state, self.leaves = "serving", False
        self._say(False)
        log.info("drain undone")
        self._wake.set()
        return True

    def turn(self) -> float | None:
        """Do what is due; seconds until more may be, or None: when ``begin`` was called again."""
        if self.state in {"serving", "drained"}:
            return None
        now, present = self._clock(), self._crowd.present()
        if not present or now >= self._deadline:
            self._end(len(present))
            return None
        if self.state == "settling":
            if now < self._settled:
                return min(LOOK_SECONDS, self._settled - now)
            self.state = "draining"
            self._plan(now, len(present))
        if now >= self._next_wave:
            self._wave(present)
            self._next_wave = now + self._wave_seconds
        self._let_go(now, present)
        until = min(self._next_wave, self._deadline) - now
        return min(LOOK_SECONDS, max(0.0, until))

    async def run(self) -> None:
        """Take turns until cancelled."""
        while True:
            seconds = self.turn()
            await pause(IDLE_SECONDS if seconds is None else seconds, self._wake)
            self._wake.clear()

    def _plan(self, now: float, count: int) -> None:
        self._next_wave = now
        self._wave_seconds = min(WAVE_SECONDS, (self._deadline - now) * TELLING / WAVES)
        self._wave_size = max(WAVE_LEAST, math.ceil(count / WAVES))

    def _wave(self, present: Mapping[int, str]) -> None:
        """Ask some who were not asked yet; viewers only once every publisher was."""
        waiting = {
            number: role
            for number, role in present.items()
            if role != LINK and number not in self._asked
        }
        publishers = [number for number, role in waiting.items() if role in {PUBLISHER, BOTH}]
        for number in (publishers or list(waiting))[: self._wave_size]:
            self._asked.add(number)
            self._crowd.ask(number)

    def _let_go(self, now: float, present: Mapping[int, str]) -> None:
        for number in self._asked.intersection(present):
            if not self._crowd.spent(number):
                self._spent.pop(number, None)
            elif now - self._spent.setdefault(number, now) >= SPENT_SECONDS:
                self._crowd.let_go(number)

    def _end(self, left: int) -> None:
        self.state = "drained"
        log.info("drained sessions_cut_off=%d", left)
        if left:
            self._crowd.cut_off()
        if self.leaves:
            self._leave()
