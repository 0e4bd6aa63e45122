"""``moq-relay demo``: the settings it stands on, and what it tells whoever started it."""

from rich.console import Console
from rich.syntax import Syntax

from moq_relay.daemon.config.settings import Settings
from moq_relay.daemon.config.sources import Layer
from moq_relay.daemon.demo import CLOCK, PATH

PORT = 4443
"""For UDP and for HTTP, because a browser looks for the certificate's hash on the same number."""

SETTINGS = Layer(
    "moq-relay demo",
    {
        "server": {
            "listen": f"localhost:{PORT}",
            "tls": {"generate": ["localhost", "127.0.0.1", "::1"]},
        },
        "web": {"http": {"listen": f"localhost:{PORT}"}},
        "auth": {"public": ""},
        "demo": {"enabled": True},
    },
)
"""Everything is public and on loopback; a file, a variable or a flag changes any of it."""

PUBLISH = """\
import asyncio, moq

async def main():
    async with moq.connect("{url}") as relay:
        broadcast = relay.create_broadcast("hello")
        track = broadcast.publish_track("greeting")
        broadcast.announce()
        for number in range(1_000_000):
            track.write_frame(f"hello number {{number}}".encode())
            await asyncio.sleep(1)

asyncio.run(main())
"""

WATCH = """\
import asyncio, moq

async def main():
    async with moq.connect("{url}") as relay:
        broadcast = await relay.announced_broadcast("hello")
        track = await broadcast.subscribe_track("greeting")
        async for group in track:
            async for frame in group:
                print(frame.payload.decode(), flush=True)

asyncio.run(main())
"""
"""Another program than the publisher: one client that does both talks to itself."""


def greet(port: int, settings: Settings, console: Console | None = None) -> None:
    """Tell whoever started the demo what to look at, and how to publish and watch."""
    console = console or Console(highlight=False, soft_wrap=True)
    url = f"http://localhost:{port}"
    console.print("\n[bold]moq-relay[/] is running on this machine; Ctrl-C ends it.\n")
    console.print(_places(url, settings), markup=False)
    for title, code in (
        ("Publish from Python (pip install moq-rs)", PUBLISH),
        ("Watch that from another Python", WATCH),
    ):
        text = code.format(url=url)
        console.print(f"\n[bold]{title}[/]\n")
        if console.is_terminal:
            console.print(Syntax(text, "python", theme="ansi_dark", background_color="default"))
        else:
            console.print(text, markup=False)


def _places(url: str, settings: Settings) -> str:
    lines = [
        ("a picture that moves", f"{url}/demo  (in Chromium, Chrome or Edge)"),
        ("what is announced", f"curl {url}/announced"),
        ("one group of a track", f"curl {url}/fetch/{PATH}/{CLOCK}"),
    ]
    if settings.internal.listen is not None and settings.internal.listen.port:
        lines.append(("its numbers", f"curl http://{settings.internal.listen}/metrics"))
    return "\n".join(f"  {name:<22}{what}" for name, what in lines)
