"""The command ``moq-relay``: run a relay, check its settings, try a cluster, ask or measure one.

A mistake of the operator costs one line and exit code 2, never a trace.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from moq_relay import __version__
from moq_relay.daemon import clustering
from moq_relay.daemon.certificates import Certificates
from moq_relay.daemon.commands import asking, certs, changing, dev, minting
from moq_relay.daemon.commands.check import in_force
from moq_relay.daemon.commands.welcome import SETTINGS
from moq_relay.daemon.config.flags import help_text, parse
from moq_relay.daemon.config.sources import load, read_environment, read_file
from moq_relay.daemon.load import command as measuring
from moq_relay.daemon.logs import setup
from moq_relay.daemon.process import run
from moq_relay.daemon.tokens.keyring import keyring
from moq_relay.daemon.web import changes
from moq_relay.errors import ConfigError

OTHERS: Mapping[str, Callable[[Sequence[str], Mapping[str, str]], int]] = {
    **dict.fromkeys(asking.COMMANDS, asking.main),
    **dict.fromkeys(changing.COMMANDS, changing.main),
    "certs": certs.main,
    **dict.fromkeys(measuring.COMMANDS, measuring.main),
    "token": minting.main,
}
"""Commands that run no relay; each takes its words apart itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0 a clean end, 1 a failure, 2 a mistake in the settings."""
    try:
        return _main(sys.argv[1:] if arguments is None else arguments, os.environ)
    except (asking.Unanswered, measuring.NoFigure) as error:
        sys.stderr.write(f"moq-relay: {error}\n")
        return 1
    except ConfigError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"moq-relay: {line}\n")
        return 2
    except KeyboardInterrupt:  # before the node listens to signals
        return 130


def _main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    if "--version" in arguments:
        sys.stdout.write(f"moq-relay {__version__}\n")
        return 0
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(help_text())
        return 0
    if arguments and arguments[0] in OTHERS:
        return OTHERS[arguments[0]](arguments, environment)
    command = parse(arguments)
    if command.name == "dev":
        return dev.run(command)
    variables, warnings = read_environment(environment)
    layers = [read_file(command.file)] if command.file else []
    if command.name == "demo":
        layers.insert(0, SETTINGS)
    loaded = load([*layers, variables, command.flags])
    warnings += clustering.warnings(loaded)
    if command.name == "check":
        Certificates(loaded)
        changes.token(loaded)
        keyring(loaded)
        clustering.server(loaded)
        sys.stdout.write(in_force(loaded))
        sys.stdout.write(f"# In a cluster {clustering.describe(clustering.part(loaded))}.\n")
        for warning in warnings:
            sys.stderr.write(f"moq-relay: warning: {warning}\n")
        return 0
    log = loaded.settings.log
    setup.configure(log.level, log.format, addresses=log.addresses)
    return run(loaded, warnings, greet=command.name == "demo")
