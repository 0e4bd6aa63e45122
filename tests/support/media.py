"""What the test publishers send: every byte follows from track, run, group and frame."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

MAX_AGE_US = 30_000_000
"""TrackInfo and Subscription max age: long enough that age alone never drops a test's group."""


@lru_cache(maxsize=2048)
def noise(seed: str, length: int) -> bytes:
    """Bytes without a repetition; AES-CTR because browsers and Python both have it built in."""
    key = hashlib.sha256(seed.encode()).digest()[:16]
    return Cipher(AES(key), CTR(bytes(16))).encryptor().update(bytes(length))


@dataclass(frozen=True)
class Track:
    """One track's shape: how big its frames are, how they group, how fast they come."""

    name: str
    frame_bytes: int
    frames_per_group: int
    frames_per_second: float
    is_json: bool = False
    edition: int = 1
    """Which run of a publisher it is: another run's frames have other bytes."""

    def payload(self, group: int, frame: int) -> bytes:
        """The only bytes that this frame may have."""
        seed = f"{self.name}/{self.edition}/{group}/{frame}"
        if self.is_json:
            note = noise(seed, self.frame_bytes // 2).hex()
            document = {"track": self.name, "group": group, "frame": frame, "note": note}
            return json.dumps(document, separators=(",", ":")).encode()
        return noise(seed, self.frame_bytes)

    def timestamp_us(self, group: int, frame: int) -> int:
        """The frame's media time, which is also when it is due after the first."""
        return round((group * self.frames_per_group + frame) * 1e6 / self.frames_per_second)

    def mismatch(self, group: int, frame: int, got: bytes) -> str | None:
        """None when the frame is right, else one line that says what came instead."""
        here = f"{self.name} group {group} frame {frame}"
        if frame >= self.frames_per_group:
            return f"{here}: the group should have ended after {self.frames_per_group} frames"
        expected = self.payload(group, frame)
        if got == expected:
            return None
        for near in range(max(0, group - 2), group + 3):
            for other in range(self.frames_per_group):
                if got == self.payload(near, other):
                    return f"{here}: holds group {near} frame {other} instead"
        if len(got) != len(expected):
            return f"{here}: {len(got)} bytes instead of {len(expected)}"
        at = next(i for i, (a, b) in enumerate(zip(got, expected, strict=True)) if a != b)
        return f"{here}: differs from byte {at} of {len(expected)}"


VIDEO = Track("video", frame_bytes=8333, frames_per_group=30, frames_per_second=30)
AUDIO = Track("audio", frame_bytes=160, frames_per_group=1, frames_per_second=50)
STATUS = Track("status", frame_bytes=200, frames_per_group=1, frames_per_second=1, is_json=True)
LIVE = (VIDEO, AUDIO, STATUS)
"""2 Mb/s of video in groups of a second, 50 audio groups a second, a JSON document a second."""
LIVE_AGAIN = tuple(replace(track, edition=2) for track in LIVE)
"""The same tracks from a publisher that was started again."""

FILE = Track("file", frame_bytes=1024, frames_per_group=10, frames_per_second=1000)
FILE_GROUPS = 10
"""Ten groups of it are the finite track of 100 KB."""


def in_one_group(track: Track, groups: int) -> Track:
    """So many groups of a track as the only one, which nothing ever supersedes."""
    return replace(track, frames_per_group=groups * track.frames_per_group)
