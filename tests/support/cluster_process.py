"""Whole clusters of real relay processes on loopback, each node with a directory of its own."""

import asyncio
import base64
import http.client
import json
import secrets
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moq_relay.cluster.address import node_url
from moq_relay.daemon.tokens.jwk import Key
from moq_relay.transports import tls
from tests.support.relay_process import RelayProcess, free_ports

QUICK = "renew = 0.5\nlease = 2\n"
LEASE_SECONDS = 2.0
LOOK_SECONDS = 0.05
PATIENCE = 20.0


class NodeProcess(RelayProcess):
    """One relay of a cluster, with a listener for all versions. ``toml`` is all but the ports."""

    def __init__(self, directory: Path, name: str, toml: str, ports: tuple[int, int]) -> None:
        directory.mkdir(exist_ok=True)
        super().__init__(directory, ["every version"], "")
        self.name = name
        self.port, self.internal_port = ports
        self.advertised = self.port
        """Where the others dial it; another port where something stands in between."""
        self.ports = {"every version": self.port}
        self.web_port = self.port
        self.toml = toml
        self.whole = False
        """Whether that has the ports too."""

    def __repr__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        """Its name in the cluster."""
        return node_url(f"localhost:{self.advertised}")

    @property
    def moqt(self) -> str:
        """Where clients connect."""
        return f"moqt://127.0.0.1:{self.port}"

    def configuration(self) -> str:
        if self.whole:
            return self.toml
        return (
            f'server.listen = "localhost:{self.port}"\n'
            f'web.http.listen = "127.0.0.1:{self.web_port}"\n'
            f'internal.listen = "127.0.0.1:{self.internal_port}"\n{self.toml}'
        )

    def send(self, number: signal.Signals) -> None:
        """A signal to the process."""
        assert self._process is not None, "it was not started"
        self._process.send_signal(number)

    # What it says.

    def members(self) -> dict[str, str]:
        """Nodes that it knows, and their state."""
        return {node["node"]: node["state"] for node in self.facts("/nodes")["nodes"]}

    def table(self) -> dict[str, set[str]]:
        """Paths that it knows, and who has them."""
        origins = self.facts("/origins?limit=10000")["origins"]
        return {one["path"]: {claim["node"] for claim in one["claims"]} for one in origins}

    def ready(self) -> bool:
        """Whether it is ready, and in touch with the registry."""
        try:
            facts = self.facts("/ready")
        except OSError:
            return False
        return facts["ready"] and not facts["isolated"]

    def facts(self, path: str) -> Any:
        """An answer of its internal HTTP."""
        return self.get_json(path)

    def counter(self, name: str) -> float:
        """The sum of a metric's samples."""
        return sum(self.metric(name).values())


class ClusterProcess:
    """Nodes that trust each other: one key, one certificate, a token for each.

    Where they are ``fronted``, each advertises a port of its own that it does not listen on.
    """

    def __init__(
        self, directory: Path, names: Iterable[str], *, times: str = QUICK, fronted: bool = False
    ) -> None:
        self.directory = directory
        self.times = times
        self.nodes: dict[str, NodeProcess] = {}
        names = list(names)
        ports = free_ports((3 if fronted else 2) * len(names))
        listened = iter(ports[: 2 * len(names)])
        self._ports = dict(zip(names, zip(listened, listened, strict=True), strict=True))
        advertised = ports[-len(names) :] if fronted else ports[: 2 * len(names) : 2]
        self._advertised = dict(zip(names, advertised, strict=True))
        certificate = tls.generate(["localhost", "127.0.0.1"])
        secret = secrets.token_bytes(32)
        jwk = {"kty": "oct", "alg": "HS256", "k": base64.urlsafe_b64encode(secret).decode()}
        self.key = Key.of(jwk, "test")
        (directory / "key.jwk").write_text(json.dumps(jwk))
        (directory / "cert.pem").write_bytes(certificate.pem)
        (directory / "cert.key").write_bytes(certificate.key_pem)

    def __getitem__(self, name: str) -> NodeProcess:
        return self.nodes[name]

    def address(self, name: str) -> str:
        """``localhost:port`` of a node, started or not."""
        return f"localhost:{self._advertised[name]}"

    def add(self, name: str, *, cluster: str = "", rest: str = "") -> NodeProcess:
        """A node with its own token and region; ``cluster`` and ``rest`` are more TOML."""
        (self.directory / f"{name}.jwt").write_text(
            self.key.sign(cluster=True, node=self.address(name), get="")
        )
        toml = (
            f'[server.tls]\ncert = "{self.directory}/cert.pem"\nkey = "{self.directory}/cert.key"\n'
            f'[client.tls]\nroot = "{self.directory}/cert.pem"\n'
            f'[auth]\npublic = ""\nkey = "{self.directory}/key.jwk"\n'
            f'[cluster]\nnode = "{self.address(name)}"\nregion = "{name}"\n{self.times}{cluster}\n'
            f"{rest}\n"
        )
        return self.add_as_written(name, toml)

    def add_through(self, name: str, *roots: str) -> NodeProcess:
        """A node whose registry is at roots."""
        listed = ", ".join(f'"{self.address(root)}"' for root in roots)
        joining = f'root = [{listed}]\ntoken = "{self.directory}/{name}.jwt"'
        return self.add(name, cluster=joining, rest="[redis]\ntimeout = 0.5")

    def add_as_written(self, name: str, toml: str) -> NodeProcess:
        """A node by its own file."""
        node = NodeProcess(self.directory / name, name, toml, self._ports[name])
        node.advertised = self._advertised[name]
        self.nodes[name] = node
        return node

    async def start(self, *names: str) -> None:
        """Start nodes, by default all, and wait until they know each other."""
        started = [self.nodes[name] for name in names or self.nodes]
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in started))
        await self.complete()

    async def complete(self) -> None:
        """Wait until all that run are ready, and each knows all of them as up."""
        running = [node for node in self.nodes.values() if node.running]
        wanted = {node.url: "up" for node in running}
        for node in running:
            await eventually(node.ready, f"{node} is ready")
            await eventually(lambda n=node: n.members() == wanted, f"{node} knows all")

    def stop(self) -> None:
        """End all that run, and look at their logs."""
        problems = []
        for node in reversed(self.nodes.values()):
            if node.running:
                try:
                    node.stop()
                except AssertionError as error:
                    problems.append(f"{node}: {error}")
        assert not problems, "\n".join(problems)

    def kill(self) -> None:
        """End all that run at once."""
        for node in self.nodes.values():
            node.kill()

    def log(self) -> str:
        """The last that each said."""
        return "\n\n".join(f"--- {node}\n{node.log(60)}" for node in self.nodes.values())


async def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> float:
    """Ask until it holds; how long that took. A node that does not answer says no."""
    begun = time.monotonic()
    while True:
        try:
            if await asyncio.to_thread(condition):
                return time.monotonic() - begun
        except (OSError, http.client.HTTPException):
            pass
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(LOOK_SECONDS)
