"""What rounds of a flood came to, and whether that is within the bounds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from moq_relay.daemon.load.estimate import line
from moq_relay.daemon.load.stage import percentile

SHARE_BOUND = 0.25
"""Of the loop, for new connections."""
LATENCY_BOUND = 2.0
"""Times the p99 with the same sender aimed at a closed port."""
CALM_MS = 25.0
"""What the p99 may be beside a closed port: above it the machine had other work."""
LEAST_SENT = 1_000
"""Datagrams of a round, or it was no flood."""
SLOPE_BOUND = 0.5
"""MiB an hour."""
LEAST_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Round:
    """One window of one flood, at the relay or at a closed port."""

    seconds: float
    tenths: Mapping[int, int]
    """Frames by how late they came, in tenths of a millisecond."""
    sent: int
    sending: float
    """Seconds in which ``sent`` datagrams left."""
    seen: float
    """Datagrams of nobody's that the relay read."""
    newcomers: float
    """Seconds of the loop that went to new connections."""
    cpu: float
    """Seconds of the relay's process."""
    completed: int = 0
    """Handshakes that clients of the flood completed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All rounds of one flood, and what the viewer missed from their beginning to their end."""

    kind: str
    flooded: Sequence[Round]
    closed: Sequence[Round]
    missed: int

    @property
    def share(self) -> float:
        """Of the loop's time, for new connections; of the worst round."""
        return max(one.newcomers / one.seconds for one in self.flooded)

    @property
    def more_cpu(self) -> float:
        """Of a core: what the relay used more than beside a flood that is not for it."""
        return _rate(self.flooded, "cpu") - _rate(self.closed, "cpu")

    @property
    def p99(self) -> float:
        """Milliseconds, of the rounds with the flood together."""
        return percentile(_together(self.flooded), 0.99)

    @property
    def p99_closed(self) -> float:
        """Milliseconds, of the rounds with the closed port together."""
        return percentile(_together(self.closed), 0.99)

    @property
    def ratio(self) -> float:
        """The one by the other."""
        # A tenth is what is measured: nothing is 0.
        return self.p99 / max(self.p99_closed, 0.1)

    @property
    def sent_rate(self) -> float:
        """Datagrams a second that left for the relay."""
        return sum(one.sent for one in self.flooded) / sum(one.sending for one in self.flooded)

    @property
    def seen_rate(self) -> float:
        """Datagrams a second that the relay read of them."""
        return _rate(self.flooded, "seen")

    @property
    def completed(self) -> int:
        """Handshakes of the flood."""
        return sum(one.completed for one in self.flooded)

    @property
    def completed_rate(self) -> float:
        """The same, a second."""
        return self.completed / sum(one.sending for one in self.flooded)

    def line(self) -> str:
        """For people, on a terminal."""
        return (
            f"{self.kind}: {self.sent_rate:,.0f}/s sent, {self.seen_rate:,.0f}/s read, "
            f"loop {self.share:.1%}, CPU {self.more_cpu:.1%} more, p99 {self.p99:.1f} ms, "
            f"{self.ratio:.2f} times the {self.p99_closed:.1f} ms beside a closed port, "
            f"{self.missed} missed: {'BROKEN' if self.problems else 'held'}"
        )

    @property
    def problems(self) -> list[str]:
        """Bounds that did not hold, a line each."""
        found = []
        if self.share > SHARE_BOUND:
            found.append(f"new connections took {self.share:.1%} of the loop")
        if self.ratio > LATENCY_BOUND:
            found.append(f"the viewer's p99 was {self.ratio:.2f} times that beside a closed port")
        if self.p99_closed > CALM_MS:
            found.append(
                f"the machine had other work: p99 {self.p99_closed:.0f} ms beside a closed port"
            )
        if self.missed:
            found.append(f"the viewer missed {self.missed} groups")
        if any(one.sent < LEAST_SENT for one in (*self.flooded, *self.closed)):
            found.append("a round without a flood")
        if not any(one.seen for one in self.flooded):
            found.append("the relay saw nothing of it")
        if self.kind == "handshakes" and not self.completed:
            found.append("no handshake was completed")
        return found


@dataclass(frozen=True, slots=True)
class Sample:
    """What a relay holds at one moment."""

    at: float
    """Seconds."""
    mib: float
    """Resident, 2**20 bytes."""
    files: int
    """Open descriptors."""


@dataclass(frozen=True, slots=True)
class Soak:
    """What all floods together left behind."""

    kind: ClassVar[str] = "soak"

    flood_seconds: float
    warm_seconds: float
    """Of the quiet time, its beginning: connections that nobody closed are given up in it."""
    sent: Mapping[str, int]
    """Datagrams by flood."""
    share: float
    """Of the loop, for new connections, while they lasted."""
    most_mib: float
    """While they lasted."""
    descriptors_before: int
    quiet: Sequence[Sample]
    missed: int

    def line(self) -> str:
        """For people, on a terminal."""
        return (
            f"soak: {sum(self.sent.values()):,} datagrams in {self.flood_seconds:.0f} s, "
            f"then {self.slope:.2f} MiB/h over {self.seconds:.0f} s, {self.missed} missed: "
            f"{'BROKEN' if self.problems else 'held'}"
        )

    @property
    def kept(self) -> list[Sample]:
        """The samples that count: those after the warm-up."""
        return [one for one in self.quiet if one.at >= self.quiet[0].at + self.warm_seconds]

    @property
    def slope(self) -> float:
        """MiB an hour, the line of least squares through what counts."""
        return line([(one.at, one.mib) for one in self.kept])[1] * 3600

    @property
    def seconds(self) -> float:
        """From the first to the last sample that counts."""
        return self.kept[-1].at - self.kept[0].at

    @property
    def problems(self) -> list[str]:
        """Bounds that did not hold, a line each."""
        if len(self.kept) < LEAST_SAMPLES:
            return [f"only {len(self.kept)} samples after the warm-up"]
        found = []
        if self.slope >= SLOPE_BOUND:
            found.append(f"resident memory grew by {self.slope:.2f} MiB/h")
        files = {one.files for one in self.kept}
        if files != {self.descriptors_before}:
            found.append(f"open files were {self.descriptors_before}, and then {sorted(files)}")
        if self.share > SHARE_BOUND:
            found.append(f"new connections took {self.share:.1%} of the loop")
        if self.missed:
            found.append(f"the viewer missed {self.missed} groups")
        silent = sorted(kind for kind, sent in self.sent.items() if sent < LEAST_SENT)
        if silent:
            found.append(f"no flood: {', '.join(silent)}")
        return found


def _rate(rounds: Sequence[Round], name: str) -> float:
    return sum(getattr(one, name) for one in rounds) / sum(one.seconds for one in rounds)


def _together(rounds: Sequence[Round]) -> Counter[int]:
    tenths: Counter[int] = Counter()
    for one in rounds:
        tenths.update(one.tenths)
    return tenths
