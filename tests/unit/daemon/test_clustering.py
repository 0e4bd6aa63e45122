"""A relay's part in the cluster: what the settings make of it, and what they may not say."""

import json
import re
import time

import pytest

from moq_relay.cluster.records import Offer
from moq_relay.daemon import clustering
from moq_relay.daemon.cli import main
from moq_relay.daemon.commands.check import in_force
from moq_relay.daemon.config.flags import parse
from moq_relay.daemon.config.sources import load, read_environment, read_file
from moq_relay.daemon.tokens.claims import Rules, verify
from moq_relay.errors import ConfigError
from tests.unit.daemon.test_tokens import KEY, jwk

TLS = '\n[server.tls]\ngenerate = "localhost"\n'
PASSWORD = "hunter2"


@pytest.fixture
def settle(tmp_path, monkeypatch):
    """Settings of a file's text, an environment and a command line, beside a token and a key."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "node.jwt").write_text(KEY.sign(cluster=True, node="n:1"))
    (tmp_path / "key.jwk").write_text(json.dumps(jwk()))

    def settle(text="", environment=None, arguments=()):
        (tmp_path / "relay.toml").write_text(text + TLS)
        variables, _ = read_environment(environment or {})
        return load([read_file(tmp_path / "relay.toml"), variables, parse(arguments).flags])

    return settle


REDIS = '[redis]\nurl = "redis://localhost:1"\n'
THROUGH = '[cluster]\nroot = "a"\nnode = "n:1"\ntoken = "node.jwt"\n'
N1, A = "https://n:1/", "https://a/"


@pytest.mark.parametrize(
    ("text", "mode", "node", "roots"),
    [
        ("", "standalone", None, ()),
        ('[cluster]\nnode = "n:1"\n', "root", N1, ()),
        (f"{REDIS}", "root", None, ()),
        (f'{REDIS}[cluster]\nnode = "n:1"\n', "root", N1, ()),
        (f'{REDIS}[cluster]\nnode = "n:1"\nroot = "a"\n', "direct", N1, (A,)),
        (
            '[cluster]\nnode = "https://n:1"\nroot = ["a:443", "b:2", "a"]\ntoken = "node.jwt"\n',
            "through",
            N1,
            (A, "https://b:2/"),
        ),
        ('[cluster]\nnode = "n:1"\nroot = "https://n:1"\n', "root", N1, ()),
        (f'{REDIS}[cluster]\nnode = "n:1"\nroot = ["n:1", "a"]\n', "direct", N1, (A,)),
    ],
)
def test_the_part_follows_from_the_root_the_node_and_redis(settle, text, mode, node, roots):
    part = clustering.part(settle(text))

    assert (part.mode, part.node, part.roots) == (mode, node, roots)


@pytest.mark.parametrize(
    ("text", "environment", "arguments"),
    [
        ('[cluster]\nconnect = "a"\nadvertise = "n:1"\ntoken = "node.jwt"\n', {}, []),
        (
            "",
            {
                "MOQ_CLUSTER_CONNECT": "a",
                "MOQ_CLUSTER_ADVERTISE": "n:1",
                "MOQ_CLUSTER_TOKEN": "node.jwt",
            },
            [],
        ),
        (
            "",
            {"MOQ_CLUSTER_ROOT": "a", "MOQ_CLUSTER_NODE": "n:1"},
            ["--cluster-token", "node.jwt"],
        ),
        (
            '[cluster]\ntoken = "node.jwt"',
            {},
            ["--cluster-connect=a", "--cluster-advertise", "n:1"],
        ),
        ('[cluster]\ntoken = "node.jwt"', {}, ["--cluster-root=a", "--cluster-node=n:1"]),
    ],
)
def test_the_old_and_the_new_names_of_the_seed_work(settle, text, environment, arguments):
    part = clustering.part(settle(text, environment, arguments))

    assert (part.mode, part.node, part.roots) == ("through", N1, (A,))
    assert verify(part.token, [KEY], Rules(), time.time()).node == N1


def test_a_name_and_its_alias_in_one_file_contradict_each_other(settle):
    with pytest.raises(ConfigError, match=r"cluster\.connect and cluster\.root are the same"):
        settle('[cluster]\nroot = "a"\nconnect = "b"\n')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[cluster]\nroot = "a"\ntoken = "node.jwt"\n', "cluster.root is set without cluster.node"),
        ('[cluster]\nroot = "a"\nnode = "n:1"\n', "cluster.root is set without cluster.token"),
        ('[cluster]\nnode = "n:1"\ntoken = "none"\n', "cluster.token = none: cannot be read"),
        (f'{REDIS}password = "a"\npassword_file = "b"\n', "are both set; keep one"),
        (f'{REDIS}user_file = "none"\n', "redis.user_file = none: cannot be read: no such file"),
        ("[cluster]\nlease = 5\n", "relay.toml: cluster.lease is 5 s, and cluster.renew and twice"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(settle, text, said):
    with pytest.raises(ConfigError) as caught:
        clustering.part(settle(text))

    assert said in str(caught.value)
    assert "relay.toml: " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[cluster]\nroot = "http://a"\n', 'cluster.root = "http://a" has the scheme http'),
        ('[cluster]\nconnect = "http://a"\n', 'cluster.connect = "http://a" has the scheme http'),
        ('[cluster]\nnode = "a/b"\n', 'cluster.node = "a/b" has more than a host and a port'),
        ("[cluster]\nnode = 1\n", "cluster.node = 1 must be a string"),
        ('[redis]\nprefix = "a b"\n', 'redis.prefix = "a b" must be a text without spaces'),
        ("[redis]\nshards = 0\n", "redis.shards = 0 must be more than 0"),
        (f'[redis]\nurl = "http://:{PASSWORD}@a"\n', "relay.toml: redis.url takes redis://host"),
        (f'[redis]\nurl = "redis://:{PASSWORD}@a:x"\n', "relay.toml: redis.url"),
        (f'[redis]\nurl = "redis://:{PASSWORD}@[a"\n', "relay.toml: redis.url is no URL"),
        ('[redis]\nurls = "redis://a"\n', "redis.urls is not a setting; did you mean redis.url?"),
    ],
)
def test_a_wrong_value_is_one_line_without_a_secret(settle, text, said):
    with pytest.raises(ConfigError) as caught:
        settle(text)

    assert said in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_password_is_shown_nowhere(settle, capsys):
    text = f'[redis]\nurl = "redis://u:{PASSWORD}@a:1/2"\npassword = "{PASSWORD}"\nuser = "u"\n'

    loaded = settle(text)

    endpoint = clustering.part(loaded).endpoint
    assert endpoint.password == PASSWORD
    assert endpoint.addresses == (("a", 1),)
    shown = in_force(loaded)
    assert 'redis.url = "***"' in shown
    for text in (shown, repr(loaded.settings), repr(endpoint), str(clustering.part(loaded))):
        assert PASSWORD not in text
    assert main(["check", "relay.toml", "--redis-url", f"redis://:{PASSWORD}@b"]) == 0
    captured = capsys.readouterr()
    assert PASSWORD not in captured.out + captured.err


def test_secrets_may_come_from_files(settle, tmp_path):
    (tmp_path / "url").write_text("rediss://a:2\n")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    loaded = settle(
        '[redis]\nurl_file = "url"\npassword_file = "password"\nuser = "moq"\nca = "ca.pem"\n'
    )

    endpoint = clustering.part(loaded).endpoint

    assert endpoint.tls
    assert (endpoint.username, endpoint.password) == ("moq", PASSWORD)
    assert endpoint.ca_file == "ca.pem"
    (tmp_path / "url").write_text(f"http://:{PASSWORD}@a")
    with pytest.raises(ConfigError, match=r"redis\.url_file: redis\.url takes") as caught:
        clustering.part(loaded)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[cluster]\nprefix = "internal/origins"\n', "cluster.prefix has no effect"),
        ("[cluster]\nshared_token = true\n", "cluster.shared_token is set: whoever"),
        ("[client.tls]\ndisable_verify = true\n", "client.tls.disable_verify is set: the cert"),
        (f'{REDIS}[cluster]\nnode = "n:1"\nroot = "a"\n', "cluster.token and client.tls.cert are"),
        (REDIS, "cluster.node is not set"),
        (THROUGH, "cluster.token is set without cluster.allow: any host"),
        (f"{REDIS}{THROUGH}", "cluster.token is set without cluster.allow: any host"),
        (
            f'{REDIS}[cluster]\nnode = "n:1"\ntoken = "node.jwt"\n',
            "cluster.token is set without cluster.allow: any host",
        ),
    ],
)
def test_what_has_no_effect_or_opens_much_is_warned_of_once(settle, text, said):
    (line,) = clustering.warnings(settle(text))

    assert said in line


def test_the_times_of_the_registry_are_settings(settle):
    text = "[cluster]\nrenew = 0.5\nlease = 2\n[redis]\ntimeout = 0.5\nshards = 4\n"

    times = clustering.part(settle(text)).times

    assert (times.renew, times.lease, times.command_timeout, times.shards) == (0.5, 2.0, 0.5, 4)
    assert clustering.part(settle()).times.lease == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it stands alone: there is no cluster.node and no redis.url"),
        (
            '[cluster]\nnode = "n:1"\n',
            "it is a root, and starts the registry by itself in redis.dir",
        ),
        (f'{REDIS}[cluster]\nnode = "n:1"\n', "it is a root, and its registry is at redis.url"),
        (
            f'{REDIS}[cluster]\nnode = "n:1"\nroot = "a"\n',
            "it is a node, its registry is at redis.url, and it joins at https://a/",
        ),
        (
            '[cluster]\nnode = "n:1"\nroot = ["a", "b"]\ntoken = "node.jwt"\n',
            "it is a node, and reaches the registry through https://a/, https://b/",
        ),
    ],
)
def test_check_says_what_part_that_is(settle, capsys, text, said):
    settle(text)

    assert main(["check", "relay.toml"]) == 0

    assert capsys.readouterr().out.endswith(f"# In a cluster {said}.\n")


def test_only_a_root_without_a_redis_starts_a_server(settle):
    assert clustering.server(settle('[cluster]\nnode = "n:1"\n')).name.endswith("-server")
    assert clustering.server(settle()) is None
    assert clustering.server(settle(f'{REDIS}[cluster]\nnode = "n:1"\n')) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[cluster]\ntoken = "node.jwt"\n',
        f'{THROUGH}allow = "*.example"\n',
        f'{THROUGH}allow = "*"\n',
    ],
    ids=["nothing", "nobody to show it to", "some hosts", "any host"],
)
def test_nothing_is_warned_of_without_need(settle, text):
    assert clustering.warnings(settle(text)) == []


def test_check_prints_what_is_warned_of_and_is_content(settle, capsys):
    settle(THROUGH)

    assert main(["check", "relay.toml"]) == 0

    said = capsys.readouterr().err
    assert said.count("moq-relay: warning: relay.toml: cluster.token is set without") == 1


def test_certificates_of_others_are_checked_unless_that_is_disabled(settle, tmp_path):
    assert clustering.trust(settle()).verify
    assert clustering.trust(settle()).roots is None
    assert not clustering.trust(settle(arguments=["--client-tls-disable-verify"])).verify
    (tmp_path / "ca.pem").write_text("x")
    with pytest.raises(ConfigError, match=r"client\.tls\.root: ca\.pem holds no certificate"):
        clustering.trust(settle('[client.tls]\nroot = "ca.pem"\n'))


@pytest.mark.parametrize(
    ("text", "offer"),
    [
        ("", Offer()),
        (
            'addresses = ["192.0.2.1", "2001:DB8:0::1"]\ncoordinates = "50.11, 8.68"\n',
            Offer(addresses=("192.0.2.1", "2001:db8::1"), coordinates=(50.11, 8.68)),
        ),
        ("coordinates = [-33.9, 151]\n", Offer(coordinates=(-33.9, 151.0))),
    ],
)
def test_a_relay_offers_clients_what_its_settings_say(settle, text, offer):
    loaded = settle(f'[cluster]\nnode = "a:1"\n{text}')

    assert clustering.part(loaded).offer == offer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('addresses = "relay.example"', "has 'relay.example' where an IP address belongs"),
        ('addresses = "0.0.0.0"', "has '0.0.0.0', at which no client can reach anything"),
        ('addresses = "fe80::1%eth0"', "has 'fe80::1%eth0', at which no client can reach anything"),
        ('coordinates = "91, 0"', "must be degrees north and degrees east"),
        ('coordinates = "50"', "must be degrees north and degrees east"),
    ],
)
def test_an_address_or_a_place_that_is_none_is_one_line(settle, text, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        settle(f'[cluster]\nnode = "a:1"\n{text}\n')


def test_the_hosts_that_may_be_nodes_are_those_of_the_settings_and_the_roots(settle):
    names = '[cluster]\nnode = "n.test"\nroot = "root.test"\ntoken = "node.jwt"\n'
    text = names + 'allow = ["*.Example", "10.0.0.1"]\n'

    found = clustering.part(settle(text)).destinations()

    admitted = ["a.example", "10.0.0.1", "root.test", "n.test"]
    for host in (*admitted, "other.test", "10.0.0.2", "127.0.0.1"):
        assert found.admits(f"https://{host}/") == (host in admitted), host
