"""Stream codes on the wire of HTTP/3, and of the libraries that write them on raw QUIC too."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from moq_relay.transports.quic import codes


@pytest.mark.parametrize(
    ("plain", "mapped"),
    [
        (0, 91141958510811),
        (1, 91141958510812),
        (0x33, 91141958510863),
        (0x36, 91141958510866),
        (0xFFFFFFFF, 0x52E5AC983162),
    ],
)
def test_codes_are_mapped_as_the_draft_says(plain, mapped):
    assert codes.to_http3(plain) == mapped
    assert codes.from_stream(mapped) == plain


@given(st.integers(0, 2**32 - 1))
def test_a_code_survives_the_way_there_and_back(code):
    mapped = codes.to_http3(code)

    assert codes.from_stream(mapped) == codes.from_http3(mapped) == code
    assert (mapped - 0x21) % 0x1F != 0  # HTTP/3 reserves these for GREASE


@given(st.integers(0, 2**62 - 1))
def test_any_code_of_a_peer_means_something(code):
    assert codes.from_stream(code) >= 0
    assert codes.from_http3(code) >= 0


def test_codes_outside_the_range_are_plain_and_reserved_ones_mean_nothing():
    assert [codes.from_stream(n) for n in (0, 0x33, 2**62 - 1)] == [0, 0x33, 2**62 - 1]
    assert codes.from_stream(codes.to_http3(29) + 1) == 0
    assert codes.to_http3(30) == codes.to_http3(29) + 2


def test_codes_of_http3_itself_say_nothing_to_a_session():
    assert [codes.from_http3(n) for n in (0x10C, 0x10F, 0x170D7B68, 64)] == [0, 0, 0, 64]


@pytest.mark.parametrize(
    ("protocol", "maps"),
    [("moq-lite-05", True), ("moql", True), ("moqt-18", False), ("moq-00", False), (None, False)],
)
def test_moq_lite_maps_codes_on_raw_quic_and_moq_transport_does_not(protocol, maps):
    assert codes.maps_codes(protocol) is maps
