"""A private certificate authority for the nodes of one cluster.

Its certificates are good for both ends of a connection (RFC 5280, 4.2.1.12), since a node is a
server to some and a client to others.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from moq_relay.errors import ConfigError
from moq_relay.transports.tls import Certificate, PrivateKey, general_names

EARLIER = datetime.timedelta(minutes=5)
"""A certificate is valid from so long ago on, for clocks that go wrong."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Its own certificate, self-signed, and the key that signs others."""

    certificate: Certificate

    def issue(
        self, names: Sequence[str], days: int, *, key: PrivateKey | None = None
    ) -> Certificate:
        """A certificate for host names and addresses, by default with a new key: ECDSA, P-256.

        It ends with the authority at the latest.

        Raises:
            ConfigError: no name, one that no certificate can hold, or the authority has ended.
        """
        if not names:
            raise ConfigError("a certificate needs at least one host name or address")
        own, now = self.certificate, datetime.datetime.now(datetime.UTC)
        if own.expires_at <= now:
            raise ConfigError(f"the authority ended at {own.expires_at}; make another by init")
        key = key or ec.generate_private_key(ec.SECP256R1())
        ends = min(now + datetime.timedelta(days=days), own.expires_at)
        public = own.key.public_key()
        leaf = (
            _builder(own.leaf.subject, _called("moq-relay node"), key, now, ends)
            .add_extension(x509.SubjectAlternativeName(general_names(names)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False
            )
            .sign(_elliptic(own.key), hashes.SHA256())
        )
        return Certificate(leaf, (), key)


def found(name: str, days: int) -> Authority:
    """A new authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = _called(name)
    leaf = (
        _builder(subject, subject, key, now, now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(Certificate(leaf, (), key))


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    key: PrivateKey,
    now: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(ends)
    )


def _called(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise ConfigError(f"{name!r} cannot be the name of an authority: {error}") from error


def _usage(**set_: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: set_.get(name, False) for name in names})


def _elliptic(key: PrivateKey) -> ec.EllipticCurvePrivateKey:
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("the authority's key is none that init makes: it has to be ECDSA")
    return key
