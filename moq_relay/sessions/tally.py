"""What one session carried: plain numbers that its hot path adds to beside those of the node."""

from __future__ import annotations


class Tally:
    """Totals since the session began; they count what ``Counters`` counts for all of them."""

    __slots__ = (
        "broadcasts",
        "bytes_in",
        "bytes_out",
        "ended_here",
        "groups_in",
        "groups_out",
        "requests",
        "since",
        "skipped",
        "told",
    )

    def __init__(self, since: float = 0.0) -> None:
        self.since = self.told = since
        """Seconds by the origin's clock: when it began, and when it was last told of."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.groups_in = 0
        self.groups_out = 0
        self.skipped = 0
        """Groups that the peer was not given whole for their lateness."""
        self.broadcasts = 0
        """Paths that the peer began to announce."""
        self.requests = 0
        """Subscriptions and fetches of the peer."""
        self.ended_here = False
        """Whether this side ended the session."""
