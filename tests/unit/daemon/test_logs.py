"""Log lines: an event and its facts, and nothing that a peer says can pass for either."""

import io
import json
import logging
import sys

import pytest

from moq_relay.daemon.logs import setup


@pytest.fixture
def written():
    """A function that logs one record in a format and returns what was written."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def written(form, message, *args, level=logging.INFO, logger="moq_relay.sessions.host", **more):
        setup.configure("info", form, stream)
        logging.getLogger(logger).log(level, message, *args, **more)
        return stream.getvalue()

    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in setup.QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_text_is_a_line_with_a_moment_a_level_and_a_floor(written):
    line = written("text", "session opened peer=%s version=%s", "127.0.0.1:9", "moq-lite-05")

    moment, rest = line.split(" ", 1)
    assert moment.endswith("Z")
    assert moment[10] == "T"
    assert rest == "INFO sessions: session opened peer=127.0.0.1:9 version=moq-lite-05\n"


def test_json_has_the_event_and_every_fact_under_its_name(written):
    line = json.loads(
        written(
            "json", "subscribe refused broadcast=%s groups=%d reason=%s", "room/a", 3, "not found"
        )
    )

    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "moq_relay.sessions.host",
        "event": "subscribe refused",
        "broadcast": "room/a",
        "groups": 3,
        "reason": "not found",
    }


def test_a_fact_that_is_a_number_keeps_its_type_in_json(written):
    line = json.loads(written("json", "swept groups=%s seconds=%s full=%s of=5", 3, 0.5, True))

    assert line["groups"] == 3
    assert line["seconds"] == 0.5
    assert line["full"] is True
    assert line["of"] == "5"


def test_a_peer_cannot_forge_a_fact_or_a_line(written):
    name = "x level=error\nroot=yes"

    text = written("text", "announced broadcast=%s", name)
    as_json = written("json", "announced broadcast=%s", name).splitlines()[-1]

    assert text.count("\n") == 1
    assert "x level=error\\x0aroot=yes" in text
    assert json.loads(as_json)["broadcast"] == name
    assert "root" not in json.loads(as_json)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "character",
    ["\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u200b", "\ufeff", "\U000e0041", "\ud800"],
)
def test_a_peer_cannot_speak_to_the_terminal_or_turn_the_text_around(written, form, character):
    said = written(form, "announced broadcast=%s", f"a{character}b")

    assert character not in said
    assert said.isprintable() or said.rstrip("\n").isprintable()
    if form == "json":
        assert json.loads(said)["broadcast"] == f"a{character}b"


def test_a_fact_never_replaces_what_the_line_itself_says(written):
    line = json.loads(written("json", "odd level=%s", "made up"))

    assert line["level"] == "info"


def test_a_message_without_facts_is_an_event(written):
    assert json.loads(written("json", "100%% of it %s", "here"))["event"] == "100% of it here"


def test_quiet_libraries_and_lower_levels_are_not_written(written):
    assert written("text", "chatter", logger="quic") == ""
    assert written("text", "chatter", level=logging.DEBUG) == ""


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_trace_of_a_bug_is_kept(written, form):
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        said = written(form, "reader failed", level=logging.ERROR, exc_info=sys.exc_info())

    assert "RuntimeError: broken" in said
    if form == "json":
        assert said.count("\n") == 1
