"""What peers say, right and wrong, by a seeded generator."""

from random import Random
from typing import Any

from moq_relay.wire import varint
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.frames import Datagram, append_frame, encode_datagram
from moq_relay.wire.lite.messages import BiStream, UniStream
from moq_relay.wire.version import Version

LENGTHS = (0, 1, 63, 64, 16383, 16384, 2**30 - 1, 2**30, 2**62 - 1)
"""Numbers at the edges of what a varint holds in each of its sizes."""


def mutate(random: Random, data: bytes) -> bytes:
    """``data`` with something wrong, or, one time in eight, as it is."""
    if not data:
        return random.randbytes(random.randrange(8))
    at, end = sorted((random.randrange(len(data) + 1), random.randrange(len(data) + 1)))
    match random.randrange(8):
        case 0:
            return data
        case 1:
            return data[:at]
        case 2:
            flipped = bytearray(data)
            for _ in range(random.randint(1, 4)):
                flipped[random.randrange(len(data))] ^= 1 << random.randrange(8)
            return bytes(flipped)
        case 3:
            return data[:at] + random.randbytes(random.randint(1, 40)) + data[at:]
        case 4:
            return data[:at] + data[end:]
        case 5:
            return data[:end] + data[at:end] * random.randint(1, 3) + data[end:]
        case 6:
            return data[:at] + varint.encode(random.choice(LENGTHS)) + data[at + 1 :]
        case _:
            return random.randbytes(random.randint(1, 300))


class Phrases:
    """Messages of one version, each right by itself."""

    def __init__(self, version: Version, random: Random) -> None:
        self._version = version
        self._random = random

    def request(self) -> bytes:
        """All that the opening side says on a bidirectional stream, as a rule."""
        random = self._random
        number = random.randrange(6)
        broadcast, track = random.choice(("live", "junk/1", "nobody")), random.choice("xyz")
        requests: list[tuple[BiStream, Any]] = [
            (BiStream.ANNOUNCE, wire.AnnounceRequest(random.choice(("", "live", "junk")))),
            (BiStream.SUBSCRIBE, wire.Subscribe(number, broadcast, track, 3, max_age=500)),
            (BiStream.SUBSCRIBE, wire.Subscribe(number, "live", track, 3, max_age=500)),
            (BiStream.FETCH, wire.Fetch(broadcast, track, 1, random.randrange(300))),
            (BiStream.TRACK, wire.TrackRequest(broadcast, track)),
            (BiStream.PROBE, wire.Probe(1000)),
            (BiStream.GOAWAY, wire.Goaway("")),
        ]
        kind, message = random.choice([r for r in requests if type(r[1]) in self._version.layouts])
        said = varint.encode(kind) + self._encode(message)
        if kind == BiStream.SUBSCRIBE and random.random() < 0.3:
            said += self._encode(wire.SubscribeUpdate(random.randrange(256), max_age=100))
        return said

    def setup(self) -> tuple[bool, bytes]:
        """How a client begins, and whether that is on a unidirectional stream."""
        if self._version.features.inband_setup:
            assert self._version.wire_number is not None
            return False, self._encode(wire.ClientSetup((self._version.wire_number,)))
        return True, varint.encode(UniStream.SETUP) + self._encode(wire.Setup.of(hop=77))

    def group(self, subscribe: int) -> bytes:
        """A whole group stream."""
        random = self._random
        said = bytearray(varint.encode(UniStream.GROUP))
        said += self._encode(wire.Group(subscribe, random.randrange(20)))
        return bytes(said + self.frames())

    def frames(self) -> bytes:
        random, said = self._random, bytearray()
        delta = 40 if self._version.features.timestamps else None
        for _ in range(random.randrange(5)):
            append_frame(said, random.randbytes(random.choice((0, 1, 30, 2000))), delta)
        return bytes(said)

    def datagram(self) -> bytes:
        random = self._random
        payload = random.randbytes(random.choice((0, 20, 1000)))
        return encode_datagram(Datagram(random.randrange(4), random.randrange(30), 40, payload))

    def announcements(self) -> bytes:
        """What a publisher answers an announce request with."""
        random = self._random
        said = self._encode(wire.AnnounceOk(77, 1)) + self._encode(wire.AnnounceInit(("junk/0",)))
        for number in range(random.randint(1, 3)):
            suffix = f"junk/{random.randrange(4)}"
            said += self._encode(wire.Announce(1, suffix))
            said += self._encode(wire.AnnounceStart(suffix, (5,), 0, 0))
            if random.random() < 0.3:
                said += self._encode(wire.Announce(random.randrange(3), suffix))
                said += self._encode(wire.AnnounceUpdate(number, (6, 5), 0, 0))
            if random.random() < 0.3:
                said += self._encode(wire.Announce(0, suffix))
                said += self._encode(wire.AnnounceEnd(number))
        return said

    def answer(self, kind: int) -> bytes:
        """What a publisher answers any other request with."""
        random = self._random
        match kind:
            case BiStream.TRACK:
                return self._encode(wire.TrackInfo(priority=0, max_age=1000, timescale=1000))
            case BiStream.SUBSCRIBE:
                said = self._encode(wire.SubscribeOk())
                said += self._encode(wire.SubscribeStart(random.randrange(5)))
                if random.random() < 0.4:
                    said += self._encode(wire.SubscribeDrop(1, random.randrange(5), 0x34))
                if random.random() < 0.4:
                    said += self._encode(wire.SubscribeEnd(random.randrange(20)))
                return said
            case BiStream.FETCH:
                return self.frames()
            case _:
                return random.randbytes(20)

    def _encode(self, message: Any) -> bytes:
        """Nothing where the version has no such message, or no such value in it."""
        if type(message) not in self._version.layouts:
            return b""
        if isinstance(message, wire.Announce) and message.status > 1:
            message = wire.Announce(1, message.suffix)
        return self._version.encode(message)
