"""Every length of time in the rules, in one table, so that a test can make all of them shorter."""

SECONDS = {
    "evaluation": 15,
    # What a rate is taken over.
    "rate": 60,
    "pair": 300,
    "refusals": 300,
    "repairs": 900,
    "flapping": 1800,
    # What the present is compared with.
    "lately": 900,
    "past": 3600,
    # The burn of an objective: both windows of a pair have to see it.
    "5m": 300,
    "30m": 1800,
    "1h": 3600,
    "6h": 21600,
    # How long something has to hold before anybody is told.
    "at once": 0,
    "1 minute": 60,
    "2 minutes": 120,
    "5 minutes": 300,
    "10 minutes": 600,
    "15 minutes": 900,
}
"""Name -> seconds at scale 1."""

BURNS = ("5m", "30m", "1h", "6h")

UNITS = (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def duration(seconds: float) -> str:
    """Seconds as Prometheus writes them, in the largest unit that keeps a whole number."""
    milliseconds = round(seconds * 1000)
    if not milliseconds:
        return "0s"
    return next(f"{milliseconds // n}{u}" for u, n in UNITS if not milliseconds % n)


class Windows:
    """The table, each entry divided by ``scale``: 30 makes a minute two seconds."""

    def __init__(self, scale: float = 1) -> None:
        self._scale = scale

    def __getitem__(self, name: str) -> str:
        return duration(SECONDS[name] / self._scale)
