"""One group stream as a viewer counts it: frames and gaps, no payload kept."""

from dataclasses import dataclass, field

from moq_relay.daemon.load.dialect import Dialect
from moq_relay.daemon.load.window import Window

STAMP = 8
"""Bytes of the time that a frame begins with."""
NOT_A_GROUP = -2


@dataclass
class Groups:
    """What one viewer got of one track since it subscribed."""

    track: str
    window: Window
    whole: set[int] = field(default_factory=set)
    """Groups whose last byte came."""
    resets: dict[int, int] = field(default_factory=dict)
    """Groups that the relay gave up, by reset code."""
    frames: int = 0
    payload_bytes: int = 0

    def report(self) -> dict[str, object]:
        """The counts for JSON; a missing group lies between the first and the last whole one."""
        first, last = (min(self.whole), max(self.whole)) if self.whole else (None, None)
        missing = 0 if first is None or last is None else last - first + 1 - len(self.whole)
        return {
            "groups": len(self.whole),
            "first": first,
            "last": last,
            "missing": missing,
            "frames": self.frames,
            "payload_bytes": self.payload_bytes,
            "resets": {f"{code:#x}": count for code, count in sorted(self.resets.items())},
        }


class GroupStream:
    """Bytes of one stream in, whole frames counted; pieces may come in any order."""

    __slots__ = (
        "_all",
        "_dialect",
        "_end",
        "_final",
        "_groups",
        "_head",
        "_held",
        "_left",
        "_sequence",
        "_size",
        "_stamp",
    )

    def __init__(self, groups: dict[int, Groups], dialect: Dialect) -> None:
        """Count into the groups of the subscription that the stream says it is of."""
        self._all = groups
        self._dialect = dialect
        self._groups: Groups | None = None
        self._sequence = -1
        self._end = 0
        self._final: int | None = None
        self._held: dict[int, bytes] = {}
        self._head = b""
        self._left = 0
        self._size = 0
        self._stamp = 0

    def take(self, offset: int, source: bytes, start: int, stop: int, fin: bool) -> bool:
        """One piece ``source[start:stop]``; whether the stream is now complete."""
        if fin:
            self._final = offset + stop - start
        if offset == self._end:
            self._end += stop - start
            if stop - start < self._left:
                self._left -= stop - start
            else:
                self._parse(source[start:stop])
        elif offset + stop - start > self._end:
            self._hold(offset, source[start:stop])
        if self._held:
            self._release()
        if self._end != self._final:
            return False
        if self._groups is not None:
            self._groups.whole.add(self._sequence)
        return True

    def reset(self, code: int) -> None:
        """The relay gave this group up."""
        groups = self._groups or next(iter(self._all.values()))
        groups.resets[code] = groups.resets.get(code, 0) + 1

    def _hold(self, offset: int, piece: bytes) -> None:
        if len(piece) > len(self._held.get(offset, b"")):
            self._held[offset] = piece

    def _release(self) -> None:
        for offset in sorted(self._held):
            if offset > self._end:
                return
            piece = self._held.pop(offset)[self._end - offset :]
            if piece:
                self._end += len(piece)
                if len(piece) < self._left:
                    self._left -= len(piece)
                else:
                    self._parse(piece)

    def _parse(self, piece: bytes) -> None:
        if self._sequence == NOT_A_GROUP:
            return
        at = 0
        if self._left:
            at = self._left
            self._left = 0
            self._whole_frame()
        elif self._head:
            piece = self._head + piece
            self._head = b""
        if self._groups is None:
            if piece[:1] == self._dialect.setup[:1]:
                self._sequence = NOT_A_GROUP
                return
            header = self._dialect.group_header(piece)
            if header is None:
                self._head = piece
                return
            number, self._sequence, at = header
            self._groups = self._all[number]
        while at < len(piece):
            read = self._dialect.frame_header(piece, at)
            if read is None or len(piece) - read[1] < min(read[0], STAMP):
                self._head = piece[at:]
                return
            self._size, at = read
            self._stamp = int.from_bytes(piece[at : at + min(self._size, STAMP)], "big")
            at += self._size
            if at > len(piece):
                self._left = at - len(piece)
                return
            self._whole_frame()

    def _whole_frame(self) -> None:
        groups = self._groups
        assert groups is not None
        groups.frames += 1
        groups.payload_bytes += self._size
        groups.window.seen(groups.track, self._stamp, self._size)
