"""In which order a node tries the claims of a path: a pure function, the same on every node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, NamedTuple

HYSTERESIS = 0.8
"""A node takes the place of the one in use with less than this share of its round trip only."""

LinkState = Literal["idle", "dialling", "up", "suspect", "down"]
"""``idle``: dialled when it is needed. ``dialling``: others are asked until it is up."""

ClaimState = Literal["live", "stale", "draining", "doubtful", "lost", "denied"]
"""``doubtful``: published here, and the publisher does not answer or is about to go. ``lost``: its
owner has lost the publisher. ``denied``: its owner says that it has no such path. The last two stay
until the claim changes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A claim with all that its place depends on."""

    node: str
    since: float
    """Seconds on the registry's clock: the newest publisher goes first."""
    state: ClaimState = "live"
    region: str = ""
    local: bool = False
    """The publisher is connected to this node."""


@dataclass(frozen=True, slots=True)
class LinkView:
    """What is known of the way to one node."""

    rtt_seconds: float | None = None
    state: LinkState = "idle"


IDLE = LinkView()


class Placed(NamedTuple):
    """One candidate at its place."""

    candidate: Candidate
    reason: str
    """Why it is not further up; for the first, why it is first."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One candidate for a path, at its place."""

    path: str
    node: str
    region: str
    since: float
    state: str
    link: str
    rtt_seconds: float | None
    local: bool
    reason: str
    """Why it is not further up; for the first, why it is first."""
    in_use: bool


def reachable(candidate: Candidate, link: LinkView) -> bool:
    """Whether asking it is of any use now."""
    if candidate.state in {"lost", "denied"}:
        return False
    return candidate.local or link.state not in {"down", "dialling"}


def sound(candidate: Candidate, link: LinkView) -> bool:
    """Whether nothing speaks against it."""
    return candidate.state == "live" and (candidate.local or link.state != "suspect")


def place(
    path: str,
    candidates: Sequence[Candidate],
    *,
    region: str,
    links: Mapping[str, LinkView],
    current: str | None = None,
) -> list[Placed]:
    """Order the candidates of a path, best first.

    What can be reached goes first, then what nothing speaks against, then the newest publisher, at
    equal age the local one, then the same region, then the shorter round trip (the node in use
    keeps its place unless another is clearly nearer), then a hash that all nodes share.

    Args:
        path: of the broadcast.
        candidates: its claims, one a node, in any order.
        region: where this node is.
        links: what is known of the ways to the nodes; those left out are idle.
        current: the node in use, if any.
    """
    aspects = {
        one: tuple(_aspects(path, one, region, links.get(one.node, IDLE), current))
        for one in candidates
    }
    ordered = sorted(
        candidates, key=lambda one: [aspect.value for aspect in aspects[one]], reverse=True
    )
    placed = []
    for index, one in enumerate(ordered):
        other = ordered[index - 1] if index else ordered[min(1, len(ordered) - 1)]
        placed.append(Placed(one, _reason(aspects[one], aspects[other])))
    return placed


class _Aspect(NamedTuple):
    """One thing that a place depends on: larger is better."""

    value: float | bytes
    better: str
    worse: str


def _aspects(
    path: str, one: Candidate, region: str, link: LinkView, current: str | None
) -> Iterator[_Aspect]:
    fault = "its link is" if one.state not in {"lost", "denied"} else "its owner says it is"
    state = link.state if one.state not in {"lost", "denied"} else one.state
    yield _Aspect(reachable(one, link), "it can be reached", f"{fault} {state}")
    doubt = f"its claim is {one.state}" if one.state != "live" else f"its link is {link.state}"
    yield _Aspect(sound(one, link), "nothing speaks against it", doubt)
    yield _Aspect(one.since, "the newest publisher", "an older publisher")
    yield _Aspect(one.local, "published here", "published elsewhere")
    yield _Aspect(one.region == region, "the same region", "another region")
    rtt = float("inf") if link.rtt_seconds is None else link.rtt_seconds
    kept = rtt * HYSTERESIS if one.node == current else rtt
    yield _Aspect(-kept, "the shorter round trip", "a longer round trip")
    digest = blake2b(f"{path}\n{one.node}".encode(), digest_size=8).digest()
    yield _Aspect(digest, "first by a hash of path and node", "later by a hash of path and node")


def _reason(mine: Sequence[_Aspect], others: Sequence[_Aspect]) -> str:
    """The first difference between a candidate and its neighbour, in words."""
    for one, other in zip(mine, others, strict=True):
        if one.value != other.value:
            # Mixed types never meet: the same aspect of two candidates is compared.
            return one.better if one.value > other.value else one.worse  # type: ignore[operator]
    return "the only claim"
