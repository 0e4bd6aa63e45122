"""A layout is the order of a message's fields on the wire, as data.

A message is one dataclass for every version; a version is a table of layouts. A field that a
version does not carry is absent from its layout, and the dataclass default stands.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Generic, TypeVar

from moq_relay.errors import WireError
from moq_relay.wire import varint

M = TypeVar("M")


class Length(Enum):
    """How the length in front of a body is written."""

    VARINT = "varint"
    U16 = "u16"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its dataclass attribute and the two halves of its codec."""

    name: str
    encode: Callable[[Any], bytes]
    """Raises ``WireError`` for a value that the field cannot carry."""
    decode: Callable[[bytes, int], tuple[Any, int]]
    """From a whole body and an offset: the value and the offset behind it; raises ``WireError``."""


class Layout(Generic[M]):
    """The fields of message ``kind`` in one version, in wire order, and what goes before them.

    Args:
        kind: the dataclass; ``TypeError`` when it lacks one of the fields, or when a field without
            a default is missing.
        layout: its fields, in wire order.
        tag: the type varint in front of the length; None where the stream implies the message.
        length: how the length is written.
        check: raises ``WireError`` for a combination of fields that the version does not allow;
            asked in both directions, so that we never send what our own reader would refuse.
    """

    __slots__ = ("_check", "_fields", "kind", "length", "names", "tag")

    def __init__(
        self,
        kind: type[M],
        *layout: Field,
        tag: int | None = None,
        length: Length = Length.VARINT,
        check: Callable[[M], None] | None = None,
    ) -> None:
        self.names = tuple(field.name for field in layout)
        _require_fields(kind, self.names)
        self.kind = kind
        self.tag = tag
        self.length = length
        self._fields = layout
        self._check = check

    def encode(self, message: M) -> bytes:
        """Encode ``message`` whole: its tag if it has one, its length, its body.

        Raises:
            WireError: a value does not fit its field, or the version does not allow it.
        """
        if self._check is not None:
            self._check(message)
        try:
            body = b"".join([field.encode(getattr(message, field.name)) for field in self._fields])
        except WireError as error:
            raise WireError(f"{self.kind.__name__}: {error}") from error
        if self.length is Length.U16:
            if len(body) > 0xFFFF:
                raise WireError(f"{self.kind.__name__}: {len(body)} bytes do not fit a u16 length")
            size = len(body).to_bytes(2, "big")
        else:
            size = varint.encode(len(body))
        return (b"" if self.tag is None else varint.encode(self.tag)) + size + body

    def decode(self, body: bytes) -> M:
        """Decode one whole body, tag and length already removed.

        Raises:
            WireError: a field is cut short, malformed, or followed by bytes of no field.
        """
        values: dict[str, Any] = {}
        at = 0
        try:
            for field in self._fields:
                values[field.name], at = field.decode(body, at)
        except WireError as error:
            raise WireError(f"{self.kind.__name__}: {error}") from error
        if at != len(body):
            raise WireError(f"{self.kind.__name__}: {len(body) - at} bytes after the last field")
        message = self.kind(**values)
        if self._check is not None:
            self._check(message)
        return message


def _require_fields(kind: type, names: tuple[str, ...]) -> None:
    known = fields(kind)
    unknown = [name for name in names if name not in {field.name for field in known}]
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {unknown[0]!r}")
    if len(set(names)) != len(names):
        raise TypeError(f"{kind.__name__}: a field appears twice")
    for field in known:
        if field.name not in names and field.default is field.default_factory:  # both are MISSING
            raise TypeError(f"{kind.__name__}.{field.name} has no default to stand in for it")
