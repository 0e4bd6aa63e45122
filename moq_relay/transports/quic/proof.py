"""What aioquic's TLS lacks: a certificate for the name that a client asks for.

The only file that touches private names of `aioquic.tls`. `PRIVATE` at the end lists every such
name; a test holds it against the installed release.
"""

from collections.abc import Callable
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer, BufferReadError

from moq_relay.transports.tls import Certificate

Choose = Callable[[str | None], Certificate]
"""The certificate for the name of a host; None when the client asks for none."""


class Serving(tls.Context):
    """A server's side of a handshake. Never made, but made of one: see `serve`."""

    choose: Choose | None

    def _server_handle_hello(self, input_buf: Buffer, initial_buf: Any, handshake_buf: Any) -> None:
        if self.choose is not None:
            certificate = self.choose(_name_asked_for(input_buf))
            self.certificate = certificate.leaf
            self.certificate_chain = list(certificate.chain)
            self.certificate_private_key = certificate.key
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)


def serve(context: tls.Context, *, choose: Choose | None = None) -> None:
    """Make a server's handshake that has not begun do more than aioquic's.

    Args:
        choose: picks the certificate for each client, instead of the configuration's.
    """
    # aioquic makes the context itself, in the middle of other things.
    context.__class__ = Serving
    assert isinstance(context, Serving)
    context.choose = choose


def _name_asked_for(hello: Buffer) -> str | None:
    """The name in a ClientHello; what is wrong with one is found when it is handled."""
    try:
        return tls.pull_client_hello(Buffer(data=hello.data_slice(0, hello.capacity))).server_name
    except (tls.Alert, BufferReadError, ValueError, AssertionError):
        return None


PRIVATE: dict[type, dict[str, type | None]] = {
    tls.Context: {"_server_handle_hello": type(lambda: None)},
}
"""Every private name used above, by owner, as in engine.py."""
