"""Takes the pictures in docs/images anew, and prints what `moq-relay nodes` shows beside them.

    python -m tests.support.screenshots

Needs Chromium. The first picture is a real cluster of three relays on this machine, whose demo is
watched at the third; the second is the same page over a hundred nodes that a test makes up.
"""

import asyncio
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

from playwright.async_api import async_playwright

from tests.support.cluster_process import ClusterProcess, eventually
from tests.support.made_up import MadeUp, served
from tests.support.relay_process import EXECUTABLE, environment

IMAGES = Path(__file__).parents[2] / "docs/images"
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LARGEST = 150_000
"""Bytes of one picture."""
RELAYS = ("us-central", "us-east", "eu-west")
SETTLED_SECONDS = 8
"""Until every round trip was measured and rates are steady."""


def chunks(png):
    """The parts of a PNG: kind and content."""
    place = 8
    while place < len(png):
        (size,) = struct.unpack_from(">I", png, place)
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        place += 12 + size


def smaller(png):
    """The same picture without Chromium's filters, which make flat colours and text larger."""
    parts = list(chunks(png))
    width, height, _, kind = struct.unpack_from(">IIBB", parts[0][1])
    pixel = {2: 3, 6: 4}[kind]
    raw = zlib.decompress(b"".join(content for name, content in parts if name == b"IDAT"))
    size, above, lines = width * pixel, bytearray(width * pixel), []
    for start in range(0, height * (size + 1), size + 1):
        line = bytearray(raw[start + 1 : start + 1 + size])
        for at in range(size):
            left = line[at - pixel] if at >= pixel else 0
            corner = above[at - pixel] if at >= pixel else 0
            line[at] = (line[at] + guess(raw[start], left, above[at], corner)) & 0xFF
        above = line
        lines.append(b"\0" + line)
    content = zlib.compress(b"".join(lines), 9)
    made = [(b"IHDR", parts[0][1]), (b"IDAT", content), (b"IEND", b"")]
    return png[:8] + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in made
    )


def guess(filtered, left, above, corner):
    """What a filter takes a byte to be, by its neighbours (PNG specification, section 9.2)."""
    if filtered < 4:
        return (0, left, above, (left + above) // 2)[filtered]
    return min((left, above, corner), key=lambda one: abs(left + above - corner - one))


async def picture(browser, url, name, *, width, height):
    """The top of the page, once it is live and a broadcast is chosen."""
    page = await browser.new_page(viewport={"width": width, "height": height})
    await page.goto(url)
    await page.click("#broadcasts li:first-child button")
    await page.wait_for_selector("#route li")
    await asyncio.sleep(SETTLED_SECONDS)
    await page.evaluate("document.activeElement.blur()")
    path = IMAGES / name
    whole = {"x": 0, "y": 0, "width": width, "height": height}
    path.write_bytes(smaller(await page.screenshot(clip=whole, full_page=True)))
    await page.close()
    assert path.stat().st_size <= LARGEST, f"{path}: {path.stat().st_size} bytes"


async def real(browser, directory):
    """Three relays; what the command prints about them."""
    cluster = ClusterProcess(directory, RELAYS)
    for name in RELAYS:
        rest = "[demo]\nenabled = true\n" if name == "us-east" else "[demo]\npage = true\n"
        if name == RELAYS[0]:
            cluster.add(name, rest=f"[redis]\ntimeout = 0.5\n{rest}")
        else:
            cluster.add_through(name, RELAYS[0]).toml += rest
    try:
        await cluster.start()
        last = cluster[RELAYS[-1]]
        await eventually(lambda: "demo/clock" in last.table(), "the demo is known")
        viewer = await browser.new_page()
        await viewer.goto(f"http://127.0.0.1:{last.web_port}/demo")
        await viewer.wait_for_selector('#state[data-state="live"]')
        url = f"http://127.0.0.1:{last.internal_port}"
        await picture(browser, f"{url}/", "cluster.png", width=1120, height=1000)
        command = [str(EXECUTABLE), "nodes", "--internal", url]
        said = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment()
        )
        await viewer.close()
        cluster.stop()
    finally:
        cluster.kill()
    return said.stdout


async def main():
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing; on Debian: apt install chromium"
    with tempfile.TemporaryDirectory() as directory:
        async with async_playwright() as player:
            browser = await player.chromium.launch(executable_path=chromium, args=FLAGS)
            try:
                said = await real(browser, Path(directory))
                async with served(MadeUp(100)) as (url, _):
                    await picture(browser, url, "hundred.png", width=1120, height=612)
            finally:
                await browser.close()
    print(said)


if __name__ == "__main__":
    asyncio.run(main())
