"""``moq-relay certs``: a private authority for the certificates of a cluster's own nodes.

One directory holds everything: ``ca.pem`` is given to every node as ``client.tls.root``, ``ca.key``
stays here, and each node gets its own pair. Files are for their owner alone.
"""

import argparse
import datetime
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from cryptography import x509

from moq_relay.errors import ConfigError
from moq_relay.transports import authority, tls
from moq_relay.transports.authority import Authority

CA = "ca"
AUTHORITY_DAYS = 3650
NODE_DAYS = 90
USAGE = """\
moq-relay certs init [--dir DIR] [--name NAME] [--days N]
moq-relay certs issue [--dir DIR] [--days N] NAME [NAME …]
moq-relay certs renew [--dir DIR] [--days N] [--within N] [--all]"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"certs: {message.removeprefix('argument ')}\n{USAGE}")


def main(arguments: Sequence[str], _environment: Mapping[str, str]) -> int:
    """Make an authority, a certificate, or all certificates anew; the exit code.

    Raises:
        ConfigError: it can't be done; the text says why, and nothing was written.
    """
    asked = _parse(arguments)
    directory = Path(asked.dir)
    if asked.command == "init":
        _init(directory, asked.name, asked.days or AUTHORITY_DAYS)
    elif asked.command == "issue":
        _issue(directory, asked.names, asked.days or NODE_DAYS)
    else:
        _renew(directory, asked.days, asked.within, everything=asked.all)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="moq-relay certs", add_help=False, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for name in ("init", "issue", "renew"):
        command = commands.add_parser(name, add_help=False, allow_abbrev=False)
        command.add_argument("--dir", default="certs")
        command.add_argument("--days", type=_days)
        if name == "init":
            command.add_argument("--name", default="moq-relay cluster")
        if name == "issue":
            command.add_argument("names", nargs="+", metavar="NAME")
        if name == "renew":
            command.add_argument("--within", type=_days)
            command.add_argument("--all", action="store_true")
    return parser.parse_args(list(arguments[1:]))


def _days(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to 99999")
    return int(text)


def _init(directory: Path, name: str, days: int) -> None:
    if any(path.exists() for path in _pair(directory, CA)):
        raise ConfigError(
            f"{directory} has an authority already; whoever trusts it would not trust another"
        )
    write(directory, CA, authority.found(name, days).certificate)
    _say(
        f"{directory / 'ca.pem'}: give it to every node, as client.tls.root\n"
        f"{directory / 'ca.key'}: keep it; who has it can be any node"
    )


def _issue(directory: Path, names: Sequence[str], days: int) -> None:
    name = names[0].strip("[]").replace(":", "_")
    if name == CA or not re.fullmatch(r"[A-Za-z0-9._*-]+", name):
        raise ConfigError(f"{names[0]!r} cannot be the name of a file; give another name first")
    ours = _authority(directory)
    certificate, key = _pair(directory, name)
    if certificate.exists() or key.exists():
        raise ConfigError(f"{certificate} exists already; renew makes it anew")
    issued = ours.issue(names, days)
    write(directory, name, issued)
    _say(
        f"{certificate} and {key}: server.tls.cert and server.tls.key of that node, "
        f"until {issued.expires_at:%Y-%m-%d}"
    )


def _renew(directory: Path, days: int | None, within: int | None, *, everything: bool) -> None:
    ours = _authority(directory)
    now = datetime.datetime.now(datetime.UTC)
    for path in sorted(directory.glob("*.pem")):
        if path.stem == CA:
            continue
        leaf = tls.read_certificates(path)[0]
        lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        early = lifetime / 3 if within is None else datetime.timedelta(days=within)
        if not everything and leaf.not_valid_after_utc - now > early:
            _say(f"{path}: left, it is valid until {leaf.not_valid_after_utc:%Y-%m-%d}")
            continue
        issued = ours.issue(_names_of(path, leaf), days or round(lifetime.total_seconds() / 86400))
        write(directory, path.stem, issued)
        _say(f"{path}: renewed, valid until {issued.expires_at:%Y-%m-%d}")


def _names_of(path: Path, leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise ConfigError(f"{path} has no names, so it is not one of ours") from error
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def _authority(directory: Path) -> Authority:
    certificate, key = _pair(directory, CA)
    if not certificate.exists():
        raise ConfigError(f"{directory} has no authority; make one: moq-relay certs init")
    return Authority(tls.load(certificate, key))


def _pair(directory: Path, name: str) -> tuple[Path, Path]:
    return directory / f"{name}.pem", directory / f"{name}.key"


def write(directory: Path, name: str, certificate: tls.Certificate) -> None:
    """Put a certificate and its key into files of that name, for this user alone.

    Each file is whole at every moment, and the key is there first: who reads both while they are
    replaced finds a pair, or a key that does not match, which is what a reload waits out.

    Raises:
        ConfigError: they can't be written.
    """
    public, private = _pair(directory, name)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, content in ((private, certificate.key_pem), (public, certificate.pem)):
            new = path.with_name(f".{path.name}.new")
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            new.replace(path)
    except OSError as error:
        raise ConfigError(f"can't write {error.filename or directory}: {error.strerror}") from error


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
