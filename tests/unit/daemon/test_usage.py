"""Lines of sessions: totals once a minute and at the end, with who it was and why it ended."""

import json
from types import SimpleNamespace

import pytest

from moq_relay.daemon.logs.usage import AT_ONCE, INTERIM_SECONDS, Ledger, did, ending
from moq_relay.relay.access import Access, Holder
from moq_relay.sessions.lite import codes
from moq_relay.sessions.tally import Tally
from moq_relay.sessions.transport import TransportStats
from tests.support.node import Clock

ODD = 'ä"b\n{"event": "session"}\u202e'


class Session:
    """As much of one as a line looks at."""

    def __init__(self, number=1, *, access=None, farewell=(0, ""), since=1000.0, **more):
        self.number = number
        self.tally = Tally(since)
        for name in ("broadcasts", "requests", "ended_here"):
            setattr(self.tally, name, more.pop(name, getattr(self.tally, name)))
        self.farewell = farewell
        self.version = SimpleNamespace(name="moq-lite-05")
        self.opening = SimpleNamespace(
            dialled=more.pop("dialled", False), granted=more.pop("granted", True)
        )
        self.publisher = SimpleNamespace(access=access or Access(), viewing=False)
        self.subscriber = SimpleNamespace(publishing=False)
        self.transport = SimpleNamespace(
            binding="quic",
            peer="203.0.113.77:9",
            stats=lambda: TransportStats(more.get("rtt", 0.02), 0, 0, 0),
        )


class Sink:
    """Keeps the lines."""

    wanted = True

    def __init__(self):
        self.written = []

    def put(self, line):
        self.written.append(line)

    @property
    def lines(self):
        return [json.loads(line) for line in self.written]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sink():
    return Sink()


def test_a_line_at_the_end_has_the_totals_and_who_it_was(sink, clock):
    ledger = Ledger(sink, clock, addresses="prefix", node="https://eu/", region="eu-west")
    access = Access("acme/x", holder=Holder("acme", "a" * 32, "b" * 32))
    session = Session(7, access=access, farewell=(0, "bye"), requests=2)
    session.tally.bytes_out, session.tally.groups_out, session.tally.skipped = 1000, 3, 1
    clock.now += 12.5

    ledger.ended(session)

    (line,) = sink.lines
    assert line.pop("time").endswith("Z")
    assert line.pop("id").endswith("-7")
    assert line == {
        "event": "session",
        "interim": False,
        "node": "https://eu/",
        "region": "eu-west",
        "tenant": "acme",
        "token": "a" * 32,
        "subject": "b" * 32,
        "path": "/acme/x",
        "role": "viewer",
        "transport": "quic",
        "version": "moq-lite-05",
        "address": "203.0.113.0/24",
        "seconds": 12.5,
        "bytes_in": 0,
        "bytes_out": 1000,
        "groups_in": 0,
        "groups_out": 3,
        "groups_skipped": 1,
        "broadcasts": 0,
        "requests": 2,
        "rtt_seconds": 0.02,
        "ended_by": "peer",
        "reason": "no_error",
        "code": 0,
        "text": "bye",
    }


def test_a_name_that_a_user_chose_is_inside_its_line(sink, clock):
    session = Session(access=Access(ODD, holder=Holder(ODD)), farewell=(0, ODD * 100))

    Ledger(sink, clock).ended(session)

    (line,) = sink.written
    assert "\n" not in line
    assert "\u202e" not in line
    assert "ä" in line
    assert line.isprintable()
    assert json.loads(line)["tenant"] == ODD
    assert json.loads(line)["path"] == f"/{ODD}"
    assert len(json.loads(line)["text"]) == 200


def test_totals_are_told_once_a_minute_while_a_session_lasts(sink, clock):
    ledger, session = Ledger(sink, clock), Session()

    for second in range(1, 150):
        clock.now += 1.0
        session.tally.bytes_in += 10
        ledger.turn([session])
        assert len(sink.written) == second // INTERIM_SECONDS

    assert [(line["interim"], line["bytes_in"], line["seconds"]) for line in sink.lines] == [
        (True, 600, 60.0),
        (True, 1200, 120.0),
    ]
    assert "reason" not in sink.lines[0]
    assert sink.lines[0]["id"] == sink.lines[1]["id"]


def test_a_crowd_that_came_at_once_is_told_of_in_several_turns(sink, clock):
    sessions = [Session(number) for number in range(2 * AT_ONCE + 1)]
    ledger = Ledger(sink, clock)
    clock.now += INTERIM_SECONDS

    told = []
    for _ in range(4):
        ledger.turn(sessions)
        told.append(len(sink.written))

    assert told == [AT_ONCE, 2 * AT_ONCE, 2 * AT_ONCE + 1, 2 * AT_ONCE + 1]
    assert len({line["id"] for line in sink.lines}) == len(sessions)


def test_what_fails_in_a_line_does_not_end_the_relay(sink, clock, caplog):
    session = Session()
    del session.version

    Ledger(sink, clock).ended(session)

    assert sink.written == []
    assert "session line failed session=1" in caplog.text


@pytest.mark.parametrize(
    ("session", "role"),
    [
        (Session(broadcasts=1), "publisher"),
        (Session(requests=1), "viewer"),
        (Session(broadcasts=1, requests=1), "both"),
        (Session(access=Access(subscribe=())), "publisher"),
        (Session(access=Access(publish=())), "viewer"),
        (Session(granted=False), "none"),
        (Session(dialled=True, broadcasts=1), "node"),
        (Session(access=Access(local_only=True), requests=1), "node"),
    ],
)
def test_the_role_is_what_a_peer_did_or_what_it_may_do(session, role):
    assert did(session) == role


@pytest.mark.parametrize(
    ("farewell", "here", "by", "reason"),
    [
        ((0, "bye"), False, "peer", "no_error"),
        ((0, "the relay is shutting down"), True, "relay", "no_error"),
        ((2, "nothing below / is public"), True, "relay", "unauthorized"),
        ((3, "a second SETUP stream"), True, "relay", "protocol_violation"),
        ((0x11, "the peer sent no setup"), True, "relay", "setup_timeout"),
        ((codes.INTERNAL, "internal error"), True, "relay", "internal"),
        ((codes.INTERNAL, "Idle timeout"), False, "silence", "idle_timeout"),
        ((codes.INTERNAL, "closed"), False, "peer", "internal"),
        ((99, "mine"), False, "peer", "application"),
        ((42, ""), False, "peer", "other"),
        (None, False, "relay", "internal"),
    ],
)
def test_the_end_says_by_whom_and_why(farewell, here, by, reason):
    found = ending(Session(farewell=farewell, ended_here=here))

    assert (found["ended_by"], found["reason"]) == (by, reason)
