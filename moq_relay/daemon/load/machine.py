"""What a process and the machine spend, as the kernel counts it. Linux only: it reads /proc."""

import os
import platform
import socket
from importlib.metadata import version
from pathlib import Path

from moq_relay import __version__


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads, in ticks of mostly 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process, 2**20 bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def idle_seconds() -> float:
    """Idle time of all cores together since the start of the machine."""
    fields = Path("/proc/stat").read_text().split(None, 6)
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def facts() -> dict[str, object]:
    """What figures depend on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "name": socket.gethostname(),
        "cpu": models[0] if models else platform.processor(),
        "cores": cores(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "moq_relay": __version__,
        "aioquic": version("aioquic"),
        "load": os.getloadavg()[0],
    }
