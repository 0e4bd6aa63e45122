"""Many cheap viewers in one process: ``python -m moq_relay.daemon.load.viewers --port 4443``.

It obeys lines on standard input, and answers each with an object of JSON on one line:
``viewers N`` connects until so many are ready, ``window OPENS CLOSES`` (nanoseconds of the
monotonic clock) counts what was published between the two. It ends with its input.
"""

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Sequence
from functools import partial

from moq_relay.daemon.load.dialect import Dialect, product
from moq_relay.daemon.load.groups import Groups, GroupStream
from moq_relay.daemon.load.window import GRACE_SECONDS, Window
from moq_relay.daemon.load.workload import BROADCAST, TRACKS
from moq_relay.transports.quic.cheap_viewer import CheapViewer, Lost, Script

TICK_SECONDS = 0.01
HANDSHAKES = 8
"""Viewers that connect at the same time: a relay that is busy shaking hands drops packets."""
STALL_SECONDS = 30.0
"""When no further viewer has become ready for so long, the rest never will."""
STDIN = 0


class Sink:
    """Connects viewers a few at a time, then lets them watch."""

    def __init__(
        self,
        address: tuple[str, int],
        dialect: Dialect,
        broadcast: str,
        tracks: Sequence[str],
        *,
        ack_every: int = 0,
        starved: int = 0,
        starved_credit: int = 0,
    ) -> None:
        """Connect nobody yet.

        Args:
            address: of the relay, IPv4.
            dialect: what the viewers speak.
            broadcast: the path that they watch, and ``tracks`` of it.
            ack_every: as of ``CheapViewer``.
            starved: so many viewers grant a stream no more than ``starved_credit`` bytes.
        """
        self._address = address
        self._dialect = dialect
        self._tracks = tracks
        self._script = Script(
            alpn=dialect.alpn,
            setup=dialect.setup,
            requests=[dialect.subscribe(n, broadcast, track) for n, track in enumerate(tracks)],
            announce=dialect.announce,
            nothing=dialect.nothing,
        )
        self._ack_every = ack_every
        self._starved, self._starved_credit = starved, starved_credit
        self._window = Window()
        self._epoll = select.epoll()
        self._viewers: dict[int, CheapViewer] = {}
        self._counts: list[dict[int, Groups]] = []
        self._next_tick = 0.0

    def connect(self, wanted: int) -> None:
        """Open viewers until there are ``wanted``.

        Raises:
            Lost: the relay refuses one or goes silent.
        """
        ready = sum(viewer.ready for viewer in self._viewers.values())
        heard = time.monotonic()
        while ready < wanted:
            while len(self._viewers) < min(wanted, ready + HANDSHAKES):
                viewer = self._open(len(self._viewers))
                self._viewers[viewer.fileno()] = viewer
                self._epoll.register(viewer.fileno(), select.EPOLLIN)
            self.turn()
            now_ready = sum(viewer.ready for viewer in self._viewers.values())
            if now_ready > ready:
                ready, heard = now_ready, time.monotonic()
            elif time.monotonic() - heard > STALL_SECONDS:
                raise Lost(f"only {ready} of {wanted} viewers became ready")

    def _open(self, number: int) -> CheapViewer:
        counts = {n: Groups(track, self._window) for n, track in enumerate(self._tracks)}
        self._counts.append(counts)
        return CheapViewer(
            self._address,
            self._script,
            partial(GroupStream, counts, self._dialect),
            ack_every=self._ack_every,
            uni_credit=self._starved_credit if number < self._starved else None,
        )

    def turn(self, *, until: float = float("inf")) -> bool:
        """Serve sockets and timers once; whether standard input has a line."""
        now = time.monotonic()
        spoken = False
        for number, _ in self._epoll.poll(max(0.0, min(self._next_tick, until) - now)):
            if number == STDIN:
                spoken = True
            else:
                self._viewers[number].readable()
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK_SECONDS
            for viewer in self._viewers.values():
                viewer.tick(now)
        return spoken

    def run_until(self, moment: float) -> None:
        """Let the viewers watch until a second of the monotonic clock."""
        while time.monotonic() < moment:
            self.turn(until=moment)

    def obey_standard_input(self) -> None:
        """Answer each line; ends with the input."""
        self._epoll.register(STDIN, select.EPOLLIN)
        lines = b""
        while True:
            if not self.turn():
                continue
            heard = os.read(STDIN, 4096)
            if not heard:
                return
            *complete, lines = (lines + heard).split(b"\n")
            for line in complete:
                self._obey(line.decode())

    def _obey(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "viewers":
            # Its socket stays readable while more is said; nobody says more before the answer.
            self.connect(int(rest))
            say({"ready": int(rest)})
        else:
            self.run_until(self._window.follow(line))
            say(self.report())

    def measure_once(self, seconds: float) -> None:
        """Watch for some time from now on, and report."""
        opens = time.monotonic_ns()
        self._window.schedule(opens, opens + int(seconds * 1e9))
        self.run_until(time.monotonic() + seconds + GRACE_SECONDS)
        say(self.report())

    def report(self) -> dict[str, object]:
        """The window's counts, what this process cost, and each viewer's counts since it joined."""
        cpu = os.times()
        viewers = self._viewers.values()
        return self._window.report() | {
            "tenths": self._window.tenths(),
            "packets": sum(viewer.packets for viewer in viewers),
            "acks": sum(viewer.acks for viewer in viewers),
            "cpu_seconds": cpu.user + cpu.system,
            "viewers": [
                {groups.track: groups.report() for groups in counts.values()}
                for counts in self._counts
            ],
        }

    def close(self) -> None:
        """Say goodbye for every viewer."""
        for viewer in self._viewers.values():
            viewer.close()


def say(facts: dict[str, object]) -> None:
    """One line for whoever started this process."""
    sys.stdout.write(f"{json.dumps(facts)}\n")
    sys.stdout.flush()


def main() -> int:
    """The exit code: 1 when a viewer was refused or lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    sink = Sink(("127.0.0.1", options.port), product(), BROADCAST, TRACKS)
    try:
        sink.obey_standard_input()
    except Lost as error:
        say({"lost": str(error)})
        return 1
    finally:
        sink.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
