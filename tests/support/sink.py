"""Many cheap viewers in one process: ``python -m tests.support.sink --port 4443 --viewers 200``.

It prints one JSON object a line: first ``{"ready": …}`` once every viewer has its subscriptions
answered, then a report per window. Windows come as lines ``window OPENS CLOSES`` (nanoseconds of
the monotonic clock) on standard input; with ``--seconds`` one starts by itself and ends it all.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from moq_relay.daemon.load.dialect import Dialect
from moq_relay.daemon.load.viewers import Sink, say
from moq_relay.transports.quic.cheap_viewer import Lost
from tests.support import lite05

LITE05 = Dialect(
    alpn=lite05.ALPN,
    setup=lite05.setup(lite05.SUBSCRIBER),
    subscribe=lite05.subscribe,
    announce=bytes((lite05.ANNOUNCE,)),
    nothing=lite05.nothing_announced(),
    group_header=lite05.read_group_header,
    frame_header=lite05.read_frame_header,
)
"""Not the package's own codec, which a test of the package is not to trust."""


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
    sink = Sink(
        (options.host, options.port),
        LITE05,
        options.broadcast,
        options.tracks.split(","),
        ack_every=options.ack_every,
        starved=options.starved,
        starved_credit=options.starved_credit,
    )
    started = time.monotonic()
    try:
        sink.connect(options.viewers)
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
