"""A publisher as a process, to be frozen: ``python -m tests.bench.cluster.publisher --port P``."""

import argparse
import asyncio

from tests.bench.cluster.beacon import Beacon
from tests.bench.cluster.stage import publishing
from tests.support.own_client import publish


async def run(port: int, path: str) -> None:
    """Publish edition 1 until killed."""
    async with Beacon(1).shining() as beacon, publishing(port) as origin:
        publish(origin, path, beacon)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cluster.publisher")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    options = parser.parse_args()
    asyncio.run(run(options.port, options.path))
