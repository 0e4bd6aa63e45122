"""The moq-lite versions we speak. The only file of the codec that names them."""

from dataclasses import replace

from moq_relay.errors import WireError
from moq_relay.wire.fields import (
    byte,
    flag,
    hop_count,
    hop_ids,
    optional,
    pairs,
    parameters,
    string,
    strings,
    uint,
    uints,
)
from moq_relay.wire.layout import Layout, Length
from moq_relay.wire.lite.messages import (
    Announce,
    AnnounceEnd,
    AnnounceInit,
    AnnounceOk,
    AnnounceRequest,
    AnnounceStart,
    AnnounceUpdate,
    ClientSetup,
    Fetch,
    Goaway,
    Group,
    Probe,
    ServerSetup,
    SessionInfo,
    Setup,
    Subscribe,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeOk,
    SubscribeStart,
    SubscribeUpdate,
    TrackInfo,
    TrackRequest,
)
from moq_relay.wire.version import Features, Version, after, first

MAX_URI = 8192
"""Bytes of a GOAWAY's URI; the bound of moq-transport, which moq-lite peers share."""


def _readable(setup: Setup) -> None:
    """Read every parameter we know, so that a broken one costs the message and not its reader."""
    _ = (setup.path, setup.role, setup.hop, setup.cost, setup.probe)


def _whole(message: Subscribe | SubscribeUpdate | Group | Fetch) -> None:
    """Refuse a part of a group: a peer that cannot be told would number its frames wrongly."""
    if message.frame_start or getattr(message, "frame_end", None) is not None:
        raise WireError(f"{type(message).__name__}: the version has only whole groups")


def _bounded(message: Subscribe | SubscribeUpdate) -> None:
    """Frames are counted within a group, so an end in frames needs the group that it is in."""
    if message.frame_end is not None and message.end is None:
        raise WireError(f"{type(message).__name__}: frame end without group end")


def _forwards(fetch: Fetch) -> None:
    if fetch.frame_end is not None and fetch.frame_end < fetch.frame_start:
        raise WireError("Fetch: frame end before frame start")


_RANGE = (byte("priority"), flag("ordered"), uint("max_age"), optional("start"), optional("end"))
_FLOOR = (
    byte("priority"),
    uint("max_age"),
    uint("floor"),
    optional("end"),
    uint("frame_start"),
    optional("frame_end"),
)
_NAME = (string("broadcast"), string("track"))
_ROUTE = (hop_ids("hops"), uint("warm"), uint("cold"))

LITE_02 = first(
    "moq-lite-02",
    Layout(ClientSetup, uints("versions"), pairs("parameters"), tag=0x20, length=Length.U16),
    Layout(ServerSetup, uint("version"), pairs("parameters"), tag=0x21, length=Length.U16),
    Layout(SessionInfo, uint("bitrate")),
    Layout(AnnounceRequest, string("prefix")),
    Layout(AnnounceInit, strings("suffixes")),
    Layout(Announce, byte("status", allowed=range(2)), string("suffix")),
    Layout(Subscribe, uint("id"), *_NAME, byte("priority"), check=_whole),
    Layout(SubscribeOk),
    Layout(Group, uint("subscribe"), uint("sequence"), check=_whole),
    features=Features(inband_setup=True, announce_init=True, subscribe_ok=True, unlimited_age=True),
    alpn="moql",
    wire_number=0xFF0D_AD02,
)

LITE_03 = after(
    LITE_02,
    "moq-lite-03",
    Layout(Announce, byte("status", allowed=range(2)), string("suffix"), hop_count("hops")),
    Layout(Subscribe, uint("id"), *_NAME, *_RANGE, check=_whole),
    Layout(SubscribeOk, *_RANGE, tag=0),
    Layout(SubscribeDrop, uint("start"), uint("end"), uint("error"), tag=1),
    Layout(SubscribeUpdate, *_RANGE, check=_whole),
    Layout(Fetch, *_NAME, byte("priority"), uint("group"), check=_whole),
    Layout(Probe, uint("bitrate")),
    dropped=[ClientSetup, ServerSetup, SessionInfo, AnnounceInit],
    features=Features(
        hop_count=True, sender_in_hops=True, subscribe_ok=True, subscribe_update=True
    ),
)

LITE_04 = after(
    LITE_03,
    "moq-lite-04",
    Layout(AnnounceRequest, string("prefix"), uint("exclude_hop")),
    Layout(Announce, byte("status", allowed=range(2)), string("suffix"), hop_ids("hops")),
    Layout(Probe, uint("bitrate"), uint("rtt")),
    Layout(Goaway, string("uri", limit=MAX_URI)),
    features=replace(
        LITE_03.features, exclude_hop=True, hop_ids=True, hop_count=False, goaway=True
    ),
)

LITE_05 = after(
    LITE_04,
    "moq-lite-05",
    Layout(Setup, parameters("parameters"), check=_readable),
    Layout(AnnounceOk, uint("hop"), uint("active")),
    Layout(Announce, byte("status", allowed=range(3)), string("suffix"), hop_ids("hops")),
    Layout(TrackRequest, *_NAME),
    Layout(
        TrackInfo,
        byte("priority"),
        flag("ordered"),
        uint("max_age"),
        uint("timescale", least=1),
    ),
    Layout(SubscribeStart, uint("group"), tag=0),
    Layout(SubscribeEnd, uint("group"), tag=1),
    Layout(SubscribeDrop, uint("start"), uint("end"), uint("error"), tag=2),
    dropped=[SubscribeOk],
    features=replace(
        LITE_04.features,
        setup_stream=True,
        announce_ok=True,
        sender_in_hops=False,
        restart_by_active=True,
        subscribe_ok=False,
        subscribe_start=True,
        track_stream=True,
        timestamps=True,
        datagrams=True,
        fetch=True,
    ),
)

LITE_06 = after(
    LITE_05,
    "moq-lite-06",
    Layout(AnnounceRequest, string("prefix")),
    Layout(AnnounceStart, string("suffix"), *_ROUTE, tag=0),
    Layout(AnnounceEnd, uint("id"), tag=1),
    Layout(AnnounceUpdate, uint("id"), *_ROUTE, tag=2),
    Layout(TrackInfo, byte("priority"), uint("max_age"), uint("timescale", least=1)),
    Layout(Subscribe, uint("id"), *_NAME, *_FLOOR, check=_bounded),
    Layout(SubscribeUpdate, *_FLOOR, check=_bounded),
    Layout(Group, uint("subscribe"), uint("sequence"), uint("frame_start")),
    Layout(
        Fetch,
        *_NAME,
        byte("priority"),
        uint("group"),
        uint("frame_start"),
        optional("frame_end"),
        check=_forwards,
    ),
    dropped=[Announce],
    features=replace(
        LITE_05.features,
        exclude_hop=False,
        restart_by_active=False,
        announce_ids=True,
        costs=True,
        start_floor=True,
        frame_bounds=True,
    ),
)

VERSIONS = (LITE_06, LITE_05, LITE_04, LITE_03, LITE_02)
"""Best first."""

INBAND = LITE_02
"""Reads CLIENT_SETUP of a peer with which no version has been agreed on yet."""


def by_name(name: str) -> Version | None:
    """The version of this name, or of this ALPN; None: we do not speak it."""
    return next((version for version in VERSIONS if name in {version.name, version.alpn}), None)
