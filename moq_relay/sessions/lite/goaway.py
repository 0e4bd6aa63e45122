"""Asking a peer to go elsewhere, by a GOAWAY where its version has one."""

from __future__ import annotations

from moq_relay.errors import Draining
from moq_relay.sessions.lite.session import LiteSession
from moq_relay.wire.lite import messages as wire
from moq_relay.wire.lite.messages import BiStream


def ask_to_go(session: LiteSession) -> None:
    """Ask the peer to connect anew, to the same URL, and to leave this session after that.

    Where the version has no GOAWAY, the session ends instead.
    """
    if session.version.features.goaway:
        session.spawn(_say(session), "goaway")
    else:
        cut_off(session)


def cut_off(session: LiteSession) -> None:
    """End a session that did not end by itself; its peer may still connect anew."""
    session.end(Draining("the relay is draining; connect again"))


def let_go(session: LiteSession) -> None:
    """End a session whose peer was asked to go, and has gone on elsewhere."""
    session.end(Draining("the relay is draining; nothing is under way here"))


async def _say(session: LiteSession) -> None:
    await session.opening.done()
    await session.may_request()
    request = session.open_request()
    try:
        request.write_type(BiStream.GOAWAY)
        # An empty URI is the one that the peer came by: only a balancer knows where to go.
        request.write(wire.Goaway(""))
        request.finish()
        await request.ended()
    finally:
        request.done()
