"""Every error of the relay, sorted by what it costs: a request, a session, the start."""


class MoqError(Exception):
    """The root of all errors that moq_relay raises on purpose."""


class WireError(MoqError):
    """Bytes that the negotiated version does not allow; where they came decides the cost."""


class RequestError(MoqError):
    """Costs one request stream or one group: the session lives on."""


class Internal(RequestError):
    """Something of ours failed, or the content instance behind the request was replaced."""


class Cancelled(RequestError):
    """One side no longer wants it."""


class DeliveryTimeout(RequestError):
    """It did not come in time."""


class SessionClosed(RequestError):
    """The session that carried it ended."""


class GoingAway(RequestError):
    """The peer is about to leave."""


class TooFarBehind(RequestError):
    """The reader has more waiting than its backlog allows."""


class Unsupported(RequestError):
    """The peer asked for something this relay does not do; it is answered like a cancel."""


class MalformedTrack(RequestError):
    """The publisher broke the rules of its own track."""


class ControlTimeout(RequestError):
    """The peer did not answer a request in time."""


class GroupTooLarge(RequestError):
    """A group outgrew ``limits.group_bytes`` or the number of frames allowed."""


class ExcessiveLoad(RequestError):
    """The peer, or its tenant, asks for more than ``limits`` allow."""


class NotFound(RequestError):
    """The broadcast is there; the track, or the group asked for, is not."""


class Old(RequestError):
    """A newer group has superseded this one for longer than the reader wanted to wait."""


class Evicted(RequestError):
    """The group left the cache before it was read."""


class Unroutable(RequestError):
    """No broadcast covers the path."""


class WrongSize(RequestError):
    """A frame ended before or after its declared size."""


class FrameTooLarge(RequestError):
    """A frame outgrew ``limits.frame_bytes``."""


class TimestampMismatch(RequestError):
    """A timestamp that the track's timescale cannot express."""


class ApplicationError(RequestError):
    """A code of the application's own (64 and above), passed on unchanged."""

    def __init__(self, code: int) -> None:
        super().__init__(f"application code {code}")
        self.code = code


class SessionError(MoqError):
    """Costs one session: the process lives on."""


class ProtocolViolation(SessionError):
    """The peer did what no version of the protocol allows."""


class Unauthorized(SessionError):
    """The peer may not do this here."""


class Expired(SessionError):
    """What the peer was allowed has ended."""


class Draining(SessionError):
    """The node is about to leave: nobody new is taken, and nobody kept."""


class BadParameters(SessionError):
    """A key-value list that cannot be read."""


class SetupTimeout(SessionError):
    """The peer did not finish its setup within ``limits.handshake_seconds``."""


class VersionMismatch(SessionError):
    """No version in common."""


class LimitReached(SessionError):
    """The peer, its address, its tenant or the node has as much as ``limits`` allow."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        """Which limit; a metric label."""


class ConfigError(MoqError):
    """The configuration cannot work; the text says what, where and what to do."""


class ClusterError(MoqError):
    """Costs the cluster's view: what flows goes on, with what this node knows."""


class RegistryUnavailable(ClusterError):
    """Nobody knows whether the registry did it; ask again when the road is up."""


class RegistryError(ClusterError):
    """The registry answered, and refused: its text says why."""
