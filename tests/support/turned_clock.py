"""A system's clock that can be turned under processes that run."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")
SECONDS = struct.Struct("=q")


class TurnedClock:
    """The clock of every process that was started with its ``environment``.

    Time goes on from where it is turned to. Monotonic clocks do not see the turn, as on a machine
    whose operator, or NTP daemon, sets the clock. libfaketime would do the same, but cannot be
    loaded into Debian's Redis, and its waits go wrong in a Python with threads.
    """

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("cc is missing; on Debian: apt install gcc libc6-dev")
        library, self._file = directory / "turned_clock.so", directory / "turned_clock"
        options = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([compiler, *options, "-o", str(library), str(SOURCE)], check=True)
        self._file.write_bytes(SECONDS.pack(0))
        self.environment = {"LD_PRELOAD": str(library), "TURNED_CLOCK": str(self._file)}

    def turn(self, seconds: int) -> None:
        """So much ahead of the true time from now on; below 0: behind it."""
        with self._file.open("r+b") as file:  # in place: the processes have it mapped
            file.write(SECONDS.pack(seconds))
