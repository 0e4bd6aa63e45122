"""Paths are compared by segment."""

import pytest

from moq_relay.errors import WireError
from moq_relay.relay.path import ancestors, below, covers, hidden, join, normalise


@pytest.mark.parametrize(
    ("spelled", "path"),
    [
        ("", ""),
        ("/", ""),
        ("///", ""),
        ("room", "room"),
        ("/room/", "room"),
        ("room//alice", "room/alice"),
        ("//room/alice//", "room/alice"),
    ],
)
def test_slashes_that_say_nothing_are_dropped(spelled, path):
    assert normalise(spelled) == path


def test_a_path_has_at_most_32_segments():
    assert normalise("/".join("a" * 32)) == "/".join("a" * 32)
    assert normalise("//".join("a" * 32)) == "/".join("a" * 32)

    with pytest.raises(WireError):
        normalise("/".join("a" * 33))


@pytest.mark.parametrize(
    ("prefix", "path", "matches"),
    [
        ("", "", True),
        ("", "room", True),
        ("room", "room", True),
        ("room", "room/a", True),
        ("roo", "room", False),
        ("roo", "room/a", False),
        ("room/a", "room", False),
        ("room/a", "room/ab", False),
        ("room", "", False),
    ],
)
def test_a_prefix_covers_whole_segments_only(prefix, path, matches):
    assert covers(prefix, path) is matches


def test_what_follows_a_prefix_joins_it_again():
    for prefix, path in [("", "a/b"), ("a", "a/b"), ("a/b", "a/b"), ("", "")]:
        assert join(prefix, below(prefix, path)) == path


def test_a_path_below_an_empty_root_or_the_root_itself_gains_no_slash():
    assert join("", "a") == "a"
    assert join("a", "") == "a"
    assert join("a", "b") == "a/b"
    assert join("", "") == ""


def test_a_segment_that_begins_with_a_dot_is_hidden_wherever_it_stands():
    assert hidden(".secret")
    assert hidden("room/.secret/a")
    assert not hidden("room/a.b")
    assert not hidden("")


def test_whatever_may_cover_a_path_is_tried_from_the_longest_to_the_root():
    assert ancestors("a/b/c") == ["a/b/c", "a/b", "a", ""]
    assert ancestors("") == [""]
