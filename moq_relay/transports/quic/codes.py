"""Application codes as stream codes of HTTP/3, and back (WebTransport over HTTP/3, section 4.4)."""

import re

_LITE = re.compile(r"moq-?l")
_FIRST = 0x52E4A40FA8DB
_LAST = 0x52E5AC983162
_GONE = frozenset({0x170D7B68, 0x3994BD84})
"""WT_SESSION_GONE and WT_BUFFERED_STREAM_REJECTED."""

NO_ERROR = 0x100
"""H3_NO_ERROR."""
REFUSED_STREAM = 0x3994BD84
"""WT_BUFFERED_STREAM_REJECTED."""


def maps_codes(protocol: str | None) -> bool:
    """Whether peers that speak ``protocol`` over raw QUIC map stream codes as if on HTTP/3.

    All moq-lite libraries do, on every binding; moq-transport ones mostly do not.
    """
    return protocol is not None and _LITE.match(protocol) is not None


def to_http3(code: int) -> int:
    """The HTTP/3 code that stands for application code ``code`` (at most 32 bits)."""
    code &= 0xFFFFFFFF
    return _FIRST + code + code // 0x1E


def from_stream(code: int) -> int:
    """The application code that a peer meant; a code outside the mapped range is plain already."""
    if not _FIRST <= code <= _LAST:
        return code
    shifted = code - _FIRST
    if shifted % 0x1F == 0x1E:
        return 0  # reserved, so that nobody relies on the values being contiguous
    return shifted - shifted // 0x1F


def from_http3(code: int) -> int:
    """As `from_stream`, on a connection where plain codes are HTTP/3's own: those say nothing."""
    if 0x100 <= code < 0x300 or code in _GONE:
        return 0
    return from_stream(code)
