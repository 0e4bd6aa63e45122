"""The page of the demo in a real browser: it shows the broadcast and outlives the relay."""

import asyncio
import math
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import async_playwright

from tests.support.relay_process import RelayProcess

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE = 20_000
"""Milliseconds for the browser to start, connect or notice."""


@pytest.fixture
def relay(tmp_path):
    running = RelayProcess(tmp_path, ["moq-lite-05"], "[demo]\nenabled = true\n")
    running.start()
    yield running
    running.kill()


@asynccontextmanager
async def shown(chromium, url):
    """The page, and the errors that its console shows."""
    async with async_playwright() as player:
        browser = await player.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            page = await browser.new_page()
            faults = []
            page.on("pageerror", lambda error: faults.append(str(error)))
            await page.goto(url)
            yield page, faults
        finally:
            await browser.close()


async def state(page, name):
    """Wait until the page says that it is in this state."""
    await page.wait_for_selector(f'#state[data-state="{name}"]', timeout=PATIENCE)


async def figure(page, name):
    """A figure that the page shows; nan before there is one."""
    return float((await page.inner_text(f"#{name}")).replace("\u2013", "nan"))


async def more_groups(page, count):
    """Wait until ``count`` more groups are complete."""
    async with asyncio.timeout(PATIENCE / 1000):
        while math.isnan(before := await figure(page, "groups")):
            await asyncio.sleep(0.1)
        while await figure(page, "groups") < before + count:
            await asyncio.sleep(0.1)


async def drawn(page):
    """How many pixels of the scene are not empty."""
    return await page.evaluate(
        """() => {
            const canvas = document.getElementById("scene");
            const pen = canvas.getContext("2d");
            const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((value, at) => at % 4 === 3 && value).length;
        }"""
    )


@pytest.mark.timeout(120)
async def test_the_page_draws_the_broadcast_and_its_figures(chromium, relay):
    async with shown(chromium, f"http://127.0.0.1:{relay.web_port}/demo") as (page, faults):
        await state(page, "live")
        await more_groups(page, 3)

        assert await drawn(page) > 1000
        assert 20 < await figure(page, "rate") < 40
        assert -5 < await figure(page, "latency") < 2000
        assert await figure(page, "sessions") == 1
        assert "UTC" in await page.inner_text("#clock")
        assert relay.sessions() == {("webtransport", "moq-lite-05"): 1}
        assert faults == []


@pytest.mark.timeout(120)
async def test_the_page_says_that_the_relay_is_gone_and_comes_back_with_it(chromium, relay):
    async with shown(chromium, f"http://127.0.0.1:{relay.web_port}/demo") as (page, faults):
        await state(page, "live")
        await more_groups(page, 1)

        await asyncio.to_thread(relay.stop)
        await state(page, "lost")
        trouble = await page.inner_text("#trouble")
        await asyncio.to_thread(relay.start)
        await state(page, "live")
        await more_groups(page, 1)

        assert trouble.startswith("No connection to the relay: ")
        assert await page.is_hidden("#trouble")
        assert await figure(page, "reconnects") >= 1
        assert faults == []


@pytest.mark.timeout(120)
async def test_a_relay_that_lacks_the_version_of_the_page_is_a_plain_sentence(chromium, tmp_path):
    relay = RelayProcess(tmp_path, ["moq-lite-04"], "[demo]\nenabled = true\n")
    relay.start()
    try:
        async with shown(chromium, f"http://127.0.0.1:{relay.web_port}/demo") as (page, _):
            await state(page, "lost")

            assert await page.inner_text("#trouble") == (
                "This page speaks moq-lite-05, and server.version of the relay leaves it out."
            )
    finally:
        relay.kill()


@pytest.mark.timeout(120)
async def test_localhost_is_found_whichever_of_its_addresses_the_relay_has(chromium, relay):
    async with shown(chromium, f"http://localhost:{relay.web_port}/demo") as (page, faults):
        await state(page, "live")
        await more_groups(page, 1)

        assert faults == []
