"""How far the other nodes are: the round trips of all sessions with them, by region."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Literal, NamedTuple, Protocol

from moq_relay.cluster.backoff import pause
from moq_relay.cluster.dialling import Dial, Link
from moq_relay.cluster.regions import ByRegion, Regions
from moq_relay.relay.histogram import Histogram
from moq_relay.sessions.context import Use
from moq_relay.sessions.lite.session import LiteSession

SAMPLE_SECONDS = 5.0

Method = Literal["quic", "probe"]
"""A session that is there for something else; one that is there to measure."""
METHODS: tuple[Method, ...] = ("quic", "probe")


class Session(Protocol):
    """What is measured."""

    @property
    def rtt_seconds(self) -> float | None:
        """Smoothed round trip; None before the first sample."""

    @property
    def latest_rtt_seconds(self) -> float | None:
        """The last sample by itself."""

    @property
    def silent_seconds(self) -> float:
        """How long nothing came from the other side."""

    def ping(self) -> None:
        """Make the other side answer."""


class Way(NamedTuple):
    """A session with a node."""

    node: str
    method: Method
    session: Session


class RoundTrips:
    """Samples every way each ``SAMPLE_SECONDS``, and has the next sample made by a ping."""

    def __init__(
        self,
        regions: Regions,
        *,
        came: Callable[[], Iterable[Way]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know no way that was dialled here.

        Args:
            regions: where nodes are.
            came: the ways that other nodes dialled, as they are now.
            clock: monotonic seconds.
        """
        self.samples = {method: ByRegion(regions, Histogram) for method in METHODS}
        self.current: dict[str, float] = {}
        """By region: the longest of the round trips that were measured last."""
        self._regions = regions
        self._came = came
        self._clock = clock
        self._dialled: dict[Session, Way] = {}
        self._looked = clock()
        regions.on_gone(lambda region: self.current.pop(region, None))

    def measured(self, dial: Dial, method: Method) -> Dial:
        """``dial``, whose sessions are measured while they last."""

        @asynccontextmanager
        async def dialled(
            url: str, target: str, use: Use, *, address: str | None = None
        ) -> AsyncIterator[LiteSession]:
            async with dial(url, target, use, address=address) as session:
                with self.known(Way(url, method, Link(session))):
                    yield session

        return dialled

    @contextmanager
    def known(self, way: Way) -> Iterator[None]:
        """Measure ``way`` until this context is left."""
        self._dialled[way.session] = way
        try:
            yield
        finally:
            del self._dialled[way.session]

    def ways(self) -> list[Way]:
        """Every way that there is now."""
        return [*self._came(), *self._dialled.values()]

    async def run(self) -> None:
        """Look again and again; ends only by cancellation."""
        while True:
            await pause(SAMPLE_SECONDS)
            self.turn()

    def turn(self) -> None:
        """Count one sample of each way that answered since the last turn, and ping them all."""
        self._regions.turn()
        since, self._looked = self._clock() - self._looked, self._clock()
        longest: dict[str, float] = {}
        for node, method, session in self.ways():
            region, rtt = self._regions.of(node), session.latest_rtt_seconds
            # What does not answer has an old sample, which says nothing of now.
            if region is not None and rtt is not None and session.silent_seconds < since:
                self.samples[method].at(region).observe(rtt)
                label = self._regions.label(region)
                longest[label] = max(rtt, longest.get(label, 0.0))
            session.ping()
        self.current |= longest
