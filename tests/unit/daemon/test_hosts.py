"""By which names the internal HTTP may be asked."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from moq_relay.daemon.config.settings import Settings
from moq_relay.daemon.web.hosts import Hosts


def settings(**sections):
    return Settings.model_validate(sections)


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "localhost:9101",
        "LOCALHOST:9101",
        "localhost.:9101",
        "moq.localhost:9101",
        "127.0.0.1:9101",
        "127.9.9.9",
        "[::1]:9101",
        "[::ffff:127.0.0.1]:9101",
    ],
)
def test_loopback_may_always_be_asked(header):
    assert Hosts().admits(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        ":9101",
        "evil.example",
        "evil.example:9101",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "user@evil.example",
        "localhost@evil.example:9101",
        "relay.example.com.evil.example",
        "192.0.2.7:9101",
        "[::1",
        "[2001:db8::1]:9101",
    ],
)
def test_a_foreign_name_may_not(header):
    assert not Hosts(["relay.example.com"]).admits(header, "198.51.100.1")


def test_the_address_that_was_connected_to_may_be_asked():
    hosts = Hosts()

    assert hosts.admits("192.0.2.7:9101", "192.0.2.7")
    assert hosts.admits("192.0.2.7:9101", "::ffff:192.0.2.7")
    assert hosts.admits("[2001:db8::1]:9101", "2001:db8::1")


def test_the_names_of_a_relay_are_its_settings_its_node_and_what_it_listens_on():
    hosts = Hosts.of(
        settings(
            internal={"listen": "ops.internal:9101", "hosts": ["Grafana.example.com."]},
            cluster={"node": "https://eu-1.example.com:4443/"},
        )
    )

    for name in ("ops.internal:9101", "grafana.example.com", "eu-1.example.com:9101"):
        assert hosts.admits(name)
    assert not hosts.admits("example.com")


@pytest.fixture
async def client():
    async def answer(_request):
        return web.Response(text="here\n")

    app = web.Application(middlewares=[Hosts(["relay.example.com"]).guard])
    for path in ("/", "/nodes", "/metrics", "/health", "/ready"):
        app.router.add_route("*", path, answer)
    async with TestClient(TestServer(app)) as client:
        yield client


async def asked(client, path, method="GET", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, path, headers=named) as answer:
        return answer.status, await answer.text()


async def test_a_foreign_host_is_one_line(client):
    status, text = await asked(client, "/nodes", Host="evil.example\u202e")

    assert status == 421
    assert text.count("\n") == 1
    assert "evil.example" in text
    assert "internal.hosts" in text
    assert "\u202e" not in text
    assert await asked(client, "/nodes", Host="relay.example.com:1") == (200, "here\n")


@pytest.mark.parametrize("path", ["/metrics", "/health", "/ready"])
async def test_prometheus_and_probes_come_by_whatever_name_they_have(client, path):
    assert await asked(client, path, Host="us-east:9101") == (200, "here\n")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://relay.example.com:9101"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"},
    ],
)
async def test_a_page_of_another_site_may_not_ask(client, headers):
    status, text = await asked(client, "/nodes", Host="relay.example.com", **headers)

    assert status == 403
    assert text == "pages of other sites may not ask this relay\n"


async def test_the_page_itself_and_a_link_to_it_may(client):
    own = {"Host": "localhost:9101", "Origin": "http://localhost:9101"}
    link = {"Host": "localhost:9101", "Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}

    assert (await asked(client, "/nodes", **own))[0] == 200
    assert (await asked(client, "/", **link))[0] == 200
    assert (await asked(client, "/", "POST", **link))[0] == 403
