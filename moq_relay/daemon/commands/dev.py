"""``moq-relay dev``: three relays on this machine as one cluster, each a process of its own.

Whoever started it sees what each relay says, behind its region. One that ends is started again, so
that it may be killed to see what happens; Ctrl-C ends all of them, and leaves nothing behind.
"""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp
from rich.console import Console
from rich.text import Text

from moq_relay.cluster.embedded import dying_with_us
from moq_relay.daemon.commands import certs
from moq_relay.daemon.config.flags import Command
from moq_relay.daemon.demo import PATH
from moq_relay.daemon.tokens.jwk import Key
from moq_relay.errors import ConfigError
from moq_relay.transports import authority, tls

FORWARDED = ("log", "cache", "limits")
"""Settings that may be given for all three; the others differ between them."""
START_SECONDS = 30.0
STOP_SECONDS = 12.0
AGAIN_SECONDS = 1.0
LOOK_SECONDS = 0.1
COLOURS = ("cyan", "magenta", "yellow")


class Relay(NamedTuple):
    """One of them; the first is the root."""

    region: str
    port: int
    """For UDP and for HTTP."""
    internal: int

    @property
    def page(self) -> str:
        """Where a browser finds the demo."""
        return f"http://localhost:{self.port}/demo"


RELAYS = (
    Relay("us-central", 4443, 9101),
    Relay("us-east", 4444, 9102),
    Relay("eu-west", 4445, 9103),
)


def run(command: Command, relays: Sequence[Relay] = RELAYS) -> int:
    """Run them until SIGINT or SIGTERM; the exit code.

    Raises:
        ConfigError: the command line has what cannot be the same for all.
    """
    if command.file is not None:
        raise ConfigError(f"dev takes no file; it makes its own, and {command.file} is not used")
    flags = [word for section in _sections(command) for word in section]
    directory = Path(tempfile.mkdtemp(prefix="moq-relay-dev-"))
    try:
        files = prepare(directory, relays)
        return asyncio.run(_Supervisor(relays, files, flags).run())
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _sections(command: Command) -> list[list[str]]:
    found = []
    for name, flag in command.flags.spelled.items():
        if name.partition(".")[0] not in FORWARDED:
            allowed = ", ".join(f"{section}.*" for section in FORWARDED)
            raise ConfigError(f"{flag} cannot be the same for three relays; dev takes {allowed}")
        found.append([f"{flag}={command.flags.get(name)}"])
    return found


def prepare(directory: Path, relays: Sequence[Relay]) -> list[Path]:
    """Make an authority, certificates, key, tokens and a file of settings for each; the files."""
    ours = authority.found("moq-relay dev", tls.GENERATED_DAYS)
    secret = secrets.token_bytes(32)
    jwk = {"kty": "oct", "alg": "HS256", "k": base64.urlsafe_b64encode(secret).decode()}
    key = Key.of(jwk, "the key of dev")
    _write(directory / "ca.pem", ours.certificate.pem)
    _write(directory / "key.jwk", json.dumps(jwk).encode())
    files = []
    for relay in relays:
        node = f"https://localhost:{relay.port}/"
        token = directory / f"{relay.region}.jwt"
        _write(token, key.sign(cluster=True, node=node, get="").encode())
        issued = ours.issue(["localhost", "127.0.0.1", "::1"], tls.GENERATED_DAYS)
        certs.write(directory, relay.region, issued)
        files.append(directory / f"{relay.region}.toml")
        _write(files[-1], _settings(relay, relays[0], directory, token).encode())
    return files


def _settings(relay: Relay, root: Relay, directory: Path, token: Path) -> str:
    if relay is root:
        part = f'[redis]\ndir = "{directory / "registry"}"'
    else:
        part = f'root = "https://localhost:{root.port}"\ntoken = "{token}"'
    source = "enabled" if relay.region == "us-east" else "page"
    return f"""\
[server]
listen = "localhost:{relay.port}"
[server.tls]
cert = "{directory / relay.region}.pem"
key = "{directory / relay.region}.key"
[client.tls]
root = "{directory / "ca.pem"}"
[web.http]
listen = "localhost:{relay.port}"
[internal]
listen = "127.0.0.1:{relay.internal}"
[auth]
public = ""
key = "{directory / "key.jwk"}"
[demo]
{source} = true
[cluster]
node = "https://localhost:{relay.port}"
allow = "localhost"
region = "{relay.region}"
{part}
"""


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


class _Supervisor:
    """Starts, watches and ends the processes."""

    def __init__(self, relays: Sequence[Relay], files: Sequence[Path], flags: list[str]) -> None:
        self._relays = relays
        self._files = files
        self._flags = flags
        self._console = Console(highlight=False, soft_wrap=True)
        self._processes: dict[Relay, Process] = {}
        self._root_is_up = asyncio.Event()
        self._started = False
        self._stopping = asyncio.Event()
        self._failed = False

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        async with asyncio.TaskGroup() as tasks:
            kept = [
                tasks.create_task(self._keep(place, relay), name=relay.region)
                for place, relay in enumerate(self._relays)
            ]
            greeting = tasks.create_task(self._greet(), name="greeting")
            await self._stopping.wait()
            greeting.cancel()
            await self._end(kept)
        return 1 if self._failed else 0

    def _stop(self) -> None:
        if self._stopping.is_set():
            for process in self._processes.values():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        self._stopping.set()

    async def _keep(self, place: int, relay: Relay) -> None:
        """Run one relay, again and again."""
        # Their settings are in the files; those of the shell are somebody else's.
        environment = {name: v for name, v in os.environ.items() if not name.startswith("MOQ_")}
        relay_command = [sys.executable, "-m", "moq_relay", str(self._files[place]), *self._flags]
        if place:
            await self._root_is_up.wait()  # or there would be warnings about nothing
        while not self._stopping.is_set():
            process = await asyncio.create_subprocess_exec(
                *dying_with_us(relay_command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=PIPE,
                env=environment,
                # Ctrl-C is for this process, which ends them in order.
                process_group=0,
            )
            self._processes[relay] = process
            assert process.stderr is not None
            while line := await process.stderr.readline():
                self._say(place, line.decode("utf-8", "replace").rstrip("\n"))
            code = await process.wait()
            if self._stopping.is_set():
                return
            if not self._started:
                self._say(place, f"ended with {code} before the cluster was there")
                self._failed = True
                self._stopping.set()
                return
            self._say(place, f"ended with {code}; starting it again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    await self._stopping.wait()

    async def _end(self, kept: Sequence[asyncio.Task[None]]) -> None:
        """The root last, so that the others can take leave at it."""
        self._root_is_up.set()
        for place in (*range(1, len(self._relays)), 0):
            process = self._processes.get(self._relays[place])
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    # Not SIGTERM: nobody here has somewhere else to go.
                    process.send_signal(signal.SIGINT)
                _, late = await asyncio.wait([kept[place]], timeout=STOP_SECONDS)
                if late:
                    self._say(place, "does not end; killed")
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()

    def _say(self, place: int, line: str) -> None:
        region = Text(f"{self._relays[place].region:<10} │ ", style=COLOURS[place % len(COLOURS)])
        self._console.print(region.append(line, style="default"))

    # When all are there.

    async def _greet(self) -> None:
        with self._console.status("starting three relays …"):
            missing = await self._until_complete()
        if missing:
            self._console.print(Text(f"moq-relay: still missing: {missing}", style="red"))
            self._failed = True
            self._stopping.set()
            return
        self._started = True
        self._console.print(Text(_greeting(self._relays, self._files[0].parent, self._pid())))

    def _pid(self) -> int:
        """Of the root; the launcher has become the relay."""
        return self._processes[self._relays[0]].pid

    async def _until_complete(self) -> str:
        """Wait until every relay knows every other, and the demo; what is missing in the end."""
        missing = ""
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(START_SECONDS),
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as client,
            ):
                while not await self._is_up(client, self._relays[0]):
                    missing = self._relays[0].region
                    await asyncio.sleep(LOOK_SECONDS)
                self._root_is_up.set()
                while True:
                    answers = [await self._lacks(client, relay) for relay in self._relays]
                    missing = "; ".join(filter(None, answers))
                    if not missing:
                        return ""
                    await asyncio.sleep(LOOK_SECONDS)
        return missing or "everything"

    async def _is_up(self, client: aiohttp.ClientSession, relay: Relay) -> bool:
        try:
            async with client.get(f"http://127.0.0.1:{relay.internal}/ready") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _lacks(self, client: aiohttp.ClientSession, relay: Relay) -> str:
        base = f"http://127.0.0.1:{relay.internal}"
        try:
            async with client.get(f"{base}/nodes") as answer:
                nodes = len((await answer.json())["nodes"])
            async with client.get(f"{base}/routes/{PATH}") as answer:
                found = (await answer.json())["routes"]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            return f"{relay.region} ({type(error).__name__})"
        if nodes < len(self._relays):
            return f"{relay.region} knows {nodes} nodes"
        return "" if found else f"{relay.region} does not know {PATH}"


def _greeting(relays: Sequence[Relay], directory: Path, pid: int) -> str:
    places = "\n".join(
        f"  {relay.region:<12}{relay.page:<30}internal http://127.0.0.1:{relay.internal}"
        for relay in relays
    )
    root, _, last = relays
    return f"""
moq-relay: three relays on this machine are one cluster; Ctrl-C ends them.

{places}

The pictures come from us-east; every page shows them. {root.region} is the root. To try:

  http://127.0.0.1:{root.internal}                                       the cluster, live
  moq-relay nodes                                             who is in the cluster
  moq-relay origins                                           who has what
  moq-relay routes {PATH} --internal 127.0.0.1:{last.internal}       how {last.region} gets it
  kill -9 {pid:<10} the root; the pictures go on, and it is started again

Publish to http://localhost:{relays[1].port} and watch at http://localhost:{last.port}; the
programs are in README.md.
Their settings are in {directory}.
"""
