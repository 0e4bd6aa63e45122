"""``python -m moq_relay`` is ``moq-relay``."""

import sys

from moq_relay.daemon.cli import main

if __name__ == "__main__":
    sys.exit(main())
