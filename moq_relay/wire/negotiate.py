"""From what a peer offers to the version of the session, or to a refusal."""

from collections.abc import Sequence

from moq_relay.wire.lite.messages import ClientSetup
from moq_relay.wire.version import Version


def choose(offered: Sequence[str], allowed: Sequence[Version]) -> Version | None:
    """The first version of ``allowed`` whose ALPN the peer offers: our order wins.

    None: nothing in common. The caller refuses the peer, or, when the peer offered nothing at all,
    waits for its in-band setup.
    """
    return next((version for version in allowed if version.alpn in offered), None)


def inband(client_setup: ClientSetup, allowed: Sequence[Version]) -> Version | None:
    """The first version of ``allowed`` whose number the peer offers in band: our order wins.

    None: nothing in common; the session is closed with the code for a failed negotiation.
    """
    numbers = client_setup.versions
    return next((version for version in allowed if version.wire_number in numbers), None)
