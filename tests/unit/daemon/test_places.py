"""Documents by file and by HTTP: what is taken, what is refused, and how long it is good for."""

import asyncio
import ssl

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from moq_relay.daemon.tokens import places
from moq_relay.daemon.tokens.places import FilePlace, Found, Gone, Unread, UrlPlace, check_url
from moq_relay.errors import ConfigError
from moq_relay.transports import authority

SECRET = "swordfish"


class Server:
    """Answers as it is told, and remembers what was asked."""

    def __init__(self):
        self.asked = []
        self.answers = {}

    async def answer(self, request):
        self.asked.append(request)
        made = self.answers[request.path]
        return await made(request) if callable(made) else made

    def application(self):
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        return app


@pytest.fixture
async def server():
    told = Server()
    async with TestServer(told.application()) as running:
        told.url = str(running.make_url("/")).rstrip("/")
        yield told


def reply(text="text", status=200, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}

    async def made(_request):
        return web.Response(text=text, status=status, headers=headers)

    return made


async def test_a_document_is_read_and_good_for_as_long_as_its_server_says(server):
    server.answers["/a"] = reply(" text \n", Cache_Control="public, max-age=600")

    assert await UrlPlace(f"{server.url}/a").read(None) == Found("text", None, 600)
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 300),
        ({"Cache_Control": "max-age=60", "Age": "20"}, 40),
        ({"Cache_Control": "max-age=60", "Age": "junk"}, 60),
        ({"Cache_Control": "max-age=1"}, 10),
        ({"Cache_Control": "max-age=99999999"}, 86_400),
        ({"Cache_Control": "no-store, max-age=600"}, 10),
        ({"Cache_Control": "no-cache"}, 10),
        ({"Cache_Control": "max-age=junk"}, 300),
        (
            {
                "Date": "Wed, 21 Oct 2026 07:28:00 GMT",
                "Expires": "Wed, 21 Oct 2026 07:30:00 GMT",
            },
            120,
        ),
        ({"Expires": "0"}, 10),
    ],
)
async def test_freshness_is_http_s_within_bounds(server, headers, seconds):
    server.answers["/a"] = reply(**headers)

    assert (await UrlPlace(f"{server.url}/a").read(None)).fresh == seconds


async def test_a_document_that_is_as_it_was_is_not_sent_again(server):
    server.answers["/a"] = reply(ETag='"1"', Last_Modified="Wed, 21 Oct 2026 07:28:00 GMT")
    place = UrlPlace(f"{server.url}/a")
    first = await place.read(None)
    server.answers["/a"] = reply("", 304, Cache_Control="max-age=90")

    assert await place.read(first.stamp) == Found(None, first.stamp, 90)
    assert server.asked[1].headers["If-None-Match"] == '"1"'
    assert "If-Modified-Since" in server.asked[1].headers
    with pytest.raises(Unread, match="answers 304"):
        await place.read(None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(status=500), "/a: answers 500"),
        (reply(status=206), "/a: answers 206"),
        (reply("x" * 65_537), "/a: is larger than 65536 bytes"),
        (reply(Content_Encoding="gzip"), "/a: answers in a coding that was not asked for"),
        (reply(status=302, Location="/a"), "/a: is redirected more than 3 times"),
        (reply(status=302, Location="http://localhost:1/a"), "redirected to another host"),
        (reply(status=302, Location="http://127.0.0.1/a"), "redirected to another host"),
        (reply(status=302, Location="https:///a"), "redirected to another host"),
        (reply(status=302, Location="http://a:b/"), "cannot be fetched"),
        (reply(status=302, Location="//user@127.0.0.1/"), "redirected to another host"),
    ],
)
async def test_any_other_answer_is_refused_in_a_line(server, answer, reason):
    server.answers["/a"] = answer

    with pytest.raises(Unread, match=reason) as caught:
        await UrlPlace(f"{server.url}/a?key={SECRET}").read(None)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [404, 410])
async def test_who_says_that_it_is_gone_is_believed(server, status):
    server.answers["/a"] = reply(status=status)

    with pytest.raises(Gone):
        await UrlPlace(f"{server.url}/a").read(None)


async def test_a_redirect_within_the_host_is_followed(server):
    server.answers |= {"/a": reply(status=307, Location="b?x=1"), "/b": reply("b")}

    assert (await UrlPlace(f"{server.url}/a").read(None)).text == "b"
    assert server.asked[1].query == {"x": "1"}


async def test_a_document_may_be_64_kib_and_come_in_pieces(server):
    async def slowly(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(64):
            await answer.write(b"x" * 1024)
        return answer

    server.answers["/a"] = slowly

    assert len((await UrlPlace(f"{server.url}/a").read(None)).text) == 65_536


async def test_a_server_that_does_not_answer_is_given_up(server, monkeypatch):
    monkeypatch.setattr(places, "SECONDS", 0.05)

    async def never(_request):
        await asyncio.Event().wait()

    server.answers["/a"] = never

    with pytest.raises(Unread, match=r"/a: no answer within 0\.05 s"):
        await UrlPlace(f"{server.url}/a").read(None)


async def test_nobody_there_is_a_line_without_the_query():
    with pytest.raises(Unread, match="cannot be reached") as caught:
        await UrlPlace(f"http://127.0.0.1:1/a?key={SECRET}").read(None)
    assert SECRET not in str(caught.value)


async def test_a_server_is_believed_by_its_certificate(tmp_path):
    ours = authority.found("test", 1)
    issued = ours.issue(["localhost"], 1)
    (tmp_path / "ca.pem").write_bytes(ours.certificate.pem)
    (tmp_path / "s.pem").write_bytes(issued.pem)
    (tmp_path / "s.key").write_bytes(issued.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "s.pem", tmp_path / "s.key")
    told = Server()
    told.answers["/a"] = reply("secret")
    running = TestServer(told.application(), scheme="https", host="localhost")
    await running.start_server(ssl=context)
    try:
        url = str(running.make_url("/a"))
        trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")

        assert (await UrlPlace(url, trust).read(None)).text == "secret"
        with pytest.raises(Unread, match="its certificate is not believed"):
            await UrlPlace(url).read(None)
        with pytest.raises(Unread, match="its certificate is not believed"):
            await UrlPlace(url.replace("localhost", "127.0.0.1"), trust).read(None)
    finally:
        await running.close()
    assert len(told.asked) == 1


@pytest.mark.parametrize("url", ["https://a/k", "http://localhost:1/k", "http://[::1]/k?a=b"])
def test_keys_come_by_https_or_from_this_machine(url):
    check_url(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://a/k", "is not https"),
        ("http://localhost.evil/k", "is not https"),
        ("ftp://a/k", "is no URL of a document"),
        ("https:///k", "is no URL of a document"),
        ("https://a:b/k", "is no URL of a document"),
        ("https://[a/k", "is no URL of a document"),
        ("https://user:word@a/k", "has a user name"),
        ("https://a/k#x", "a fragment"),
    ],
)
def test_keys_come_by_no_other_url(url, reason):
    with pytest.raises(ConfigError, match=reason):
        check_url(url)


# --- files ----------------------------------------------------------------------------------------


async def test_a_file_is_read_again_when_it_changed(tmp_path):
    file, place = tmp_path / "f", FilePlace(tmp_path / "f")
    file.write_text("one\n")
    first = await place.read(None)

    assert first.text == "one"
    assert (await place.read(first.stamp)).text is None
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").replace(file)
    assert (await place.read(first.stamp)).text == "two"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"x" * 65_537, "is larger than"), (b"\xff", "is not UTF-8 text")]
)
async def test_a_file_that_holds_something_else_is_refused(tmp_path, content, reason):
    (tmp_path / "f").write_bytes(content)

    with pytest.raises(Unread, match=f"f: {reason}"):
        await FilePlace(tmp_path / "f").read(None)


async def test_a_file_that_is_gone_is_told_from_one_that_cannot_be_read(tmp_path):
    with pytest.raises(Gone, match="no such file or directory"):
        await FilePlace(tmp_path / "f").read(None)
    with pytest.raises(Unread, match="is a directory") as caught:
        await FilePlace(tmp_path).read(None)
    assert not isinstance(caught.value, Gone)
