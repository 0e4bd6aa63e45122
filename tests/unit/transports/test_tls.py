"""Certificates from files and out of thin air; every fault is one line that says what to do."""

import datetime
import hashlib
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec

from moq_relay.errors import ConfigError
from moq_relay.transports import authority, tls


@pytest.fixture
def files(tmp_path):
    certificate = tls.generate(["localhost"])
    (tmp_path / "cert.pem").write_bytes(certificate.pem)
    (tmp_path / "key.pem").write_bytes(certificate.key_pem)
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def sign(key, *, start, stop):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(stop)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def test_a_generated_certificate_is_one_that_browsers_take_by_its_hash():
    certificate = tls.generate(["relay.example", "127.0.0.1", "[::1]", "relay.example"])

    leaf = certificate.leaf
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["relay.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    ]
    assert isinstance(certificate.key.curve, ec.SECP256R1)
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert datetime.timedelta(days=13) <= lifetime < datetime.timedelta(days=14)
    assert certificate.expires_at == leaf.not_valid_after_utc


def test_a_fingerprint_is_the_hash_of_the_certificate_in_der():
    certificate = tls.generate(["localhost"])

    der = certificate.leaf.public_bytes(serialization.Encoding.DER)

    assert certificate.fingerprint == hashlib.sha256(der).hexdigest()


def test_a_name_may_be_international_or_longer_than_a_common_name():
    long = f"{'a' * 60}.{'b' * 60}.example"

    leaf = tls.generate([long, "bücher.example"]).leaf

    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [long, "xn--bcher-kva.example"]


@pytest.mark.parametrize("names", [[], ["a" * 64 + ".example"], [""]])
def test_what_is_no_name_gets_no_certificate(names):
    with pytest.raises(ConfigError):
        tls.generate(names)


def test_credentials_can_be_replaced():
    first, second = tls.generate(["a"]), tls.generate(["b"])
    credentials = tls.Credentials(first)

    credentials.replace(second)

    assert credentials.current is second


NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
OTHER = ec.generate_private_key(ec.SECP256R1())


def pem(key, encryption=None):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("which", "content", "complaint"),
    [
        ("cert", None, "can't read {cert}: No such file or directory"),
        ("key", None, "can't read {key}: No such file or directory"),
        ("cert", b"nonsense", "{cert} holds no certificate in PEM form"),
        ("key", b"nonsense", "{key} holds no private key in PEM form"),
        ("key", pem(OTHER), "the key in {key} does not belong to the certificate in {cert}"),
        (
            "key",
            pem(OTHER, serialization.BestAvailableEncryption(b"x")),
            "the key in {key} is encrypted; store it without a password",
        ),
        (
            "key",
            pem(dsa.generate_private_key(1024)),
            "the key in {key} is of a kind that TLS 1.3 does not use",
        ),
        ("both", sign(OTHER, start=NOW - 2 * DAY, stop=NOW - DAY), "{cert} expired at"),
        ("both", sign(OTHER, start=NOW + DAY, stop=NOW + 2 * DAY), "{cert} is not valid before"),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(files, which, content, complaint):
    cert, key = files
    if which == "both":
        cert.write_bytes(content)
        key.write_bytes(pem(OTHER))
    elif content is None:
        {"cert": cert, "key": key}[which].unlink()
    else:
        {"cert": cert, "key": key}[which].write_bytes(content)

    with pytest.raises(ConfigError) as raised:
        tls.load(cert, key)

    assert complaint.format(cert=cert, key=key) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_chain_is_read_in_the_order_of_its_issuers(tmp_path):
    ca = authority.found("a", 30)
    leaf = ca.issue(["relay.example"], 30)
    (tmp_path / "key.pem").write_bytes(leaf.key_pem)
    (tmp_path / "good.pem").write_bytes(leaf.pem + ca.certificate.pem)
    (tmp_path / "bad.pem").write_bytes(leaf.pem + authority.found("a", 30).certificate.pem)

    certificate = tls.load(tmp_path / "good.pem", tmp_path / "key.pem")

    assert certificate.chain == (ca.certificate.leaf,)
    assert certificate.key.public_key() == certificate.leaf.public_key()
    assert certificate.pem == (tmp_path / "good.pem").read_bytes()
    with pytest.raises(
        ConfigError, match=r"bad\.pem are no chain: number 2 did not issue number 1;"
    ):
        tls.load(tmp_path / "bad.pem", tmp_path / "key.pem")


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("relay.example", 0),
        ("RELAY.example.", 0),
        ("other.example", 1),
        ("a.cdn.example", 1),
        ("exact.cdn.example", 2),
        ("a.b.cdn.example", 0),
        ("cdn.example", 0),
        ("*.cdn.example", 1),
        ("", 0),
        (None, 0),
        ("strange.example", 0),
    ],
)
def test_the_certificate_is_that_of_the_name_asked_for_else_the_first(asked, shown):
    several = [
        tls.generate(names)
        for names in (["relay.example"], ["other.example", "*.cdn.example"], ["exact.cdn.example"])
    ]

    assert tls.Credentials(*several).choose(asked) is several[shown]


def test_several_certificates_end_with_the_first_that_ends():
    ca = authority.found("a", 300)
    several = [ca.issue(["localhost"], days) for days in (50, 20, 90)]

    assert tls.Credentials(*several).expires_at == several[1].expires_at
