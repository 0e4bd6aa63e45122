"""Errors to moq-lite's codes and back; the only place that spells a code."""

from moq_relay import errors
from moq_relay.errors import ApplicationError, Internal, RequestError, SessionError

CANCEL = 1
"""The receiver no longer wants the stream."""

EXCESSIVE_LOAD = 9
"""Not moq-lite's, which has none for it, but moq-transport's: clients only display it."""

REQUEST_CODES: dict[type[RequestError], int] = {
    errors.Internal: 0,
    errors.Cancelled: 1,
    errors.Unsupported: 1,
    errors.DeliveryTimeout: 2,
    errors.SessionClosed: 3,
    errors.GoingAway: 4,
    errors.TooFarBehind: 5,
    errors.ExcessiveLoad: EXCESSIVE_LOAD,
    errors.MalformedTrack: 0x12,
    errors.ControlTimeout: 0x31,
    errors.GroupTooLarge: 0x32,
    errors.NotFound: 0x33,
    errors.Old: 0x34,
    errors.Evicted: 0x35,
    errors.Unroutable: 0x36,
    errors.WrongSize: 0x37,
    errors.FrameTooLarge: 0x38,
    errors.TimestampMismatch: 0x39,
}
MEANINGS: dict[type[RequestError], str] = {
    errors.Internal: "internal error",
    errors.Cancelled: "cancelled",
    errors.DeliveryTimeout: "not delivered in time",
    errors.SessionClosed: "its session ended",
    errors.GoingAway: "it is about to leave",
    errors.TooFarBehind: "the reader is too far behind",
    errors.ExcessiveLoad: "it is asked for more than it allows",
    errors.MalformedTrack: "the track breaks its own rules",
    errors.ControlTimeout: "no answer in time",
    errors.GroupTooLarge: "the group is too large",
    errors.NotFound: "no such track or group",
    errors.Old: "the group is too old",
    errors.Evicted: "the group left the cache",
    errors.Unroutable: "no such broadcast",
    errors.WrongSize: "a frame ended too early or too late",
    errors.FrameTooLarge: "a frame is too large",
    errors.TimestampMismatch: "a timestamp does not fit its track",
}
"""What operators read of an error that came as a code."""
SESSION_CODES: dict[type[SessionError], int] = {
    errors.Expired: 2,
    errors.Unauthorized: 2,
    errors.ProtocolViolation: 3,
    errors.BadParameters: 6,
    errors.Draining: 0x10,
    errors.SetupTimeout: 0x11,
    errors.VersionMismatch: 0x15,
    errors.LimitReached: 7,
}
NO_ERROR = 0
INTERNAL = 1

APPLICATION = 64
"""Codes from here on belong to applications and pass through unchanged."""

_BY_CODE = {code: kind for kind, code in reversed(REQUEST_CODES.items())}


def of(error: RequestError) -> int:
    """The code a stream is reset with for ``error``."""
    if isinstance(error, ApplicationError):
        return error.code
    return REQUEST_CODES.get(type(error), 0)


def of_session(error: SessionError) -> int:
    """The code a session is closed with for ``error``."""
    return SESSION_CODES.get(type(error), INTERNAL)


def error(code: int, who: str = "the peer") -> RequestError:
    """What a peer means by resetting a stream with ``code``; unknown ones are internal errors."""
    if code >= APPLICATION:
        return ApplicationError(code)
    kind = _BY_CODE.get(code)
    meaning = "something that this relay does not know" if kind is None else MEANINGS[kind]
    return (kind or Internal)(f"{who} says: {meaning} (code {code:#x})")
