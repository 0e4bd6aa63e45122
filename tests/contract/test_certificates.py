"""Whom each side of a handshake takes for whom, over real sockets."""

import pytest

from moq_relay.transports import tls
from moq_relay.transports.quic.dialer import DialFailed, Trust, dial
from tests.contract.transports import PROTOCOLS, Recorder, listening


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
