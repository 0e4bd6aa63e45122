"""The settings ``limits.*``: what one peer, one address, one tenant and all of them may cost."""

from pydantic import Field

from moq_relay.daemon.forms import Above, Count, Duration, OptionalSize
from moq_relay.daemon.section import Section
from moq_relay.relay.retention import CacheLimits
from moq_relay.sessions.context import Limits

LIMITS, KEPT = Limits(), CacheLimits()
"""The defaults of the floors below are the defaults of the settings."""


class LimitsSection(Section):
    """What one peer, or all of them, may cost."""

    frame_bytes: Above = Field(default=LIMITS.frame_bytes, description="Largest frame.")
    group_bytes: Above = Field(default=KEPT.group_bytes, description="Largest group.")
    message_bytes: Above = Field(
        default=LIMITS.message_bytes, description="Largest control message."
    )
    sessions: Count = Field(default=LIMITS.sessions, description="Sessions at a time.")
    requests_per_session: Count = Field(
        default=LIMITS.requests_per_session, description="Open requests of one session."
    )
    announces_per_session: Count = Field(
        default=LIMITS.announces_per_session, description="Broadcasts announced by one session."
    )
    handshake_seconds: Duration = Field(
        default=LIMITS.handshake_seconds,
        description="Until a peer must have finished its handshake and setup.",
    )
    viewer_backlog: Above = Field(
        default=LIMITS.viewer_backlog,
        description="Bytes that may wait for one viewer before its oldest groups go.",
    )
    egress: OptionalSize = Field(
        default=None,
        description="Bytes a second that this relay can send. Nothing is refused for it: it is "
        "what `moq_relay_saturation_ratio` of `egress` is a share of.",
    )
