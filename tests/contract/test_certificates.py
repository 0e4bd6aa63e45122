"""Whom each side of a handshake takes for whom, over real sockets."""

import pytest

from moq_relay.transports import tls
from moq_relay.transports.quic.dialer import DialFailed, Trust, dial
from tests.contract.transports import PROTOCOLS, Recorder, listening
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
    return dial(
        "127.0.0.1",
        listener.port,
        accept=lambda _arrival, _transport: Recorder(),
        protocols=PROTOCOLS,
        **options,
    )


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
            with_key_of(made(NODE, by=ROOT), made(NODE, by=ROOT)), "its key is another",
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
