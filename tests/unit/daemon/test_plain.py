"""Names that publishers chose: shown for what they are, and nothing else."""

import pytest

from moq_relay.daemon.logs.plain import LONGEST, plain, short


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("room/alice", "room/alice"),
        ("Zürich/日本/🎥", "Zürich/日本/🎥"),
        ("[red]x[/]", "[red]x[/]"),
        ("<img onerror=1>", "<img onerror=1>"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc\x7f\x9b", "a\\x0ab\\x09c\\x7f\\x9b"),
        ("\u202egnp", "\\u202egnp"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_is_not_simply_shown_is_escaped(name, shown):
    assert plain(name) == shown
    assert plain(name).isprintable()


def test_a_long_name_has_a_gap_in_the_middle():
    name = "a" * 600 + "z" * 400

    assert short(name) == "a" * 59 + " … " + "z" * 59
    assert len(short(name)) <= LONGEST + 1
    assert short("a" * LONGEST) == "a" * LONGEST
