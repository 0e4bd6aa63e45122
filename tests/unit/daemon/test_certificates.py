"""The node's certificate: where it comes from, when it is renewed, what is said of a bad one."""

# ruff: noqa: E501 — a row of a table is a line

import datetime
import re

import pytest

from moq_relay.daemon import certificates
from moq_relay.daemon.sources import Layer, load
from moq_relay.errors import ConfigError
from moq_relay.transports import tls

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
