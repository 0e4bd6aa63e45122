"""How late this node hears of what others have."""

from __future__ import annotations

from moq_relay.cluster.records import Claim
from moq_relay.cluster.regions import ByRegion, Regions
from moq_relay.cluster.registry import Registry
from moq_relay.relay.histogram import Histogram

CLOCK_ERROR_SECONDS = 0.010
"""Largest bound of the error of this node's estimate of Redis' clock with which it is measured."""
NEWS_SECONDS = 30.0
"""A claim that is older is no news: its node wrote it anew."""


class News:
    """From the moment that a claim is dated at to its event here, on Redis' clock."""

    def __init__(self, registry: Registry, regions: Regions) -> None:
        self.seconds = ByRegion(regions, Histogram)
        """By the region of the node that has it."""
        self._registry = registry
        self._regions = regions

    def heard(self, claim: Claim) -> None:
        """A claim is about to be applied; one of this node, or that is known, is no news."""
        registry = self._registry
        error = registry.redis_clock.error_seconds
        if claim.node == registry.node or error is None or error > CLOCK_ERROR_SECONDS:
            return
        for view in registry.claims(claim.path):
            if view.claim.node == claim.node and view.claim.since_us >= claim.since_us:
                return
        region, age = self._regions.of(claim.node), registry.redis_now() - claim.since
        if region is not None and age < NEWS_SECONDS:
            self.seconds.at(region).observe(max(0.0, age))
