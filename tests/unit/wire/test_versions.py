"""What each version can do, spelled out."""

from dataclasses import fields

import pytest

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
from moq_relay.wire.lite.versions import LITE_02, LITE_03, LITE_04, LITE_05, LITE_06, VERSIONS
from moq_relay.wire.version import Features

COLUMNS = (LITE_02, LITE_03, LITE_04, LITE_05, LITE_06)

FEATURES = {
    #                     02 03 04 05 06
    "setup_stream":      "-  -  -  x  x",
    "inband_setup":      "x  -  -  -  -",
    "announce_init":     "x  -  -  -  -",
    "announce_ok":       "-  -  -  x  x",
    "exclude_hop":       "-  -  x  x  -",
    "hop_ids":           "-  -  x  x  x",
    "hop_count":         "-  x  -  -  -",
    "sender_in_hops":    "-  x  x  -  -",
    "restart_by_active": "-  -  -  x  -",
    "announce_ids":      "-  -  -  -  x",
    "costs":             "-  -  -  -  x",
    "subscribe_ok":      "x  x  x  -  -",
    "subscribe_start":   "-  -  -  x  x",
    "subscribe_update":  "-  x  x  x  x",
    "start_floor":       "-  -  -  -  x",
    "frame_bounds":      "-  -  -  -  x",
    "track_stream":      "-  -  -  x  x",
    "timestamps":        "-  -  -  x  x",
    "datagrams":         "-  -  -  x  x",
    "fetch":             "-  -  -  x  x",
    "goaway":            "-  -  x  x  x",
    "unlimited_age":     "x  -  -  -  -",
}  # fmt: skip

MESSAGES = {
    #                 02 03 04 05 06
    Setup:           "-  -  -  x  x",
    ClientSetup:     "x  -  -  -  -",
    ServerSetup:     "x  -  -  -  -",
    SessionInfo:     "x  -  -  -  -",
    AnnounceRequest: "x  x  x  x  x",
    AnnounceInit:    "x  -  -  -  -",
    AnnounceOk:      "-  -  -  x  x",
    Announce:        "x  x  x  x  -",
    AnnounceStart:   "-  -  -  -  x",
    AnnounceEnd:     "-  -  -  -  x",
    AnnounceUpdate:  "-  -  -  -  x",
    TrackRequest:    "-  -  -  x  x",
    TrackInfo:       "-  -  -  x  x",
    Subscribe:       "x  x  x  x  x",
    SubscribeOk:     "x  x  x  -  -",
    SubscribeStart:  "-  -  -  x  x",
    SubscribeEnd:    "-  -  -  x  x",
    SubscribeDrop:   "-  x  x  x  x",
    SubscribeUpdate: "-  x  x  x  x",
    Group:           "x  x  x  x  x",
    Fetch:           "-  x  x  x  x",
    Probe:           "-  x  x  x  x",
    Goaway:          "-  -  x  x  x",
}  # fmt: skip


def column(table, index):
    return {row for row, marks in table.items() if marks.split()[index] == "x"}


def test_the_best_version_comes_first():
    assert VERSIONS == (LITE_06, LITE_05, LITE_04, LITE_03, LITE_02)


def test_versions_are_known_by_these_names():
    assert [(version.name, version.alpn, version.wire_number) for version in COLUMNS] == [
        ("moq-lite-02", "moql", 0xFF0DAD02),
        ("moq-lite-03", "moq-lite-03", None),
        ("moq-lite-04", "moq-lite-04", None),
        ("moq-lite-05", "moq-lite-05", None),
        ("moq-lite-06", "moq-lite-06", None),
    ]


def test_the_table_of_features_is_complete():
    assert set(FEATURES) == {field.name for field in fields(Features)}


@pytest.mark.parametrize("version", COLUMNS, ids=str)
def test_a_version_has_these_features_and_no_other(version):
    has = {field.name for field in fields(Features) if getattr(version.features, field.name)}

    assert has == column(FEATURES, COLUMNS.index(version))


@pytest.mark.parametrize("version", COLUMNS, ids=str)
def test_a_version_has_these_messages_and_no_other(version):
    assert set(version.layouts) == column(MESSAGES, COLUMNS.index(version))
