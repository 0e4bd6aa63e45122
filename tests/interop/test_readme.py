"""The programs of README.md, run as they stand there; only ports and paths are other ones."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from moq_relay.transports import tls
from tests.interop.chromium import SOURCE, build, launched, served
from tests.support.relay_process import RelayProcess

README = (Path(__file__).parents[2] / "README.md").read_text()
SECONDS = 15
FRAMES = 3
"""A second each."""
END_SECONDS = 40
"""moq-rs does not always send its goodbye before its process is gone: the relay then waits for the
idle timeout, and for a publisher that comes back."""


def block(language: str, within: str) -> str:
    """The one code block of a language that has these words."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (found,) = (text for text in blocks if within in text)
    return found


class Public(RelayProcess):
    """A relay at localhost that speaks every version, as the README's are."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, ["every version"])
        self.port = self.web_port

    def configuration(self) -> str:
        """The TOML that the process is started with."""
        text = super().configuration()
        for listener in (
            f'[{{listen = "127.0.0.1:{self.port}", version = "every version"}}]',
            f'"127.0.0.1:{self.port}"',
        ):
            assert listener in text
            text = text.replace(listener, f'"localhost:{self.port}"')
        return text

    def readdress(self, text: str) -> str:
        """The README's text with this relay's port."""
        assert "localhost:4443" in text
        return text.replace("localhost:4443", f"localhost:{self.port}")


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Public]:
    """One that answers, and whose end is clean."""
    running = Public(tmp_path)
    running.start()
    yield running
    running.stop()


class Program:
    """A program of the README while it runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._output = process.stdout

    async def lines(self, count: int) -> list[str]:
        """The next lines that it prints."""
        async with asyncio.timeout(SECONDS):
            return [(await self._output.readline()).decode().rstrip("\n") for _ in range(count)]

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    async def ended(self) -> tuple[int, str]:
        """Its exit code once it has ended, and what else it printed."""
        async with asyncio.timeout(END_SECONDS):
            rest, _ = await self._process.communicate()
            return self._process.returncode, rest.decode()


Run = Callable[[str, str], AbstractAsyncContextManager[Program]]


@pytest.fixture
def run(relay: Public, tmp_path: Path) -> Run:
    """Run the Python program with these words, under the name that the README gives it."""

    @asynccontextmanager
    async def run(name: str, within: str) -> AsyncIterator[Program]:
        assert f"`{name}`" in README
        path = tmp_path / name
        path.write_text(relay.readdress(block("python", within)))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", str(path)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            yield Program(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    return run


@asynccontextmanager
async def published(relay: Public, run: Run) -> AsyncIterator[Program]:
    """publish.py, once its broadcast is announced."""
    async with run("publish.py", "publish_track") as program:
        async with asyncio.timeout(SECONDS):
            while not await asyncio.to_thread(relay.get, "/announced", internal=False):
                await asyncio.sleep(0.05)
        yield program


def watching(run: Run) -> AbstractAsyncContextManager[Program]:
    """watch.py."""
    return run("watch.py", "subscribe_track")


def follow_on(lines: list[str]) -> bool:
    """Whether they are what publish.py sent, one after the other."""
    first = int(lines[0].removeprefix("hello "))
    return lines == [f"hello {first + step}" for step in range(len(lines))]


async def test_what_publish_py_publishes_watch_py_prints(relay: Public, run: Run) -> None:
    async with published(relay, run), watching(run) as viewer:
        lines = await viewer.lines(FRAMES)

    assert follow_on(lines)


async def test_watch_py_ends_with_an_error_when_publish_py_stops_and_both_can_start_again(
    relay: Public, run: Run
) -> None:
    async with published(relay, run) as publisher, watching(run) as viewer:
        await viewer.lines(1)
        publisher.interrupt()
        code, rest = await viewer.ended()

    assert code == 1
    assert "Traceback" in rest

    async with run("publish.py", "publish_track"), watching(run) as viewer:
        assert follow_on(await viewer.lines(2))


async def test_what_is_published_is_seen_without_any_client(relay: Public, run: Run) -> None:
    said = [relay.readdress(url) for url in re.findall(r"`curl (http://\S+)`", README)]
    base = f"http://localhost:{relay.port}"
    announced, fetched = (url.removeprefix(base) for url in said)

    async with published(relay, run), watching(run) as viewer:
        (line,) = await viewer.lines(1)
        paths = await asyncio.to_thread(relay.get, announced, internal=False)
        group = await asyncio.to_thread(relay.get, fetched, internal=False)

    assert paths == "room/alice\n"
    assert follow_on([line, group]) or group == line


@pytest.fixture
def page(relay: Public, node: str, npm: str, tmp_path: Path) -> Iterator[str]:
    """The browser's program, bundled, on a page of its own; npm is what build.mjs calls."""
    folder = tmp_path / "page"
    build(node, folder)
    program = tmp_path / "program.js"
    program.write_text(relay.readdress(block("js", "@moq/net")))
    modules = SOURCE / "node_modules"
    subprocess.run(
        [
            *(node, str(modules / "esbuild" / "bin" / "esbuild"), str(program)),
            *("--bundle", "--format=esm", "--log-level=warning"),
            f"--outfile={folder / 'program.js'}",
        ],
        env=os.environ | {"NODE_PATH": str(modules)},
        check=True,
    )
    (folder / "readme.html").write_text('<script type="module" src="program.js"></script>')
    with served(folder) as address:
        yield f"{address}/readme.html"


async def test_the_browsers_program_shows_what_publish_py_publishes(
    relay: Public, run: Run, page: str, chromium: str
) -> None:
    console: list[tuple[str, str]] = []
    async with published(relay, run), launched(chromium) as browser:
        tab = await browser.new_page()
        tab.on("console", lambda message: console.append((message.type, message.text)))
        tab.on("pageerror", lambda error: console.append(("error", str(error))))
        await tab.goto(page)
        try:
            async with asyncio.timeout(SECONDS):
                while len(shown(console)) < FRAMES:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"the console has only {console}")

    assert follow_on(shown(console)), console


def shown(console: list[tuple[str, str]]) -> list[str]:
    """What the program itself wrote; the library warns and debugs."""
    return [text for kind, text in console if kind == "log"]


def test_the_file_of_a_relay_of_your_own_makes_a_relay(tmp_path: Path) -> None:
    relay = RelayProcess(tmp_path, ["any"])
    made = tls.generate(["relay.example.com"])
    text = block("toml", "# relay.toml")
    for written, here in (
        ("[::]:443", f"127.0.0.1:{relay.web_port}"),
        ("127.0.0.1:9101", f"127.0.0.1:{relay.internal_port}"),
        ("/etc/letsencrypt/live/relay.example.com/fullchain.pem", tmp_path / "fullchain.pem"),
        ("/etc/letsencrypt/live/relay.example.com/privkey.pem", tmp_path / "privkey.pem"),
    ):
        assert written in text
        text = text.replace(written, str(here))
    (tmp_path / "fullchain.pem").write_bytes(made.pem)
    (tmp_path / "privkey.pem").write_bytes(made.key_pem)
    relay.configuration = lambda: text

    relay.start()
    try:
        assert relay.get("/ready")
    finally:
        relay.stop()
