"""The public HTTP endpoints of a running relay, and the demo with the real client."""

import asyncio
import datetime
import json
import re
import sys
import urllib.error
import urllib.request

import pytest

from moq_relay.daemon.commands import welcome
from tests.support.relay_process import EXECUTABLE, RelayProcess, free_ports

VERSIONS = ["moq-lite-05"]


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    """One relay with its demo, for all that only looks."""
    running = RelayProcess(tmp_path_factory.mktemp("relay"), VERSIONS, "[demo]\nenabled = true\n")
    running.start()
    yield running
    running.stop()


def answer(relay, path):
    """Status, headers and body, whatever the status."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{relay.web_port}{path}", timeout=10
        ) as found:
            return found.status, found.headers, found.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_the_hash_of_the_certificate_is_64_digits_for_every_page(relay):
    status, headers, body = answer(relay, "/certificate.sha256")

    assert status == 200
    assert re.fullmatch(rb"[0-9a-f]{64}", body)
    assert headers["Access-Control-Allow-Origin"] == "*"


def test_what_is_announced_is_a_path_a_line(relay):
    assert answer(relay, "/announced")[2] == b"demo/clock\n"
    assert answer(relay, "/announced/demo")[2] == b"demo/clock\n"
    assert answer(relay, "/announced/dem")[2] == b""


def test_a_fetch_gives_a_whole_group(relay):
    status, headers, body = answer(relay, "/fetch/demo/clock/clock")

    assert status == 200
    assert headers["Content-Type"] == "application/octet-stream"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", json.loads(body)["time"])


def test_a_group_of_the_past_is_fetched_by_its_number(relay):
    first = answer(relay, "/fetch/demo/clock/clock")[2]
    moment = json.loads(first)["time"]
    number = int(datetime.datetime.fromisoformat(moment).timestamp())

    assert answer(relay, f"/fetch/demo/clock/clock?group={number}")[2] == first


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/fetch/demo/clock/video", 404, "demo/clock has the tracks clock and scene\n"),
        ("/fetch/nowhere/clock", 404, "no broadcast covers 'nowhere'\n"),
        ("/fetch/clock", 404, "no broadcast covers ''\n"),
        ("/fetch/demo/clock/clock?group=7", 404, "the demo keeps no past\n"),
        ("/fetch/demo/clock/clock?group=-1", 400, "group is '-1', not the number of a group\n"),
        (
            "/fetch/demo/clock/clock?group=" + "9" * 5000,
            400,
            f"group is '{'9' * 19}', not the number of a group\n",
        ),
        ("/announced/" + "a/" * 40, 400, "a path has more than 32 segments\n"),
        ("/nothing", 404, "404: Not Found"),
    ],
)
def test_what_cannot_be_had_is_a_status_and_a_line(relay, path, status, said):
    found, _, body = answer(relay, path)

    assert (found, body.decode()) == (status, said)


def test_the_demo_page_has_all_its_parts(relay):
    status, headers, body = answer(relay, "/demo")

    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    parts = re.findall(r'(?:src|href)="(/demo/[^"]+)"', body.decode())
    assert parts == ["/demo/demo.css", "/demo/demo.js"]
    for part in [*parts, "/demo/wire.js"]:
        assert answer(relay, part)[0] == 200
    assert json.loads(answer(relay, "/demo/relay.json")[2])["doors"] == [
        {"port": relay.ports["moq-lite-05"], "versions": ["moq-lite-05"]}
    ]


def test_without_the_demo_there_is_no_page_and_no_broadcast(tmp_path):
    relay = RelayProcess(tmp_path, VERSIONS)
    relay.start()
    try:
        assert answer(relay, "/demo")[0] == 404
        assert answer(relay, "/announced")[2] == b""
    finally:
        relay.stop()


def test_http_gives_no_more_than_moq_does(tmp_path):
    relay = RelayProcess(tmp_path, VERSIONS, "[demo]\nenabled = true\n")
    text = relay.configuration().replace('public = ""', 'public = {subscribe = "open"}')
    relay.configuration = lambda: text
    relay.start()
    try:
        assert answer(relay, "/announced")[2] == b""
        assert answer(relay, "/announced/demo")[0] == 403
        assert answer(relay, "/fetch/demo/clock/clock")[0] == 403
        assert answer(relay, "/certificate.sha256")[0] == 200
        assert answer(relay, "/health")[0] == 200
    finally:
        relay.stop()


async def lines(process, count):
    """The first lines that a program prints."""
    async with asyncio.timeout(15):
        return [(await process.stdout.readline()).decode().rstrip() for _ in range(count)]


async def test_what_the_demo_prints_works_as_it_is():
    (port,) = free_ports(1)
    flags = ("--server-listen", f"localhost:{port}", "--web-http-listen", f"localhost:{port}")
    relay = await asyncio.create_subprocess_exec(
        str(EXECUTABLE), "demo", *flags, "--internal-listen", "", "--log-level", "warning",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    programs = []
    try:
        printed = ""
        async with asyncio.timeout(15):
            while "Watch that" not in printed or printed.count("asyncio.run(main())") < 2:
                printed += (await relay.stdout.readline()).decode()
        url = f"http://localhost:{port}"
        assert f"{url}/demo" in printed
        for code in (welcome.PUBLISH, welcome.WATCH):
            assert code.format(url=url) in printed
            programs.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-c", code.format(url=url), stdout=asyncio.subprocess.PIPE
                )
            )

        heard = await lines(programs[1], 3)

        first = int(heard[0].removeprefix("hello number "))
        assert heard == [f"hello number {first + step}" for step in range(3)]
    finally:
        for program in (*programs, relay):
            program.kill()
            await program.communicate()
