"""``moq-relay demo``: the settings it stands on, and what it tells whoever started it."""

from moq_relay.daemon.settings import Settings
from moq_relay.daemon.sources import Layer

PORT = 4443
"""For UDP and for HTTP, because a browser looks for the certificate's hash on the same number."""

SETTINGS = Layer(
    "moq-relay demo",
    {
        "server": {"listen": f"localhost:{PORT}", "tls": {"generate": ["localhost", "127.0.0.1"]}},
        "web": {"http": {"listen": f"localhost:{PORT}"}},
        "auth": {"public": ""},
        "demo": {"enabled": True},
    },
)
"""Everything is public and on loopback; a file, a variable or a flag changes any of it."""


def greet(port: int, settings: Settings) -> None:
    """Tell whoever started the demo what to do next."""
