"""A rate with room for a burst."""

from __future__ import annotations


class Bucket:
    """Holds up to ``burst`` tokens and gains ``rate`` a second; it begins full.

    In any ``t`` seconds it gives at most ``burst + rate * t``, whatever was asked for.
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """Be full at ``now``, seconds of any clock that the calls go by too."""
        self._rate = rate
        self._burst = self._left = burst
        self._at = now

    def has(self, now: float) -> bool:
        """Whether there is a token at ``now``."""
        # A clock that went back gives nothing, and takes nothing.
        gained = max(0.0, now - self._at) * self._rate
        self._left = min(self._burst, self._left + gained)
        self._at = now
        return self._left >= 1.0

    def owe(self, tokens: int) -> None:
        """Take more than there may be: nothing is given until that has come in."""
        self._left -= tokens

    def take(self, now: float) -> bool:
        """Take one; False when there is none."""
        if not self.has(now):
            return False
        self._left -= 1.0
        return True
