"""What a session may publish and read."""

from moq_relay.relay.access import Access


def test_without_limits_everything_below_the_root_is_open():
    access = Access("room")

    assert access.may_publish("room")
    assert access.may_publish("room/alice")
    assert access.may_subscribe("room/alice")


def test_no_session_reaches_beyond_its_root_whatever_its_prefixes_say():
    access = Access("room", publish=("", "other"), subscribe=("", "other"))

    assert not access.may_publish("other")
    assert not access.may_subscribe("other")
    assert not access.may_subscribe("roommate")


def test_publishing_and_reading_are_allowed_apart():
    access = Access("", publish=("room/alice",), subscribe=("room",))

    assert access.may_publish("room/alice/screen")
    assert not access.may_publish("room/bob")
    assert access.may_subscribe("room/bob")
    assert not access.may_subscribe("hall")


def test_prefixes_match_whole_segments():
    access = Access("", publish=("room/al",))

    assert not access.may_publish("room/alice")


def test_no_prefix_allows_nothing():
    access = Access("", publish=(), subscribe=())

    assert not access.may_publish("room")
    assert not access.may_subscribe("")
