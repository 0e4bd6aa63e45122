"""The demo's scene: double pendulums let go a hair's breadth apart, and a frame that says where.

Chaotic motion, so that what a viewer sees was computed here a moment ago and nowhere else.
"""

import math
import struct

COUNT = 40
APART = 0.0004
"""Radians between one pendulum and the next when they are let go."""
GRAVITY = 9.81
STEP = 1 / 60
SECONDS = 45.0
"""Until they are let go again."""
TURN = 65536 / (2 * math.pi)

State = tuple[float, float, float, float]
"""Angles of the upper and the lower arm from hanging, and their speeds, radians and seconds."""


class Pendulums:
    """All of them, in time."""

    def __init__(self) -> None:
        self.release = 0
        """How often they have been let go before, modulo 256."""
        self.elapsed = 0.0
        """Seconds since they were let go."""
        self._states = _at_rest(0)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, in steps that are small enough to conserve energy."""
        self.elapsed += seconds
        if self.elapsed >= SECONDS:
            self.elapsed = 0.0
            self.release = (self.release + 1) % 256
            self._states = _at_rest(self.release)
            return
        steps = max(1, round(seconds / STEP))
        for _ in range(steps):
            self._states = [_step(state, seconds / steps) for state in self._states]

    def frame(self) -> bytes:
        """Release, count, then two angles of 16 bits each, a full turn being 65536."""
        angles = (
            round(angle * TURN) & 0xFFFF
            for upper, lower, _, _ in self._states
            for angle in (upper, lower)
        )
        return struct.pack(f">BB{2 * COUNT}H", self.release, COUNT, *angles)


def _at_rest(release: int) -> list[State]:
    """Another start each time, and always from high up."""
    upper = 1.7 + 0.35 * math.sin(release * 2.4)
    lower = 2.3 + 0.6 * math.cos(release * 1.7)
    return [(upper + index * APART, lower + index * APART, 0.0, 0.0) for index in range(COUNT)]


def _pull(state: State) -> State:
    """Speeds and accelerations of two arms of equal length and mass."""
    upper, lower, fast, slow = state
    apart = upper - lower
    sine, cosine = math.sin(apart), math.cos(apart)
    mass = 1 + sine * sine
    below = GRAVITY * math.sin(lower)
    above = GRAVITY * math.sin(upper)
    first = (cosine * (below - fast * fast * sine) - slow * slow * sine - 2 * above) / mass
    second = (
        2 * (cosine * above - below + fast * fast * sine) + slow * slow * sine * cosine
    ) / mass
    return fast, slow, first, second


def _step(state: State, seconds: float) -> State:
    """One step of the classic method of Runge and Kutta."""
    one = _pull(state)
    two = _pull(_moved(state, one, seconds / 2))
    three = _pull(_moved(state, two, seconds / 2))
    four = _pull(_moved(state, three, seconds))
    mean = tuple(
        (a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(one, two, three, four, strict=True)
    )
    return _moved(state, (mean[0], mean[1], mean[2], mean[3]), seconds)


def _moved(state: State, pull: State, seconds: float) -> State:
    return (
        state[0] + seconds * pull[0],
        state[1] + seconds * pull[1],
        state[2] + seconds * pull[2],
        state[3] + seconds * pull[3],
    )
