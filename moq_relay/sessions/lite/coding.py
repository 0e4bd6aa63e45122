"""A group's frames as bytes, encoded once for all viewers that use the same coding."""

from moq_relay.relay.group import Group
from moq_relay.wire.lite.frames import append_frame
from moq_relay.wire.version import Version


class Coding:
    """One encoding of one group; it grows with the group and is never changed before its end."""

    __slots__ = ("_last", "_timestamps", "buffer", "ends")

    def __init__(self, *, timestamps: bool) -> None:
        self.buffer = bytearray()
        self.ends: list[int] = []
        """Where each frame ends in the buffer."""
        self._timestamps = timestamps
        self._last = 0

    @staticmethod
    def of(group: Group, version: Version) -> "Coding":
        """The coding of ``group`` that ``version`` uses, shared by all who ask, up to date."""
        timestamps = version.features.timestamps
        coding: Coding | None = group.codings.get(timestamps)
        if coding is None:
            coding = group.codings[timestamps] = Coding(timestamps=timestamps)
        coding.catch_up(group)
        return coding

    def catch_up(self, group: Group) -> None:
        """Encode what was appended to the group since the last call."""
        frames, ends, buffer = group.frames, self.ends, self.buffer
        for index in range(len(ends), len(frames)):
            frame = frames[index]
            if self._timestamps:
                append_frame(buffer, frame.payload, frame.timestamp - self._last)
                self._last = frame.timestamp
            else:
                append_frame(buffer, frame.payload, None)
            ends.append(len(buffer))
