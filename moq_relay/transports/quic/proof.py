"""What aioquic's TLS lacks: certificates by name, and a check of the peer's that knows its usage.

The only file that touches private names of `aioquic.tls`. `PRIVATE` at the end lists every such
name; a test holds it against the installed release.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer, BufferReadError
from cryptography import x509

from moq_relay.transports.tls import Certificate
from moq_relay.transports.verification import Untrusted

REFUSED = "the certificate of the client"
"""How the reason begins that ends a handshake for it."""
CheckServer = Callable[[x509.Certificate, Sequence[x509.Certificate]], None]
"""Looks at a certificate, whose key the peer has shown to have, and its chain; raises Untrusted."""
CheckClient = Callable[[x509.Certificate, Sequence[x509.Certificate]], tuple[str, ...]]
"""The same, and says the DNS names in it."""
Choose = Callable[[str | None], Certificate]
"""The certificate for the name of a host; None when the client asks for none."""


class Serving(tls.Context):
    """A server's side of a handshake. Never made, but made of one: see `serve`."""

    choose: Choose | None
    check: CheckClient | None
    names: tuple[str, ...]

    def ask_for(self, check: CheckClient | None) -> None:
        """Ask the client for a certificate that passes ``check``; for none without it."""
        self.check = check
        self.names = ()
        self._request_client_certificate = check is not None

    def _server_handle_hello(self, input_buf: Buffer, initial_buf: Any, handshake_buf: Any) -> None:
        if self.choose is not None:
            certificate = self.choose(_name_asked_for(input_buf))
            self.certificate = certificate.leaf
            self.certificate_chain = list(certificate.chain)
            self.certificate_private_key = certificate.key
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)

    def _server_handle_certificate_verify(self, input_buf: Buffer) -> None:
        with _in_words(REFUSED):
            super()._server_handle_certificate_verify(input_buf)
            assert self.check is not None
            assert self._peer_certificate is not None
            self.names = self.check(self._peer_certificate, self._peer_certificate_chain)


class Dialling(tls.Context):
    """A client's side of a handshake. Never made, but made of one: see `dial`."""

    check: CheckServer

    def _client_handle_certificate_verify(self, input_buf: Buffer) -> None:
        with _in_words("the certificate shown"):
            super()._client_handle_certificate_verify(input_buf)
            assert self._peer_certificate is not None
            self.check(self._peer_certificate, self._peer_certificate_chain)


def serve(
    context: tls.Context, *, choose: Choose | None = None, check: CheckClient | None = None
) -> None:
    """Make a server's handshake that has not begun do more than aioquic's.

    Args:
        choose: picks the certificate for each client, instead of the configuration's.
        check: what a client's certificate has to pass, before any stream. One is asked for then;
            who has none goes on without.
    """
    # aioquic makes the context itself, in the middle of other things.
    context.__class__ = Serving
    assert isinstance(context, Serving)
    context.choose = choose
    context.ask_for(check)


def names_shown(context: tls.Context) -> tuple[str, ...]:
    """The DNS names of a client's certificate, which was checked; none without one."""
    return context.names if isinstance(context, Serving) else ()


def dial(context: tls.Context, check: CheckServer) -> None:
    """Make a client's handshake that has not begun end at a server that ``check`` refuses.

    Nothing is sent to such a server after its certificate, not even this side's own. aioquic's
    check should be switched off.
    """
    context.__class__ = Dialling
    assert isinstance(context, Dialling)
    context.check = check


@contextlib.contextmanager
def _in_words(subject: str) -> Iterator[None]:
    """Have a handshake end with words for what was wrong with a certificate."""
    try:
        yield
    except Untrusted as error:
        raise tls.AlertBadCertificate(f"{subject} {error}") from error
    except tls.AlertDecryptError as error:
        raise tls.AlertDecryptError(f"{subject} is of another key") from error


def _name_asked_for(hello: Buffer) -> str | None:
    """The name in a ClientHello; what is wrong with one is found when it is handled."""
    try:
        return tls.pull_client_hello(Buffer(data=hello.data_slice(0, hello.capacity))).server_name
    except (tls.Alert, BufferReadError, ValueError, AssertionError):
        return None


PRIVATE: dict[type, dict[str, type | None]] = {
    tls.Context: {
        "_client_handle_certificate_verify": type(lambda: None),
        "_peer_certificate": None,
        "_peer_certificate_chain": list,
        "_request_client_certificate": bool,
        "_server_handle_certificate_verify": type(lambda: None),
        "_server_handle_hello": type(lambda: None),
    },
}
"""Every private name used above, by owner, as in engine.py."""
