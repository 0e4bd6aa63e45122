"""Whom each side of a handshake takes for whom, over real sockets."""

import ssl

import pytest
from aioquic import tls as aioquic_tls
from aioquic.asyncio.client import connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from moq_relay.transports import tls
from moq_relay.transports.quic.dialer import DialFailed, Trust, dial
from moq_relay.transports.verification import Roots
from tests.contract.transports import PROTOCOLS, Recorder, listening, until
from tests.support.odd_certificates import (
    CLIENT,
    INTERMEDIATE,
    OTHER_ROOT,
    ROOT,
    SERVER,
    UNKNOWN,
    made,
    with_key_of,
    without_chain,
)

NODE = "node.example"
FOREIGN = "was not issued by an authority that is believed here"


def call(listener, **options):
    defaults = {"accept": lambda _arrival, _transport: Recorder(), "protocols": PROTOCOLS}
    return dial("127.0.0.1", listener.port, **defaults | options)


# --- certificates by name -------------------------------------------------------------------------


async def test_a_client_gets_the_certificate_of_the_name_that_it_asks_for():
    first, second = tls.generate(["one.example"]), tls.generate(["two.example", "*.three.example"])
    credentials = tls.Credentials(first, second)
    async with listening(credentials=credentials) as (listener, _):
        for certificate, name in (
            (first, "one.example"),
            (second, "two.example"),
            (second, "a.three.example"),
        ):
            async with call(listener, trust=Trust(roots=certificate.pem), server_name=name):
                pass
        with pytest.raises(DialFailed):
            async with call(listener, trust=Trust(roots=first.pem), server_name="two.example"):
                pass


async def test_several_certificates_are_replaced_together_and_sessions_stay():
    first, second, third = (tls.generate([f"{name}.example"]) for name in ("one", "two", "three"))
    credentials = tls.Credentials(first)
    async with (
        listening(credentials=credentials) as (listener, _),
        call(listener, trust=Trust(roots=first.pem), server_name="one.example") as old,
    ):
        credentials.replace(second, third)

        async with call(listener, trust=Trust(roots=third.pem), server_name="three.example"):
            pass
        assert old.can_open_uni()


# --- what a relay believes of another that it dials -----------------------------------------------


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(made(NODE, by=ROOT), id="of the root"),
        pytest.param(made(NODE, by=INTERMEDIATE), id="of an intermediate"),
        pytest.param(made(NODE, by=ROOT, usage=[SERVER]), id="for servers"),
        pytest.param(made(NODE, by=ROOT, usage=[]), id="for anything"),
        pytest.param(made("*.example", by=ROOT), id="with a wildcard"),
    ],
)
async def test_a_server_is_believed(shown):
    async with (
        listening(credentials=tls.Credentials(shown)) as (listener, _),
        call(listener, trust=Trust(roots=ROOT.pem), server_name=NODE) as session,
    ):
        assert session.can_open_uni()


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "under_score.example"])
async def test_a_server_is_believed_by_an_address_or_by_a_name_with_an_underscore(name):
    shown = made("127.0.0.1", "::1", "under_score.example", by=ROOT)
    async with listening(credentials=tls.Credentials(shown)) as (listener, _):
        async with call(listener, trust=Trust(roots=ROOT.pem), server_name=name):
            pass
        with pytest.raises(DialFailed, match="is not for an_other"):
            async with call(listener, trust=Trust(roots=ROOT.pem), server_name="an_other.example"):
                pass


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        pytest.param(made(NODE, by=OTHER_ROOT), FOREIGN, id="foreign authority"),
        pytest.param(made(NODE, by=ROOT, starts=-2, ends=-1), "ended at ", id="expired"),
        pytest.param(made(NODE, by=ROOT, starts=1, ends=2), "is not valid before ", id="not yet"),
        pytest.param(made("other.example", by=ROOT), f"is not for {NODE}", id="wrong name"),
        pytest.param(made(NODE, by=ROOT, usage=[CLIENT]), "is not for serverAuth", id="client"),
        pytest.param(made(NODE), FOREIGN, id="self-signed"),
        pytest.param(made(by=ROOT), "has no names", id="no SAN"),
        pytest.param(
            without_chain(made(NODE, by=INTERMEDIATE)), "without intermediates", id="no chain"
        ),
        pytest.param(made(NODE, by=made("a.example", by=ROOT)), FOREIGN, id="issued by a node"),
        pytest.param(
            with_key_of(made(NODE, by=ROOT), made(NODE, by=ROOT)), "is of another key",
            id="another key",
        ),
        pytest.param(made(NODE, by=ROOT, extra=UNKNOWN), "is refused: ", id="a strange demand"),
    ],
)  # fmt: skip
async def test_a_server_is_not_believed_and_told_nothing(shown, why):
    async with listening(credentials=tls.Credentials(shown)) as (listener, served):
        with pytest.raises(DialFailed, match=why):
            async with call(listener, trust=Trust(roots=ROOT.pem), server_name=NODE):
                pass

        assert served == []


async def test_whoever_verifies_nothing_believes_everything():
    async with (
        listening(credentials=tls.Credentials(made(by=OTHER_ROOT))) as (listener, _),
        call(listener, trust=Trust(verify=False), server_name=NODE),
    ):
        pass


async def test_without_roots_a_server_needs_an_authority_that_everybody_believes():
    async with listening() as (listener, _):
        with pytest.raises(DialFailed, match=FOREIGN):
            async with call(listener, trust=Trust()):
                pass


# --- what a relay believes of who comes to it -----------------------------------------------------

ROOTS = Roots([ROOT.leaf])


def asking(**options):
    """A listener that believes one authority, and what it says of failed handshakes."""
    failures = []
    return failures, listening(peers=lambda: ROOTS, failed=failures.append, **options)


@pytest.mark.parametrize("path", [None, "/room"], ids=["quic", "webtransport"])
@pytest.mark.parametrize(
    ("shown", "names"),
    [
        pytest.param(made(NODE, by=ROOT), (NODE,), id="of the root"),
        pytest.param(made(NODE, by=INTERMEDIATE), (NODE,), id="of an intermediate"),
        pytest.param(made(NODE, by=ROOT, usage=[CLIENT]), (NODE,), id="for clients"),
        pytest.param(
            made("*.example", "A.example", "10.0.0.1", by=ROOT), ("a.example",), id="names only"
        ),
        pytest.param(None, (), id="none"),
    ],
)
async def test_a_session_knows_the_names_of_the_clients_certificate(path, shown, names):
    failures, listener = asking()
    trust = Trust(verify=False, own=shown)
    async with listener as (listener, served), call(listener, trust=trust, path=path):
        await until(lambda: served)

        assert [transport.peer_names for transport in served] == [names]
        assert failures == []


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        pytest.param(made(NODE, by=OTHER_ROOT), FOREIGN, id="foreign authority"),
        pytest.param(made(NODE, by=ROOT, starts=-2, ends=-1), "ended at ", id="expired"),
        pytest.param(made(NODE, by=ROOT, starts=1, ends=2), "is not valid before ", id="not yet"),
        pytest.param(made("*.example", by=ROOT), "has no DNS name", id="wildcard"),
        pytest.param(made("10.0.0.1", by=ROOT), "has no DNS name", id="address"),
        pytest.param(made(NODE, by=ROOT, usage=[]), "is not for clientAuth", id="no usage"),
        pytest.param(made(NODE, by=ROOT, usage=[SERVER]), "is not for clientAuth", id="server"),
        pytest.param(made(NODE), FOREIGN, id="self-signed"),
        pytest.param(made(by=ROOT), "has no names", id="no SAN"),
        pytest.param(without_chain(made(NODE, by=INTERMEDIATE)), FOREIGN, id="no chain"),
        pytest.param(made(NODE, by=made("a.example", by=ROOT)), FOREIGN, id="issued by a node"),
        pytest.param(
            with_key_of(made(NODE, by=ROOT), made(NODE, by=ROOT)), "is of another key", id="key"
        ),
        pytest.param(made(NODE, by=ROOT, extra=UNKNOWN), "is refused: ", id="a strange demand"),
    ],
)
async def test_a_client_is_refused_at_the_end_of_the_handshake_before_any_stream(shown, why):
    failures, listener = asking()
    events = Recorder()
    async with (
        listener as (listener, served),
        call(listener, accept=lambda *_: events, trust=Trust(verify=False, own=shown)) as transport,
    ):
        transport.send(transport.open_bi(), b"let me in", fin=True)
        await until(lambda: events.calls and failures)

    assert served == []
    ((_, _, said),) = events.calls
    assert failures == [said]
    assert said.startswith(f"the certificate of the client {why}")


async def test_authorities_of_clients_are_those_of_the_moment():
    believed = [ROOTS]
    trust = Trust(verify=False, own=made(NODE, by=OTHER_ROOT))
    async with listening(peers=lambda: believed[-1]) as (listener, served):
        events = Recorder()
        async with call(listener, trust=trust, accept=lambda *_: events):
            await until(lambda: events.calls)
        believed.append(Roots([OTHER_ROOT.leaf]))

        async with call(listener, trust=trust):
            await until(lambda: served)


async def test_nobody_is_asked_for_a_certificate_where_no_authority_is_named():
    trust = Trust(verify=False, own=made(NODE, by=ROOT))
    async with listening() as (listener, served), call(listener, trust=trust):
        await until(lambda: served)

        assert served[0].peer_names == ()


async def test_a_refused_client_is_told_in_the_log_once_a_minute(caplog):
    _, listener = asking()
    trust = Trust(verify=False, own=made(NODE))
    async with listener as (listener, _):
        for _ in range(3):
            events = Recorder()
            async with call(listener, trust=trust, accept=lambda *_, events=events: events):
                await until(lambda events=events: events.calls)

    (line,) = [record for record in caplog.records if record.name.startswith("moq_relay")]
    assert line.getMessage().endswith(f"certificate={FOREIGN}")


# --- tickets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("peers", [None, lambda: ROOTS], ids=["nobody asked", "peers asked"])
async def test_no_listener_gives_tickets_or_takes_early_data(peers):
    """A session that is resumed shows no certificate, and early data can be played again."""
    tickets = []
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=[PROTOCOLS[0]], verify_mode=ssl.CERT_NONE
    )
    async with listening(peers=peers) as (listener, served):
        async with connect(
            "127.0.0.1",
            listener.port,
            configuration=configuration,
            session_ticket_handler=tickets.append,
        ) as first:
            await first.ping()
            # A ticket that this listener might have given, had it another mind.
            now = aioquic_tls.utcnow()
            configuration.session_ticket = aioquic_tls.SessionTicket(
                age_add=0,
                cipher_suite=first._quic.tls.key_schedule.cipher_suite,
                max_early_data_size=0xFFFFFFFF,
                not_valid_after=now.replace(year=now.year + 1),
                not_valid_before=now,
                resumption_secret=bytes(48),
                server_name=configuration.server_name,
                ticket=bytes(64),
                other_extensions=[],
            )
        async with connect(
            "127.0.0.1",
            listener.port,
            configuration=configuration,
            session_ticket_handler=tickets.append,
        ) as second:
            await second.ping()
            assert second._quic.tls.session_ticket is not None
            assert not second._quic.tls.session_resumed
            assert not second._quic.tls.early_data_accepted
    assert tickets == []
    assert len(served) == 2


# --- what would open a recording ------------------------------------------------------------------


async def test_neither_end_writes_a_trace_or_the_keys_of_a_connection(tmp_path, monkeypatch):
    """A trace has the URL of a session with its token, and who has the keys reads all of it."""
    monkeypatch.setenv("QLOGDIR", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    told = []
    made_ready = QuicConnection.__init__

    def remember(self, *, configuration, **rest):
        told.append((configuration.quic_logger, configuration.secrets_log_file))
        made_ready(self, configuration=configuration, **rest)

    monkeypatch.setattr(QuicConnection, "__init__", remember)
    async with (
        listening() as (listener, _),
        call(listener, trust=Trust(verify=False), server_name=NODE),
    ):
        pass

    assert told == [(None, None)] * 2
    assert list(tmp_path.iterdir()) == []
