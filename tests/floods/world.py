"""A relay on one core; on the other who publishes, who watches, and who floods."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from moq_relay.daemon.load import machine
from moq_relay.daemon.load.processes import Child, child, module
from tests.support.relay_process import RelayProcess, free_ports

READY_SECONDS = 30.0
GRACE_SECONDS = 30.0
"""Beyond what was asked of a process, until it has answered."""
SETTINGS = """
[limits]
# This machine's own addresses are exempt by default, and here everybody has one.
trusted_networks = []
"""
ANY = "any"
KINDS = ("noise", "initials", "tokens", "handshakes")
"""The floods, in the order of the table."""


class OneDoor(RelayProcess):
    """A relay with one listener for all versions, and the defaults of a relay that is let alone."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, [ANY], SETTINGS)

    @property
    def port(self) -> int:
        """Of QUIC."""
        return self.ports[ANY]

    def configuration(self) -> str:
        return super().configuration().replace(f', version = "{ANY}"', "")

    def total(self, name: str) -> float:
        """All samples of one metric together."""
        return sum(self.metric(name).values())


@dataclass(frozen=True, slots=True)
class Reading:
    """What a relay had used and counted at one moment."""

    at: float
    """Monotonic seconds."""
    cpu: float
    """Seconds of its process."""
    newcomers: float
    """Seconds of its loop that went to new connections."""
    seen: float
    """Datagrams of nobody's that it read."""


class World:
    """What runs while floods come and go."""

    def __init__(
        self, relay: OneDoor, publisher: Child, viewer: Child, senders: dict[str, Child]
    ) -> None:
        self.relay = relay
        self.closed_port = free_ports(1)[0]
        """Nobody listens there."""
        self._publisher = publisher
        self._viewer = viewer
        self._senders = senders

    def record(self, kinds: Sequence[str]) -> None:
        """Have the senders make what they will send."""
        for kind in kinds:
            self._senders[kind].tell(f"record {kind} 0 0")
            self._senders[kind].hear(READY_SECONDS)

    def send(self, kind: str, port: int, seconds: float) -> None:
        """Begin a flood; `sent` waits for its end."""
        self._senders[kind].tell(f"send {kind} {port} {seconds}")

    def sent(self, kind: str, seconds: float) -> dict[str, float]:
        """What the flood came to."""
        return self._senders[kind].hear(seconds + GRACE_SECONDS)

    def watch(self, opens: float, closes: float) -> None:
        """Begin a window over what is published between two moments of the monotonic clock."""
        for one in (self._publisher, self._viewer):
            one.tell(f"window {int(opens * 1e9)} {int(closes * 1e9)}")

    def watched(self, seconds: float) -> dict[str, object]:
        """What the viewer got in it, and since it came."""
        self._publisher.hear(seconds + GRACE_SECONDS)
        return self._viewer.hear(seconds + GRACE_SECONDS)

    def read(self) -> Reading:
        """Look at the relay."""
        relay = self.relay
        return Reading(
            time.monotonic(),
            machine.cpu_seconds(relay.pid),
            relay.total("moq_relay_newcomer_seconds_total"),
            relay.total("moq_relay_newcomer_datagrams_total"),
        )


@contextmanager
def world(directory: Path, kinds: Sequence[str]) -> Iterator[World]:
    """Everything; all of it has ended when the block is left, the relay in order.

    Raises:
        AssertionError: the relay did not start or end as it should, or its log has a trace.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    assert others, "floods need two cores: one for the relay, one for all others"
    relay = OneDoor(directory)
    with ExitStack() as stack:
        # The core is inherited; this process works between the rounds alone.
        stack.callback(os.sched_setaffinity, 0, {first, *others})
        os.sched_setaffinity(0, {others[0]})
        relay.start()
        try:
            os.sched_setaffinity(0, {first})
            port = f"--port={relay.port}"
            load = "moq_relay.daemon.load"
            publisher = stack.enter_context(
                child("the publisher", module(f"{load}.publisher", port))
            )
            publisher.hear(READY_SECONDS)
            viewer = stack.enter_context(child("the viewer", module(f"{load}.viewers", port)))
            viewer.tell("viewers 1")
            viewer.hear(READY_SECONDS)
            senders = {
                kind: stack.enter_context(child(f"the flood {kind}", module(_program(kind))))
                for kind in kinds
            }
            found = World(relay, publisher, viewer, senders)
            found.record(kinds)
            yield found
            stack.pop_all().close()
            relay.stop()
        finally:
            relay.kill()


def _program(kind: str) -> str:
    return f"tests.floods.{'handshakes' if kind == 'handshakes' else 'sender'}"


def missing(report: dict[str, object]) -> int:
    """Groups that the viewer missed since it came, of all tracks."""
    viewers = json.loads(json.dumps(report["viewers"]))
    return sum(groups["missing"] for tracks in viewers for groups in tracks.values())
