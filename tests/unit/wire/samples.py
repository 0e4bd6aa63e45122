"""Any message that a version can carry, for Hypothesis."""

from dataclasses import replace

from hypothesis import strategies as st

from moq_relay.wire import varint
from moq_relay.wire.layout import Layout
from moq_relay.wire.lite.messages import ClientSetup, Fetch, ServerSetup
from moq_relay.wire.version import Version

NUMBER = st.one_of(st.integers(0, 70), st.integers(0, varint.MAX))
TEXT = st.text(max_size=40)
BYTE = st.integers(0, 255)
OPTIONAL = st.none() | st.integers(0, varint.MAX - 1)
RAW = st.binary(max_size=40)

HOPS = st.lists(NUMBER, max_size=32, unique=True).flatmap(
    lambda ids: st.lists(st.just(0), max_size=32 - len(ids)).flatmap(
        lambda zeros: st.permutations(ids + zeros).map(tuple)
    )
)
ANONYMOUS = st.lists(st.just(0), max_size=32).map(tuple)

KNOWN_PARAMETERS = {
    1: NUMBER.map(varint.encode),
    2: TEXT.map(str.encode),
    3: NUMBER.map(varint.encode),
    4: NUMBER.map(varint.encode),
    5: NUMBER.map(varint.encode),
}
PARAMETERS = st.lists(NUMBER, max_size=8, unique=True).flatmap(
    lambda ids: st.tuples(*[st.tuples(st.just(id_), KNOWN_PARAMETERS.get(id_, RAW)) for id_ in ids])
)
PAIRS = st.lists(NUMBER, max_size=8).flatmap(
    lambda ids: st.tuples(*[st.tuples(st.just(id_), RAW if id_ % 2 else NUMBER) for id_ in ids])
)

BY_FIELD = {
    **dict.fromkeys(("prefix", "suffix", "broadcast", "track", "uri"), TEXT),
    "suffixes": st.lists(TEXT, max_size=5).map(tuple),
    "versions": st.lists(NUMBER, max_size=5).map(tuple),
    "priority": BYTE,
    "ordered": st.booleans(),
    "timescale": st.integers(1, varint.MAX),
    "frame_end": OPTIONAL,
}
"""Fields that mean the same everywhere; every other one is a plain number."""


def field(version: Version, kind: type, name: str) -> st.SearchStrategy:
    """Any value of one field that ``version`` can carry."""
    match name:
        case "parameters":
            return PAIRS if kind in {ClientSetup, ServerSetup} else PARAMETERS
        case "hops":
            return ANONYMOUS if version.features.hop_count else HOPS
        case "status":
            return st.integers(0, 2 if version.features.restart_by_active else 1)
        case "start" | "end" if "error" not in version.layouts[kind].names:
            return OPTIONAL
    return BY_FIELD.get(name, NUMBER)


def messages(version: Version, layout: Layout) -> st.SearchStrategy:
    """Any message of one layout."""
    kind = layout.kind
    return st.builds(kind, **{name: field(version, kind, name) for name in layout.names}).map(legal)


def legal(message: object) -> object:
    """The same message without a combination of fields that no version allows."""
    if getattr(message, "frame_end", None) is None:
        return message
    if isinstance(message, Fetch):
        low, high = sorted((min(message.frame_start, varint.MAX - 1), message.frame_end))
        return replace(message, frame_start=low, frame_end=high)
    return message if message.end is not None else replace(message, frame_end=None)
