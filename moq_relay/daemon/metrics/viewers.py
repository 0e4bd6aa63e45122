"""The metrics of viewers: how far away they are, how late what they get is, and what they miss."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TypeVar

from moq_relay.daemon.clients import ROLES
from moq_relay.daemon.metrics.readings import (
    C,
    Family,
    G,
    H,
    Readings,
    Sample,
    by_label,
    from_zero,
    one,
)
from moq_relay.relay.histogram import LATENCY, Histogram
from moq_relay.sessions.experience import AGES, CACHED, FIRST, LOCAL, REMOTE

TRANSPORTS = ("quic", "webtransport")
SKIPS = {
    "Evicted": "evicted",
    "Old": "old",
    "Partial": "partial",
    "TooFarBehind": "too_far_behind",
}
"""Why a group is skipped, as sessions say it → its label."""
SKIP_MEANINGS = (
    "`old`: a newer group was there for longer than the viewer wanted to wait; `too_far_behind`: "
    "its backlog was full; `evicted`: the cache had no room for what it still read; `partial`: the "
    "start was missing, which its version cannot say"
)

T = TypeVar("T")


def _histograms(
    counted: Mapping[T, Histogram], known: Iterable[T], bounds: Sequence[float] = LATENCY
) -> dict[T, Histogram]:
    """What was observed, and nothing yet for what is known."""
    return {label: Histogram(bounds) for label in known if label not in counted} | dict(counted)


def _regions(node: Readings) -> list[str]:
    return [node.region] if node.cluster is None else node.cluster.regions.labels()


def _delivery(node: Readings) -> list[Sample]:
    found = _histograms(node.experience.delivery, _regions(node))
    return [((region,), histogram) for region, histogram in found.items()]


def _first_object(node: Readings) -> list[Sample]:
    known = [(LOCAL, node.region), (CACHED, node.region)]
    known += [(REMOTE, region) for region in _regions(node)]
    return list(_histograms(node.experience.first_object, known, FIRST).items())


def _backlog(node: Readings) -> list[Sample]:
    waiting = Counter[str]()
    for session in node.sessions():
        waiting[session.transport.binding] += len(session.scheduler)
    return by_label(waiting, TRANSPORTS)


def _skipped(node: Readings) -> list[Sample]:
    known = product(TRANSPORTS, SKIPS.values())
    counted = {(b, SKIPS[name]): count for (b, name), count in node.experience.skipped.items()}
    return list(from_zero(counted, known).items())


def _age(node: Readings) -> list[Sample]:
    found = _histograms(node.experience.age, TRANSPORTS, AGES)
    return [((binding,), histogram) for binding, histogram in found.items()]


VIEWERS: tuple[Family, ...] = (
    Family(
        "moq_relay_client_rtt_seconds",
        H,
        "Round trips of clients' sessions, a sample of each every 10 s, by what the client does.",
        lambda node: list(
            _histograms(node.experience.client_rtt, product(TRANSPORTS, ROLES)).items()
        ),
        ("transport", "role"),
    ),
    Family(
        "moq_relay_delivery_latency_seconds",
        H,
        "From the end of a group at its publisher's relay, which is in `peer_region`, until a "
        "viewer here has acknowledged all of it, less half its round trip. Of one group in 16, or "
        "one a second; what was here before the viewer does not count, nor a group of another "
        "relay while the two clocks may differ by more than 10 ms.",
        _delivery,
        ("peer_region",),
    ),
    Family(
        "moq_relay_residence_seconds",
        H,
        "From the last byte of a group's first frame until that frame was handed over for a "
        "viewer, or for another relay. Of one group in 16, or one a second.",
        lambda node: one(node.experience.residence),
    ),
    Family(
        "moq_relay_first_object_seconds",
        H,
        "From a viewer's SUBSCRIBE until the first frame was handed over: of a group that was "
        "here (`cached`), or one that came later from a publisher of this relay (`local`) or over "
        "a link (`remote`) from a relay in `peer_region`.",
        _first_object,
        ("path", "peer_region"),
    ),
    Family(
        "moq_relay_backlog_groups",
        G,
        "Groups that wait for room in their sessions now.",
        _backlog,
        ("transport",),
    ),
    Family(
        "moq_relay_groups_skipped",
        C,
        f"Groups that viewers or other relays were not given whole. {SKIP_MEANINGS}.",
        _skipped,
        ("transport", "reason"),
    ),
    Family(
        "moq_relay_group_age_seconds",
        H,
        "How long a newer group had been there when the last byte of a group was handed over; 0 "
        "for the newest. Of one group in 16, or one a second.",
        _age,
        ("transport",),
    ),
)
