"""Files that are replaced while the relay runs: what is in them is taken as soon as it can be used.

They are looked at, not listened to: it works on any file system, and for links that are swapped,
as certbot and Kubernetes do it.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from moq_relay.errors import ConfigError

SETTLE_SECONDS = 5.0
"""How long files that belong together may not fit, since they are not written at once."""
TAKEN, REFUSED = "taken", "refused"
"""What became of new files."""

Signature = tuple[tuple[int, ...] | None, ...]

log = logging.getLogger(__name__)


class Watched:
    """Files that make one thing. What they made last stays until they make another."""

    def __init__(
        self,
        name: str,
        files: Sequence[Path],
        load: Callable[[], str],
        counted: Counter[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch ``files`` from now on; what they hold at this moment was taken already.

        Args:
            name: of the setting, for the log.
            load: takes what they hold, and says what that is; raises ConfigError when it cannot.
            counted: gets how often new files were ``taken`` and ``refused``.
            clock: monotonic seconds.
        """
        self._name = name
        self._files = tuple(files)
        self._load = load
        self._counted = counted
        self._clock = clock
        self._seen = self._signature()
        self._changed_at: float | None = None
        """None: what they hold was taken."""
        self._told = False
        self.refused = False
        """Whether what they hold cannot be used, and what was there before them is in use."""

    def turn(self) -> None:
        """Look whether they changed; called about once a second."""
        found = self._signature()
        if found != self._seen:
            self._seen = found
            self._changed_at = self._clock()
            self._told = False
        if self._changed_at is None:
            return
        try:
            taken = self._load()
        except ConfigError as error:
            self._refuse(self._changed_at, error)
            return
        # What was read in the middle of a change is looked at again.
        if self._signature() == found:
            self._changed_at = None
            self.refused = False
            self._counted[TAKEN] += 1
            log.info("files taken name=%s %s", self._name, taken)

    def _refuse(self, changed_at: float, error: ConfigError) -> None:
        if not self._told and self._clock() - changed_at >= SETTLE_SECONDS:
            self._told = self.refused = True
            self._counted[REFUSED] += 1
            log.error("new files refused, the old ones stay name=%s reason=%s", self._name, error)

    def _signature(self) -> Signature:
        return tuple(map(_signature, self._files))


def _signature(file: Path) -> tuple[int, ...] | None:
    """What tells a file from what was there before; a link's is that of what it leads to."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
