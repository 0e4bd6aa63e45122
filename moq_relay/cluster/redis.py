"""The straight road: Redis itself, by one connection for commands and one for events.

The only module that knows the client library. Every command is sent at once and answered in order;
one that is not answered in time costs the road, which is then laid anew.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis import exceptions
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)

from moq_relay.cluster.acl import CLIENT_COMMANDS
from moq_relay.cluster.apart import apart
from moq_relay.cluster.backoff import Backoff, pause
from moq_relay.cluster.endpoint import Address, Endpoint, parse_info, server_facts
from moq_relay.cluster.keys import Keys, Shard
from moq_relay.cluster.road import Connected, Looked, Lost, Message, RoadEvent, ServerFacts
from moq_relay.cluster.scripts import OF_A_NODE, SCRIPTS, Script
from moq_relay.errors import RegistryError, RegistryUnavailable

logger = logging.getLogger(__name__)

LOG_ENTRIES = {True: 4096, False: 1024}
"""Events that a feed keeps for who missed them: of the membership, and of a shard."""

GONE = (exceptions.ReadOnlyError, exceptions.BusyLoadingError, exceptions.MasterDownError)
"""Answers of a server that is not, or not yet, the primary."""


class _Down(Exception):
    """The road ends here; its text says why."""


@contextmanager
def _road_errors() -> Iterator[None]:
    """What the client library and the sockets raise, as the end of the road."""
    try:
        yield
    except TimeoutError as error:
        raise _Down("no answer in time") from error
    except (exceptions.RedisError, OSError, RegistryUnavailable) as error:
        raise _Down(str(error) or type(error).__name__) from error


class _Commands:
    """A connection whose commands are sent at once and answered in their order."""

    def __init__(self, connection: AbstractConnection) -> None:
        # An event, not a future: that would be cancelled with the task that waits for it, and
        # whoever read it afterwards would be taken for cancelled too, and end without a word.
        self._failed = asyncio.Event()
        self._reason = ""
        self._connection = connection
        self._sending = asyncio.Lock()
        self._waiting: deque[asyncio.Future[Any]] = deque()

    async def send(self, name: str, *words: str) -> Any:
        """One command and its answer.

        Raises:
            RegistryUnavailable: the connection ended first.
            ResponseError: the server refused, in the library's words.
        """
        assert name in CLIENT_COMMANDS, f"{name} is not in the access list"
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        packed = self._connection.pack_command(*name.split(" "), *words)
        async with self._sending:
            if self._failed.is_set():
                raise RegistryUnavailable(self._reason)
            self._waiting.append(answer)
            try:
                await self._connection.send_packed_command(packed, check_health=False)
            except (exceptions.RedisError, OSError) as error:
                self.fail(str(error))
                raise RegistryUnavailable(str(error)) from error
            except asyncio.CancelledError:
                self.fail("a command was cut off")  # the library closed the connection
                raise
        return await answer

    async def read(self) -> None:
        """Hand out the answers, until the connection ends."""
        while True:
            try:
                answer = await self._connection.read_response(
                    timeout=math.inf, disconnect_on_error=False
                )
            except exceptions.ResponseError as error:
                answer = error
            except (exceptions.RedisError, OSError) as error:
                raise _Down(str(error)) from error
            waiting = self._waiting.popleft()
            if waiting.done():
                continue
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)

    async def watch(self) -> None:
        """End when somebody found that the road must be laid anew."""
        await self._failed.wait()
        raise _Down(self._reason)

    def fail(self, reason: str) -> None:
        """The road must be laid anew."""
        if not self._failed.is_set():
            self._reason = reason
            self._failed.set()

    def close(self, reason: str) -> None:
        """Who still waits for an answer gets none."""
        self.fail(reason)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(RegistryUnavailable(reason))
                waiting.exception()  # whoever asked may be gone


class RedisRoad:
    """Straight to Redis or Valkey, for ever: every loss is followed by another attempt."""

    straight = True

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        prefix: str = "moq",
        shards: int = 16,
        timeout: float = 2.0,
        probe_seconds: float = 2.0,
        max_backoff: float = 1.0,
        log_entries: int | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Nothing is connected before ``run``.

        Args:
            endpoint: where the server is.
            prefix: of every key and channel.
            shards: how many there shall be, unless the registry exists and says otherwise.
            timeout: seconds for one command.
            probe_seconds: how often the way of an event is tried from end to end.
            max_backoff: the longest pause between two attempts.
            log_entries: events kept of each feed; None for the usual numbers.
            prepare: awaited before every attempt, for who has to start the server first.
        """
        self._endpoint = endpoint
        self._keys = Keys(prefix)
        self._shards = shards
        self._count = shards
        self._timeout = timeout
        self._probe_seconds = probe_seconds
        self._log_entries = log_entries
        self._prepare = prepare
        self._backoff = Backoff(cap=max_backoff)
        self._commands: _Commands | None = None
        self._history = ""
        self._probe_channel = self._keys.probe(secrets.token_hex(8))
        self._echo = asyncio.Event()

    # The two calls of a road.

    async def run(self, deliver: Callable[[RoadEvent], None]) -> None:
        try:
            while True:
                reason = "closed"
                try:
                    await apart(self._session(deliver), "redis-session")
                except* _Down as group:
                    reason = str(group.exceptions[0])
                deliver(Lost(reason))
                await self._backoff.pause()
        finally:
            deliver(Lost("stopped"))

    async def call(self, script: str, shard: Shard, args: Sequence[str]) -> list[Any]:
        commands = self._commands
        if commands is None:
            raise RegistryUnavailable("the road is down")
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._evaluate(commands, SCRIPTS[script], shard, args)
        except TimeoutError:
            commands.fail(f"no answer within {self._timeout:g} s")
            raise RegistryUnavailable(f"no answer within {self._timeout:g} s") from None
        except GONE as error:
            commands.fail(str(error))
            raise RegistryUnavailable(str(error)) from error
        except exceptions.ResponseError as error:
            if str(error).startswith("BUSY"):
                raise RegistryUnavailable(str(error)) from error
            raise RegistryError(str(error)) from error
        if script == "attach" and shard is None and answer[3] != self._count:
            commands.fail(f"the registry has {answer[3]} shards")
        return answer

    async def _evaluate(
        self, commands: _Commands, script: Script, shard: Shard, args: Sequence[str]
    ) -> list[Any]:
        keys = self._keys.of(shard, args[0] if script.name in OF_A_NODE else "")
        length = self._log_entries or LOG_ENTRIES[shard is None]
        words = [script.sha, str(len(keys)), *keys, self._keys.channel(shard), str(length), *args]
        if script.name == "attach":
            count = str(self._count) if shard is None else ""
            words += [self._history, secrets.token_hex(6), count]
        try:
            answer: list[Any] = await commands.send("EVALSHA", *words)
        except exceptions.NoScriptError:
            await commands.send("SCRIPT LOAD", script.text)
            answer = await commands.send("EVALSHA", *words)
        return answer

    # One session, from the first connection to its loss.

    async def _session(self, deliver: Callable[[RoadEvent], None]) -> None:
        opened: list[AbstractConnection] = []
        commands: _Commands | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._prepare is not None:
                    with _road_errors():
                        await self._prepare()
                address = await self._find()
                opened.append(await self._open(address))
                opened.append(await self._open(address))
                commands = _Commands(opened[0])
                tasks.create_task(commands.read(), name="redis-answers")
                tasks.create_task(commands.watch(), name="redis-watch")
                facts = await self._greet(commands)
                channels = await self._subscribe(opened[1])
                self._commands = commands
                deliver(Connected(self._count, facts))
                tasks.create_task(self._listen(opened[1], channels, deliver), name="redis-events")
                tasks.create_task(self._probe(commands, deliver), name="redis-probe")
                self._backoff.succeeded()
        finally:
            self._commands = None
            if commands is not None:
                commands.close("the road is down")
            for connection in opened:
                await connection.disconnect(nowait=True)

    async def _find(self) -> Address | None:
        """The primary's address; None for a unix socket."""
        if not self._endpoint.addresses:
            return None
        if not self._endpoint.service:
            return self._endpoint.addresses[0]
        reason = ""
        for address in self._endpoint.addresses:
            try:
                return await self._ask_sentinel(address)
            except _Down as error:
                reason = str(error)
        raise _Down(f"no Sentinel knows {self._endpoint.service}: {reason}")

    async def _ask_sentinel(self, address: Address) -> Address:
        connection = Connection(
            host=address[0], port=address[1], decode_responses=True, driver_info=None, protocol=2
        )
        try:
            with _road_errors():
                async with asyncio.timeout(self._timeout):
                    await connection.connect()  # type: ignore[no-untyped-call]
                    await connection.send_command(
                        "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._endpoint.service
                    )
                    answer = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        if not answer:
            raise _Down("it does not know the name")
        return answer[0], int(answer[1])

    async def _open(self, address: Address | None) -> AbstractConnection:
        endpoint = self._endpoint
        options: dict[str, Any] = {
            "db": endpoint.database,
            "username": endpoint.username,
            "password": endpoint.password,
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "decode_responses": True,
            "encoding_errors": "surrogateescape",
            "driver_info": None,
            "protocol": 2,
        }
        connection: AbstractConnection
        if address is None:
            connection = UnixDomainSocketConnection(path=endpoint.path, **options)
        elif endpoint.tls:
            options |= {
                "ssl_ca_certs": endpoint.ca_file,
                "ssl_certfile": endpoint.cert_file,
                "ssl_keyfile": endpoint.key_file,
            }
            connection = SSLConnection(host=address[0], port=address[1], **options)
        else:
            connection = Connection(host=address[0], port=address[1], **options)
        with _road_errors():
            try:
                async with asyncio.timeout(self._timeout):
                    await connection.connect()  # type: ignore[no-untyped-call]
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
        return connection

    async def _greet(self, commands: _Commands) -> ServerFacts:
        """Make sure that it is a primary, load the scripts, and see what it is: one round trip."""
        loads = [commands.send("SCRIPT LOAD", script.text) for script in SCRIPTS.values()]
        with _road_errors():
            async with asyncio.timeout(self._timeout):
                info, count, *_ = await asyncio.gather(
                    self._primary_info(commands),
                    commands.send("HGET", self._keys.of(None, "")[0], "shards"),
                    *loads,
                )
        self._history = info["master_replid"]
        count = int(count) if count is not None else self._shards
        if count not in (self._shards, self._count):
            logger.warning("shards differ setting=%d registry=%d", self._shards, count)
        self._count = count
        return server_facts(info)

    async def _primary_info(self, commands: _Commands) -> dict[str, str]:
        """What the server says of itself, which has to be the primary."""
        role, info = await asyncio.gather(commands.send("ROLE"), commands.send("INFO"))
        if role[0] != "master":
            raise _Down("the server is not the primary")
        return parse_info(info)

    async def _subscribe(self, connection: AbstractConnection) -> dict[str, Shard]:
        """Listen to every feed; returns once the server said so."""
        shards: list[Shard] = [None, *range(self._count)]
        channels = {self._keys.channel(shard): shard for shard in shards}
        with _road_errors():
            async with asyncio.timeout(self._timeout):
                await connection.send_command("SUBSCRIBE", *channels, self._probe_channel)
                for _ in range(len(channels) + 1):
                    await connection.read_response(timeout=math.inf, disconnect_on_error=False)
        return channels

    async def _listen(
        self,
        connection: AbstractConnection,
        channels: dict[str, Shard],
        deliver: Callable[[RoadEvent], None],
    ) -> None:
        while True:
            with _road_errors():
                answer = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            _, channel, text = answer
            if channel == self._probe_channel:
                self._echo.set()
            elif channel in channels:
                deliver(Message(channels[channel], text))

    async def _probe(self, commands: _Commands, deliver: Callable[[RoadEvent], None]) -> None:
        """Try the way of an event, and see that the server still writes the same history.

        The id of that history changes with every loss of writes.

        A subscription can be well in TCP's eyes and yet never deliver again. All is asked at once:
        the timeout is for one command, and a server may be a large part of that away.
        """
        while True:
            await pause(self._probe_seconds)
            self._echo.clear()
            with _road_errors():
                async with asyncio.timeout(self._timeout):
                    info, *_ = await asyncio.gather(
                        self._primary_info(commands),
                        commands.send("PUBLISH", self._probe_channel, ""),
                        self._echo.wait(),
                    )
                    if info["master_replid"] != self._history:
                        raise _Down("the server writes another history")
            deliver(Looked(server_facts(info)))
