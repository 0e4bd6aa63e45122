"""One publisher and many viewers through one relay: who watches what, and what must come of it."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from tests.interop.clients import publishing
from tests.interop.viewers import Viewer
from tests.support.media import LIVE

VERSIONS = ("moq-lite-05", "moq-lite-06", "moq-lite-04", "moq-lite-03", "moq-lite-02")
"""A listener each. lite-05 first: browsers ask its port number for the certificate's hash."""
NEWER = ("moq-lite-05", "moq-lite-06")
"""Versions whose frames carry their media time and whose subscriptions say where they end."""
TRANSPORTS = {"moqt": "quic", "https": "webtransport"}
"""URL scheme to the relay's name for it."""
MEDIA_SECONDS = 2.5
"""How long media flows once every viewer has its first groups."""
CATCH_UP_SECONDS = 10

Pair = tuple[str, str]
"""A client's scheme and version."""
Sessions = dict[tuple[str, str], int]
"""Open sessions by the relay's names of transport and version."""


class Place(Protocol):
    """Where clients connect to: a relay, or a bad network in front of it."""

    def url(self, scheme: str, version: str) -> str:
        """The address that speaks one version over one transport."""
        ...

    def sessions(self) -> Sessions:
        """What the relay counts at this moment."""
        ...


async def watch_together(
    place: Place, publisher: Pair, viewers: Sequence[Pair]
) -> tuple[dict[Pair, Viewer], Sessions]:
    """Publish, watch, end; returns the viewers and the sessions while all of them watched."""
    path = "interop/" + "-".join(publisher)
    timed = publisher[1] in NEWER
    watching = {
        (scheme, version): Viewer(
            place.url(scheme, version),
            path,
            LIVE,
            timestamps=timed and version in NEWER,
            ends=version in NEWER,
        )
        for scheme, version in viewers
    }
    async with (
        publishing(place.url(*publisher), path, LIVE) as sender,
        asyncio.TaskGroup() as tasks,
    ):
        for viewer in watching.values():
            tasks.create_task(viewer.run())
        for viewer in watching.values():
            await viewer.joined.wait()
        since = dict(sender.groups)
        sessions = await asyncio.to_thread(place.sessions)
        await asyncio.sleep(MEDIA_SECONDS)
        sender.finish()
        await sender.sent.wait()
        async with asyncio.TaskGroup() as ending:
            for viewer in watching.values():
                ending.create_task(viewer.caught_up(since, sender.groups, CATCH_UP_SECONDS))
        for viewer in watching.values():
            viewer.leave()
    return watching, sessions
