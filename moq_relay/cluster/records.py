"""What the registry holds, and its text: words parted by spaces, records by newlines.

A word is percent-encoded where it would break that. A reader takes the fields it knows, counts
lines and fields that it does not, and refuses what is no record at all.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["up", "draining"]

PROTO = 1
"""Version of this text. A node of another proto is a member all the same."""

MICROSECONDS = 1_000_000


def encode(word: str) -> str:
    """A word that holds no space and no newline."""
    return word.replace("%", "%25").replace(" ", "%20").replace("\n", "%0A")


def decode(word: str) -> str:
    """The inverse of ``encode``; other percent signs stay as they are."""
    return word.replace("%0A", "\n").replace("%20", " ").replace("%25", "%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a node says of itself to whoever sends clients to nodes."""

    addresses: tuple[str, ...] = ()
    """At which clients reach it, of both families; none: no clients are to be sent."""
    coordinates: tuple[float, float] | None = None
    """Where it is: degrees north, degrees east."""
    load: int | None = None
    """Percent in use of what it has least of; None: it does not say."""

    def tail(self) -> str:
        """Its words in a record, one for each field."""
        place, load = self.coordinates, self.load
        words = (
            ",".join(self.addresses) or "-",
            "-" if place is None else f"{place[0]:g},{place[1]:g}",
            "-" if load is None else str(load),
        )
        return " ".join(words)

    @staticmethod
    def read(words: Sequence[str]) -> Offer:
        """From the words of ``tail``. What is missing or not understood is not offered."""
        addresses, place, load = (*words[:3], "-", "-", "-")[:3]
        return Offer(
            addresses=tuple(word for word in addresses.split(",") if _is_address(word)),
            coordinates=_place(place),
            load=int(load) if load.isascii() and load.isdigit() and len(load) < 4 else None,
        )


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


def _place(word: str) -> tuple[float, float] | None:
    try:
        north, east = map(float, word.split(","))
    except ValueError:
        return None
    return (north, east) if abs(north) <= 90 and abs(east) <= 180 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One node of the cluster."""

    node: str
    """Its name, which is its public URL."""
    generation: int
    """Number of its registration; larger than any before it of that name."""
    instance: str
    """Random id of the process, so that two processes of one name are told apart."""
    region: str = ""
    state: State = "up"
    hop: int = 0
    """Its id inside announcements."""
    roles: tuple[str, ...] = ()
    version: str = ""
    """Of its software."""
    proto: int = PROTO
    offer: Offer = Offer()

    def tail(self) -> str:
        """Everything that the registry keeps but does not read."""
        words = (
            self.state,
            encode(self.region),
            str(self.hop),
            ",".join(map(encode, self.roles)) or "-",
            encode(self.version),
            str(self.proto),
            self.offer.tail(),
        )
        return " ".join(words)

    @staticmethod
    def read(node: str, words: Sequence[str]) -> Member:
        """From the words ``generation instance`` and those of ``tail``.

        Raises:
            ValueError: it is no member record.
        """
        generation, instance, state, region, hop, roles, version, proto = words[:8]
        return Member(
            node=decode(node),
            generation=int(generation),
            instance=instance,
            region=decode(region),
            # A state of a later version is one that this node can't act on.
            state="draining" if state == "draining" else "up",
            hop=int(hop),
            roles=() if roles == "-" else tuple(map(decode, roles.split(","))),
            version=decode(version),
            proto=int(proto),
            offer=Offer.read(words[8:]),
        )


MEMBER_WORDS = 11
"""Those of this version; a record of an older one has 8, and offers nothing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A node's statement that it has a broadcast."""

    path: str
    node: str
    generation: int
    """Of the node's registration under which it was written."""
    since_us: int
    """When its publisher appeared, microseconds on Redis' clock."""
    hops: tuple[int, ...] = ()
    """Ids that the announcement passed before the node, publisher first."""

    @property
    def since(self) -> float:
        """The same in seconds."""
        return self.since_us / MICROSECONDS

    @staticmethod
    def read(path: str, words: Sequence[str]) -> Claim:
        """From the words ``node generation since hops``.

        Raises:
            ValueError: it is no claim.
        """
        node, generation, since, hops = words[:4]
        return Claim(decode(path), decode(node), int(generation), int(since), read_hops(hops))


CLAIM_WORDS = 4


def write_hops(hops: Sequence[int]) -> str:
    """The word for a chain of hop ids."""
    return ",".join(map(str, hops)) or "-"


def read_hops(word: str) -> tuple[int, ...]:
    """The chain that a word stands for; ValueError when it stands for none."""
    return () if word == "-" else tuple(map(int, word.split(",")))


@dataclass(slots=True)
class Oddities:
    """What was read and not understood; a later version, or somebody's hand."""

    lines: int = 0
    """Event lines of an unknown kind."""
    fields: int = 0
    """Fields after the last known one."""
    malformed: int = 0
    """Records and lines that could not be read at all."""


def read_claims(path: str, value: str, odd: Oddities) -> Iterator[Claim]:
    """The claims in a field of a shard's table; garbage between them is counted and skipped."""
    for line in value.split("\n"):
        if not line:
            continue
        words = line.split(" ")
        try:
            claim = Claim.read(path, words)
        except ValueError:
            odd.malformed += 1
            continue
        odd.fields += len(words) - CLAIM_WORDS
        yield claim


def read_member(node: str, value: str, odd: Oddities) -> Member | None:
    """The member in a field of the membership table; None, and counted, when it is garbage."""
    words = value.split(" ")
    try:
        member = Member.read(node, words)
    except ValueError:
        odd.malformed += 1
        return None
    odd.fields += max(0, len(words) - MEMBER_WORDS)
    return member
