"""Many cheap viewers in one process: ``python -m tests.support.sink --port 4443 --viewers 200``.

It prints one JSON object a line: first ``{"ready": …}`` once every viewer has its subscriptions
answered, then a report per window. Windows come as lines ``window OPENS CLOSES`` (nanoseconds of
the monotonic clock) on standard input; with ``--seconds`` one starts by itself and ends it all.
"""

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Sequence

from tests.support.cheap_viewer import CheapViewer, Lost
from tests.support.window import GRACE_SECONDS, Window

TICK_SECONDS = 0.01
HANDSHAKES = 8
"""Viewers that connect at the same time: a relay that is busy shaking hands drops packets."""
STALL_SECONDS = 30.0
"""When no further viewer has become ready for so long, the rest never will."""
STDIN = 0


class Sink:
    """Connects viewers a few at a time, then lets them watch."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._address = (options.host, options.port)
        self._window = Window()
        self._epoll = select.epoll()
        self._viewers: dict[int, CheapViewer] = {}
        self._next_tick = 0.0

    def connect(self) -> None:
        """Open all viewers; raises Lost when the relay refuses one or goes silent."""
        wanted = self._options.viewers
        ready, heard = 0, time.monotonic()
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
        options = self._options
        starved = number < options.starved
        return CheapViewer(
            self._address,
            options.broadcast,
            options.tracks.split(","),
            self._window,
            ack_every=options.ack_every,
            uni_credit=options.starved_credit if starved else None,
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
        """One report per window asked for; ends with the input."""
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
                self.run_until(self._window.follow(line.decode()))
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
            "packets": sum(viewer.packets for viewer in viewers),
            "acks": sum(viewer.acks for viewer in viewers),
            "cpu_seconds": cpu.user + cpu.system,
            "viewers": [
                {groups.track: groups.report() for groups in viewer.groups.values()}
                for viewer in viewers
            ],
        }

    def close(self) -> None:
        for viewer in self._viewers.values():
            viewer.close()


def say(facts: dict[str, object]) -> None:
    """One line for whoever started this process."""
    print(json.dumps(facts), flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.support.sink", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--viewers", type=int, default=1)
    parser.add_argument("--broadcast", default="live")
    parser.add_argument("--tracks", default="video,audio", help="names, comma between them")
    parser.add_argument("--seconds", type=float, help="measure once and end")
    parser.add_argument(
        "--ack-every", type=int, default=0, help="packets per ACK; 0: one per wake-up"
    )
    parser.add_argument(
        "--starved", type=int, default=0, help="so many viewers acknowledge but grant no credit"
    )
    parser.add_argument(
        "--starved-credit", type=int, default=0, help="bytes a starved viewer lets a stream send"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when a viewer was refused or lost."""
    options = parse(arguments)
    sink = Sink(options)
    started = time.monotonic()
    try:
        sink.connect()
        say({"ready": options.viewers, "connect_seconds": time.monotonic() - started})
        if options.seconds is None:
            sink.obey_standard_input()
        else:
            sink.measure_once(options.seconds)
    except Lost as error:
        say({"lost": str(error)})
        return 1
    finally:
        sink.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
