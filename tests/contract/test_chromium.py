"""Our WebTransport against the one of a real browser."""

import asyncio
import contextlib

import pytest
from playwright.async_api import async_playwright

from tests.contract.transports import CREDENTIALS, Recorder, listening, until

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-default-browser-check",
    "--disable-domain-reliability",
]

DIAL = """
async ([url, hash, protocols]) => {
  const bytes = new Uint8Array(hash.match(/../g).map(x => parseInt(x, 16)));
  const options = {serverCertificateHashes: [{algorithm: 'sha-256', value: bytes}], protocols};
  window.text = new TextDecoder();
  window.bytes = value => new TextEncoder().encode(value);
  window.all = async readable => {
    let found = '';
    for await (const part of readable) found += text.decode(part, {stream: true});
    return found;
  };
  window.wt = new WebTransport(url, options);
  try { await wt.ready; } catch (error) { return String(error); }
  return wt.protocol;
}
"""


class Echo(Recorder):
    """Answers each bidirectional stream and datagram with itself."""

    def __init__(self, transport):
        super().__init__()
        self.transport = transport

    def stream_data(self, stream, data, fin):
        super().stream_data(stream, data, fin)
        if not stream & 3:
            self.transport.send(stream, data, fin=fin)

    def datagram(self, data):
        super().datagram(data)
        self.transport.send_datagram(data)


async def blank(reader, writer):
    """An empty page: WebTransport exists only in pages that came from a secure place."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.fixture
async def page(chromium):
    async with (
        await asyncio.start_server(blank, "127.0.0.1", 0) as pages,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{pages.sockets[0].getsockname()[1]}/")
        yield page
        await browser.close()


@contextlib.asynccontextmanager
async def connected(page, protocols=("other", "moq-lite-04")):
    arrivals, served = [], []

    def accept(arrival, transport):
        arrivals.append(arrival)
        served.append(transport)
        return Echo(transport)

    async with listening(accept=accept) as (listener, _):
        url = f"https://127.0.0.1:{listener.port}/room?jwt=x"
        arguments = [url, CREDENTIALS.current.fingerprint, list(protocols)]
        assert await page.evaluate(DIAL, arguments) == "moq-lite-04"
        assert (arrivals[0].protocol, arrivals[0].target) == ("moq-lite-04", "/room?jwt=x")
        yield served[0], served[0].events, listener


async def test_streams_and_datagrams_of_a_browser_go_both_ways(page):
    async with connected(page) as (transport, _, _):
        uni, both = transport.open_uni(), transport.open_bi()
        transport.send(uni, b"from us", fin=True)
        transport.send(both, b"question")

        heard = await page.evaluate("""async () => {
            const found = {};
            const mine = await wt.createBidirectionalStream();
            const writer = mine.writable.getWriter();
            const reading = all(mine.readable);
            await writer.write(new Uint8Array(1_000_000).fill(97));
            await writer.close();
            found.echoed = (await reading).length;
            const unis = wt.incomingUnidirectionalStreams.getReader();
            found.uni = await all((await unis.read()).value);
            const bidis = wt.incomingBidirectionalStreams.getReader();
            const theirs = (await bidis.read()).value;
            const reader = theirs.readable.getReader();
            found.question = text.decode((await reader.read()).value);
            const answer = theirs.writable.getWriter();
            await answer.write(bytes('answer'));
            await answer.close();
            const datagrams = wt.datagrams.readable.getReader();
            const outgoing = wt.datagrams.createWritable
                ? wt.datagrams.createWritable() : wt.datagrams.writable;
            await outgoing.getWriter().write(bytes('datagram'));
            found.datagram = text.decode((await datagrams.read()).value);
            return found;
        }""")

        assert heard == {
            "echoed": 1_000_000,
            "uni": "from us",
            "question": "question",
            "datagram": "datagram",
        }
        await until(lambda: both in transport.events.fins)
        assert transport.events.data[both] == b"answer"


async def test_a_browser_sees_our_codes_and_we_see_its(page):
    async with connected(page) as (transport, events, _):
        seen = await page.evaluate("""async () => {
            window.stream = await wt.createBidirectionalStream();
            window.writer = stream.writable.getWriter();
            await writer.write(bytes('x'));
            const other = (await wt.createUnidirectionalStream()).getWriter();
            await other.write(bytes('y'));
            await other.abort(new WebTransportError({message: 'no', streamErrorCode: 77}));
        }""")
        assert seen is None
        await until(lambda: len(events.data) == 2 and events.calls)
        [stream] = [stream for stream in events.data if not stream & 2]
        [uni] = [stream for stream in events.data if stream & 2]
        assert events.calls == [("reset", uni, 77)]

        transport.stop(stream, 98)
        transport.reset(stream, 99)

        seen = await page.evaluate("""async () => {
            const found = [];
            try { await all(stream.readable); } catch (error) {
                found.push(error.source, error.streamErrorCode);
            }
            try { await writer.closed; } catch (error) { found.push(error.streamErrorCode); }
            return found;
        }""")
        assert seen == ["stream", 99, 98]


async def test_a_browsers_close_reaches_the_session(page):
    async with connected(page) as (_, events, listener):
        await page.evaluate("wt.close({closeCode: 7, reason: 'bye'})")

        await until(lambda: events.calls)
        assert events.calls == [("closed", 7, "bye")]
        await until(lambda: listener.connections == 0)


async def test_our_close_reaches_the_browser(page):
    async with connected(page) as (transport, events, listener):
        transport.close(9, "gone")

        closed = await page.evaluate("wt.closed.then(i => [i.closeCode, i.reason])")

        assert closed == [9, "gone"]
        assert events.calls == [("closed", 9, "gone")]
        await until(lambda: listener.connections == 0)
