"""``moq-relay certs``: a private authority, its certificates, and what is said of mistakes."""

import datetime
import ipaddress
import re
import stat

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from moq_relay.daemon import cli
from moq_relay.transports import tls


@pytest.fixture
def certs(tmp_path, capsys):
    """Run the command in a directory of its own: exit code, output, errors."""

    def certs(*words):
        command, *rest = words
        code = cli.main(["certs", command, "--dir", str(tmp_path / "certs"), *rest])
        return code, *capsys.readouterr()

    certs.directory = tmp_path / "certs"
    return certs


def policy(directory):
    roots = x509.load_pem_x509_certificates((directory / "ca.pem").read_bytes())
    return PolicyBuilder().store(Store(roots))


def leaf(directory, name):
    return tls.load(directory / f"{name}.pem", directory / f"{name}.key").leaf


def test_a_certificate_is_good_for_both_ends_of_a_connection(certs):
    assert certs("init")[0] == 0

    code, said, _ = certs("issue", "relay1.example.com", "203.0.113.7", "::1")

    assert code == 0
    assert "relay1.example.com.pem" in said
    issued = leaf(certs.directory, "relay1.example.com")
    for name in (
        x509.DNSName("relay1.example.com"),
        x509.IPAddress(ipaddress.ip_address("203.0.113.7")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ):
        policy(certs.directory).build_server_verifier(name).verify(issued, [])
    policy(certs.directory).build_client_verifier().verify(issued, [])
    with pytest.raises(VerificationError):
        policy(certs.directory).build_server_verifier(x509.DNSName("other.example.com")).verify(
            issued, []
        )


def test_another_authority_is_not_believed(certs, tmp_path):
    certs("init")
    certs("issue", "relay")
    cli.main(["certs", "init", "--dir", str(tmp_path / "foreign")])

    with pytest.raises(VerificationError):
        policy(tmp_path / "foreign").build_client_verifier().verify(
            leaf(certs.directory, "relay"), []
        )


def test_files_are_for_their_owner_alone(certs):
    certs("init")
    certs("issue", "relay")

    assert stat.S_IMODE(certs.directory.stat().st_mode) == 0o700
    names = {path.name: stat.S_IMODE(path.stat().st_mode) for path in certs.directory.iterdir()}
    assert names == dict.fromkeys(["ca.key", "ca.pem", "relay.key", "relay.pem"], 0o600)


def test_what_is_about_to_end_is_renewed_under_the_same_names_and_the_rest_is_left(certs):
    certs("init")
    certs("issue", "--days", "2", "short", "198.51.100.1")
    certs("issue", "--days", "400", "long")
    before = {name: leaf(certs.directory, name) for name in ("short", "long")}

    code, said, _ = certs("renew", "--within", "30", "--days", "60")

    assert code == 0
    assert re.search(r"short\.pem: renewed, valid until", said)
    assert re.search(r"long\.pem: left, it is valid until", said)
    after = {name: leaf(certs.directory, name) for name in ("short", "long")}
    assert after["long"] == before["long"]
    assert after["short"].public_key() != before["short"].public_key()
    names = [one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
             for one in (before["short"], after["short"])]  # fmt: skip
    assert names[0] == names[1]
    lasts = after["short"].not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert 59 < lasts.days + 1 <= 60


def test_all_are_renewed_for_as_long_as_they_were_made_for_when_that_is_said(certs):
    certs("init")
    certs("issue", "--days", "90", "relay")
    before = leaf(certs.directory, "relay")

    certs("renew", "--all")

    after = leaf(certs.directory, "relay")
    assert after.serial_number != before.serial_number
    assert round((after.not_valid_after_utc - after.not_valid_before_utc).days) == 90


def test_no_certificate_outlives_its_authority(certs):
    certs("init", "--days", "5")
    certs("issue", "relay")

    ca = tls.read_certificates(certs.directory / "ca.pem")[0]
    assert leaf(certs.directory, "relay").not_valid_after_utc == ca.not_valid_after_utc


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["issue", "relay"], "has no authority; make one: moq-relay certs init"),
        (["renew"], "has no authority"),
        (["issue"], "certs: the following arguments are required: NAME"),
        (["issue", "../relay"], "cannot be the name of a file"),
        (["issue", "ca"], "cannot be the name of a file"),
        (["issue", "--days", "0", "relay"], "'0' is not a number of days from 1 to 99999"),
        (["revoke"], "certs: "),
    ],
)
def test_a_mistake_is_one_line_and_what_is_possible(certs, words, said):
    code, _, error = certs(*words)

    assert code == 2
    assert said in error
    assert "Traceback" not in error
    assert not certs.directory.exists()


def test_nothing_that_is_there_is_written_over(certs):
    certs("init")
    certs("issue", "relay")
    before = {path.name: path.read_bytes() for path in certs.directory.iterdir()}

    for words, said in (
        (["init"], "has an authority already"),
        (["issue", "relay"], "exists already; renew makes it anew"),
        (["issue", "good", "b" * 70 + ".example"], "is no host name"),
    ):
        code, _, error = certs(*words)
        assert (code, said in error) == (2, True), error

    assert {path.name: path.read_bytes() for path in certs.directory.iterdir()} == before
