"""Where small documents are kept, a file or a URL, and how long what was read there is good for."""

import asyncio
import email.utils
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import aiohttp

from moq_relay.daemon.config.values import loopback
from moq_relay.errors import ConfigError, MoqError

LARGEST = 64 * 1024
"""Bytes of a document."""
SECONDS = 5.0
"""Until all of it is here."""
REDIRECTS = 3
FILE_SECONDS = 10.0
"""How often a file is looked at."""
UNSAID_SECONDS = 300.0
"""How long a document is good for whose server says nothing of that."""
SHORTEST, LONGEST = 10.0, 86_400.0
"""Whatever the server says: so often it can be asked, and so late a change is seen."""


class Unread(MoqError):
    """The document could not be had; the text says why, and nothing of what it holds."""


class Gone(Unread):
    """It is not there, and whoever keeps it says so."""


@dataclass(frozen=True, slots=True)
class Found:
    """A document, or that it is as it was."""

    text: str | None
    """None: as it was when ``stamp`` was last given."""
    stamp: Any
    """What to bring along the next time."""
    fresh: float
    """Seconds for which it need not be read again."""


class Place(Protocol):
    """Where one document is kept."""

    @property
    def name(self) -> str:
        """How it is called in a log."""

    async def read(self, stamp: Any) -> Found:
        """What is there now; ``stamp`` is that of the last time, or None.

        Raises:
            Unread: that cannot be said.
        """


class FilePlace:
    """A file. It may be replaced, as by the swap of a link above it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    async def read(self, stamp: Any) -> Found:
        return await asyncio.to_thread(self.look, stamp)

    def look(self, stamp: Any) -> Found:
        """The same, while everybody waits.

        Raises:
            Unread: it cannot be read, or is too large.
        """
        try:
            status = self._path.stat()
            now = (status.st_mtime_ns, status.st_size, status.st_ino)
            if now == stamp:
                return Found(None, stamp, FILE_SECONDS)
            with self._path.open("rb") as file:
                content = file.read(LARGEST + 1)
        except FileNotFoundError as error:
            raise Gone(f"{self._path}: cannot be read: no such file or directory") from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Unread(f"{self._path}: cannot be read: {reason}") from error
        return Found(_text(content, str(self._path)), now, FILE_SECONDS)


class UrlPlace:
    """A document that a server has, by HTTPS, or by HTTP from this machine."""

    def __init__(self, url: str, trust: ssl.SSLContext | bool = True) -> None:
        """Believe the system's certificates, or those of ``trust``."""
        self._url = url
        self._trust = trust

    @property
    def name(self) -> str:
        return self._url.partition("?")[0]

    async def read(self, stamp: Any) -> Found:
        try:
            async with (
                asyncio.timeout(SECONDS),
                aiohttp.ClientSession(
                    auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
                ) as client,
            ):
                return await self._ask(client, stamp or {})
        except TimeoutError as error:
            raise Unread(f"{self.name}: no answer within {SECONDS:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unread(f"{self.name}: {_plain(error)}") from error

    async def _ask(self, client: aiohttp.ClientSession, stamp: dict[str, str]) -> Found:
        url, headers = self._url, {"Accept-Encoding": "identity", **stamp}
        for _ in range(1 + REDIRECTS):
            async with client.get(
                url, headers=headers, allow_redirects=False, ssl=self._trust
            ) as answer:
                if answer.status in {301, 302, 303, 307, 308}:
                    url = self._elsewhere(answer)
                    continue
                return await self._take(answer, stamp)
        raise Unread(f"{self.name}: is redirected more than {REDIRECTS} times")

    def _elsewhere(self, answer: aiohttp.ClientResponse) -> str:
        url = urljoin(str(answer.url), answer.headers.get("Location", ""))
        if _origin(url) != _origin(self._url):
            raise Unread(f"{self.name}: is redirected to another host, which is not followed")
        return url

    async def _take(self, answer: aiohttp.ClientResponse, stamp: dict[str, str]) -> Found:
        fresh = _fresh(answer)
        if answer.status == 304 and stamp:
            return Found(None, stamp, fresh)
        if answer.status in {404, 410}:
            raise Gone(f"{self.name}: answers {answer.status}")
        if answer.status != 200:
            raise Unread(f"{self.name}: answers {answer.status}")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise Unread(f"{self.name}: answers in a coding that was not asked for")
        content = bytearray()
        async for piece in answer.content.iter_chunked(LARGEST):
            content += piece
            if len(content) > LARGEST:
                break
        return Found(_text(bytes(content), self.name), _stamp(answer), fresh)


def is_url(written: str) -> bool:
    """Whether a setting that may be a path or a URL is a URL."""
    return "://" in written


def check_url(url: str) -> None:
    """Refuse a URL by which nobody should fetch keys.

    Raises:
        ConfigError: its text ends a line about the setting.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
        parts = urlsplit("")
    if not host or parts.scheme not in {"https", "http"}:
        raise ConfigError("is no URL of a document; write https://host/path")
    if parts.scheme == "http" and not loopback(host):
        raise ConfigError("is not https, by which keys come; http is for this machine alone")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ConfigError("has a user name, a password or a fragment; keys are fetched without")


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return (
        parts.scheme,
        parts.hostname,
        parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0),
    )


def _text(content: bytes, name: str) -> str:
    if len(content) > LARGEST:
        raise Unread(f"{name}: is larger than {LARGEST} bytes")
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise Unread(f"{name}: is not UTF-8 text") from None


def _stamp(answer: aiohttp.ClientResponse) -> dict[str, str] | None:
    """What makes the next request a conditional one (RFC 9110 section 13)."""
    found = {}
    for name, condition in (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")):
        if name in answer.headers:
            found[condition] = answer.headers[name]
    return found or None


def _fresh(answer: aiohttp.ClientResponse) -> float:
    """Seconds for which an answer is fresh (RFC 9111 section 4.2), within our bounds."""
    said = answer.headers.get("Cache-Control", "").lower()
    age = _number(answer.headers.get("Age", ""))
    if re.search(r"\bno-(store|cache)\b", said):
        seconds = 0.0
    elif (found := re.search(r"\bmax-age=\"?(\d{1,9})", said)) is not None:
        seconds = float(found[1]) - age
    elif "Expires" in answer.headers:
        ends, now = _date(answer.headers["Expires"]), _date(answer.headers.get("Date", ""))
        seconds = 0.0 if ends is None or now is None else ends - now - age
    else:
        seconds = UNSAID_SECONDS
    return min(max(seconds, SHORTEST), LONGEST)


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,9}", text) else 0.0


def _date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _plain(error: Exception) -> str:
    """An error of the client without the address that some of them repeat, query and all."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not believed"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {(error.strerror or 'no connection').lower()}"
    return f"cannot be fetched: {type(error).__name__}"
