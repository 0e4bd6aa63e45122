"""The kinds of fields that messages are made of; each makes a ``Field`` for one attribute."""

from moq_relay.errors import WireError
from moq_relay.wire import varint
from moq_relay.wire.layout import Field

MAX_HOPS = 32
"""Hops an announcement may list; every moq-lite peer refuses more."""

MAX_PARAMETERS = 64
"""Parameters a SETUP may carry; every moq-lite peer refuses more."""


def uint(name: str, *, least: int = 0) -> Field:
    """An unsigned integer as a varint, not below ``least``."""

    def encode(value: int) -> bytes:
        if value < least:
            raise WireError(f"{name} is {value}, less than {least}")
        return varint.encode(value)

    def decode(data: bytes, at: int) -> tuple[int, int]:
        value, at = _uint(data, at, name)
        if value < least:
            raise WireError(f"{name} is {value}, less than {least}")
        return value, at

    return Field(name, encode, decode)


def byte(name: str, *, allowed: range = range(256)) -> Field:
    """One raw byte out of ``allowed``."""

    def encode(value: int) -> bytes:
        if value not in allowed:
            raise WireError(f"{name} cannot be {value}")
        return bytes((value,))

    def decode(data: bytes, at: int) -> tuple[int, int]:
        value = _byte(data, at, name)
        if value not in allowed:
            raise WireError(f"{name} cannot be {value}")
        return value, at + 1

    return Field(name, encode, decode)


def flag(name: str) -> Field:
    """One raw byte as a truth value; anything but 0 counts as true, as other readers have it."""

    def encode(value: bool) -> bytes:
        return b"\x01" if value else b"\x00"

    def decode(data: bytes, at: int) -> tuple[bool, int]:
        return _byte(data, at, name) != 0, at + 1

    return Field(name, encode, decode)


def optional(name: str) -> Field:
    """An unsigned integer or None: 0 is None, everything else one more than the value."""

    def encode(value: int | None) -> bytes:
        if value is not None and value < 0:
            raise WireError(f"{name} is {value}, less than 0")
        return varint.encode(0 if value is None else value + 1)

    def decode(data: bytes, at: int) -> tuple[int | None, int]:
        value, at = _uint(data, at, name)
        return (value - 1 if value else None), at

    return Field(name, encode, decode)


def string(name: str, *, limit: int | None = None) -> Field:
    """UTF-8 behind its length in bytes, of which there may be ``limit``."""

    def encode(value: str) -> bytes:
        raw = _utf8(value, name)
        if limit is not None and len(raw) > limit:
            raise WireError(f"{name} has {len(raw)} bytes, more than {limit}")
        return varint.encode(len(raw)) + raw

    def decode(data: bytes, at: int) -> tuple[str, int]:
        raw, at = _sized(data, at, name)
        if limit is not None and len(raw) > limit:
            raise WireError(f"{name} has {len(raw)} bytes, more than {limit}")
        return _text(raw, name), at

    return Field(name, encode, decode)


def strings(name: str) -> Field:
    """A counted list of strings."""

    def encode(value: tuple[str, ...]) -> bytes:
        raws = [_utf8(each, name) for each in value]
        return varint.encode(len(raws)) + b"".join(varint.encode(len(raw)) + raw for raw in raws)

    def decode(data: bytes, at: int) -> tuple[tuple[str, ...], int]:
        count, at = _uint(data, at, name)
        found: list[str] = []
        # A count that lies ends at the end of the body, not in a reservation.
        for _ in range(count):
            raw, at = _sized(data, at, name)
            found.append(_text(raw, name))
        return tuple(found), at

    return Field(name, encode, decode)


def uints(name: str) -> Field:
    """A counted list of unsigned integers."""

    def encode(value: tuple[int, ...]) -> bytes:
        return varint.encode(len(value)) + b"".join(map(varint.encode, value))

    def decode(data: bytes, at: int) -> tuple[tuple[int, ...], int]:
        count, at = _uint(data, at, name)
        found: list[int] = []
        for _ in range(count):
            each, at = _uint(data, at, name)
            found.append(each)
        return tuple(found), at

    return Field(name, encode, decode)


def hop_ids(name: str) -> Field:
    """A counted list of hop ids, oldest first; 0 is an anonymous hop, any other appears once."""
    inner = uints(name)

    def check(hops: tuple[int, ...]) -> None:
        if len(hops) > MAX_HOPS:
            raise WireError(f"{name} lists more than {MAX_HOPS} hops")
        known = [hop for hop in hops if hop]
        if len(set(known)) != len(known):
            raise WireError(f"{name} lists a hop twice")

    def encode(value: tuple[int, ...]) -> bytes:
        check(value)
        return inner.encode(value)

    def decode(data: bytes, at: int) -> tuple[tuple[int, ...], int]:
        count, _ = _uint(data, at, name)
        if count > MAX_HOPS:
            raise WireError(f"{name} lists more than {MAX_HOPS} hops")
        hops, at = inner.decode(data, at)
        check(hops)
        return hops, at

    return Field(name, encode, decode)


def hop_count(name: str) -> Field:
    """Only how many hops there are; each is read as anonymous, which is 0."""

    def encode(value: tuple[int, ...]) -> bytes:
        if len(value) > MAX_HOPS:
            raise WireError(f"{name} lists more than {MAX_HOPS} hops")
        return varint.encode(len(value))

    def decode(data: bytes, at: int) -> tuple[tuple[int, ...], int]:
        count, at = _uint(data, at, name)
        if count > MAX_HOPS:
            raise WireError(f"{name} lists more than {MAX_HOPS} hops")
        return (0,) * count, at

    return Field(name, encode, decode)


def parameters(name: str) -> Field:
    """A counted list of (id, value) with every value behind its length; order is kept.

    An id that appears twice is an error, whether we know it or not.
    """

    def check(value: tuple[tuple[int, bytes], ...]) -> None:
        _few(len(value), name)
        if len({id_ for id_, _ in value}) != len(value):
            raise WireError(f"{name}: an id appears twice")

    def encode(value: tuple[tuple[int, bytes], ...]) -> bytes:
        check(value)
        return varint.encode(len(value)) + b"".join(
            varint.encode(id_) + varint.encode(len(raw)) + raw for id_, raw in value
        )

    def decode(data: bytes, at: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
        count, at = _uint(data, at, name)
        _few(count, name)
        found: list[tuple[int, bytes]] = []
        for _ in range(count):
            id_, at = _uint(data, at, name)
            raw, at = _sized(data, at, name)
            found.append((id_, raw))
        check(tuple(found))
        return tuple(found), at

    return Field(name, encode, decode)


def pairs(name: str) -> Field:
    """A counted list of (id, value): an even id has a varint, an odd one bytes behind a length.

    Ids may repeat: moq-transport, from which this form comes, allows it for tokens.
    """

    def encode(value: tuple[tuple[int, int | bytes], ...]) -> bytes:
        _few(len(value), name)
        parts = [varint.encode(len(value))]
        for id_, each in value:
            if isinstance(each, int) != (id_ % 2 == 0):
                raise WireError(f"{name}: the value of {id_} has the wrong form")
            parts.append(varint.encode(id_))
            if isinstance(each, int):
                parts.append(varint.encode(each))
            else:
                parts += [varint.encode(len(each)), each]
        return b"".join(parts)

    def decode(data: bytes, at: int) -> tuple[tuple[tuple[int, int | bytes], ...], int]:
        count, at = _uint(data, at, name)
        _few(count, name)
        found: list[tuple[int, int | bytes]] = []
        for _ in range(count):
            id_, at = _uint(data, at, name)
            value: int | bytes
            value, at = _sized(data, at, name) if id_ % 2 else _uint(data, at, name)
            found.append((id_, value))
        return tuple(found), at

    return Field(name, encode, decode)


def _few(count: int, name: str) -> None:
    if count > MAX_PARAMETERS:
        raise WireError(f"{name}: more than {MAX_PARAMETERS}")


def _uint(data: bytes, at: int, name: str) -> tuple[int, int]:
    read = varint.decode(data, at)
    if read is None:
        raise WireError(f"the body ends inside {name}")
    return read


def _byte(data: bytes, at: int, name: str) -> int:
    if at >= len(data):
        raise WireError(f"the body ends before {name}")
    return data[at]


def _sized(data: bytes, at: int, name: str) -> tuple[bytes, int]:
    size, at = _uint(data, at, name)
    if size > len(data) - at:
        raise WireError(f"the body ends inside {name}")
    return data[at : at + size], at + size


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"{name} is not UTF-8") from error


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise WireError(f"{name} is not UTF-8") from error
