"""@moq/net in Chromium as publisher and viewer, driven through the page of browser/pages."""

import asyncio
import fcntl
import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from tests.support.media import Track

SOURCE = Path(__file__).with_name("browser")
POLL_SECONDS = 0.1
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-component-update",
    "--disable-sync",
]


def build(node: str, into: Path) -> None:
    """Bundle the pages; a lock lets several test processes share the one build folder."""
    with (SOURCE / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [node, str(SOURCE / "build.mjs")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"the browser pages were not built:\n{done.stderr}"
        built = Path(done.stdout.splitlines()[-1])
        shutil.copytree(built, into, dirs_exist_ok=True)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that logs nothing."""

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """An address of the folder that Chromium takes for a secure context."""
    serve = functools.partial(Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@asynccontextmanager
async def launched(executable: str) -> AsyncIterator[Browser]:
    """A Chromium without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable, headless=True, args=FLAGS
        )
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """One page with @moq/net, and what it wrote to its console."""

    def __init__(self, page: Page, address: dict[str, str | None]) -> None:
        self._page = page
        self._address = address
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))

    async def publish(self, path: str, tracks: Sequence[Track]) -> str:
        """Start publishing; returns the negotiated version."""
        return await self._call("publish", self._wish(path, tracks))

    async def watch(self, path: str, tracks: Sequence[Track], *, timed: bool) -> str:
        """Start watching; returns the negotiated version."""
        return await self._call("watch", {**self._wish(path, tracks), "timed": timed})

    async def expect(self, tracks: Sequence[Track]) -> None:
        """The content to check from the next instance of the broadcast on."""
        await self._call("expect", [asdict(track) for track in tracks])

    async def sent(self) -> Mapping[str, int]:
        """Groups finished so far of each track published here."""
        return await self._call("progress")

    async def finish(self) -> Mapping[str, int]:
        """End the tracks published here; returns how many groups each has."""
        return await self._call("finish")

    async def report(self) -> list[dict[str, dict[str, Any]]]:
        """For each instance of the broadcast, what was seen of each track."""
        return await self._call("report")

    async def reload(self) -> None:
        """What a user does with F5: the session is gone without a word."""
        await self._page.reload()
        await self._page.wait_for_function("window.moq !== undefined")

    async def until(
        self, done: Callable[[list[dict[str, dict[str, Any]]]], bool], seconds: float
    ) -> list[dict[str, dict[str, Any]]]:
        """Poll the report until it is as wanted or the time is up; returns the last one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not done(report := await self.report()) and loop.time() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        return report

    def _wish(self, path: str, tracks: Sequence[Track]) -> dict[str, Any]:
        return {**self._address, "path": path, "tracks": [asdict(track) for track in tracks]}

    async def _call(self, name: str, *arguments: Any) -> Any:
        try:
            return await self._page.evaluate(f"wish => window.moq.{name}(wish)", *arguments)
        except Exception as error:
            error.add_note("\n".join(["console of the page:", *self.console[-40:]]))
            raise


class Chromium:
    """Opens tabs of one browser."""

    def __init__(self, browser: Browser, pages: str) -> None:
        self._browser = browser
        self._pages = pages

    async def tab(self, address: dict[str, str | None]) -> Tab:
        """A tab whose sessions go to a relay's `url`, pinning `hash` when there is one."""
        context = await self._browser.new_context()
        page = await context.new_page()
        tab = Tab(page, address)
        await page.goto(f"{self._pages}/client.html")
        await page.wait_for_function("window.moq !== undefined")
        return tab
