"""Certificates of every kind that somebody could show, and the authorities behind them."""

import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moq_relay.transports.tls import Certificate, general_names

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
BOTH = (SERVER, CLIENT)
DAY = datetime.timedelta(days=1)


def made(
    *names: str,
    by: Certificate | None = None,
    usage: Sequence[x509.ObjectIdentifier] = BOTH,
    starts: float = -1,
    ends: float = 1,
    authority: bool = False,
    extra: x509.ExtensionType | None = None,
) -> Certificate:
    """A certificate for ``names``, with its chain down from the root.

    Args:
        by: who issued it; None: itself.
        usage: what it says that it is for; nothing: it says nothing.
        starts: days from now; `ends` too.
        authority: whether it may issue others.
        extra: one more extension, critical.
    """
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"made {names}")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.leaf.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts * DAY)
        .not_valid_after(now + ends * DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names and not authority:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(general_names(names)), critical=False
        )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    signing = key if by is None else by.key
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    chain = () if by is None or (not by.chain and by.leaf.issuer == by.leaf.subject) else (by.leaf,)
    return Certificate(builder.sign(signing, hashes.SHA256()), chain, key)


ROOT = made("root", authority=True, usage=())
OTHER_ROOT = made("other root", authority=True, usage=())
INTERMEDIATE = made("intermediate", authority=True, usage=(), by=ROOT)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def without_chain(certificate: Certificate) -> Certificate:
    """The same, shown by somebody who forgot the intermediates."""
    return Certificate(certificate.leaf, (), certificate.key)


def with_key_of(certificate: Certificate, other: Certificate) -> Certificate:
    """The same, shown by somebody who has another key."""
    return Certificate(certificate.leaf, certificate.chain, other.key)
