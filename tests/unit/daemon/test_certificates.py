"""The node's certificate: where it comes from, when it is renewed, what is said of a bad one."""

# ruff: noqa: E501 — a row of a table is a line

import datetime
import re

import pytest

from moq_relay.daemon import certificates
from moq_relay.daemon.certificates import Certificates
from moq_relay.daemon.config.sources import Layer, load
from moq_relay.errors import ConfigError
from moq_relay.transports import tls
from moq_relay.transports.verification import Untrusted
from tests.support.odd_certificates import CLIENT, OTHER_ROOT, ROOT, SERVER, made

DAY = datetime.timedelta(days=1)


def settings(**values):
    return load([Layer("relay.toml", {"server": {"tls": values}})])


@pytest.fixture
def files(tmp_path):
    """A certificate and its key, and the key of another."""
    for name in ("own", "other"):
        made = tls.generate(["relay.example"])
        (tmp_path / f"{name}.pem").write_bytes(made.pem)
        (tmp_path / f"{name}.key").write_bytes(made.key_pem)
    (tmp_path / "text").write_text("no certificate")
    return tmp_path


def test_it_is_read_from_the_files_that_the_settings_name(files):
    loaded = settings(cert=str(files / "own.pem"), key=str(files / "own.key"))

    (certificate,) = certificates.obtain(loaded)

    assert certificate.pem == (files / "own.pem").read_bytes()


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        ("own.pem", "other.key", r"server\.tls: the key in \S+other\.key does not belong to the certificate in \S+own\.pem"),
        ("none.pem", "own.key", r"server\.tls: can't read \S+none\.pem: No such file or directory"),
        ("own.pem", "none.key", r"server\.tls: can't read \S+none\.key: No such file or directory"),
        ("own.pem", ".", r"server\.tls: can't read \S+: Is a directory"),
        ("text", "own.key", r"server\.tls: \S+text holds no certificate in PEM form"),
        ("own.pem", "text", r"server\.tls: \S+text holds no private key in PEM form"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used_are_one_line(files, cert, key, said):
    loaded = settings(cert=str(files / cert), key=str(files / key))

    with pytest.raises(ConfigError) as caught:
        certificates.obtain(loaded)

    assert re.fullmatch(said, str(caught.value))


def test_a_generated_one_is_short_enough_for_browsers():
    (certificate,) = certificates.obtain(settings(generate=["localhost", "127.0.0.1"]))

    leaf = certificate.leaf
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < 14 * DAY
    assert re.fullmatch(r"[0-9a-f]{64}", certificate.fingerprint)


def test_a_name_that_no_certificate_can_hold_is_one_line():
    with pytest.raises(ConfigError, match=r"^relay.toml: server.tls.generate: .* is no host name$"):
        certificates.obtain(settings(generate="a" * 70 + ".example"))


def test_a_generated_certificate_is_renewed_before_it_ends():
    credentials = tls.Credentials(tls.generate(["localhost"]))
    first = credentials.current
    ends = first.expires_at

    assert not certificates.renew(credentials, ("localhost",), ends - 4 * DAY)
    assert credentials.current is first
    assert certificates.renew(credentials, ("localhost",), ends - 2 * DAY)
    assert credentials.current.fingerprint != first.fingerprint


def test_a_certificate_from_a_file_is_left_alone():
    credentials = tls.Credentials(tls.generate(["localhost"]))

    assert not certificates.renew(credentials, (), credentials.current.expires_at)


# --- other relays ---------------------------------------------------------------------------------

NODE = "node.example"


@pytest.fixture
def pki(tmp_path, monkeypatch):
    """Writes certificates by name, and makes settings that name them."""
    monkeypatch.chdir(tmp_path)

    def write(name, certificate):
        (tmp_path / f"{name}.pem").write_bytes(certificate.pem)
        (tmp_path / f"{name}.key").write_bytes(certificate.key_pem)

    write("root", ROOT)
    write("own", made(NODE, by=ROOT))
    write.settings = lambda server=None, client=None, **cluster: load(
        [
            Layer(
                "relay.toml",
                {
                    "server": {"tls": {"generate": ["localhost"]} | (server or {})},
                    "client": {"tls": client or {}},
                    "cluster": {"node": NODE} | cluster,
                },
            )
        ]
    )
    return write


def test_no_certificate_is_asked_for_where_no_authority_is_set(pki):
    assert Certificates(pki.settings()).peers is None


def test_new_authorities_of_other_relays_count_from_then_on(pki):
    found = Certificates(pki.settings(server={"root": "root.pem"}))
    old, new = made(NODE, by=ROOT), made(NODE, by=OTHER_ROOT)
    assert found.peers().check_client(old.leaf, []) == (NODE,)

    pki("root", OTHER_ROOT)
    found.turn()

    assert found.peers().check_client(new.leaf, []) == (NODE,)
    with pytest.raises(Untrusted):
        found.peers().check_client(old.leaf, [])
    assert found.reloads == {"taken": 1}


def test_a_new_certificate_for_other_relays_is_shown_from_then_on(pki):
    own = {"cert": "own.pem", "key": "own.key", "root": "root.pem"}
    found = Certificates(pki.settings(client=own))
    seen = []
    found.follow(seen.append)
    new = made(NODE, by=ROOT)

    found.turn()
    assert seen == []
    pki("own", new)
    found.turn()

    (trust,) = seen
    assert trust.own.fingerprint == new.fingerprint
    assert trust.roots.strip() == ROOT.pem.strip()
    assert found.trust is trust


def test_a_broken_one_for_other_relays_changes_nothing(pki, monkeypatch):
    found = Certificates(pki.settings(client={"cert": "own.pem", "key": "own.key"}))
    kept = found.trust

    pki("own", made("other.example", by=ROOT))
    found.turn()

    assert found.trust is kept


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (made("other.example", by=ROOT), "is for other.example and not for node.example, the host of cluster.node"),
        (made(NODE, by=ROOT, usage=[SERVER]), "is not for clientAuth"),
        (made(NODE, by=ROOT, usage=[]), "is not for clientAuth"),
        (made("*.example", by=ROOT), "has no DNS name that is not a wildcard"),
    ],
)  # fmt: skip
def test_a_certificate_by_which_no_relay_can_join_is_refused_at_the_start(pki, shown, said):
    pki("own", shown)

    with pytest.raises(ConfigError) as caught:
        Certificates(pki.settings(client={"cert": "own.pem", "key": "own.key"}))

    where = "relay.toml: client.tls.cert: the certificate in own.pem"
    assert str(caught.value) == f"{where} {said}"


def test_it_may_be_anothers_where_a_token_is_there_too(pki):
    pki("own", made("other.example", by=ROOT, usage=[CLIENT]))
    client = {"cert": "own.pem", "key": "own.key"}

    assert Certificates(pki.settings(client=client, token="node.jwt")).trust.own is not None


@pytest.mark.parametrize(
    ("server", "client", "said"),
    [
        ({"root": "none.pem"}, {}, "server.tls.root: can't read none.pem: No such file or directory"),
        ({"root": "own.key"}, {}, "server.tls.root: own.key holds no certificate in PEM form"),
        ({}, {"root": "none.pem"}, "client.tls.root: can't read none.pem: No such file or directory"),
        ({}, {"cert": "own.pem", "key": "root.key"}, "client.tls.cert: the key in root.key does not belong to the certificate in own.pem"),
        ({}, {"cert": "own.pem"}, "client.tls.cert is set without client.tls.key; set both"),
        ({}, {"key": "own.key"}, "client.tls.key is set without client.tls.cert; set both"),
    ],
)  # fmt: skip
def test_files_for_other_relays_that_cannot_be_used_are_one_line(pki, server, client, said):
    with pytest.raises(ConfigError) as caught:
        Certificates(pki.settings(server=server, client=client))

    assert str(caught.value) == f"relay.toml: {said}"


def test_the_end_that_is_told_is_that_of_the_first_of_all(pki):
    pki("own", made(NODE, by=ROOT, ends=5))

    found = Certificates(pki.settings(client={"cert": "own.pem", "key": "own.key"}))

    assert found.expiry() == found.trust.own.expires_at.timestamp()
    assert found.expiry() < found.expires_at.timestamp()
