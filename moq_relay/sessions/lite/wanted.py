"""What a publisher is asked for, as its version says it."""

from __future__ import annotations

from moq_relay.relay.feed import Demand
from moq_relay.wire.lite import messages as wire


def subscription(
    number: int, path: str, track: str, demand: Demand, max_age: int
) -> wire.Subscribe:
    """The request for a track; ``path`` as on its wire, ``max_age`` in milliseconds."""
    return wire.Subscribe(
        number,
        path,
        track,
        demand.priority,
        max_age=max_age,
        start=_start(demand),
        floor=_floor(demand),
        end=demand.end,
    )


def change(demand: Demand, max_age: int) -> wire.SubscribeUpdate:
    """The same for what is subscribed to already."""
    return wire.SubscribeUpdate(
        demand.priority,
        max_age=max_age,
        start=_start(demand),
        floor=_floor(demand),
        end=demand.end,
    )


def _start(demand: Demand) -> int | None:
    """The floor of who wants the past above it, where the version can only say a start."""
    if demand.start is None and demand.max_age <= 0:
        return None
    return demand.begin


def _floor(demand: Demand) -> int:
    """The start asked for, where the version can only say below what nothing is wanted."""
    return demand.floor if demand.start is None else demand.start
