"""Whether a certificate is to be believed: its chain, its dates, its names, and what it is for.

aioquic checks none of a client's, and of a server's not what it is for, so that whoever has the
certificate of a client could pass for a server. RFC 5280 is followed in the form that private
authorities keep to: a usage of keys, and identifiers of keys, may be missing.
"""

import contextlib
import datetime
import ipaddress
import re
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder

from moq_relay.transports.tls import dns_names

LONGEST_CHAIN = 8
"""Intermediate certificates that a peer may show."""


PEM = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class Untrusted(Exception):
    """A certificate is not believed; the text says why, and fits behind "the certificate"."""


class Roots:
    """Certificates to believe, and whose certificates they issued."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        """Believe ``certificates``, at least one."""
        self._store = verification.Store(list(certificates))

    def check_server(
        self, leaf: x509.Certificate, chain: Sequence[x509.Certificate], name: str
    ) -> None:
        """Return if ``leaf`` is a server's, good now for ``name``, a host name or an address.

        A certificate that says nothing of its usage is good for a server.

        Raises:
            Untrusted: it is not.
        """
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        policies = self._policies(
            ExtensionPolicy.permit_all()
            .require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
            .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _for(usage)),
            usage,
        )
        subject = _subject(name)
        try:
            if subject is not None:
                policies.build_server_verifier(subject).verify(leaf, list(chain))
            else:
                # Names with an underscore, which are none to the library.
                policies.build_client_verifier().verify(leaf, list(chain))
                if name.lower() not in map(str.lower, dns_names(leaf)):
                    raise Untrusted(f"is not for {name}")
        except (verification.VerificationError, ValueError) as error:
            raise Untrusted(_why(leaf, chain, usage, error, name)) from error

    def check_client(
        self, leaf: x509.Certificate, chain: Sequence[x509.Certificate]
    ) -> tuple[str, ...]:
        """The DNS names of ``leaf``, which is a client's and good now; wildcards are none.

        Raises:
            Untrusted: it is not, does not say that it is a client's, or has no such name.
        """
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        policies = self._policies(
            ExtensionPolicy.permit_all()
            .require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
            .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _for(usage)),
            usage,
        )
        try:
            policies.build_client_verifier().verify(leaf, list(chain))
        except (verification.VerificationError, ValueError) as error:
            raise Untrusted(_why(leaf, chain, usage, error)) from error
        return client_names(leaf)

    def _policies(self, leaf: ExtensionPolicy, usage: x509.ObjectIdentifier) -> PolicyBuilder:
        issuer = (
            ExtensionPolicy.permit_all()
            .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
            .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
            .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _for(usage))
        )
        return (
            PolicyBuilder()
            .store(self._store)
            .max_chain_depth(LONGEST_CHAIN)
            .extension_policies(ca_policy=issuer, ee_policy=leaf)
        )


def client_names(leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of a client's certificate; wildcards are none.

    Raises:
        Untrusted: it does not say that it is a client's, or has no such name.
    """
    usage = ExtendedKeyUsageOID.CLIENT_AUTH
    try:
        found = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        _for(usage)(None, leaf, found)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise Untrusted(f"is not for {USAGES[usage]}") from error
    names = tuple(name.lower() for name in dns_names(leaf) if "*" not in name)
    if not names:
        raise Untrusted("has no DNS name that is not a wildcard")
    return names


@lru_cache(maxsize=8)
def roots_in(pem: bytes | None) -> Roots:
    """The certificates in a PEM text, or those that everybody believes.

    Raises:
        ValueError: there is none.
    """
    return Roots(_everybodys() if pem is None else x509.load_pem_x509_certificates(pem))


def _everybodys() -> list[x509.Certificate]:
    found = []
    with warnings.catch_warnings():
        # One of them has the serial number 0. It is old; a later release of the library refuses it.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for text in PEM.findall(Path(certifi.where()).read_bytes()):
            with contextlib.suppress(ValueError):
                found.append(x509.load_pem_x509_certificate(text))
    return found


def _subject(name: str) -> x509.DNSName | x509.IPAddress | None:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        return None if "_" in name else x509.DNSName(name)


def _for(
    usage: x509.ObjectIdentifier,
) -> Callable[[object, x509.Certificate, x509.ExtendedKeyUsage | None], None]:
    """Refuses a certificate that says what it is for, and not ``usage``."""

    def check(
        _policy: object, _certificate: x509.Certificate, found: x509.ExtendedKeyUsage | None
    ) -> None:
        if found is not None and not {usage, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(
            found
        ):
            raise ValueError("usage")

    return check


def _may_sign(_policy: object, _certificate: x509.Certificate, found: x509.KeyUsage | None) -> None:
    if found is not None and not found.key_cert_sign:
        raise ValueError("may not sign certificates")


USAGES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
}


def _why(
    leaf: x509.Certificate,
    chain: Sequence[x509.Certificate],
    usage: x509.ObjectIdentifier,
    error: Exception,
    name: str | None = None,
) -> str:
    """What an operator can do something about; the library's text is of another kind."""
    now, text = datetime.datetime.now(datetime.UTC), str(error)
    oids = {
        kind: kind.oid.dotted_string
        for kind in (x509.ExtendedKeyUsage, x509.SubjectAlternativeName)
    }
    missing = "" if chain or leaf.issuer == leaf.subject else ", and came without intermediates"
    reasons = {
        f"ended at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC": leaf.not_valid_after_utc < now,
        f"is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC": (
            leaf.not_valid_before_utc > now
        ),
        f"was not issued by an authority that is believed here{missing}": "exhausted" in text,
        f"is not for {name}": "no matching subjectAltName" in text,
        f"is not for {USAGES[usage]}": (
            oids[x509.ExtendedKeyUsage] in text or "ValueError: usage" in text
        ),
        "has no names (subjectAltName)": (
            oids[x509.SubjectAlternativeName] in text or "no subjectAltName" in text
        ),
    }
    other = f"is refused: {' '.join(text.partition('(encountered')[0].split())}"
    return next((reason for reason, holds in reasons.items() if holds), other)
