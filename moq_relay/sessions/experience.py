"""How viewers fare: what sessions measure on a sample of groups, as plain numbers for metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from moq_relay.relay.histogram import Histogram

LOCAL, CACHED, REMOTE = PATHS = ("local", "cached", "remote")
"""Where a viewer's first object came from: a publisher of this node, what was here, another node"""


FIRST = (0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.22, 0.33, 0.5, 0.75, 1.0, 2.5, 10.0)
"""Some of ``LATENCY``: there is one for each path and region, and a person waits."""
AGES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds in seconds; the newest group is 0 old."""


class Experience:
    """Histograms in seconds. Regions are those of nodes; of this node for its own publishers."""

    def __init__(self) -> None:
        self.region_of: Callable[[str], str] = lambda _node: ""
        """The region of a node by its URL; of this one for the empty URL."""
        self.residence = Histogram()
        """First frame whole → handed to the engine of a viewer or of another node."""
        self.first_object: defaultdict[tuple[str, str], Histogram] = defaultdict(
            lambda: Histogram(FIRST)
        )
        """SUBSCRIBE read → first frame handed over, by path and region."""
        self.delivery: defaultdict[str, Histogram] = defaultdict(Histogram)
        """End of a group at its publisher's node → acknowledged, by that node's region."""
        self.age: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(AGES))
        """How long a newer group had existed when the last byte was handed over, by binding."""
        self.client_rtt: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        """Round trips of clients' sessions, by binding and role."""
        self.skipped: Counter[tuple[str, str]] = Counter()
        """Groups that viewers were not given whole for their lateness, by binding and reason."""

    def forget(self, region: str) -> None:
        """Nobody is in ``region`` any more: let go of what was measured of it."""
        self.delivery.pop(region, None)
        for path in PATHS:
            self.first_object.pop((path, region), None)
