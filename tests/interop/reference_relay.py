"""moq-rs's own server as a relay in a process: tells a fault of the client from one of ours."""

import asyncio
import sys

import moq


async def serve() -> None:
    """Print the port, then relay between all sessions until killed."""
    origin = moq.OriginProducer()
    server = moq.Server("127.0.0.1:0", tls_generate=["localhost"], publish=origin, subscribe=origin)
    async with server, asyncio.TaskGroup() as sessions:
        port = server.local_addr.rsplit(":", 1)[1]
        sys.stdout.write(f"{port} {server.cert_fingerprints()[0]}\n")
        sys.stdout.flush()
        async for request in server:
            sessions.create_task(hold(request))


async def hold(request: moq.Request) -> None:
    """A session lives as long as its handle does."""
    try:
        session = await request.accept()
        await session.closed()
    except moq.Error as error:
        sys.stderr.write(f"session ended: {error}\n")


if __name__ == "__main__":
    asyncio.run(serve())
