"""Which version a session gets."""

from moq_relay.wire import negotiate
from moq_relay.wire.lite.messages import ClientSetup
from moq_relay.wire.lite.versions import (
    INBAND,
    LITE_02,
    LITE_03,
    LITE_05,
    LITE_06,
    VERSIONS,
    by_name,
)

LITE_01_NUMBER = 0xFF0DAD01
DRAFT_14_NUMBER = 0xFF00000E


def test_our_order_wins_over_the_order_of_the_offer():
    assert negotiate.choose(["moql", "moq-lite-05", "moq-lite-06"], VERSIONS) is LITE_06


def test_a_version_that_is_not_allowed_is_not_chosen():
    assert negotiate.choose(["moq-lite-06", "moq-lite-03"], [LITE_05, LITE_03]) is LITE_03


def test_nothing_in_common_chooses_nothing():
    assert negotiate.choose(["h3", "moq-lite-06-wip", "moqt-18"], VERSIONS) is None
    assert negotiate.choose([], VERSIONS) is None


def test_the_oldest_version_is_offered_under_its_alpn_and_not_its_name():
    assert negotiate.choose(["moql"], VERSIONS) is LITE_02
    assert negotiate.choose(["moq-lite-02"], VERSIONS) is None


def test_an_in_band_offer_is_answered_with_the_version_of_that_number():
    offer = ClientSetup((DRAFT_14_NUMBER, LITE_01_NUMBER, 0xFF0DAD02))

    assert negotiate.inband(offer, VERSIONS) is LITE_02


def test_an_in_band_offer_of_the_first_moq_lite_alone_is_refused():
    assert negotiate.inband(ClientSetup((LITE_01_NUMBER,)), VERSIONS) is None


def test_an_in_band_offer_is_refused_when_its_version_is_not_allowed():
    assert negotiate.inband(ClientSetup((0xFF0DAD02,)), [LITE_06, LITE_05]) is None


def test_versions_are_found_by_name():
    assert [by_name(version.name) for version in VERSIONS] == list(VERSIONS)
    assert [by_name(version.alpn) for version in VERSIONS] == list(VERSIONS)
    assert by_name("moq-lite-01") is None


def test_an_in_band_setup_can_be_read_before_there_is_a_version():
    raw = INBAND.encode(ClientSetup((LITE_01_NUMBER,)))

    assert INBAND.parse(ClientSetup.slot, raw, 0, 1 << 16) == (
        ClientSetup((LITE_01_NUMBER,)),
        len(raw),
    )
