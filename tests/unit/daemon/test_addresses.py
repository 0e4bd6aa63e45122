"""Addresses of clients in log lines: whole, as their network, or not, wherever they stand."""

import io
import logging

import pytest

from moq_relay.daemon.addresses import shown, without
from moq_relay.daemon.logs import setup


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("203.0.113.77:4433", "203.0.113.0/24"),
        ("[2001:db8:1:2:3::4]:4433", "2001:db8:1::/48"),
        ("[::ffff:203.0.113.77]:1", "203.0.113.0/24"),
        ("[fe80::1%eth0]:1", "fe80::/48"),
        ("memory:client", "-"),
        ("", "-"),
    ],
)
def test_an_address_is_shown_whole_as_its_network_or_not_at_all(peer, network):
    assert shown(peer, "full") == peer
    assert shown(peer, "prefix") == network
    assert shown(peer, "none") == "-"


def test_addresses_inside_a_text_are_cut_and_nothing_else_is():
    text = (
        "from 203.0.113.77:80, [2001:db8::1]:443 and 2001:db8:7:8::9. At 12:30:05 v1.2.3.4.5 a::b"
    )

    assert without(text, "full") == text
    assert without(text, "none") == "from -, - and -. At 12:30:05 v1.2.3.4.5 -"
    assert without(text, "prefix").startswith(
        "from 203.0.113.0/24, 2001:db8::/48 and 2001:db8:7::/48. At 12:30:05 v1.2.3.4.5"
    )


@pytest.fixture
def written():
    """A function that logs one record with an address mode and returns what was written."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def written(mode, form, logger, message, *args, **more):
        stream = io.StringIO()
        setup.configure("info", form, stream, addresses=mode)
        logging.getLogger(logger).error(message, *args, **more)
        return stream.getvalue()

    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in setup.QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET)


CLIENT = "203.0.113.77"


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    ("logger", "message", "args"),
    [
        ("moq_relay.sessions.host", "session refused peer=%s reason=%s", (f"{CLIENT}:9", "full")),
        ("moq_relay.sessions.lite.session", "ended session=%d reason=%s", (1, f"I am {CLIENT}")),
        ("moq_relay.daemon.web.http", "fetch refused path=%s peer=%s", ("10.0.0.1", f"{CLIENT}:9")),
        ("moq_relay.daemon.web.changes", "changed what=%s by=%s", ("10.0.0.1", CLIENT)),
        ("aiohttp.server", "Error handling request from %s", (CLIENT,)),
        ("asyncio", f"Fatal error on transport {CLIENT}:9", ()),
    ],
)
def test_no_line_tells_more_of_a_client_than_it_may(written, form, logger, message, args):
    assert CLIENT in written("full", form, logger, message, *args)
    prefix = written("prefix", form, logger, message, *args)
    assert CLIENT not in prefix
    assert "203.0.113.0/24" in prefix
    assert "203.0.113" not in written("none", form, logger, message, *args)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_trace_tells_more_of_a_client_than_it_may(written, form):
    try:
        raise OSError(f"no route to {CLIENT}")
    except OSError as error:
        said = written("prefix", form, "moq_relay.relay.track", "broken", exc_info=error)

    assert "no route to 203.0.113.0/24" in said
    assert CLIENT not in said


def test_addresses_that_are_no_clients_stay(written):
    said = written("none", "text", "moq_relay.daemon.node", "listening udp=%s", "203.0.113.1:443")

    assert said.endswith("listening udp=203.0.113.1:443\n")


def test_other_handlers_get_the_record_as_it_was(written, caplog):
    written("none", "text", "moq_relay.sessions.host", "session refused peer=%s", f"{CLIENT}:9")

    assert not caplog.records or caplog.records[-1].getMessage().endswith(f"{CLIENT}:9")
