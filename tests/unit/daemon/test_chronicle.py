"""What a node remembers of what happened lately."""

from dataclasses import replace

import pytest

from moq_relay.daemon.chronicle import KEPT, NEWS_SECONDS, Chronicle, Overheard
from tests.unit.cluster.fakes import NOW, FakeRegistry

A, B = "https://a.example/", "https://b.example/"


class Listener:
    """Counts what it hears."""

    def __init__(self):
        self.heard = []

    def link_changed(self, node):
        self.heard.append(node)

    def wanted(self, node):
        return node == A

    def routed(self, path, node):
        return path == "room"

    def refused(self, path, node, error):
        return False

    def is_lost(self, path, node):
        return True


@pytest.fixture
def registry():
    return FakeRegistry()


@pytest.fixture
def chronicle(registry):
    moments = iter(range(1000, 9999))
    chronicle = Chronicle(registry, lambda: next(moments))
    registry.watch(chronicle)
    return chronicle


def told(chronicle, *kinds):
    """Newest first: what was said of whom."""
    events = chronicle.newest()
    return [(event.about, event.said) for event in events if not kinds or event.kind in kinds]


def test_a_member_comes_changes_and_goes(registry, chronicle):
    registry.join(A, instance="one")
    view = registry.members[A]
    registry.members[A] = replace(view, state="draining")
    chronicle.members_changed(A)
    chronicle.members_changed(A)
    registry.join(A, instance="two")
    registry.leave(A)

    assert told(chronicle) == [
        (A, "left"),
        (A, "is another process now"),
        (A, "is draining"),
        (A, "joined"),
    ]


def test_a_broadcast_appears_moves_and_goes(registry, chronicle):
    registry.put("room", A, NOW)
    registry.put("room", B, NOW + 1)
    registry.drop("room", B)
    registry.drop("room", A)

    assert told(chronicle, "broadcast") == [
        ("room", "nobody has it any more"),
        ("room", f"at {A}"),
        ("room", f"at {B}, {A}"),
        ("room", f"at {A}"),
    ]
    assert chronicle.changes == 4


def test_a_claim_that_is_read_again_is_no_event(registry, chronicle):
    registry.put("room", A, NOW - NEWS_SECONDS - 1)

    assert told(chronicle, "broadcast") == []
    assert chronicle.changes == 1


def test_a_link_is_told_of_when_its_state_changes(chronicle):
    for state in ("idle", "up", "up", "suspect", "up"):
        chronicle.link_changed(A, state)
    chronicle.link_changed(B, "up")

    assert told(chronicle, "link") == [
        (B, "link up"),
        (A, "link up"),
        (A, "link suspect, nothing came for a while"),
        (A, "link up"),
    ]


def test_many_events_of_one_kind_push_out_no_other(registry, chronicle):
    chronicle.failed_over("room", A, "lost")
    registry.join(A)
    for number in range(10 * KEPT):
        registry.put(f"room/{number}", A, NOW)

    kept = chronicle.newest(10_000)
    assert len(kept) == KEPT + 2
    assert {event.kind for event in kept} == {"failover", "node", "broadcast"}
    assert [event.at for event in kept] == sorted((event.at for event in kept), reverse=True)


def test_who_chooses_routes_hears_of_links_after_they_are_noted():
    listener, noted = Listener(), []
    overheard = Overheard(listener, lambda node: noted.append((node, list(listener.heard))))
    overheard.link_changed(A)

    assert noted == [(A, [])]
    assert listener.heard == [A]
    assert overheard.wanted(A)
    assert not overheard.wanted(B)
    assert overheard.routed("room", A)
    assert overheard.is_lost("room", A)
    assert overheard.refused("room", A, ValueError()) is False
