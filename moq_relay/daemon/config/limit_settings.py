"""The settings ``limits.*``: what one peer, one address, one tenant and all of them may cost."""

import ipaddress
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from moq_relay.daemon.config import values
from moq_relay.daemon.config.forms import Above, Count, Duration, Form, OptionalSize
from moq_relay.daemon.config.section import Section
from moq_relay.relay.retention import CacheLimits
from moq_relay.sessions.context import Limits

LIMITS, KEPT = Limits(), CacheLimits()
"""The defaults of the floors below are the defaults of the settings."""


def networks(value: Any) -> tuple[str, ...]:
    """Networks of both families, and single addresses, each in its shortest form; "" is none."""
    found = []
    for word in filter(None, values.strings(value)):
        try:
            found.append(str(ipaddress.ip_network(word.strip())))
        except ValueError:
            raise ValueError(
                f'has {word!r} where a network belongs, like "10.0.0.0/8" or "2001:db8::/48"'
            ) from None
    return tuple(dict.fromkeys(found))


def optional_count(value: Any) -> int | None:
    """A whole number above zero; an empty text is none."""
    if value is None or value == "":
        return None
    number = values.count(value)
    values.above_zero(number)
    return number


def share(value: Any) -> float:
    """More than nothing, and at most all."""
    try:
        found = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = 0.0
    if not 0 < found <= 1:
        raise ValueError("must be above 0 and at most 1")
    return found


Networks = Annotated[
    tuple[str, ...],
    BeforeValidator(networks),
    Form("a network, an IP address or a list", listed=True),
]
OptionalCount = Annotated[
    int | None, BeforeValidator(optional_count), Form("a whole number above 0")
]
Share = Annotated[float, BeforeValidator(share), Form("a number above 0, at most 1")]


class TenantSection(Section):
    """What one tenant may use: who has the same `root` in a token, else path's first segment."""

    sessions: OptionalCount = Field(
        default=None,
        description="Sessions at a time of one tenant: of those with the same `root` in their "
        "token, else with the same first segment of their path. The next one is refused. A "
        "`/fetch` counts as one while it lasts. Other relays are nobody's tenant.",
    )
    announces: OptionalCount = Field(
        default=None,
        description="Broadcasts of one tenant announced here at a time; the next one is ignored.",
    )
    egress: OptionalSize = Field(
        default=None,
        description="Payload bytes a second that the sessions of one tenant, and `/fetch`, are "
        "sent, over 5 s. Above it no subscription or fetch of theirs is begun, and `/fetch` is "
        "answered 429; those that are there go on.",
    )
    cache: OptionalSize = Field(
        default=None,
        description="Payload kept of the broadcasts of one tenant, looked at once a second: above "
        "it their oldest groups go, but never the latest of a track. What another relay publishes "
        "belongs to who is here with its root, else to its first segment.",
    )


class LimitsSection(Section):
    """What one peer, one address, one tenant, or all of them, may cost."""

    frame_bytes: Above = Field(default=LIMITS.frame_bytes, description="Largest frame.")
    group_bytes: Above = Field(default=KEPT.group_bytes, description="Largest group.")
    message_bytes: Above = Field(
        default=LIMITS.message_bytes, description="Largest control message."
    )
    sessions: Count = Field(default=LIMITS.sessions, description="Sessions at a time.")
    sessions_per_address: Count = Field(
        default=5_000,
        description="Sessions of one IPv4 address, or one /64 of IPv6, at a time. The default is "
        "for a NAT with a great many viewers behind it: it only keeps half a relay for others.",
    )
    trusted_networks: Networks = Field(
        default=("127.0.0.0/8", "::1/128"),
        description="Addresses to which `limits.sessions_per_address`, `limits.handshakes`, "
        "`limits.shed`, `limits.http_connections_per_address` and "
        "`limits.http_requests_per_address` do not apply: this machine's, or a proxy's that hides "
        "its clients.",
    )
    http_connections: Count = Field(
        default=1_000,
        description="Connections of `web.http.listen` at a time, but no more than half of the "
        "files that the process may have open. For one more the connection is ended that has asked "
        "for nothing for the longest time; while each has a request under way, or has come just "
        "now, the new one is closed at once.",
    )
    http_connections_per_address: Count = Field(
        default=100,
        description="Connections of `web.http.listen` of one IPv4 address, or one /64 of IPv6, at "
        "a time, in the same way. The default is less than the 256 fetches that a relay serves at "
        "a time.",
    )
    http_requests_per_address: Count = Field(
        default=100,
        description="Requests a second at `web.http.listen` of one IPv4 address, or one /64 of "
        "IPv6, once a burst of twice as many is used up; `/announced` counts as one more for each "
        "500 broadcasts. Beyond that they are answered 429, and beyond twice that connections are "
        "closed at once.",
    )
    handshakes: Count = Field(
        default=100,
        description="Handshakes begun a second, half of them from one address (one /64). Who is "
        "beyond that is not refused but put off: a client asks again by itself after a second or "
        "two. The default leaves most of a core to who is here; a crowd behind one NAT takes as "
        "many seconds as it has fifties to come in.",
    )
    handshakes_pending: Count = Field(
        default=50,
        description="Unfinished handshakes of a listener from which on a client proves its address "
        "first (QUIC Retry), which costs it a round trip.",
    )
    handshakes_share: Share = Field(
        default=0.2,
        description="Of the event loop's time, what goes to new connections: to datagrams that "
        "belong to no connection, and to handshakes. What comes beyond that waits, and is lost "
        "when too much waits; a client asks again by itself. Those who are here go first.",
    )
    shed: Share = Field(
        default=0.95,
        description="`moq_relay_saturation_ratio` of `loop`, `egress`, `memory` or `fds` from "
        "which on nobody new is let in, so that those who are here do not suffer; `/fetch` and "
        "`/announced` are answered 503. Other relays are let in.",
    )
    requests_per_session: Count = Field(
        default=LIMITS.requests_per_session, description="Open requests of one session."
    )
    subscriptions_per_session: Count = Field(
        default=LIMITS.subscriptions_per_session,
        description="Subscriptions that one session holds. The default is as many as requests.",
    )
    tracks_per_session: Count = Field(
        default=LIMITS.tracks_per_session,
        description="Tracks that one publisher's session is asked for at a time, by however many "
        "viewers; who wants one more is refused.",
    )
    announces_per_session: Count = Field(
        default=LIMITS.announces_per_session, description="Broadcasts announced by one session."
    )
    announces_per_second: Count = Field(
        default=LIMITS.announces_per_second,
        description="Broadcasts that one session announces, changes or ends a second, once it has "
        "used up a burst of twice `limits.announces_per_session`; beyond that it is ended.",
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
        description="Payload bytes a second that this relay can send. "
        "`moq_relay_saturation_ratio` of `egress` is a share of it, and from `limits.shed` of it "
        "on nobody new is let in; who is here is never slowed down. Unset: that share is 0.",
    )
    tenant: TenantSection = TenantSection()
