"""A publisher as a process, to be frozen: ``python -m tests.bench.cluster.publisher --port P``."""

import argparse
import asyncio
import signal

from tests.bench.cluster.beacon import Beacon
from tests.bench.cluster.stage import publishing
from tests.support.own_client import publish


async def run(port: int, path: str) -> None:
    """Publish edition 1 until told to end, and then say goodbye."""
    ended = asyncio.Event()
    # Not by Ctrl-C: what a shell starts in the background ignores that, with all its children.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with Beacon(1).shining() as beacon, publishing(port) as origin:
        publish(origin, path, beacon)
        print("ready", flush=True)
        await ended.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cluster.publisher")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    options = parser.parse_args()
    asyncio.run(run(options.port, options.path))
