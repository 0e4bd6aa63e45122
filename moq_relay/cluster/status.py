"""What a registry is told at the start, and what it says of how it stands."""

from __future__ import annotations

from dataclasses import dataclass

from moq_relay.cluster.road import ServerFacts
from moq_relay.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """Times of the registry, in seconds.

    Raises:
        ConfigError: a node could lose its lease while one renewal is tried again.
    """

    renew: float = 2.0
    command_timeout: float = 2.0
    lease: float = 8.0
    """How long a membership and its claims live without renewal."""
    audit: float = 30.0
    """In which every shard is audited once."""
    coalesce: float = 0.005
    """How long after a write the next waits for more changes to go along."""
    shards: int = 16
    """How many, until the registry says how many there are."""

    @property
    def sweep(self) -> float:
        """How often what is over is looked for: the dead go within a second of their lease."""
        return min(self.lease / 8, 0.5)

    def __post_init__(self) -> None:
        if self.renew + 2 * self.command_timeout > self.lease:
            raise ConfigError(
                f"renew ({self.renew:g} s) + 2 x command timeout ({self.command_timeout:g} s) "
                f"must not exceed the lease ({self.lease:g} s)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryStatus:
    """How it stands, for /ready and the metrics."""

    connected: bool
    isolated: str | None
    """Why this node makes no promises to others now; None when it does."""
    staleness_seconds: float
    """Since everything here was last proven."""
    generation: int | None
    facts: ServerFacts
    members: int
    events: int
    epoch_changes: int
    gaps: int
    deltas: int
    snapshots: int
    refused: int
    registrations: int
    fenced: int
    reasserted: int
    repaired_missing: int
    repaired_ghost: int
    reaped: int
    stale_routes: int
    lost: int
    """How often the road went down."""
    unknown_lines: int
    unknown_fields: int
    malformed: int
    clock_error_seconds: float | None
