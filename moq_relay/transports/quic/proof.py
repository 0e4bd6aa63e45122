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

Check = Callable[[x509.Certificate, Sequence[x509.Certificate]], None]
"""Looks at a certificate, whose key the peer has shown to have, and its chain; raises Untrusted."""
Choose = Callable[[str | None], Certificate]
"""The certificate for the name of a host; None when the client asks for none."""


class _Checking(tls.Context):
    def _refuse_untrusted(self, check: Check) -> None:
        assert self._peer_certificate is not None
        try:
            check(self._peer_certificate, self._peer_certificate_chain)
        except Untrusted as error:
            raise tls.AlertBadCertificate(str(error)) from error


class Serving(_Checking):
    """A server's side of a handshake. Never made, but made of one: see `serve`."""

    choose: Choose | None

    def _server_handle_hello(self, input_buf: Buffer, initial_buf: Any, handshake_buf: Any) -> None:
        if self.choose is not None:
            certificate = self.choose(_name_asked_for(input_buf))
            self.certificate = certificate.leaf
            self.certificate_chain = list(certificate.chain)
            self.certificate_private_key = certificate.key
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)


class Dialling(_Checking):
    """A client's side of a handshake. Never made, but made of one: see `dial`."""

    check: Check

    def _client_handle_certificate_verify(self, input_buf: Buffer) -> None:
        with _words():
            super()._client_handle_certificate_verify(input_buf)
        self._refuse_untrusted(self.check)


def serve(context: tls.Context, *, choose: Choose | None = None) -> None:
    """Make a server's handshake that has not begun do more than aioquic's.

    Args:
        choose: picks the certificate for each client, instead of the configuration's.
    """
    # aioquic makes the context itself, in the middle of other things.
    context.__class__ = Serving
    assert isinstance(context, Serving)
    context.choose = choose


def dial(context: tls.Context, check: Check) -> None:
    """Make a client's handshake that has not begun end at a server that ``check`` refuses.

    Nothing is sent to such a server after its certificate, not even this side's own. aioquic's
    check should be switched off.
    """
    context.__class__ = Dialling
    assert isinstance(context, Dialling)
    context.check = check


@contextlib.contextmanager
def _words() -> Iterator[None]:
    """Say what aioquic leaves unsaid."""
    try:
        yield
    except tls.AlertDecryptError as error:
        raise tls.AlertDecryptError("a certificate was shown, and its key is another") from error


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
        "_server_handle_hello": type(lambda: None),
    },
}
"""Every private name used above, by owner, as in engine.py."""
