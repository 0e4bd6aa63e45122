"""The page of the cluster in a real browser, over a made-up cluster and over a real one."""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from playwright.async_api import async_playwright, expect

from tests.integration.test_cluster_faces import HOSTILE, announced
from tests.support.cluster_process import ClusterProcess, eventually
from tests.support.made_up import MadeUp, served

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE = 20_000
"""Milliseconds for the browser to start, connect or notice."""
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}

CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const parts = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((v) => v / 255)
            .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const ground = (one) => {
        for (; one; one = one.parentElement) {
            const found = parts(getComputedStyle(one).backgroundColor);
            if (found[3] === 255) return found;
        }
        return [255, 255, 255];
    };
    const worst = {};
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const one = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !one.checkVisibility()) continue;
        if (["SCRIPT", "STYLE", "NOSCRIPT", "title"].includes(one.tagName)) continue;
        const style = getComputedStyle(one);
        const ink = one.namespaceURI.endsWith("svg") ? style.fill : style.color;
        const both = [light(parts(ink)), light(ground(one))].sort((a, b) => b - a);
        const ratio = (both[0] + 0.05) / (both[1] + 0.05);
        if (ratio < 4.5) worst[walker.currentNode.textContent.slice(0, 30)] = ratio.toFixed(2);
    }
    return worst;
}"""
"""Texts whose contrast to what is behind them is below 4.5 (WCAG 2.1, 1.4.3)."""

OVERLAPS = """() => {
    const boxes = [...document.querySelectorAll(
        "#map text, td, h2, h3, dt, dd b, #broadcasts li, #events li > *, #route li > *"
    )].filter((one) => one.checkVisibility() && one.textContent.trim())
      .map((one) => [one, one.getBoundingClientRect()]).filter(([, box]) => box.width);
    const found = [];
    for (const [one, a] of boxes) for (const [other, b] of boxes) {
        if (one === other || one.contains(other) || other.contains(one)) continue;
        if (one.closest(".scroll") !== other.closest(".scroll")) continue;
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 1 && high > 3) found.push(`${one.textContent} | ${other.textContent}`);
    }
    const map = document.getElementById("map").getBoundingClientRect();
    for (const [one, box] of boxes) {
        if (!one.closest("#map")) continue;
        if (box.left < map.left - 1 || box.right > map.right + 1 || box.bottom > map.bottom + 1)
            found.push(`${one.textContent} is cut off`);
    }
    return found;
}"""
"""Pairs of texts that lie over each other, and names in the map that leave it."""


NARROW = """() => [...document.querySelectorAll(".panel, .region")]
    .filter((one) => one.checkVisibility() && one.clientWidth < 0.9 * innerWidth)
    .map((one) => one.innerText.slice(0, 30))"""
"""Parts of the page that share the width of a phone with another one."""


@pytest.fixture
async def browser(chromium):
    async with async_playwright() as player:
        browser = await player.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def shown(browser, url, *, viewport=DESK, scheme="light"):
    """The page once it is live; what its console says, and whom it asked."""
    context = await browser.new_context(viewport=viewport, color_scheme=scheme)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    page.faults, page.asked = [], []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: page.asked.append(request.url))
    try:
        await page.goto(url)
        await page.wait_for_selector('#state[data-state="live"], #note:not([hidden])')
        yield page
    finally:
        await context.close()


async def fits(page):
    """Whether nothing makes the page wider than the window."""
    return await page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("nodes", [3, 12, 100])
async def test_every_node_is_shown_readably(browser, nodes, viewport, scheme):
    made = MadeUp(nodes)
    async with (
        served(made) as (url, _),
        shown(browser, url, viewport=viewport, scheme=scheme) as page,
    ):
        await page.click("#broadcasts li:nth-child(5) button")
        await expect(page.locator("#route li").first).to_be_visible()

        assert await page.locator(".region tbody tr").count() == nodes
        regions = len({member["region"] for member in made.members})
        assert await page.locator(".region").count() == regions
        assert await page.locator("#links tr").count() == len(made.links)
        assert await page.locator("#map .dot").count() == nodes - 1
        assert await page.locator("#map").is_visible() == (viewport is DESK)
        assert await fits(page)
        if viewport is PHONE:
            assert await page.evaluate(NARROW) == []
        assert await page.evaluate(CONTRAST) == {}
        assert await page.evaluate(OVERLAPS) == []
        assert page.faults == []
        assert {one.split("/")[2] for one in page.asked if one[:5] != "data:"} == {url[7:]}


@pytest.mark.timeout(120)
async def test_a_change_shows_within_two_seconds(browser):
    made = MadeUp(3)
    async with served(made) as (url, _), shown(browser, url) as page:
        made.members[1]["state"] = "draining"
        made.isolated = "Redis does not answer"
        await expect(page.locator("#figures")).to_contain_text("1 draining", timeout=2000)
        await expect(page.locator("#trouble")).to_contain_text("Redis does not answer")

        made.isolated = None
        await expect(page.locator("#trouble")).to_be_hidden(timeout=2000)


@pytest.mark.timeout(120)
async def test_names_that_publishers_chose_are_text_and_nothing_else(browser):
    made = MadeUp(3, paths=[*HOSTILE, "a/../b", "<b>bold</b>/x", "percent/%2e%2e/x?y#z"])
    async with (
        served(made) as (url, _),
        shown(browser, url, viewport=PHONE) as page,
    ):
        asked = []
        page.on("dialog", lambda dialog: asked.append(dialog.message))
        await expect(page.locator("#broadcasts li")).to_have_count(len(made.table))
        for button in await page.locator("#broadcasts button").all():
            await button.click()
            await expect(page.locator("#route li").first).to_be_visible()

        assert asked == []
        assert await page.locator("main img, main b b, #broadcasts b, .events b").count() == 0
        listed = await page.locator("#broadcasts .name:first-child").all_inner_texts()
        assert '<img src=x onerror="alert(1)">' in listed
        assert "room/\\u202egnp.exe" in listed
        assert "room/\\x1b[31mred\\x1b]8;;https:evil.example\\x07" in listed
        assert max(map(len, listed)) <= 125
        assert "\u202e" not in await page.content()
        assert await fits(page)
        assert page.faults == []


@pytest.mark.timeout(120)
async def test_everything_can_be_reached_by_the_keyboard(browser):
    async with served(MadeUp(3)) as (url, _), shown(browser, url) as page:
        reached = []
        for _ in range(40):
            await page.keyboard.press("Tab")
            reached.append(
                await page.evaluate("document.activeElement.id || document.activeElement.innerText")
            )
            if reached[-1].startswith("room/004"):
                break
        await page.keyboard.press("Enter")

        assert "filter" in reached
        await expect(page.locator("#route-why")).to_contain_text("It comes from")
        # A second's picture takes no focus away.
        before = await page.inner_text("#clock")
        await expect(page.locator("#clock")).not_to_have_text(before)
        focused = await page.evaluate("document.activeElement.innerText")
        assert focused.startswith("room/004")


@pytest.mark.timeout(120)
async def test_a_path_narrows_what_is_listed(browser):
    made = MadeUp(3, paths=[f"room/{n}" for n in range(300)] + ["stage/a", "stage/b", "stagehand"])
    async with served(made) as (url, _), shown(browser, url) as page:
        await expect(page.locator("#more")).to_contain_text("The first 100 of 303")
        await page.fill("#filter", "stage/")

        await expect(page.locator("#broadcasts li")).to_have_count(2)
        await page.fill("#filter", "")
        await expect(page.locator("#broadcasts li")).to_have_count(100)


@pytest.mark.timeout(120)
async def test_one_page_too_many_asks_by_itself_and_says_so(browser):
    made = MadeUp(3)
    async with served(made) as (url, live), AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        for _ in range(32):
            await stack.enter_async_context(client.get(f"{url}/topology/live"))
        async with shown(browser, url) as page:
            await expect(page.locator("#note")).to_have_text(
                "32 pages watch this relay live already; this page asks every 5 s instead."
            )
            await expect(page.locator(".region tbody tr")).to_have_count(3)
            made.members[1]["state"] = "stale"

            await expect(page.locator("#figures")).to_contain_text("1 stale", timeout=8000)
            assert live.watching == 32


@pytest.mark.timeout(120)
async def test_the_page_may_run_and_load_nothing_but_its_own(browser):
    async with served(MadeUp(3)) as (url, _), shown(browser, url) as page:
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            policy = answer.headers["Content-Security-Policy"]
        injected = await page.evaluate(
            """async () => {
                window.ran = false;
                const script = document.createElement("script");
                script.textContent = "window.ran = true";
                document.body.append(script);
                const said = (fault) => fault.name;
                return [window.ran, await fetch("http://127.0.0.1:1/").then(() => "", said)];
            }"""
        )

        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert injected == [False, "TypeError"]
        assert any("Content Security Policy" in fault for fault in page.faults)


@pytest.mark.timeout(120)
async def test_a_name_that_is_bound_to_this_machine_by_somebody_else_shows_nothing(chromium):
    async with served(MadeUp(3)) as (url, _), async_playwright() as player:
        port = url.rpartition(":")[2]
        rule = "--host-resolver-rules=MAP evil.example 127.0.0.1"
        browser = await player.chromium.launch(executable_path=chromium, args=[*FLAGS, rule])
        try:
            page = await browser.new_page()
            answer = await page.goto(f"http://evil.example:{port}/")

            assert answer.status == 421
            assert "internal.hosts" in await page.inner_text("body")
        finally:
            await browser.close()


@pytest.mark.timeout(180)
async def test_a_real_cluster_is_shown_with_its_links_and_what_happens_to_it(browser, tmp_path):
    cluster = ClusterProcess(tmp_path, ["root", "east"])
    cluster.add("root", rest="[redis]\ntimeout = 0.5\n[demo]\npage = true")
    cluster.add_through("east", "root").toml += "[demo]\nenabled = true\n"
    try:
        await cluster.start()
        root, east = cluster.nodes.values()
        await eventually(lambda: "demo/clock" in root.table(), "root knows the demo")
        url = f"http://127.0.0.1:{root.internal_port}/"
        async with shown(browser, url) as page:
            await page.click("#broadcasts button")
            await expect(page.locator("#route-why")).to_contain_text("it would come from")
            async with aiohttp.ClientSession() as client:
                fetch = f"http://127.0.0.1:{root.web_port}/fetch/demo/clock/scene"
                async with client.get(fetch) as answer:
                    assert answer.status == 200
            east_name = east.url.removeprefix("https://").removesuffix("/")
            link = page.locator("#links tr", has_text=east_name)
            await expect(link).to_contain_text("up")
            await expect(link).to_contain_text(" ms")
            await expect(link).to_contain_text("b/s")
            async with announced(east, *HOSTILE):
                await expect(page.locator("#broadcasts")).to_contain_text("room/\\u202egnp.exe")
                await expect(page.locator("#events")).to_contain_text("room/\\u202egnp.exe")
            await expect(page.locator("#events")).to_contain_text("nobody has it any more")

            began = time.monotonic()
            await asyncio.to_thread(east.stop)
            await expect(page.locator("#events")).to_contain_text(f"{east_name} left")
            assert time.monotonic() - began < PATIENCE / 1000
            await expect(page.locator(".region tbody tr")).to_have_count(1)

            await asyncio.to_thread(root.stop)
            await expect(page.locator("#trouble")).to_contain_text("No answer from the relay")
            await asyncio.to_thread(root.start)
            await expect(page.locator("#state")).to_have_text("live")
            assert [fault for fault in page.faults if "ERR_" not in fault] == []
        cluster.stop()
    finally:
        cluster.kill()


@pytest.mark.timeout(120)
async def test_prometheus_may_ask_by_any_name_and_nobody_else(tmp_path):
    cluster = ClusterProcess(tmp_path, ["root"])
    root = cluster.add("root", rest="[redis]\ntimeout = 0.5")
    root.environment["MOQ_INTERNAL_HOSTS"] = "ops.example"
    try:
        await cluster.start()
        async with aiohttp.ClientSession() as client:

            async def status(path, host):
                url = f"http://127.0.0.1:{root.internal_port}{path}"
                async with client.get(url, headers={"Host": host}) as answer:
                    return answer.status

            assert await status("/metrics", "us-central:9101") == 200
            assert await status("/ready", "10.0.0.1") == 200
            assert await status("/nodes", "us-central:9101") == 421
            assert await status("/", "evil.example") == 421
            assert await status("/topology/live", "evil.example") == 421
            assert await status("/nodes", "localhost:9101") == 200
            assert await status("/nodes", "ops.example") == 200
        cluster.stop()
    finally:
        cluster.kill()
