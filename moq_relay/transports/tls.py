"""Certificates: read from files, or made on the spot; replaced without a restart."""

import datetime
import hashlib
import ipaddress
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from moq_relay.errors import ConfigError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

GENERATED_DAYS = 13
"""Browsers take a certificate by its hash only if it is valid for less than 14 days."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key and the intermediate certificates."""

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKey

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate's DER, 64 hex digits."""
        return hashlib.sha256(self.leaf.public_bytes(serialization.Encoding.DER)).hexdigest()

    @property
    def expires_at(self) -> datetime.datetime:
        """The moment from which on it is worth nothing, in UTC."""
        return self.leaf.not_valid_after_utc

    @property
    def pem(self) -> bytes:
        """Certificate and intermediates, for whoever wants a file."""
        return b"".join(
            certificate.public_bytes(serialization.Encoding.PEM)
            for certificate in (self.leaf, *self.chain)
        )

    @property
    def key_pem(self) -> bytes:
        """The private key, unencrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


class Credentials:
    """The certificates that new handshakes take; those under way keep theirs."""

    def __init__(self, *certificates: Certificate) -> None:
        """Show ``certificates``, at least one."""
        self.replace(*certificates)

    def replace(self, *certificates: Certificate) -> None:
        """Take ``certificates``, at least one, from the next handshake on."""
        self.all = certificates
        """In the order of the settings."""
        self.current = certificates[0]
        """Shown to who asks for no name, or for one that none has."""
        self._by_name: dict[str, Certificate] = {}
        for certificate in certificates:
            for name in dns_names(certificate.leaf):
                self._by_name.setdefault(name.lower(), certificate)

    @property
    def expires_at(self) -> datetime.datetime:
        """When the first of them ends."""
        return min(certificate.expires_at for certificate in self.all)

    def choose(self, name: str | None) -> Certificate:
        """The first one for the host ``name``, exact names before wildcards (RFC 6125, 6.4.3)."""
        asked = (name or "").lower().removesuffix(".")
        exact = self._by_name.get(asked)
        return exact or self._by_name.get(f"*.{asked.partition('.')[2]}", self.current)


def load(certificate: Path, key: Path) -> Certificate:
    """Read a certificate with its chain, leaf first, and its key.

    Raises:
        ConfigError: a file can't be read or used; the text says which and why.
    """
    chain = read_certificates(certificate)
    private = _read_key(key)
    leaf = chain[0]
    for number, (one, issuer) in enumerate(itertools.pairwise(chain), start=2):
        if not _issued(issuer, one):
            raise ConfigError(
                f"the certificates in {certificate} are no chain: number {number} did not issue "
                f"number {number - 1}; the relay's own comes first, then each one's issuer"
            )
    if private.public_key() != leaf.public_key():
        raise ConfigError(f"the key in {key} does not belong to the certificate in {certificate}")
    now = datetime.datetime.now(datetime.UTC)
    if leaf.not_valid_after_utc <= now:
        raise ConfigError(f"the certificate in {certificate} expired at {leaf.not_valid_after_utc}")
    if leaf.not_valid_before_utc > now:
        raise ConfigError(
            f"the certificate in {certificate} is not valid before {leaf.not_valid_before_utc}"
        )
    return Certificate(leaf, tuple(chain[1:]), private)


def generate(
    hostnames: Sequence[str], lasts: datetime.timedelta = datetime.timedelta(days=GENERATED_DAYS)
) -> Certificate:
    """Make a self-signed certificate for ``hostnames``, which may be addresses: ECDSA, P-256.

    Raises:
        ConfigError: no name, or one that no certificate can hold.
    """
    if not hostnames:
        raise ConfigError("a certificate needs at least one host name")
    key = ec.generate_private_key(ec.SECP256R1())
    # A common name holds 64 characters; who verifies looks at the alternative names only.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "moq-relay")])
    now = datetime.datetime.now(datetime.UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectAlternativeName(general_names(hostnames)), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(leaf, (), key)


def read_certificates(path: Path) -> list[x509.Certificate]:
    """All certificates in a PEM file, at least one.

    Raises:
        ConfigError: it can't be read, or holds none.
    """
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise ConfigError(f"{path} holds no certificate in PEM form") from error


def dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names that a certificate is for; none when it has no names, or unreadable ones."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()
    return tuple(found.value.get_values_for_type(x509.DNSName))


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _read_key(path: Path) -> PrivateKey:
    text = _read(path)
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except TypeError as error:
        raise ConfigError(f"the key in {path} is encrypted; store it without a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds no private key in PEM form") from error
    if not isinstance(
        key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    ):
        raise ConfigError(f"the key in {path} is of a kind that TLS 1.3 does not use")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from error


def general_names(hostnames: Iterable[str]) -> list[x509.GeneralName]:
    """Host names and addresses as a certificate holds them.

    Raises:
        ConfigError: one that no certificate can hold.
    """
    names: list[x509.GeneralName] = []
    for hostname in dict.fromkeys(hostnames):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(hostname.strip("[]"))))
        except ValueError:
            try:
                if not hostname:
                    raise ValueError from None
                names.append(x509.DNSName(hostname.encode("idna").decode()))
            except ValueError as error:
                raise ConfigError(f"{hostname!r} is no host name") from error
    return names
