"""npm's @moq/net in Chromium beside PyPI's moq-rs, through one relay."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.interop.chromium import Chromium
from tests.interop.clients import publishing, spans
from tests.interop.conftest import Relay
from tests.interop.pairs import CATCH_UP_SECONDS, MEDIA_SECONDS, NEWER, TRANSPORTS
from tests.interop.viewers import Follower, Viewer
from tests.support.media import LIVE, LIVE_AGAIN

FULL = "moq-lite-05"
SMOKES = ("moq-lite-04", "moq-lite-03", "moq-lite-02")
RELOAD_VIEWERS = (("moqt", FULL), ("https", FULL), ("moqt", "moq-lite-06"), ("moqt", "moq-lite-04"))
GROUPS_BEFORE = 4
GROUPS_AGAIN = 2
"""Fewer than before: a viewer that waits for the old numbers to be passed is found out."""
JOIN_SECONDS = 15
RESUME_SECONDS = 8
"""From the moment when the reloaded page publishes again."""


def joined(report: list[dict[str, dict[str, Any]]]) -> bool:
    """Whether the newest instance has a complete group of each track."""
    return bool(report) and all(track["complete"] for track in report[-1].values())


def faults(
    report: list[dict[str, dict[str, Any]]], since: Mapping[str, int], until: Mapping[str, int]
) -> list[str]:
    """What a tab's only instance lacks of the groups from its first, or `since`, to `until`."""
    if len(report) != 1:
        return [f"the broadcast was seen {len(report)} times instead of once"]
    said: list[str] = []
    for name, track in report[0].items():
        first = min([since[name], *track["arrived"]])
        lacking = sorted(set(range(first, until[name])) - set(track["complete"]))
        if lacking:
            said.append(f"{name}: groups {spans(lacking)} of {first}-{until[name] - 1} missing")
        said += track["faults"]
    return said


def covered(since: Mapping[str, int], until: Mapping[str, int]):
    """The condition that nothing is lacking any more."""
    return lambda report: not faults(report, since, until)


@pytest.mark.parametrize("version", [FULL, *SMOKES])
async def test_what_a_page_publishes_reaches_pages_and_moq_rs(
    relay: Relay, browser: Chromium, version: str, subtests: pytest.Subtests
) -> None:
    path = f"interop/page-{version}"
    timed = version in NEWER
    viewers = {
        scheme: Viewer(relay.url(scheme, version), path, LIVE, timestamps=timed, ends=timed)
        for scheme in TRANSPORTS
    }
    publisher = await browser.tab(relay.browser_address(version))
    watcher = await browser.tab(relay.browser_address(version))

    negotiated = await publisher.publish(path, LIVE), await watcher.watch(path, LIVE, timed=timed)
    async with asyncio.TaskGroup() as tasks:
        for viewer in viewers.values():
            tasks.create_task(viewer.run())
        for viewer in viewers.values():
            await viewer.joined.wait()
        await watcher.until(joined, JOIN_SECONDS)
        since = await publisher.sent()
        await asyncio.sleep(MEDIA_SECONDS)
        until = await publisher.finish()
        seen = await watcher.until(covered(since, until), CATCH_UP_SECONDS)
        for viewer in viewers.values():
            await viewer.caught_up(since, until, CATCH_UP_SECONDS)
            viewer.leave()

    relay.expect_version(negotiated, version)
    with subtests.test(viewer="@moq/net"):
        assert not faults(seen, since, until), watcher.console
    for scheme, viewer in viewers.items():
        with subtests.test(viewer="moq-rs", transport=TRANSPORTS[scheme]):
            assert not viewer.report(), publisher.console


@pytest.mark.parametrize("version", [FULL, *SMOKES])
async def test_a_page_watches_what_moq_rs_publishes(
    relay: Relay, browser: Chromium, version: str
) -> None:
    path = f"interop/watched-by-page-{version}"
    watcher = await browser.tab(relay.browser_address(version))

    async with publishing(relay.url("moqt", version), path, LIVE) as publisher:
        negotiated = await watcher.watch(path, LIVE, timed=version in NEWER)
        await watcher.until(joined, JOIN_SECONDS)
        since = dict(publisher.groups)
        await asyncio.sleep(MEDIA_SECONDS)
        publisher.finish()
        await publisher.sent.wait()
        until = publisher.groups
        seen = await watcher.until(covered(since, until), CATCH_UP_SECONDS)

    relay.expect_version([negotiated], version)
    assert not faults(seen, since, until), watcher.console


async def test_viewers_go_on_when_the_publishing_page_is_reloaded(
    relay: Relay, browser: Chromium, subtests: pytest.Subtests
) -> None:
    path = "interop/reloaded"
    followers = {
        (scheme, version): Follower(
            relay.url(scheme, version), path, LIVE, timestamps=version in NEWER
        )
        for scheme, version in RELOAD_VIEWERS
    }
    publisher = await browser.tab(relay.browser_address(FULL))
    watcher = await browser.tab(relay.browser_address(FULL))
    await publisher.publish(path, LIVE)
    await watcher.watch(path, LIVE, timed=True)

    async with asyncio.TaskGroup() as tasks:
        following = [tasks.create_task(follower.run()) for follower in followers.values()]
        for follower in followers.values():
            await follower.has(GROUPS_BEFORE, JOIN_SECONDS)
        before = await watcher.until(joined, JOIN_SECONDS)
        instances = {name: len(follower.instances) for name, follower in followers.items()}
        await watcher.expect(LIVE_AGAIN)
        for follower in followers.values():
            follower.tracks = LIVE_AGAIN
        await publisher.reload()
        await publisher.publish(path, LIVE_AGAIN)

        seen = await watcher.until(
            lambda report: len(report) > len(before) and joined(report), RESUME_SECONDS
        )
        with subtests.test(viewer="@moq/net"):
            assert len(seen) > len(before), watcher.console
            assert joined(seen), (seen[-1], watcher.console)
            assert not [fault for track in seen[-1].values() for fault in track["faults"]]
        for name, follower in followers.items():
            with subtests.test(viewer="moq-rs", transport=TRANSPORTS[name[0]], version=name[1]):
                try:
                    await follower.has(GROUPS_AGAIN, RESUME_SECONDS, after=instances[name])
                except TimeoutError:
                    pytest.fail(f"{GROUPS_AGAIN} groups of each did not come again:\n{follower}")
                again = [fault for view in follower.instances[-1] for fault in view.faults]
                assert not again, follower
        for task in following:
            task.cancel()
